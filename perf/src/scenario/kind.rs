//! What a kind of load is to those who read its file and run it, and where it is run.

use std::fmt::Debug;
use std::io;

use crate::client::connection::Server;
use crate::measure::figures::Figures;

/// Where a scenario is run.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Where the load goes.
    pub server: Server,
    /// The server's process on this machine; without it there are no CPU figures.
    pub pid: Option<u32>,
    /// The number of the first space.
    pub first_space: i32,
}

/// A kind of load with its keys read: ready to be run.
pub trait Kind: Debug {
    /// Connections that are open at one time, at most: each is a file.
    fn connections(&self) -> usize;

    /// Runs it.
    fn run(&self, target: Target) -> io::Result<Figures>;
}
