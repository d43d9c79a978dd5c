//! The durable scenario: messages with a nonce in the hub's `cpi-hub.v1`, and how long the
//! acknowledgements take that they are accepted, and that they are stored.
//!
//! Latency counts from when a message was due (open loop) or sent (closed loop).

use std::io;

use super::fanout::{self, Run};
use super::keys::Keys;
use super::kind::{Kind, Target};
use crate::client::connection::Server;
use crate::client::dialect::Dialect;
use crate::measure::figures::Figures;
use crate::measure::marks::{latencies, rates};

/// A fan-out that waits for both acknowledgements of every message.
#[derive(Clone, Debug)]
pub struct Plan {
    fanout: fanout::Plan,
}

impl Plan {
    pub(super) fn read(keys: &mut Keys) -> Result<Plan, String> {
        Ok(Plan { fanout: fanout::Plan::open(keys)? })
    }
}

impl Kind for Plan {
    fn connections(&self) -> usize {
        self.fanout.connections()
    }

    fn run(&self, target: Target) -> io::Result<Figures> {
        if !matches!(target.server.dialect, Dialect::Hub | Dialect::HubV1) {
            return Err(io::Error::other("only the hub stores and acknowledges"));
        }
        let server = Server { dialect: Dialect::HubV1, ..target.server };
        let mut run = Run::new(&self.fanout, Target { server, ..target })?;
        run.join_all()?;
        run.warm_up()?;
        let (before, after) = run.measure()?;
        // Late acknowledgements of measured messages count with their latency; nothing new is sent.
        run.tally.measured_from = before.at;
        let published = run.published_count;
        run.settle_until(|tally| tally.acks.accepted.min(tally.acks.durable) >= published)?;

        let mut figures = Figures::default();
        self.fanout.describe(&mut figures);
        rates(&mut figures, before, after);
        run.tally.acks.figures(published, &mut figures);
        latencies(&mut figures, &run.tally.latency_us);
        run.verdict(&[], &mut figures);
        Ok(figures)
    }
}
