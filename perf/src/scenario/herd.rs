//! The herd scenario: all connections are lost at one moment and come back at once.
//!
//! Measured is how long each takes to be in again, from the loss, refusals and their waits
//! included. Who is refused comes again after the server's hint, or a second, and up to half as
//! much more.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::client::connection::{Seat, Server, connect, dial};
use crate::client::engine::{Ended, Engine, Receive};
use crate::measure::figures::Figures;
use crate::measure::marks::{Mark, histogram, latencies, shares};
use crate::measure::progress::Progress;
use crate::scenario::fanout::micros;

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the connections go.
    pub server: Server,
    /// The server's process, on this machine.
    pub pid: Option<u32>,
    /// The number of the first space.
    pub first_space: i32,
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
    /// Who is to come again, by time.
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
    /// Runs it.
    pub fn run(&self) -> io::Result<Figures> {
        let mut engine = Engine::new(self.server.dialect)?;
        let mut tally = Tally {
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
        };
        let mut progress = Progress::default();
        self.open(&mut engine, &mut tally, &mut progress)?;
        if let Some(why) = tally.first_end {
            return Err(io::Error::other(format!("a connection ended before the loss: {why:?}")));
        }
        let before = Mark::now(engine.now(), self.pid)?;
        self.lose(&mut engine, &mut tally)?;
        self.come_back(&mut engine, &mut tally, &mut progress)?;
        let after = Mark::now(engine.now(), self.pid)?;
        Ok(self.figures(&tally, before, after))
    }

    fn seat(&self, person: usize) -> Seat {
        let space = self.first_space + (person / self.members) as i32;
        Seat { space, user: person as i32 + 1 }
    }

    fn open(
        &self,
        engine: &mut Engine,
        tally: &mut Tally,
        progress: &mut Progress,
    ) -> io::Result<()> {
        let started = engine.now();
        for person in 0..self.connections {
            tally.people.push(person);
            engine.add(connect(self.server, self.seat(person))?, tally)?;
            let due = started + (person as f64 * 1e6 / self.connect_rate) as u64;
            engine.turn(Duration::ZERO, tally)?;
            progress.tell(engine.now(), || format!("{person} connections"));
            while engine.now() < due {
                engine.turn(TURN, tally)?;
            }
        }
        let end = engine.now() + micros(self.hold);
        while engine.now() < end {
            engine.turn(TURN, tally)?;
        }
        Ok(())
    }

    /// Cuts all connections, and dials anew.
    fn lose(&self, engine: &mut Engine, tally: &mut Tally) -> io::Result<()> {
        tally.is_back.fill(false);
        tally.back = 0;
        tally.latency_us.reset();
        let open: Vec<usize> = engine.open().collect();
        tally.lost_at = engine.now();
        open.into_iter().for_each(|member| engine.cut(member));
        for person in 0..self.connections {
            self.dial(engine, tally, person)?;
            if person.is_multiple_of(DIALS_BETWEEN_TURNS) {
                tally.now = engine.now();
                engine.turn(Duration::ZERO, tally)?;
            }
        }
        Ok(())
    }

    fn dial(&self, engine: &mut Engine, tally: &mut Tally, person: usize) -> io::Result<()> {
        tally.people.push(person);
        engine.add(dial(self.server, self.seat(person))?, tally)?;
        Ok(())
    }

    fn come_back(
        &self,
        engine: &mut Engine,
        tally: &mut Tally,
        progress: &mut Progress,
    ) -> io::Result<()> {
        let deadline = tally.lost_at + micros(self.wait);
        while tally.back < self.connections && engine.now() < deadline {
            tally.now = engine.now();
            while let Some(entry) = tally.again.first_entry() {
                let (at, person) = *entry.key();
                if at > tally.now {
                    break;
                }
                entry.remove();
                self.dial(engine, tally, person)?;
            }
            engine.turn(TURN, tally)?;
            let (back, refused) = (tally.back, tally.refused);
            progress.tell(engine.now(), || format!("{back} back, {refused} refusals"));
        }
        Ok(())
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
