//! The herd scenario: all connections are lost at one moment and come back at once.
//!
//! Measured is how long each takes to be in again, from the loss, refusals and their waits
//! included. Who is refused comes again after the server's hint, or a second, and up to half as
//! much more. With `resume` all speak `cpi-hub.v1`: a message is said in each space before the
//! loss, everybody comes back with the position before it, and is in again when that message and
//! nothing else was brought. With `probe` somebody asks for pages all the while.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::keys::Keys;
use super::kind::{Kind, Target};
use crate::client::connection::{Server, dial_after};
use crate::client::dialect::{Dialect, Seat};
use crate::client::engine::{Ended, Engine, Receive, micros};
use crate::client::probe::{self, Probe, Probed};
use crate::client::said::{self, Position, Said};
use crate::client::stamp::{Message, Stamp, is_chat};
use crate::measure::figures::Figures;
use crate::measure::marks::{Mark, histogram, latencies, quantile_ms, shares};
use crate::measure::process;
use crate::measure::progress::Progress;

/// How connections are lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// Clients end them, as a process that ends does.
    Cut,
    /// Clients reset them, as a proxy that dies does.
    Reset,
    /// The server's process is killed; somebody else begins a new one at its address.
    Kill,
}

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
    /// How they are lost.
    pub loss: Loss,
    /// Whether they come back with their position.
    pub resume: bool,
    /// Time between two questions for a page; none where it is zero.
    pub probe: Duration,
}

const TURN: Duration = Duration::from_millis(1);
const RETRY_US: u64 = 1_000_000;
/// Dials between two turns, so that answers are read while the herd still starts.
const DIALS_BETWEEN_TURNS: usize = 16;
const OPEN_WAIT_US: u64 = 60_000_000;
/// Bytes of what is said before the loss.
const CONTENT_BYTES: usize = 64;

/// A person of the herd.
#[derive(Clone, Copy, Default, Debug)]
struct Person {
    is_in: bool,
    /// Where the member was before the message that it is to miss.
    position: Option<Position>,
    /// Chats since its last connection began.
    chats: u32,
}

#[derive(Debug)]
struct Tally {
    /// Which person each connection of the engine's is.
    owners: Vec<usize>,
    people: Vec<Person>,
    resume: bool,
    back: usize,
    lost_at: u64,
    latency_us: Histogram<u64>,
    /// Handshakes that were answered with no 101, by status.
    refusals: BTreeMap<u16, u64>,
    without_hint: u64,
    failed: u64,
    /// Resumes that brought something else than what was missed.
    gaps: u64,
    first_end: Option<Ended>,
    /// The people who are to come again, by time.
    again: BTreeMap<(u64, usize), ()>,
    now: u64,
}

impl Receive for Tally {
    fn text(&mut self, member: usize, text: &[u8], now: u64) {
        let (owner, has_returned) = (self.owners[member], self.lost_at > 0);
        let person = &mut self.people[owner];
        person.chats += u32::from(is_chat(text));
        let is_in = match (self.resume, said::read(text)) {
            (false, _) => true,
            (true, Some(Said::Welcome(position))) => {
                person.position.get_or_insert(position);
                !has_returned
            }
            (true, Some(Said::Resumed { count, is_complete })) => {
                let is_whole = is_complete && count == 1 && person.chats == 1;
                self.gaps += u64::from(!is_whole);
                true
            }
            _ => false,
        };
        if is_in && !person.is_in {
            person.is_in = true;
            self.back += 1;
            self.latency_us.saturating_record(now.saturating_sub(self.lost_at));
        }
    }

    fn ended(&mut self, member: usize, why: Ended) {
        let owner = self.owners[member];
        let hint_us = match why {
            Ended::Refused(refusal) => {
                *self.refusals.entry(refusal.status).or_default() += 1;
                self.without_hint += u64::from(refusal.retry_after_s.is_none());
                refusal.retry_after_s.map_or(RETRY_US, |seconds| u64::from(seconds) * 1_000_000)
            }
            _ => {
                self.failed += 1;
                RETRY_US
            }
        };
        self.first_end.get_or_insert(why);
        if std::mem::take(&mut self.people[owner].is_in) {
            self.back -= 1;
        }
        self.come_again(owner, hint_us);
    }
}

