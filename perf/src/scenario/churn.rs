//! The churn scenario: beside members who stay, others join a space, stay a while, say good-bye
//! and leave, at a rate.
//!
//! Measured are the time from the first packet to the joiner's first frame, and the server's CPU
//! for each join with its leave. Whatever its rate, at most [`AWAY_MAX`] handshakes are on their
//! way.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::keys::{Keys, Times};
use super::kind::{Kind, Target};
use crate::client::connection::{connect, dial};
use crate::client::dialect::Seat;
use crate::client::engine::{Ended, Engine, Receive, micros};
use crate::measure::figures::Figures;
use crate::measure::marks::{Mark, histogram, latencies, shares};
use crate::measure::progress::Progress;

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Members who stay.
    pub members: usize,
    /// Joins a second.
    pub rate: f64,
    /// How long a joiner stays.
    pub stay: Duration,
    /// How long it takes.
    pub times: Times,
    /// New connections a second while those who stay come in.
    pub connect_rate: f64,
}

/// Handshakes on their way at most: a server that stalls gets no herd.
const AWAY_MAX: usize = 256;
const TURN: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Since this microsecond.
    Joining(u64),
    In,
    Leaving,
    Over,
}

struct Tally {
    members: usize,
    joiners: Vec<Phase>,
    /// Joiners who are in, and since when.
    leave_next: VecDeque<(usize, u64)>,
    latency_us: Histogram<u64>,
    measured_from: u64,
    joins: u64,
    leaves: u64,
    texts: u64,
    /// Everybody who didn't leave as agreed.
    ended: Vec<(usize, Ended)>,
}

impl Receive for Tally {
    fn text(&mut self, member: usize, _text: &[u8], now: u64) {
        self.texts += 1;
        let Some(joiner) = member.checked_sub(self.members) else { return };
        if let Phase::Joining(since) = self.joiners[joiner] {
            self.joiners[joiner] = Phase::In;
            self.joins += 1;
            self.leave_next.push_back((joiner, now));
            if since >= self.measured_from {
                self.latency_us.saturating_record(now.saturating_sub(since));
            }
        }
    }

    fn ended(&mut self, member: usize, why: Ended) {
        let joiner = member.checked_sub(self.members).map(|joiner| &mut self.joiners[joiner]);
        match joiner {
            Some(phase @ Phase::Leaving) => {
                *phase = Phase::Over;
                self.leaves += 1;
            }
            Some(phase) => {
                *phase = Phase::Over;
                self.ended.push((member, why));
            }
            None => self.ended.push((member, why)),
        }
    }
}

impl Plan {
    pub(super) fn read(keys: &mut Keys) -> Result<Plan, String> {
        Ok(Plan {
            rate: keys.positive("rate", None)?,
            connect_rate: keys.connect_rate()?,
            members: keys.count("members", None)?,
            stay: keys.time("stay", 1.0)?,
            times: Times::read(keys)?,
        })
    }
}

impl Kind for Plan {
    fn connections(&self) -> usize {
        self.members + (self.rate * self.stay.as_secs_f64()) as usize + 1_000
    }

    fn run(&self, target: Target) -> io::Result<Figures> {
        let mut run = Run {
            plan: self,
            target,
            engine: Engine::new(target.server.dialect)?,
            tally: Tally {
                members: self.members,
                joiners: Vec::new(),
                leave_next: VecDeque::new(),
                latency_us: histogram()?,
                measured_from: u64::MAX,
                joins: 0,
                leaves: 0,
                texts: 0,
                ended: Vec::new(),
            },
            progress: Progress::default(),
        };
        run.open_members()?;
        let started = run.engine.now();
        run.churn_until(started, started + micros(self.times.warm_up))?;
        let (before, joins, texts) = (run.mark()?, run.tally.joins, run.tally.texts);
        run.tally.measured_from = before.at;
        run.churn_until(started, before.at + micros(self.times.measure))?;
        let after = run.mark()?;
        let (joins, texts) = (run.tally.joins - joins, run.tally.texts - texts);
        run.settle()?;
        Ok(run.figures(before, after, joins, texts))
    }
}

struct Run<'a> {
    plan: &'a Plan,
    target: Target,
    engine: Engine,
    tally: Tally,
    progress: Progress,
}

