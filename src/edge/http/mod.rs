//! The machinery of HTTP: connections, heads, bodies, answers, and what holds for every request.
//! Knows no endpoint.

pub(super) mod accept;
pub(super) mod answers;
pub(super) mod body;
pub(super) mod connection;
pub(super) mod cors;
pub(super) mod door;
pub(super) mod forwarded;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub(super) mod head;
mod introduced;
pub(super) mod json;
mod marked;
pub(super) mod media;
mod names;
mod paced;
pub(super) mod peer;
pub(super) mod problem;
pub(super) mod proxies;
mod proxy_protocol;
pub(super) mod query;
pub(super) mod request_id;
mod secure;
pub(super) mod short_way;
mod stream;
mod strict;
pub(super) mod told;
mod transport;
mod unproven;
mod unread;
pub(super) mod upgrade;
mod waiting;
