//! The idle scenario: what a connection costs that says nothing.
//!
//! The server's resident memory is read before the first connection and at each step; the slope
//! of the last step leaves out what the first connections bring along (pools, stacks).

use std::io;
use std::ops::Range;
use std::time::Duration;

use crate::client::connection::{Seat, Server, connect};
use crate::client::engine::{Ended, Engine, Receive};
use crate::measure::figures::Figures;
use crate::measure::process::{Cost, cost};
use crate::measure::progress::Progress;
use crate::scenario::fanout::micros;

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the connections go.
    pub server: Server,
    /// The server's process, on this machine.
    pub pid: u32,
    /// How many connections there are when memory is read, ascending; not empty.
    pub steps: Vec<usize>,
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

/// The costs at one number of connections.
#[derive(Clone, Copy, Debug)]
struct Step {
    connections: usize,
    /// Right after the last of them joined.
    joined: Cost,
    /// After they were idle for a while.
    held: Cost,
}

impl Plan {
    /// Runs it.
    pub fn run(&self) -> io::Result<Figures> {
        let mut engine = Engine::new(self.server.dialect)?;
        let mut tally = Tally::default();
        let before = cost(self.pid)?;
        let mut steps = vec![Step { connections: 0, joined: before, held: before }];
        let mut progress = Progress::default();
        for connections in &self.steps {
            let have = steps.last().map_or(0, |step| step.connections);
            self.open(&mut engine, &mut tally, &mut progress, have..*connections)?;
            let joined = cost(self.pid)?;
            wait(&mut engine, &mut tally, self.hold)?;
            steps.push(Step { connections: *connections, joined, held: cost(self.pid)? });
        }
        Ok(self.figures(&tally, &steps))
    }

    fn open(
        &self,
        engine: &mut Engine,
        tally: &mut Tally,
        progress: &mut Progress,
        numbers: Range<usize>,
    ) -> io::Result<()> {
        let (started, first) = (engine.now(), numbers.start);
        for number in numbers {
            let space = self.first_space + (number / self.members) as i32;
            let connection = connect(self.server, Seat { space, user: number as i32 + 1 })?;
            engine.add(connection, tally)?;
            let due = started + ((number - first) as f64 * 1e6 / self.rate) as u64;
            engine.turn(Duration::ZERO, tally)?;
            progress.tell(engine.now(), || format!("{number} connections"));
            while engine.now() < due {
                engine.turn(TURN.min(Duration::from_micros(due - engine.now())), tally)?;
            }
        }
        Ok(())
    }

    fn figures(&self, tally: &Tally, steps: &[Step]) -> Figures {
        let mut figures = Figures::default();
        let ([first, ..], [.., previous, last]) = (steps, steps) else { return figures };
        let bytes = |to: Cost, from: Cost| to.rss_bytes as f64 - from.rss_bytes as f64;
        let all = last.connections as f64;
        let last_step = (last.connections - previous.connections) as f64;
        figures.count("connections", last.connections);
        figures.count("members_per_space", self.members);
        figures.count("rss_bytes_before", first.held.rss_bytes);
        figures.count("rss_bytes_after", last.held.rss_bytes);
        figures.number("rss_bytes_per_connection", bytes(last.held, first.held) / all);
        let slope = bytes(last.held, previous.held) / last_step;
        figures.number("rss_bytes_per_connection_second_half", slope);
        let pairs = || steps.iter().zip(&steps[1..]);
        let cpu = |from: &Step, to: &Step| to.joined.cpu.saturating_sub(from.held.cpu);
        let joining: Duration = pairs().map(|(from, to)| cpu(from, to)).sum();
        figures.number("hub_cpu_us_per_join", joining.as_secs_f64() * 1e6 / all);
        let memory = |step: &Step| (step.connections as f64, step.held.rss_bytes as f64);
        figures.curve("rss_bytes", steps.iter().map(memory).collect());
        let join = |(from, to): (&Step, &Step)| {
            let joins = (to.connections - from.connections) as f64;
            (to.connections as f64, cpu(from, to).as_secs_f64() * 1e6 / joins)
        };
        figures.curve("cpu_us_per_join", pairs().map(join).collect());
        figures.count("frames", tally.texts).count("members_ended", tally.ended.len());
        if let Some((_, why)) = tally.ended.first() {
            figures.text("first_end", format!("{why:?}"));
        }
        figures
    }
}

fn wait(engine: &mut Engine, tally: &mut Tally, hold: Duration) -> io::Result<()> {
    let end = engine.now() + micros(hold);
    while engine.now() < end {
        engine.turn(TURN, tally)?;
    }
    Ok(())
}
