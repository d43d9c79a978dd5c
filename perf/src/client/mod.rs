//! The client's side of one connection and of all of them: bytes, dialects, sockets.
//!
//! Reading order: `frames`, `dialect`, `nats`, `pusher`, `centrifugo` and `stamp` (the bytes),
//! `stream` and `connection` (one socket), `engine` (all of them, over one epoll). Nothing here
//! knows what a scenario is.

pub mod centrifugo;
pub mod connection;
pub mod dialect;
pub mod engine;
pub mod frames;
pub mod nats;
pub mod pusher;
pub mod stamp;
pub mod stream;
