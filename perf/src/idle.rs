//! The idle scenario: what a connection costs that says nothing.
//!
//! The hub's resident memory is read before the first connection, at half of them and at the
//! end; the second half's slope leaves out what the first connections bring along (pools, stacks).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::client::{Seat, connect};
use crate::engine::{Ended, Engine, Receive};
use crate::figures::Figures;
use crate::process::{Cost, cost};

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the hub listens.
    pub hub: SocketAddr,
    /// The hub's process, on this machine.
    pub pid: u32,
    /// How many connections.
    pub connections: usize,
    /// The number of the first space.
    pub first_space: i32,
    /// Members of each space; the last may have fewer.
    pub members: usize,
    /// Connections a second at most: the hub has a limit on new ones.
    pub rate: f64,
    /// How long they stay before memory is read, and again after.
    pub hold: Duration,
}

const TURN: Duration = Duration::from_millis(5);

#[derive(Default)]
struct Tally {
    texts: u64,
    ended: Vec<(usize, Ended)>,
}

impl Receive for Tally {
    fn text(&mut self, _member: usize, _text: &[u8], _now: u64) {
        self.texts += 1;
    }

    fn ended(&mut self, member: usize, why: Ended) {
        self.ended.push((member, why));
    }
}

impl Plan {
    /// Runs it.
    pub fn run(&self) -> io::Result<Figures> {
        let mut engine = Engine::new()?;
        let mut tally = Tally::default();
        let before = cost(self.pid)?;
        self.open(&mut engine, &mut tally, 0..self.connections / 2)?;
        wait(&mut engine, &mut tally, self.hold)?;
        let half = cost(self.pid)?;
        self.open(&mut engine, &mut tally, self.connections / 2..self.connections)?;
        let joined = cost(self.pid)?;
        wait(&mut engine, &mut tally, self.hold)?;
        let after = cost(self.pid)?;
        Ok(self.figures(&tally, [before, half, joined, after]))
    }

    fn open(
        &self,
        engine: &mut Engine,
        tally: &mut Tally,
        numbers: std::ops::Range<usize>,
    ) -> io::Result<()> {
        let (started, first) = (engine.now(), numbers.start);
        for number in numbers {
            let space = self.first_space + (number / self.members) as i32;
            let connection = connect(self.hub, Seat { space, user: number as i32 + 1 })?;
            engine.add(connection, tally)?;
            let due = started + ((number - first) as f64 * 1e6 / self.rate) as u64;
            engine.turn(Duration::ZERO, tally)?;
            while engine.now() < due {
                engine.turn(TURN.min(Duration::from_micros(due - engine.now())), tally)?;
            }
        }
        Ok(())
    }

    fn figures(&self, tally: &Tally, [before, half, joined, after]: [Cost; 4]) -> Figures {
        let all = self.connections as f64;
        let second_half = (self.connections - self.connections / 2) as f64;
        let bytes = |to: Cost, from: Cost| to.rss_bytes as f64 - from.rss_bytes as f64;
        let mut figures = Figures::default();
        figures.count("connections", self.connections).count("members_per_space", self.members);
        figures.count("rss_bytes_before", before.rss_bytes);
        figures.count("rss_bytes_after", after.rss_bytes);
        figures.number("rss_bytes_per_connection", bytes(after, before) / all);
        figures.number("rss_bytes_per_connection_second_half", bytes(after, half) / second_half);
        let cpu = joined.cpu.saturating_sub(before.cpu).as_secs_f64();
        figures.number("hub_cpu_us_per_join", cpu * 1e6 / all);
        figures.count("frames", tally.texts).count("members_ended", tally.ended.len());
        if let Some((_, why)) = tally.ended.first() {
            figures.text("first_end", format!("{why:?}"));
        }
        figures
    }
}

fn wait(engine: &mut Engine, tally: &mut Tally, hold: Duration) -> io::Result<()> {
    let end = engine.now() + hold.as_micros() as u64;
    while engine.now() < end {
        engine.turn(TURN, tally)?;
    }
    Ok(())
}
