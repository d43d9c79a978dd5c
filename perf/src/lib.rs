//! The load generator of cpi-hub: one thread, one epoll, no JSON parser for a delivery, so that
//! one core of it can saturate a server on another.
//!
//! Reading order: `client` (the bytes, one connection, all of them), `measure` (what is counted
//! and shown of one run), `scenario` (the kinds of load and their files), `report` (what is shown
//! of many runs). Beside them `floor`: the least that a server can do.

#![warn(unreachable_pub)]

pub mod client;
pub mod floor;
pub mod measure;
pub mod report;
pub mod scenario;
