//! cpi-hub.
