//! cpi-hub: the real-time event server of CPI Hub.

pub mod cli;
pub mod clock;
pub mod conditions;
pub mod config;
pub mod edge;
pub mod faults;
pub mod hub;
pub mod limits;
pub mod metrics;
pub mod server;
pub mod shard;
pub mod shares;
pub mod store;
pub mod wire;
