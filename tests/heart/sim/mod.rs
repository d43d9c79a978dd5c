//! A seeded simulator of one shard: fake sockets, a fake journal and sink, virtual time, and a
//! plain model that every member's bytes are held against.
//!
//! `plan` draws what a seed does, `world` drives the shard as its thread does, on what `host`
//! surrounds it with, `ops` are the things that happen, `book` and `sequence` are the model,
//! `client` judges what one member received, `lobby` what a reader of who is online did.

pub mod answers;
pub mod book;
pub mod client;
pub mod coverage;
pub mod ending;
mod events;
pub mod frames;
pub mod host;
pub mod lobby;
pub mod net;
pub mod ops;
pub mod pages;
pub mod plan;
pub mod resume;
pub mod rng;
pub mod sequence;
pub mod talk;
pub mod world;
