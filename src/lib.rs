//! cpi-hub: the real-time event server of CPI Hub.

pub mod limits;
pub mod wire;
