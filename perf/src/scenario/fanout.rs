//! The fan-out scenario: members of spaces, some of whom publish, in a closed loop (each keeps a
//! number of messages in flight) or an open one (a rate in all, whatever the hub does).
//!
//! Every delivery is entered in the ledger. Rates and costs are taken between warm-up and end;
//! losses are counted after the last message had time to arrive.

use std::io;
use std::time::Duration;

use super::keys::{Keys, Times};
use super::kind::{Kind, Target};
use crate::client::connection::connect;
use crate::client::dialect::Seat;
use crate::client::engine::{Engine, micros};
use crate::client::stamp::{Message, Stamp};
use crate::measure::figures::Figures;
use crate::measure::ledger::{Faults, Ledger};
use crate::measure::marks::{Mark, latencies, rates};
use crate::measure::progress::Progress;
use crate::measure::tally::Tally;

/// How messages are published.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Load {
    /// Each publisher sends the next message when one of those in flight has come back.
    Closed {
        /// Messages of one publisher on their way.
        in_flight: u32,
    },
    /// A rate in all; latency counts from when each was due.
    Open {
        /// Messages a second.
        rate: f64,
    },
}

impl Load {
    fn closed(keys: &mut Keys) -> Result<Load, String> {
        Ok(Load::Closed { in_flight: keys.count("in_flight", None)? as u32 })
    }

    fn open(keys: &mut Keys) -> Result<Load, String> {
        Ok(Load::Open { rate: keys.positive("rate", None)? })
    }
}

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many spaces.
    pub spaces: usize,
    /// Members of each space.
    pub members: usize,
    /// How many of each space's members publish.
    pub publishers: usize,
    /// How they publish.
    pub load: Load,
    /// Bytes of a content; at least a stamp's.
    pub content_bytes: usize,
    /// How long it takes.
    pub times: Times,
}

/// The longest wait for a socket: how late the end of a phase can be seen.
const TURN: Duration = Duration::from_millis(5);
/// After this many handshakes the joins of members already in are read.
const HANDSHAKES_BETWEEN_TURNS: usize = 16;
const JOIN_WAIT: Duration = Duration::from_secs(30);

impl Kind for Plan {
    fn connections(&self) -> usize {
        self.spaces * self.members
    }

    fn run(&self, target: Target) -> io::Result<Figures> {
        let mut run = Run::new(self, target)?;
        run.join_all()?;
        run.warm_up()?;
        let (before, after) = run.measure()?;
        run.settle()?;
        let mut figures = Figures::default();
        self.describe(&mut figures);
        rates(&mut figures, before, after);
        latencies(&mut figures, &run.tally.latency_us);
        run.verdict(&[], &mut figures);
        Ok(figures)
    }
}

impl Plan {
    pub(super) fn closed(keys: &mut Keys) -> Result<Plan, String> {
        Plan::read(keys, Load::closed)
    }

    pub(super) fn open(keys: &mut Keys) -> Result<Plan, String> {
        Plan::read(keys, Load::open)
    }

    fn read(keys: &mut Keys, load: fn(&mut Keys) -> Result<Load, String>) -> Result<Plan, String> {
        let plan = Plan {
            spaces: keys.count("spaces", Some(1))?,
            members: keys.count("members", None)?,
            publishers: keys.count("publishers", Some(1))?,
            content_bytes: keys.count("content_bytes", Some(128))?,
            times: Times::read(keys)?,
            load: load(keys)?,
        };
        if plan.publishers > plan.members {
            return Err("publishers: they are members, so at most `members`".into());
        }
        Ok(plan)
    }

    /// What is run, as figures.
    pub(crate) fn describe(&self, figures: &mut Figures) {
        figures.count("spaces", self.spaces).count("members_per_space", self.members);
        figures.count("publishers_per_space", self.publishers);
        match self.load {
            Load::Closed { in_flight } => figures.count("in_flight", in_flight),
            Load::Open { rate } => figures.number("rate_per_s", rate),
        };
        figures.count("content_bytes", self.content_bytes);
    }
}

/// A run under way: scenarios that add something to a fan-out drive it themselves.
pub(crate) struct Run<'a> {
    plan: &'a Plan,
    target: Target,
    pub(crate) engine: Engine,
    pub(crate) tally: Tally,
    /// One for each space: a dialect may name it in the message.
    messages: Vec<Message>,
    /// What each publisher has sent, space by space.
    published: Vec<u32>,
    pub(crate) published_count: u64,
    publishing_since: Option<u64>,
    progress: Progress,
}