impl Tally {
    fn new(plan: &Plan) -> io::Result<Tally> {
        Ok(Tally {
            owners: Vec::new(),
            people: vec![Person::default(); plan.connections],
            resume: plan.resume,
            back: 0,
            lost_at: 0,
            latency_us: histogram()?,
            refusals: BTreeMap::new(),
            without_hint: 0,
            failed: 0,
            gaps: 0,
            first_end: None,
            again: BTreeMap::new(),
            now: 0,
        })
    }

    /// All are lost: what is counted from here on is their return.
    fn lose(&mut self, now: u64) {
        for person in &mut self.people {
            (person.is_in, person.chats) = (false, 0);
        }
        (self.back, self.lost_at, self.now) = (0, now, now);
        (self.first_end, self.failed) = (None, 0);
        self.latency_us.reset();
        self.again.clear();
    }

    /// A connection could not be begun.
    fn failed(&mut self, person: usize) {
        self.failed += 1;
        self.come_again(person, RETRY_US);
    }

    fn come_again(&mut self, person: usize, hint_us: u64) {
        // A hash for a dice: runs are repeatable.
        let jitter = (person as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let jitter = (jitter * (hint_us / 2)) >> 32;
        self.again.insert((self.now + hint_us + jitter, person), ());
    }

    fn have_heard(&self) -> bool {
        self.people.iter().all(|person| person.chats == 1)
    }
}

impl Loss {
    fn read(keys: &mut Keys) -> Result<Loss, String> {
        match keys.text("loss", "cut")?.as_str() {
            "cut" => Ok(Loss::Cut),
            "reset" => Ok(Loss::Reset),
            "kill" => Ok(Loss::Kill),
            other => Err(format!("loss: `{other}` is none of cut, reset, kill")),
        }
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
            loss: Loss::read(keys)?,
            resume: keys.flag("resume")?,
            probe: keys.time("probe", 0.0)?,
        })
    }

    fn figures(&self, tally: &Tally, before: Mark, after: Mark) -> Figures {
        let mut figures = Figures::default();
        figures.count("connections", self.connections).count("members_per_space", self.members);
        figures.number("all_back_s", (after.at - tally.lost_at) as f64 / 1e6);
        if !tally.latency_us.is_empty() {
            figures.number("back_99_s", quantile_ms(&tally.latency_us, 0.99) / 1e3);
        }
        if let (Some(from), Some(to)) = (before.server, after.server) {
            let cpu = to.cpu.saturating_sub(from.cpu).as_secs_f64() * 1e6;
            figures.number("hub_cpu_us_per_return", cpu / self.connections as f64);
        }
        shares(&mut figures, before, after);
        latencies(&mut figures, &tally.latency_us);
        figures.count("refused", tally.refusals.values().sum::<u64>());
        figures.count("refused_without_hint", tally.without_hint);
        figures.text("refusals", probe::told(&tally.refusals));
        figures.count("attempts_failed", tally.failed);
        if let Some(why) = tally.first_end {
            figures.text("first_end", format!("{why:?}"));
        }
        if self.resume {
            figures.count("resume_gaps", tally.gaps);
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
        let dialect = if self.resume { Dialect::HubV1 } else { target.server.dialect };
        let server = Server { dialect, ..target.server };
        let target = Target { server, ..target };
        let engine = Engine::new(dialect)?;
        let tally = Tally::new(self)?;
        let mut run = Run { plan: self, target, engine, tally, progress: Progress::default() };
        run.open()?;
        let probes = run.probe()?;
        run.speak()?;
        run.hold()?;
        if let Some(why) = run.tally.first_end {
            return Err(io::Error::other(format!("a connection ended before the loss: {why:?}")));
        }
        // Who is killed is not there to be asked what it cost.
        let pid = target.pid.filter(|_| self.loss != Loss::Kill);
        let before = Mark::now(run.engine.now(), pid)?;
        run.lose()?;
        run.come_back()?;
        let after = Mark::now(run.engine.now(), pid)?;
        let mut figures = self.figures(&run.tally, before, after);
        for (names, probe) in PROBED.into_iter().zip(probes) {
            names.enter(&probe.end()?, &mut figures);
        }
        Ok(figures)
    }
}

/// What is asked for, and what its figures are called.
struct Names {
    path: &'static str,
    answers: &'static str,
    p50: &'static str,
    p99: &'static str,
    max: &'static str,
}

const PROBED: [Names; 2] = [
    Names {
        path: "/readyz",
        answers: "ready_answers",
        p50: "ready_p50_ms",
        p99: "ready_p99_ms",
        max: "ready_max_ms",
    },
    Names {
        path: "/v1/spaces/1/messages",
        answers: "page_answers",
        p50: "page_p50_ms",
        p99: "page_p99_ms",
        max: "page_max_ms",
    },
];