impl Run<'_> {
    fn open_members(&mut self) -> io::Result<()> {
        let started = self.engine.now();
        for member in 0..self.plan.members {
            let seat = Seat { space: self.target.first_space, user: member as i32 + 1 };
            self.engine.add(connect(self.target.server, seat)?, &mut self.tally)?;
            let due = started + (member as f64 * 1e6 / self.plan.connect_rate) as u64;
            self.engine.turn(Duration::ZERO, &mut self.tally)?;
            self.progress.tell(self.engine.now(), || format!("{member} members"));
            while self.engine.now() < due {
                self.engine.turn(TURN, &mut self.tally)?;
            }
        }
        Ok(())
    }

    fn away(&self) -> usize {
        let tally = &self.tally;
        let is_joining = |phase: &&Phase| matches!(phase, Phase::Joining(_));
        // Joiners who are not in yet are among the last.
        tally.joiners.iter().rev().take(2 * AWAY_MAX).filter(is_joining).count()
    }

    fn churn_until(&mut self, started: u64, end: u64) -> io::Result<()> {
        while self.engine.now() < end {
            let now = self.engine.now();
            let (joins, leaves) = (self.tally.joins, self.tally.leaves);
            self.progress.tell(now, || format!("{joins} joins, {leaves} leaves"));
            let due = ((now - started) as f64 * self.plan.rate / 1e6) as usize;
            while self.tally.joiners.len() < due && self.away() < AWAY_MAX {
                self.join()?;
            }
            self.leave_due(now);
            self.engine.turn(TURN, &mut self.tally)?;
        }
        Ok(())
    }

    fn join(&mut self) -> io::Result<()> {
        let user = (self.plan.members + self.tally.joiners.len()) as i32 + 1;
        let connection = dial(self.target.server, Seat { space: self.target.first_space, user })?;
        self.tally.joiners.push(Phase::Joining(self.engine.now()));
        self.engine.add(connection, &mut self.tally)?;
        Ok(())
    }

    fn leave_due(&mut self, now: u64) {
        let stay = micros(self.plan.stay);
        while let Some((joiner, since)) = self.tally.leave_next.front().copied() {
            if since + stay > now {
                break;
            }
            self.tally.leave_next.pop_front();
            if self.tally.joiners[joiner] == Phase::In {
                self.tally.joiners[joiner] = Phase::Leaving;
                self.engine.leave(self.plan.members + joiner);
            }
        }
    }

    fn settle(&mut self) -> io::Result<()> {
        let deadline = self.engine.now() + micros(self.plan.times.settle);
        let is_over = |phase: &Phase| *phase == Phase::Over;
        while self.engine.now() < deadline && !self.tally.joiners.iter().all(is_over) {
            self.leave_due(u64::MAX);
            self.engine.turn(TURN, &mut self.tally)?;
        }
        Ok(())
    }

    fn mark(&self) -> io::Result<Mark> {
        Mark::now(self.engine.now(), self.target.pid)
    }

    fn figures(&self, before: Mark, after: Mark, joins: u64, texts: u64) -> Figures {
        let (plan, tally) = (self.plan, &self.tally);
        let seconds = (after.at - before.at) as f64 / 1e6;
        let mut figures = Figures::default();
        figures.count("members", plan.members).number("rate_per_s", plan.rate);
        figures.number("stay_s", plan.stay.as_secs_f64()).number("seconds", seconds);
        figures.number("joins_per_s", joins as f64 / seconds);
        figures.number("frames_per_s", texts as f64 / seconds);
        if let (Some(from), Some(to)) = (before.server, after.server) {
            let cpu = to.cpu.saturating_sub(from.cpu).as_secs_f64() * 1e6;
            figures.number("hub_cpu_us_per_join_and_leave", cpu / joins as f64);
        }
        shares(&mut figures, before, after);
        latencies(&mut figures, &tally.latency_us);
        let not_over = tally.joiners.iter().filter(|phase| **phase != Phase::Over).count();
        figures.count("joins_all", tally.joins).count("leaves_all", tally.leaves);
        figures.count("leaves_missing", not_over);
        figures.count("members_ended", tally.ended.len());
        if let Some((_, why)) = tally.ended.first() {
            figures.text("first_end", format!("{why:?}"));
        }
        figures
    }
}