impl<'a> Run<'a> {
    pub(crate) fn new(plan: &'a Plan, target: Target) -> io::Result<Run<'a>> {
        let dialect = target.server.dialect;
        let tally = Tally::new(plan.spaces, plan.members, plan.publishers)?;
        let mut run = Run {
            plan,
            target,
            engine: Engine::new(dialect)?,
            tally: if dialect.has_ids() { tally } else { tally.without_ids() },
            messages: Vec::new(),
            published: vec![0; plan.spaces * plan.publishers],
            published_count: 0,
            publishing_since: None,
            progress: Progress::default(),
        };
        if run.senders() > plan.members {
            return Err(io::Error::other("this server sends to others only: from two members on"));
        }
        let seats = (0..plan.spaces).map(|space| run.seat(space * plan.members));
        let message = |seat| Message::new(dialect, seat, plan.content_bytes);
        run.messages = seats.map(message).collect();
        Ok(run)
    }

    fn seat(&self, member: usize) -> Seat {
        let space = self.target.first_space + (member / self.plan.members) as i32;
        Seat { space, user: member as i32 + 1 }
    }

    /// The member that sends what `publisher` publishes, counted over all spaces: the one of the
    /// same number in its space. Where a server sends to the others only, it is that one's
    /// neighbour, so that each message comes back to the publisher's own number there too.
    fn member_of(&self, publisher: usize) -> usize {
        let (plan, away) = (self.plan, usize::from(!self.echoes()));
        let (space, own) = (publisher / plan.publishers, publisher % plan.publishers);
        space * plan.members + (own + away) % self.senders()
    }

    /// How many of each space's first members it takes to publish.
    pub(crate) fn senders(&self) -> usize {
        if self.echoes() { self.plan.publishers } else { self.plan.publishers.max(2) }
    }

    fn echoes(&self) -> bool {
        self.target.server.dialect.echoes()
    }

    /// Opens all connections and waits until each has its own join.
    pub(crate) fn join_all(&mut self) -> io::Result<()> {
        for member in 0..self.plan.connections() {
            let connection = connect(self.target.server, self.seat(member))?;
            self.engine.add(connection, &mut self.tally)?;
            if member.is_multiple_of(HANDSHAKES_BETWEEN_TURNS) {
                self.engine.turn(Duration::ZERO, &mut self.tally)?;
                let all = self.plan.connections();
                self.progress.tell(self.engine.now(), || format!("{member} of {all} connected"));
            }
        }
        let deadline = self.engine.now() + micros(JOIN_WAIT);
        while self.tally.joined_count < self.plan.connections() {
            self.engine.turn(TURN, &mut self.tally)?;
            if let Some((member, why)) = self.tally.ended.first() {
                return Err(io::Error::other(format!("member {member} ended at once: {why:?}")));
            }
            if self.engine.now() > deadline {
                let (joined, all) = (self.tally.joined_count, self.plan.connections());
                let error = self.tally.first_error.as_deref().unwrap_or("no error was told");
                return Err(io::Error::other(format!(
                    "only {joined} of {all} members have joined: {error}"
                )));
            }
        }
        Ok(())
    }

    /// Publishes through the time that is not measured.
    pub(crate) fn warm_up(&mut self) -> io::Result<()> {
        self.publish_until(self.engine.now() + micros(self.plan.times.warm_up))
    }

    /// Publishes through the measured time; what was counted before and after it.
    pub(crate) fn measure(&mut self) -> io::Result<(Mark, Mark)> {
        let before = self.mark()?;
        self.tally.measured_from = before.at;
        self.publish_until(before.at + micros(self.plan.times.measure))?;
        let after = self.mark()?;
        self.tally.measured_from = u64::MAX;
        Ok((before, after))
    }

    fn publish_until(&mut self, end: u64) -> io::Result<()> {
        let started = *self.publishing_since.get_or_insert(self.engine.now());
        if self.published_count == 0 {
            self.publish_first();
        }
        while self.engine.now() < end {
            self.tell_progress();
            match self.plan.load {
                Load::Closed { .. } => {
                    self.engine.turn(TURN, &mut self.tally)?;
                    self.publish_returned();
                }
                Load::Open { rate } => {
                    let next_at = started + (self.published_count as f64 * 1e6 / rate) as u64;
                    // Waits are whole milliseconds: less than one is spent by asking again.
                    let left = next_at.saturating_sub(self.engine.now()) / 1000;
                    let wait = TURN.min(Duration::from_millis(left));
                    self.engine.turn(wait, &mut self.tally)?;
                    self.publish_due(started, rate);
                }
            }
        }
        Ok(())
    }

    fn tell_progress(&mut self) {
        let (deliveries, ended) = (self.tally.deliveries, self.tally.ended.len());
        let published = self.published_count;
        self.progress.tell(self.engine.now(), || {
            format!("{published} published, {deliveries} delivered, {ended} connections ended")
        });
    }

    fn publish_first(&mut self) {
        let Load::Closed { in_flight } = self.plan.load else { return };
        for publisher in 0..self.published.len() {
            let now = self.engine.now();
            for _ in 0..in_flight {
                self.push(publisher, now);
            }
            self.engine.flush(self.member_of(publisher));
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
            self.engine.flush(self.member_of(publisher));
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
            self.engine.flush(self.member_of(publisher));
        }
    }

    fn push(&mut self, publisher: usize, at: u64) {
        let sequence = self.published[publisher];
        let stamp = Stamp { publisher: publisher as u32, sequence, at: at as u32 };
        let member = self.member_of(publisher);
        let message = &mut self.messages[publisher / self.plan.publishers];
        self.engine.push(member, message.stamped(stamp));
        self.published[publisher] += 1;
        self.published_count += 1;
    }

    /// Waits until every member still connected has everything, or the time for it is over.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        self.settle_while(&[], |_| true)
    }