impl Names {
    fn enter(&self, probed: &Probed, figures: &mut Figures) {
        figures.text(self.answers, probed.told());
        figures.number(self.p50, quantile_ms(&probed.latency_us, 0.5));
        figures.number(self.p99, quantile_ms(&probed.latency_us, 0.99));
        figures.number(self.max, probed.latency_us.max() as f64 / 1e3);
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

    /// Opens all connections, one after the other.
    fn open(&mut self) -> io::Result<()> {
        let started = self.engine.now();
        for person in 0..self.plan.connections {
            self.dial(person)?;
            let due = started + (person as f64 * 1e6 / self.plan.connect_rate) as u64;
            self.engine.turn(Duration::ZERO, &mut self.tally)?;
            self.progress.tell(self.engine.now(), || format!("{person} connections"));
            while self.engine.now() < due {
                self.engine.turn(TURN, &mut self.tally)?;
            }
        }
        let all = self.plan.connections;
        self.turn_until(OPEN_WAIT_US, |tally| tally.back == all || tally.first_end.is_some())?;
        match self.tally.back {
            back if back == all || self.tally.first_end.is_some() => Ok(()),
            back => Err(io::Error::other(format!("only {back} of {all} have come in"))),
        }
    }

    /// Turns until something holds, or a time in microseconds has passed.
    fn turn_until(&mut self, wait_us: u64, holds: impl Fn(&Tally) -> bool) -> io::Result<()> {
        let deadline = self.engine.now() + wait_us;
        while self.engine.now() < deadline && !holds(&self.tally) {
            self.engine.turn(TURN, &mut self.tally)?;
        }
        Ok(())
    }

    fn probe(&self) -> io::Result<Vec<Probe>> {
        if self.plan.probe.is_zero() {
            return Ok(Vec::new());
        }
        let address = self.target.server.address;
        PROBED.iter().map(|names| Probe::begin(address, names.path, self.plan.probe)).collect()
    }

    /// Has the first member of each space say what all are to be brought again.
    fn speak(&mut self) -> io::Result<()> {
        if !self.plan.resume {
            return Ok(());
        }
        let mut message = Message::acked(CONTENT_BYTES, "durable");
        for first in (0..self.plan.connections).step_by(self.plan.members) {
            let stamp = Stamp { publisher: first as u32, sequence: 0, at: 0 };
            self.engine.push(first, message.stamped(stamp));
            self.engine.flush(first);
            self.engine.turn(Duration::ZERO, &mut self.tally)?;
        }
        self.turn_until(OPEN_WAIT_US, Tally::have_heard)?;
        match self.tally.have_heard() {
            true => Ok(()),
            false => Err(io::Error::other("a message before the loss did not come to all")),
        }
    }

    fn hold(&mut self) -> io::Result<()> {
        self.turn_until(micros(self.plan.hold), |_| false)
    }

    /// Cuts all connections, and dials anew.
    fn lose(&mut self) -> io::Result<()> {
        let open: Vec<usize> = self.engine.open().collect();
        self.tally.lose(self.engine.now());
        match (self.plan.loss, self.target.pid) {
            (Loss::Cut, _) => open.into_iter().for_each(|member| self.engine.cut(member)),
            (Loss::Reset, _) => {
                for member in open {
                    self.engine.reset(member)?;
                }
            }
            (Loss::Kill, None) => return Err(io::Error::other("loss: to kill takes --pid")),
            (Loss::Kill, Some(pid)) => {
                process::kill(pid)?;
                open.into_iter().for_each(|member| self.engine.cut(member));
            }
        }
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
        let known = &mut self.tally.people[person];
        known.chats = 0;
        let after = known.position.filter(|_| self.tally.lost_at > 0);
        match dial_after(self.target.server, self.seat(person), after) {
            Ok(connection) => {
                self.tally.owners.push(person);
                self.engine.add(connection, &mut self.tally)?;
            }
            // Nobody listens while a server begins anew.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.tally.failed(person);
            }
            Err(error) => return Err(error),
        }
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
            let (back, refused) = (self.tally.back, self.tally.refusals.values().sum::<u64>());
            self.progress.tell(self.engine.now(), || format!("{back} back, {refused} refusals"));
        }
        Ok(())
    }
}
