//! A hub under a service manager: sockets that it is handed, restarts on them, what it tells.

mod handover;
mod notify;
mod sockets;
mod unit;
