//! The herd scenario: all connections are lost at one moment and come back at once.
//!
//! Measured is how long each takes to be in again, from the loss, refusals and their waits
//! included. Who is refused comes again after the server's hint, or a second, and up to half as
//! much more.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::keys::Keys;
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
    /// How many connections.
    pub connections: usize,
    /// Members of each space; the last may have fewer.
    pub members: usize,
    /// Connections a second at most before the loss.
    pub connect_rate: f64,
    /// Quiet time before the loss.
    pub hold: Duration,
    /// How long all may take to come back.
    pub wait: Duration,
}

const TURN: Duration = Duration::from_millis(1);
const RETRY_US: u64 = 1_000_000;
/// Dials between two turns, so that answers are read while the herd still starts.
const DIALS_BETWEEN_TURNS: usize = 16;

#[derive(Debug)]
struct Tally {
    /// Which person each connection of the engine's is.
    people: Vec<usize>,
    is_back: Vec<bool>,
    back: usize,
    lost_at: u64,
    latency_us: Histogram<u64>,
    refused: u64,
    failed: u64,
    first_end: Option<Ended>,
    /// The people who are to come again, by time.
    again: BTreeMap<(u64, usize), ()>,
    now: u64,
}

impl Receive for Tally {
    fn text(&mut self, member: usize, _text: &[u8], now: u64) {
        let person = self.people[member];
        if !self.is_back[person] {
            self.is_back[person] = true;
            self.back += 1;
            self.latency_us.saturating_record(now.saturating_sub(self.lost_at));
        }
    }

    fn ended(&mut self, member: usize, why: Ended) {
        let person = self.people[member];
        let hint_us = match why {
            Ended::Refused(refusal) => {
                self.refused += 1;
                refusal.retry_after_s.map_or(RETRY_US, |seconds| u64::from(seconds) * 1_000_000)
            }
            _ => {
                self.failed += 1;
                RETRY_US
            }
        };
        self.first_end.get_or_insert(why);
        if self.is_back[person] {
            self.is_back[person] = false;
            self.back -= 1;
        }
        // A hash for a dice: runs are repeatable.
        let jitter = (person as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let jitter = (jitter * (hint_us / 2)) >> 32;
        self.again.insert((self.now + hint_us + jitter, person), ());
    }
}

impl Plan {
    pub(super) fn read(keys: &mut Keys) -> Result<Plan, String> {
        Ok(Plan {
            connections: keys.count("connections", None)?,
            members: keys.count("members", Some(10))?,
            connect_rate: keys.connect_rate()?,
            hold: keys.time("hold", 2.0)?,
            wait: keys.time("wait", 60.0)?,
        })
    }

    fn figures(&self, tally: &Tally, before: Mark, after: Mark) -> Figures {
        let mut figures = Figures::default();
        figures.count("connections", self.connections).count("members_per_space", self.members);
        figures.number("all_back_s", (after.at - tally.lost_at) as f64 / 1e6);
        if let (Some(from), Some(to)) = (before.server, after.server) {
            let cpu = to.cpu.saturating_sub(from.cpu).as_secs_f64() * 1e6;
            figures.number("hub_cpu_us_per_return", cpu / self.connections as f64);
        }
        shares(&mut figures, before, after);
        latencies(&mut figures, &tally.latency_us);
        figures.count("refused", tally.refused).count("attempts_failed", tally.failed);
        if let Some(why) = tally.first_end {
            figures.text("first_end", format!("{why:?}"));
        }
        figures.count("not_back", self.connections - tally.back);
        figures
    }
}

impl Kind for Plan {
    fn connections(&self) -> usize {
        self.connections
    }

    fn run(&self, target: Target) -> io::Result<Figures> {
        let mut run = Run {
            plan: self,
            target,
            engine: Engine::new(target.server.dialect)?,
            tally: Tally {
                people: Vec::new(),
                is_back: vec![false; self.connections],
                back: 0,
                lost_at: 0,
                latency_us: histogram()?,
                refused: 0,
                failed: 0,
                first_end: None,
                again: BTreeMap::new(),
                now: 0,
            },
            progress: Progress::default(),
        };
        run.open()?;
        if let Some(why) = run.tally.first_end {
            return Err(io::Error::other(format!("a connection ended before the loss: {why:?}")));
        }
        let before = Mark::now(run.engine.now(), target.pid)?;
        run.lose()?;
        run.come_back()?;
        let after = Mark::now(run.engine.now(), target.pid)?;
        Ok(self.figures(&run.tally, before, after))
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
    fn seat(&self, person: usize) -> Seat {
        let space = self.target.first_space + (person / self.plan.members) as i32;
        Seat { space, user: person as i32 + 1 }
    }

    fn open(&mut self) -> io::Result<()> {
        let started = self.engine.now();
        for person in 0..self.plan.connections {
            self.tally.people.push(person);
            let connection = connect(self.target.server, self.seat(person))?;
            self.engine.add(connection, &mut self.tally)?;
            let due = started + (person as f64 * 1e6 / self.plan.connect_rate) as u64;
            self.engine.turn(Duration::ZERO, &mut self.tally)?;
            self.progress.tell(self.engine.now(), || format!("{person} connections"));
            while self.engine.now() < due {
                self.engine.turn(TURN, &mut self.tally)?;
            }
        }
        let end = self.engine.now() + micros(self.plan.hold);
        while self.engine.now() < end {
            self.engine.turn(TURN, &mut self.tally)?;
        }
        Ok(())
    }

    /// Cuts all connections, and dials anew.
    fn lose(&mut self) -> io::Result<()> {
        let tally = &mut self.tally;
        tally.is_back.fill(false);
        tally.back = 0;
        tally.latency_us.reset();
        let open: Vec<usize> = self.engine.open().collect();
        tally.lost_at = self.engine.now();
        open.into_iter().for_each(|member| self.engine.cut(member));
        for person in 0..self.plan.connections {
            self.dial(person)?;
            if person.is_multiple_of(DIALS_BETWEEN_TURNS) {
                self.tally.now = self.engine.now();
                self.engine.turn(Duration::ZERO, &mut self.tally)?;
            }
        }
        Ok(())
    }

    fn dial(&mut self, person: usize) -> io::Result<()> {
        self.tally.people.push(person);
        let connection = dial(self.target.server, self.seat(person))?;
        self.engine.add(connection, &mut self.tally)?;
        Ok(())
    }

    fn come_back(&mut self) -> io::Result<()> {
        let deadline = self.tally.lost_at + micros(self.plan.wait);
        while self.tally.back < self.plan.connections && self.engine.now() < deadline {
            self.tally.now = self.engine.now();
            while let Some(entry) = self.tally.again.first_entry() {
                let (at, person) = *entry.key();
                if at > self.tally.now {
                    break;
                }
                entry.remove();
                self.dial(person)?;
            }
            self.engine.turn(TURN, &mut self.tally)?;
            let (back, refused) = (self.tally.back, self.tally.refused);
            self.progress.tell(self.engine.now(), || format!("{back} back, {refused} refusals"));
        }
        Ok(())
    }
}
