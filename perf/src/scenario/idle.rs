//! The idle scenario: what a connection costs that says nothing.
//!
//! The server's resident memory is read before the first connection and at each step; the slope
//! of the last step leaves out what the first connections bring along (pools, stacks).

use std::io;
use std::ops::Range;
use std::time::Duration;

use super::keys::Keys;
use super::kind::{Kind, Target};
use crate::client::connection::connect;
use crate::client::dialect::Seat;
use crate::client::engine::{Ended, Engine, Receive, micros};
use crate::measure::figures::Figures;
use crate::measure::process::{Cost, cost};
use crate::measure::progress::Progress;

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many connections there are when memory is read, ascending; not empty.
    pub steps: Vec<usize>,
    /// Members of each space; the last may have fewer.
    pub members: usize,
    /// Connections a second at most: the hub has a limit on new ones.
    pub connect_rate: f64,
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
    pub(super) fn read(keys: &mut Keys) -> Result<Plan, String> {
        Ok(Plan {
            steps: keys.steps("steps")?,
            members: keys.count("members", Some(10))?,
            connect_rate: keys.connect_rate()?,
            hold: keys.time("hold", 3.0)?,
        })
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

impl Kind for Plan {
    fn connections(&self) -> usize {
        self.steps.last().copied().unwrap_or(0)
    }

    fn run(&self, target: Target) -> io::Result<Figures> {
        let missing = || io::Error::other("`idle` reads the server's memory: --pid PID");
        let pid = target.pid.ok_or_else(missing)?;
        let mut run = Run {
            plan: self,
            target,
            engine: Engine::new(target.server.dialect)?,
            tally: Tally::default(),
            progress: Progress::default(),
        };
        let before = cost(pid)?;
        let mut steps = vec![Step { connections: 0, joined: before, held: before }];
        for connections in &self.steps {
            let have = steps.last().map_or(0, |step| step.connections);
            run.open(have..*connections)?;
            let joined = cost(pid)?;
            run.wait()?;
            steps.push(Step { connections: *connections, joined, held: cost(pid)? });
        }
        Ok(self.figures(&run.tally, &steps))
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
    fn open(&mut self, numbers: Range<usize>) -> io::Result<()> {
        let (started, first) = (self.engine.now(), numbers.start);
        for number in numbers {
            let space = self.target.first_space + (number / self.plan.members) as i32;
            let seat = Seat { space, user: number as i32 + 1 };
            self.engine.add(connect(self.target.server, seat)?, &mut self.tally)?;
            let due = started + ((number - first) as f64 * 1e6 / self.plan.connect_rate) as u64;
            self.engine.turn(Duration::ZERO, &mut self.tally)?;
            self.progress.tell(self.engine.now(), || format!("{number} connections"));
            while self.engine.now() < due {
                let left = Duration::from_micros(due - self.engine.now());
                self.engine.turn(TURN.min(left), &mut self.tally)?;
            }
        }
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        let end = self.engine.now() + micros(self.plan.hold);
        while self.engine.now() < end {
            self.engine.turn(TURN, &mut self.tally)?;
        }
        Ok(())
    }
}
