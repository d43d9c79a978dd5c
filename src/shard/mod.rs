//! The heart.
pub mod event;
