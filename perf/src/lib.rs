//! The load generator of cpi-hub: one thread, one epoll, no JSON parser, so that one core of it
//! can saturate a server on another.
//!
//! Reading order: `frames` and `stamp` (the bytes), `client` (one connection), `engine` (all of
//! them), `ledger` (what was lost, doubled or reordered), `fanout` and `idle` (the scenarios),
//! `process` and `figures` (the server's cost, and how results are shown).

pub mod client;
pub mod engine;
pub mod fanout;
pub mod figures;
pub mod frames;
pub mod idle;
pub mod ledger;
pub mod process;
pub mod stamp;