    /// Settles as [`settle`](Run::settle) does, with nothing expected of the members `but`.
    pub(crate) fn settle_but(&mut self, but: &[usize]) -> io::Result<()> {
        self.settle_while(but, |_| true)
    }

    /// Settles as [`settle`](Run::settle) does, where something else has to hold too.
    pub(crate) fn settle_until(&mut self, is_done: impl Fn(&Tally) -> bool) -> io::Result<()> {
        self.settle_while(&[], is_done)
    }

    fn settle_while(&mut self, but: &[usize], is_done: impl Fn(&Tally) -> bool) -> io::Result<()> {
        let deadline = self.engine.now() + micros(self.plan.times.settle);
        while self.engine.now() < deadline {
            self.engine.turn(TURN, &mut self.tally)?;
            let behind =
                |member: usize| !self.tally.ledger.is_complete(member, self.expected(member));
            let is_behind = self.engine.open().filter(|member| !but.contains(member)).any(behind);
            if is_done(&self.tally) && !is_behind {
                // What is doubled comes late: one more turn looks for it.
                return self.engine.turn(TURN, &mut self.tally);
            }
        }
        Ok(())
    }

    /// How many messages a member must get of each of its space's publishers.
    fn expected(&self, member: usize) -> impl Iterator<Item = u32> {
        let plan = self.plan;
        let first = member / plan.members * plan.publishers;
        let is_for = move |publisher| self.echoes() || self.member_of(publisher) != member;
        (first..first + plan.publishers)
            .map(move |publisher| if is_for(publisher) { self.published[publisher] } else { 0 })
    }

    pub(crate) fn mark(&self) -> io::Result<Mark> {
        Ok(Mark {
            deliveries: self.tally.deliveries,
            published: self.published_count,
            reads: self.engine.reads,
            ..Mark::now(self.engine.now(), self.target.pid)?
        })
    }

    /// Closes the books; of the members `but` nothing was expected.
    pub(crate) fn verdict(&mut self, but: &[usize], figures: &mut Figures) {
        figures.count("messages_all", self.published_count);
        figures.count("deliveries_all", self.tally.deliveries);
        let empty = Ledger::new(0, self.plan.publishers);
        let ledger = std::mem::replace(&mut self.tally.ledger, empty);
        let expecting = self.engine.open().filter(|member| !but.contains(member));
        let faults: Faults = ledger.close(expecting.map(|member| (member, self.expected(member))));
        self.tally.verdict(faults, figures);
    }
}
