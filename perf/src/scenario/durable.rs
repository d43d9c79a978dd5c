//! The durable scenario: messages with a nonce in the hub's `cpi-hub.v1`, and how long the
//! acknowledgements take that they are accepted, and that they are stored.
//!
//! Latency counts from when a message was due (open loop) or sent (closed loop).

use std::io;

use crate::client::dialect::Dialect;
use crate::measure::figures::Figures;
use crate::measure::marks::{latencies, rates};
use crate::scenario::fanout::{Plan, Run};

/// Runs a fan-out and waits for both acknowledgements of every message.
pub fn run(plan: &Plan) -> io::Result<Figures> {
    if plan.server.dialect != Dialect::HubV1 {
        return Err(io::Error::other("`durable` needs the dialect hub-v1; peers store nothing"));
    }
    let mut run = Run::new(plan)?;
    run.join_all()?;
    run.publish_until(run.engine.now() + plan.warm_up.as_micros() as u64)?;
    let (before, after) = run.measure()?;
    // Late acknowledgements of measured messages count with their latency; no new ones are sent.
    run.tally.measured_from = before.at;
    let published = run.published_count;
    run.settle_until(|tally| tally.acks.accepted.min(tally.acks.durable) >= published)?;

    let mut figures = Figures::default();
    plan.describe(&mut figures);
    rates(&mut figures, before, after);
    run.tally.acks.figures(published, &mut figures);
    latencies(&mut figures, &run.tally.latency_us);
    run.verdict(&[], &mut figures);
    Ok(figures)
}
