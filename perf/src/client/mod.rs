//! The client's side of one connection and of all of them: bytes, dialects, sockets.
//!
//! Reading order: `frames`, `inflater`, `dialect`, `nats`, `pusher`, `centrifugo`, `stamp` and
//! `said` (the bytes), `token`, `stream` and `connection` (one socket), `engine` (all of them, over
//! one epoll), `http` and `probe` (requests that are no handshake). Nothing here knows what a
//! scenario is.

pub mod centrifugo;
pub mod connection;
pub mod dialect;
pub mod engine;
pub mod frames;
pub mod http;
pub mod inflater;
pub mod nats;
pub mod probe;
pub mod pusher;
pub mod said;
pub mod stamp;
pub mod stream;
pub mod token;
