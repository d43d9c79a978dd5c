//! The fan-out scenario: members of spaces, some of whom publish, in a closed loop (so many
//! messages in flight each) or an open one (so many a second in all, whatever the hub does).
//!
//! Every delivery is entered in the ledger. Rates and costs are taken between warm-up and end;
//! losses are counted after the last message had time to arrive.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::client::{Seat, connect};
use crate::engine::{Ended, Engine, Receive};
use crate::figures::Figures;
use crate::ledger::{Faults, Ledger};
use crate::process::{Cost, cost, own_cost};
use crate::stamp::{Message, Seen, see};

/// How messages are published.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Load {
    /// Each publisher sends the next message when one of so many has come back.
    Closed {
        /// Messages of one publisher on their way.
        in_flight: u32,
    },
    /// So many messages a second in all; latency counts from when each was due.
    Open {
        /// Messages a second.
        rate: f64,
    },
}

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the hub listens.
    pub hub: SocketAddr,
    /// The hub's process, on this machine; without it there are no CPU figures.
    pub pid: Option<u32>,
    /// How many spaces.
    pub spaces: usize,
    /// The number of the first.
    pub first_space: i32,
    /// Members of each space.
    pub members: usize,
    /// How many of each space's members publish.
    pub publishers: usize,
    /// How they publish.
    pub load: Load,
    /// Bytes of a content; at least a stamp's.
    pub content_bytes: usize,
    /// What is not measured.
    pub warm_up: Duration,
    /// What is measured.
    pub measure: Duration,
    /// How long the last messages may take to arrive.
    pub settle: Duration,
}

/// One delivery in so many gives a latency; a prime, so that it falls on all members.
const LATENCY_EVERY: u64 = 7;
const LATENCY_MAX_US: u64 = 60_000_000;
/// The longest wait for a socket: how late the end of a phase can be seen.
const TURN: Duration = Duration::from_millis(5);
/// Joins of members already in are read between so many handshakes.
const HANDSHAKES_BETWEEN_TURNS: usize = 16;
const JOIN_WAIT: Duration = Duration::from_secs(30);

impl Plan {
    /// Runs it.
    pub fn run(&self) -> io::Result<Figures> {
        let mut run = Run::new(self)?;
        run.join_all()?;
        run.publish_until(run.engine.now() + micros(self.warm_up))?;
        let before = run.mark()?;
        run.tally.measured_from = before.at;
        run.publish_until(before.at + micros(self.measure))?;
        let after = run.mark()?;
        run.tally.measured_from = u64::MAX;
        run.settle()?;
        Ok(run.figures(before, after))
    }

    fn all_members(&self) -> usize {
        self.spaces * self.members
    }

    fn seat(&self, member: usize) -> Seat {
        let space = self.first_space + (member / self.members) as i32;
        Seat { space, user: member as i32 + 1 }
    }

    /// The member that publishes as `publisher`, counted over all spaces.
    fn member_of(&self, publisher: usize) -> usize {
        publisher / self.publishers * self.members + publisher % self.publishers
    }
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

/// What has been counted at one moment.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: u64,
    deliveries: u64,
    published: u64,
    reads: u64,
    hub: Option<Cost>,
    own: Cost,
}

/// What came in.
struct Tally {
    members: usize,
    publishers: usize,
    ledger: Ledger,
    joined: Vec<bool>,
    joined_count: usize,
    deliveries: u64,
    /// Publishers whose messages came back since they were last asked, once each.
    returned: Vec<u32>,
    latency_us: Histogram<u64>,
    measured_from: u64,
    errors: u64,
    first_error: Option<String>,
    ended: Vec<(usize, Ended)>,
}

impl Tally {
    fn chat(&mut self, member: usize, text: &[u8], now: u64) {
        let Seen::Chat(stamp, id) = see(text) else { return self.ledger.enter_foreign() };
        let publisher = stamp.publisher as usize;
        let (space, own) = (publisher / self.publishers, publisher % self.publishers);
        if space != member / self.members {
            return self.ledger.enter_foreign();
        }
        self.deliveries += 1;
        self.ledger.enter(member, own, stamp, id);
        if own == member % self.members {
            self.returned.push(stamp.publisher);
        }
        if self.deliveries.is_multiple_of(LATENCY_EVERY)
            && u64::from(stamp.at) >= self.measured_from
        {
            // A message can be due after the read that brought it back was begun.
            self.latency_us.saturating_record(now.saturating_sub(stamp.at.into()));
        }
    }
}

impl Receive for Tally {
    fn text(&mut self, member: usize, text: &[u8], now: u64) {
        if see(text) != Seen::Other {
            return self.chat(member, text, now);
        }
        if !self.joined[member] {
            self.joined[member] = true;
            self.joined_count += 1;
        }
        if text.starts_with(b"{\"type\":\"error\"") {
            self.errors += 1;
            self.first_error.get_or_insert_with(|| String::from_utf8_lossy(text).into_owned());
        }
    }

