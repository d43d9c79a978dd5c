//! The heart and its bytes as pure code: no process, socket or clock.

mod frames;
mod messages;
mod sim;
mod simulator;
