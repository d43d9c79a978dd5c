//! What was done and what it cost between two moments, as figures.

use std::io;

use hdrhistogram::Histogram;

use crate::measure::figures::Figures;
use crate::measure::process::{Cost, cost, own_cost};

/// What has been counted at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// The run's microsecond.
    pub at: u64,
    /// Deliveries so far.
    pub deliveries: u64,
    /// Messages published so far.
    pub published: u64,
    /// Reads that brought something.
    pub reads: u64,
    /// What the server has cost, where its process is known.
    pub server: Option<Cost>,
    /// What this process has cost.
    pub own: Cost,
    /// The cores that this process may use.
    pub cores: usize,
}

impl Mark {
    /// The costs at this moment; counts are the caller's.
    pub fn now(at: u64, pid: Option<u32>) -> io::Result<Mark> {
        let server = pid.map(cost).transpose()?;
        let cores = std::thread::available_parallelism()?.get();
        Ok(Mark { at, deliveries: 0, published: 0, reads: 0, server, own: own_cost()?, cores })
    }
}

const LATENCY_MAX_US: u64 = 60_000_000;
/// The points of a latency curve: more and more of the tail.
const SHARES: [f64; 14] =
    [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999, 0.9995, 0.9999, 1.0];

/// An empty histogram of microseconds, up to a minute.
pub fn histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).map_err(io::Error::other)
}

/// A quantile in milliseconds.
pub fn quantile_ms(latency_us: &Histogram<u64>, quantile: f64) -> f64 {
    latency_us.value_at_quantile(quantile) as f64 / 1e3
}

/// A histogram's quantiles, and its curve.
pub fn latencies(figures: &mut Figures, latency_us: &Histogram<u64>) {
    if latency_us.is_empty() {
        return;
    }
    let quantiles = [("p50_ms", 0.5), ("p90_ms", 0.9), ("p99_ms", 0.99), ("p999_ms", 0.999)];
    for (name, quantile) in quantiles {
        figures.number(name, quantile_ms(latency_us, quantile));
    }
    figures.number("max_ms", latency_us.max() as f64 / 1e3);
    let points = SHARES.iter().map(|share| (*share, quantile_ms(latency_us, *share)));
    figures.curve("latency_ms", points.collect());
}

/// What was done and what it cost between two marks.
pub fn rates(figures: &mut Figures, before: Mark, after: Mark) {
    let seconds = (after.at - before.at) as f64 / 1e6;
    let deliveries = (after.deliveries - before.deliveries) as f64;
    figures.number("seconds", seconds);
    figures.number("messages_per_s", (after.published - before.published) as f64 / seconds);
    figures.number("deliveries_per_s", deliveries / seconds);
    figures.number("frames_per_read", deliveries / (after.reads - before.reads) as f64);
    if let Some(cost) = cpu_ns_per_delivery(before, after) {
        figures.number("hub_cpu_ns_per_delivery", cost);
    }
    shares(figures, before, after);
}

/// What a delivery cost the server between two marks, where its process is known.
pub fn cpu_ns_per_delivery(before: Mark, after: Mark) -> Option<f64> {
    let cpu = after.server?.cpu.saturating_sub(before.server?.cpu).as_secs_f64();
    Some(cpu * 1e9 / (after.deliveries - before.deliveries) as f64)
}

/// Both sides' share of a core, and which of them had no more to give.
pub fn shares(figures: &mut Figures, before: Mark, after: Mark) {
    let seconds = (after.at - before.at) as f64 / 1e6;
    let own_share = after.own.cpu.saturating_sub(before.own.cpu).as_secs_f64() / seconds;
    if let (Some(from), Some(to)) = (before.server, after.server) {
        let share = to.cpu.saturating_sub(from.cpu).as_secs_f64() / seconds;
        figures.number("hub_cpu_cores", share);
        figures.number("hub_rss_mib", mib(to.rss_bytes as f64));
        figures.text("saturated", saturated(share, own_share, after.cores));
    }
    figures.number("client_cpu_cores", own_share);
}

/// Bytes as MiB.
pub fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

/// Which side had no more to give; deliveries a second are a floor when it was the client's.
/// Where this process is not kept on one core, both sides share `cores`: neither had more to give
/// when these are all used.
fn saturated(hub_cores: f64, own_share: f64, cores: usize) -> &'static str {
    const FULL: f64 = 0.95;
    if cores > 1 && hub_cores + own_share >= FULL * cores as f64 {
        return "machine";
    }
    match (hub_cores >= FULL, own_share >= FULL) {
        (true, true) => "both",
        (true, false) => "hub",
        (false, true) => "client",
        (false, false) => "neither",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_of_its_own_core_is_full_when_that_core_is() {
        for (hub, own, expected) in
            [(0.99, 0.99, "both"), (0.99, 0.5, "hub"), (0.5, 0.99, "client"), (0.9, 0.9, "neither")]
        {
            assert_eq!(saturated(hub, own, 1), expected);
        }
    }

    #[test]
    fn sides_that_share_their_cores_are_full_when_all_of_them_are() {
        // Two shards and the generator want three cores of two: no side alone is told.
        assert_eq!(saturated(1.3, 0.66, 2), "machine");
        assert_eq!(saturated(0.97, 0.96, 2), "machine");
        assert_eq!(saturated(0.97, 0.5, 2), "hub");
        assert_eq!(saturated(0.6, 0.6, 2), "neither");
    }
}