    fn ended(&mut self, member: usize, why: Ended) {
        self.ended.push((member, why));
    }
}

struct Run<'a> {
    plan: &'a Plan,
    engine: Engine,
    tally: Tally,
    message: Message,
    /// What each publisher has sent, space by space.
    published: Vec<u32>,
    published_count: u64,
    publishing_since: Option<u64>,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan) -> io::Result<Run<'a>> {
        let latency_us =
            Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).map_err(io::Error::other)?;
        let members = plan.all_members();
        Ok(Run {
            plan,
            engine: Engine::new()?,
            tally: Tally {
                members: plan.members,
                publishers: plan.publishers,
                ledger: Ledger::new(members, plan.publishers),
                joined: vec![false; members],
                joined_count: 0,
                deliveries: 0,
                returned: Vec::new(),
                latency_us,
                measured_from: u64::MAX,
                errors: 0,
                first_error: None,
                ended: Vec::new(),
            },
            message: Message::new(plan.content_bytes),
            published: vec![0; plan.spaces * plan.publishers],
            published_count: 0,
            publishing_since: None,
        })
    }

    /// Opens all connections and waits until each has its own join.
    fn join_all(&mut self) -> io::Result<()> {
        for member in 0..self.plan.all_members() {
            let connection = connect(self.plan.hub, self.plan.seat(member))?;
            self.engine.add(connection, &mut self.tally)?;
            if member.is_multiple_of(HANDSHAKES_BETWEEN_TURNS) {
                self.engine.turn(Duration::ZERO, &mut self.tally)?;
            }
        }
        let deadline = self.engine.now() + micros(JOIN_WAIT);
        while self.tally.joined_count < self.plan.all_members() {
            self.engine.turn(TURN, &mut self.tally)?;
            if let Some((member, why)) = self.tally.ended.first() {
                return Err(io::Error::other(format!("member {member} ended at once: {why:?}")));
            }
            if self.engine.now() > deadline {
                let (joined, all) = (self.tally.joined_count, self.plan.all_members());
                return Err(io::Error::other(format!(
                    "only {joined} of {all} members have joined"
                )));
            }
        }
        Ok(())
    }

    fn publish_until(&mut self, end: u64) -> io::Result<()> {
        let started = *self.publishing_since.get_or_insert(self.engine.now());
        if self.published_count == 0 {
            self.publish_first();
        }
        while self.engine.now() < end {
            match self.plan.load {
                Load::Closed { .. } => {
                    self.engine.turn(TURN, &mut self.tally)?;
                    self.publish_returned();
                }
                Load::Open { rate } => {
                    let next_at = started + (self.published_count as f64 * 1e6 / rate) as u64;
                    // Waits are whole milliseconds: below one, ask again at once.
                    let wait = Duration::from_micros(next_at.saturating_sub(self.engine.now()));
                    let wait = if wait < Duration::from_millis(1) {
                        Duration::ZERO
                    } else {
                        TURN.min(wait)
                    };
                    self.engine.turn(wait, &mut self.tally)?;
                    self.publish_due(started, rate);
                }
            }
        }
        Ok(())
    }

    fn publish_first(&mut self) {
        let Load::Closed { in_flight } = self.plan.load else { return };
        for publisher in 0..self.published.len() {
            let now = self.engine.now();
            for _ in 0..in_flight {
                self.push(publisher, now);
            }
            self.engine.flush(self.plan.member_of(publisher));
        }
    }

    /// One new message for each that came back; what one turn brought goes out in one write.
    fn publish_returned(&mut self) {
        let mut returned = std::mem::take(&mut self.tally.returned);
        let now = self.engine.now();
        returned.sort_unstable();
        for same in returned.chunk_by(|a, b| a == b) {
            let publisher = same[0] as usize;
            same.iter().for_each(|_| self.push(publisher, now));
            self.engine.flush(self.plan.member_of(publisher));
        }
        returned.clear();
        self.tally.returned = returned;
    }

    fn publish_due(&mut self, started: u64, rate: f64) {
        self.tally.returned.clear();
        let passed = self.engine.now() - started;
        let due = (passed as f64 * rate / 1e6) as u64 + 1;
        while self.published_count < due {
            let publisher = (self.published_count % self.published.len() as u64) as usize;
            let at = started + (self.published_count as f64 * 1e6 / rate) as u64;
            self.push(publisher, at);
            self.engine.flush(self.plan.member_of(publisher));
        }
    }

    fn push(&mut self, publisher: usize, at: u64) {
        let sequence = self.published[publisher];
        let stamp = crate::stamp::Stamp { publisher: publisher as u32, sequence, at: at as u32 };
        self.engine.push(self.plan.member_of(publisher), self.message.stamped(stamp));
        self.published[publisher] += 1;
        self.published_count += 1;
    }

    /// Waits until every member still connected has everything, or the time for it is over.
    fn settle(&mut self) -> io::Result<()> {
        let deadline = self.engine.now() + micros(self.plan.settle);
        while self.engine.now() < deadline {
            self.engine.turn(TURN, &mut self.tally)?;
            let behind = |member| !self.tally.ledger.is_complete(member, self.sent_in(member));
            if !self.engine.open().any(behind) {
                // What is doubled comes late: one more turn looks for it.
                return self.engine.turn(TURN, &mut self.tally);
            }
        }
        Ok(())
    }

    fn sent_in(&self, member: usize) -> &[u32] {
        let space = member / self.plan.members;
        &self.published[space * self.plan.publishers..][..self.plan.publishers]
    }

    fn mark(&self) -> io::Result<Mark> {
        Ok(Mark {
            at: self.engine.now(),
            deliveries: self.tally.deliveries,
            published: self.published_count,
            reads: self.engine.reads,
            hub: self.plan.pid.map(cost).transpose()?,
            own: own_cost()?,
        })
    }

    fn close_ledger(&mut self) -> Faults {
        let empty = Ledger::new(0, self.plan.publishers);
        let ledger = std::mem::replace(&mut self.tally.ledger, empty);
        ledger.close(self.engine.open().map(|member| (member, self.sent_in(member))))
    }

    fn figures(mut self, before: Mark, after: Mark) -> Figures {
        let faults = self.close_ledger();
        let mut figures = Figures::default();
        self.describe(&mut figures);
        rates(&mut figures, before, after);
        latencies(&mut figures, &self.tally.latency_us);
        figures.count("messages_all", self.published_count);
        figures.count("deliveries_all", self.tally.deliveries);
        figures.count("lost", faults.lost).count("doubled", faults.doubled);
        figures.count("reordered", faults.reordered);
        figures.count("ids_not_ascending", faults.ids_not_ascending);
        figures.count("foreign", faults.foreign).count("errors", self.tally.errors);
        figures.count("members_ended", self.tally.ended.len());
        if let Some((_, why)) = self.tally.ended.first() {
            figures.text("first_end", format!("{why:?}"));
        }
        if let Some(error) = self.tally.first_error {
            figures.text("first_error", error);
        }
        figures
    }

    fn describe(&self, figures: &mut Figures) {
        let plan = self.plan;
        figures.count("spaces", plan.spaces).count("members_per_space", plan.members);
        figures.count("publishers_per_space", plan.publishers);
        match plan.load {
            Load::Closed { in_flight } => figures.count("in_flight", in_flight),
            Load::Open { rate } => figures.number("rate_per_s", rate),
        };
        figures.count("content_bytes", plan.content_bytes);
    }
}

