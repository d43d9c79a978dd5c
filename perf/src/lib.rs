//! The load generator of cpi-hub: one thread, one epoll, no JSON parser for a delivery, so that
//! one core of it can saturate a server on another.
//!
//! Reading order: `frames`, `dialect`, `nats`, `pusher` and `stamp` (the bytes), `client` (one
//! connection), `engine` (all of them), `ledger` and `tally` (what came, and what was lost, doubled
//! or reordered), `fanout`, `stalled`, `durable`, `idle`, `churn` and `herd` (the kinds of load),
//! `scenario` (their files), `process`, `marks`, `figures` and `progress` (what is shown of one
//! run), `report` (what is shown of many).

pub mod churn;
pub mod client;
pub mod dialect;
pub mod durable;
pub mod engine;
pub mod fanout;
pub mod figures;
pub mod floor;
pub mod frames;
pub mod herd;
pub mod idle;
pub mod ledger;
pub mod marks;
pub mod nats;
pub mod process;
pub mod progress;
pub mod pusher;
pub mod report;
pub mod scenario;
pub mod stalled;
pub mod stamp;
pub mod tally;
