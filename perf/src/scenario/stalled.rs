//! The stalled-readers scenario: some members stop reading while the rest chat on. The others'
//! latency and the server's cost are measured without and then with them, in one run.
//!
//! Who stalls never publishes. At the end the stalled are read again, to learn what the server
//! did with them; what they missed is no loss, but that another member is closed is a fault.

use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::fanout::{self, Run};
use super::keys::Keys;
use super::kind::{Kind, Target};
use crate::client::engine::{Ended, micros};
use crate::measure::figures::Figures;
use crate::measure::marks::{cpu_ns_per_delivery, latencies, mib, quantile_ms, rates};

/// Time for the sockets of the stalled to bring what has gathered.
const LOOK: Duration = Duration::from_secs(1);
const TURN: Duration = Duration::from_millis(5);

/// A fan-out in which, for a second measured time, members of the first space don't read.
#[derive(Clone, Debug)]
pub struct Plan {
    fanout: fanout::Plan,
    /// How many don't read.
    stalled: usize,
}

impl Plan {
    pub(super) fn read(keys: &mut Keys) -> Result<Plan, String> {
        Ok(Plan { fanout: fanout::Plan::open(keys)?, stalled: keys.count("stalled", None)? })
    }
}

impl Kind for Plan {
    fn connections(&self) -> usize {
        self.fanout.connections()
    }

    fn run(&self, target: Target) -> io::Result<Figures> {
        let (plan, stalled) = (&self.fanout, self.stalled);
        let mut run = Run::new(plan, target)?;
        if stalled + run.senders() > plan.members {
            let told = "`stalled`: from 1, and at most the members who don't publish";
            return Err(io::Error::other(told));
        }
        run.join_all()?;
        run.warm_up()?;
        let (calm, calm_end) = run.measure()?;
        let without = run.tally.take_latencies()?;
        let members: Vec<usize> = (plan.members - stalled..plan.members).collect();
        for member in &members {
            run.engine.stall(*member)?;
        }
        let (before, after) = run.measure()?;
        run.settle_but(&members)?;
        let evicted = look(&mut run, &members)?;

        let mut figures = Figures::default();
        plan.describe(&mut figures);
        figures.count("stalled", stalled).count("stalled_closed", evicted);
        rates(&mut figures, before, after);
        latencies(&mut figures, &run.tally.latency_us);
        beside(&mut figures, &without, &run.tally.latency_us);
        let costs = [(calm, calm_end), (before, after)];
        let costs = costs.map(|(from, to)| cpu_ns_per_delivery(from, to));
        if let [Some(without), Some(with)] = costs {
            figures.number("hub_cpu_ns_per_delivery_without", without);
            figures.number("cpu_ratio", with / without);
        }
        if let (Some(from), Some(calm), Some(to)) = (before.server, calm.server, after.server) {
            figures.number("rss_growth_mib", mib(to.rss_bytes as f64 - from.rss_bytes as f64));
            let growth = from.rss_bytes as f64 - calm.rss_bytes as f64;
            figures.number("rss_growth_without_mib", mib(growth));
        }
        run.tally.ended.retain(|(member, _)| !members.contains(member));
        run.verdict(&members, &mut figures);
        Ok(figures)
    }
}

/// Reads the stalled again; how many of them the server had closed.
fn look(run: &mut Run<'_>, members: &[usize]) -> io::Result<usize> {
    // What they read late is not the others' latency.
    run.tally.measured_from = u64::MAX;
    for member in members {
        run.engine.resume(*member, &mut run.tally)?;
    }
    let end = run.engine.now() + micros(LOOK);
    while run.engine.now() < end {
        run.engine.turn(TURN, &mut run.tally)?;
    }
    let is_theirs = |(member, _): &&(usize, Ended)| members.contains(member);
    Ok(run.tally.ended.iter().filter(is_theirs).count())
}

fn beside(figures: &mut Figures, without: &Histogram<u64>, with: &Histogram<u64>) {
    if without.is_empty() || with.is_empty() {
        return;
    }
    let p99 = quantile_ms(without, 0.99);
    figures.number("p50_without_ms", quantile_ms(without, 0.5)).number("p99_without_ms", p99);
    figures.number("p99_ratio", quantile_ms(with, 0.99) / p99);
}