fn latencies(figures: &mut Figures, latency_us: &Histogram<u64>) {
    if latency_us.is_empty() {
        return;
    }
    let quantiles = [("p50_ms", 0.5), ("p90_ms", 0.9), ("p99_ms", 0.99), ("p999_ms", 0.999)];
    for (name, quantile) in quantiles {
        figures.number(name, latency_us.value_at_quantile(quantile) as f64 / 1e3);
    }
    figures.number("max_ms", latency_us.max() as f64 / 1e3);
}

/// What was done and what it cost between two marks.
fn rates(figures: &mut Figures, before: Mark, after: Mark) {
    let seconds = (after.at - before.at) as f64 / 1e6;
    let deliveries = (after.deliveries - before.deliveries) as f64;
    figures.number("seconds", seconds);
    figures.number("messages_per_s", (after.published - before.published) as f64 / seconds);
    figures.number("deliveries_per_s", deliveries / seconds);
    figures.number("frames_per_read", deliveries / (after.reads - before.reads) as f64);
    let own_share = (after.own.cpu - before.own.cpu).as_secs_f64() / seconds;
    if let (Some(hub_before), Some(hub_after)) = (before.hub, after.hub) {
        let cpu = (hub_after.cpu - hub_before.cpu).as_secs_f64();
        figures.number("hub_cpu_ns_per_delivery", cpu * 1e9 / deliveries);
        figures.number("hub_cpu_cores", cpu / seconds);
        figures.number("hub_rss_mib", hub_after.rss_bytes as f64 / f64::from(1 << 20));
        figures.text("saturated", saturated(cpu / seconds, own_share));
    }
    figures.number("client_cpu_cores", own_share);
}

/// Which side had no more to give; deliveries a second are a floor when it was the client's.
fn saturated(hub_cores: f64, own_share: f64) -> &'static str {
    const FULL: f64 = 0.95;
    match (hub_cores >= FULL, own_share >= FULL) {
        (true, true) => "both",
        (true, false) => "hub",
        (false, true) => "client",
        (false, false) => "neither",
    }
}
