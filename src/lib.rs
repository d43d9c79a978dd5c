//! cpi-hub: the real-time event server of CPI Hub.
//!
//! A tour, from the ground up; src/ARCHITECTURE.md is the map.
//!
//! - [`wire`] has the bytes: frames, messages, ids, times, records. It does no I/O.
//! - [`limits`] has every bound, [`metrics`] every number, [`clock`] the only look at the time.
//! - [`shard`] is the heart: spaces are logs, members are cursors, a turn puts what was said into
//!   the journal and then out to everybody. It is synchronous, pure, and runs under a simulator.
//! - [`conditions`] says what is wrong, [`faults`] ends the process when a part of it is dead,
//!   [`shares`] keeps one peer from holding all of what many draw from, [`telemetry`] sends traces.
//! - [`store`] brings accepted messages from the journals into SQLite or PostgreSQL, once each, and
//!   reads them again.
//! - `hub` runs the shards: a pinned thread each, its sockets, its inbox, the directory of spaces.
//! - `edge` speaks HTTP: connections, the handshake, what people and operators ask for.
//! - [`config`] reads settings, [`cli`] the command line, [`server`] starts all that and stops it.
//!
//! It is a library so that its benches, its tests and fuzzers reach the parts that they are about;
//! public is what they and the binary use.

#![warn(unreachable_pub)]

mod authorities;
pub mod cli;
pub mod clock;
pub mod conditions;
pub mod config;
mod edge;
pub mod faults;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod hub;
pub mod limits;
pub mod metrics;
pub mod server;
pub mod shard;
pub mod shares;
pub mod store;
pub mod telemetry;
pub mod wire;

pub use edge::auth::{Asks, ROUTES, Route};
