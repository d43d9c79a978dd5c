//! The posts scenario: programs that say something by HTTP, each with one request on its way and
//! the next one at once when it is answered, refused or not.
//!
//! `posters` is how many; what the hub answers 200 is stored. With `obey` they wait as long as a
//! refusal says, as programs should.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::keys::{Keys, Times};
use super::kind::{Kind, Target};
use crate::client::engine::micros;
use crate::client::http::{self, Answer};
use crate::client::probe;
use crate::measure::figures::Figures;
use crate::measure::marks::{Mark, histogram, latencies, mib, shares};
use crate::measure::process;
use crate::measure::progress::Progress;

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    posters: usize,
    spaces: usize,
    content_bytes: usize,
    times: Times,
    obey: bool,
}

const TURN: Duration = Duration::from_millis(5);
/// When a poster comes again whose connection has ended without an answer.
const RETRY_US: u64 = 100_000;
const READ_BYTES: usize = 16 << 10;

impl Plan {
    pub(super) fn read(keys: &mut Keys) -> Result<Plan, String> {
        Ok(Plan {
            posters: keys.count("posters", None)?,
            spaces: keys.count("spaces", Some(100))?,
            content_bytes: keys.count("content_bytes", Some(64))?,
            times: Times::read(keys)?,
            obey: keys.flag("obey")?,
        })
    }
}

/// A program that posts.
struct Poster {
    stream: Option<TcpStream>,
    request: Vec<u8>,
    /// How much of it the socket has taken.
    written: usize,
    input: Vec<u8>,
    /// Since when its request is on its way; `None`: it waits until `next_at`.
    asked_at: Option<u64>,
    next_at: u64,
}

/// What was answered.
#[derive(Default)]
struct Answers {
    statuses: BTreeMap<u16, u64>,
    without_hint: u64,
    /// Requests whose connection ended without an answer.
    unanswered: u64,
}

impl Answers {
    fn of(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    fn all(&self) -> u64 {
        self.statuses.values().sum()
    }
}

struct Run<'a> {
    plan: &'a Plan,
    address: SocketAddr,
    poll: Poll,
    posters: Vec<Poster>,
    started: Instant,
    answers: Answers,
    is_over: bool,
    measured_from: u64,
    accepted_us: Histogram<u64>,
    refused_us: Histogram<u64>,
}

impl Kind for Plan {
    fn connections(&self) -> usize {
        self.posters
    }

    fn run(&self, target: Target) -> io::Result<Figures> {
        let mut run = Run::new(self, target.server.address)?;
        run.until(micros(self.times.warm_up))?;
        let before = Mark::now(run.now(), target.pid)?;
        let [stored, taken, all] = [run.answers.of(200), run.answers.of(202), run.answers.all()];
        run.measured_from = before.at;
        run.until(before.at + micros(self.times.measure))?;
        let after = Mark::now(run.now(), target.pid)?;
        let mut figures = Figures::default();
        let seconds = (after.at - before.at) as f64 / 1e6;
        let per_s = |from: u64, to: u64| (to - from) as f64 / seconds;
        figures.count("posters", self.posters).number("seconds", seconds);
        let (stored_now, taken_now) = (run.answers.of(200), run.answers.of(202));
        figures.number("offered_per_s", per_s(all, run.answers.all()));
        figures.number("stored_per_s", per_s(stored, stored_now));
        figures.number("accepted_per_s", per_s(stored + taken, stored_now + taken_now));
        let refused = run.answers.all() - stored_now - taken_now;
        figures.number("refused_per_s", per_s(all - stored - taken, refused));
        shares(&mut figures, before, after);
        run.is_over = true;
        run.until_answered(after.at + micros(self.times.settle))?;
        latencies(&mut figures, &run.accepted_us);
        if !run.refused_us.is_empty() {
            figures.number("refused_p99_ms", run.refused_us.value_at_quantile(0.99) as f64 / 1e3);
        }
        figures.text("answers", probe::told(&run.answers.statuses));
        figures.count("refused_without_hint", run.answers.without_hint);
        let waiting = run.posters.iter().filter(|poster| poster.asked_at.is_some()).count();
        figures.count("unanswered", run.answers.unanswered + waiting as u64);
        if let Some(pid) = target.pid {
            figures.number("hub_peak_rss_mib", mib(process::peak_rss(pid)? as f64));
        }
        Ok(figures)
    }
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan, address: SocketAddr) -> io::Result<Run<'a>> {
        let content = "x".repeat(plan.content_bytes);
        let poster = |index: usize| Poster {
            stream: None,
            request: http::post(
                &address.to_string(),
                (index % plan.spaces) as i32 + 1,
                index as i32 + 1,
                &content,
            )
            .into_bytes(),
            written: 0,
            input: Vec::new(),
            asked_at: None,
            next_at: 0,
        };
        Ok(Run {
            plan,
            address,
            poll: Poll::new()?,
            posters: (0..plan.posters).map(poster).collect(),
            started: Instant::now(),
            answers: Answers::default(),
            is_over: false,
            measured_from: u64::MAX,
            accepted_us: histogram()?,
            refused_us: histogram()?,
        })
    }

    fn now(&self) -> u64 {
        micros(self.started.elapsed())
    }

    fn until(&mut self, end: u64) -> io::Result<()> {
        let (mut events, mut progress) = (Events::with_capacity(1024), Progress::default());
        while self.now() < end {
            self.turn(&mut events)?;
            let (all, stored) = (self.answers.all(), self.answers.of(200));
            progress.tell(self.now(), || format!("{all} answers, {stored} of them 200"));
        }
        Ok(())
    }

    fn until_answered(&mut self, end: u64) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while self.now() < end && self.posters.iter().any(|poster| poster.asked_at.is_some()) {
            self.turn(&mut events)?;
        }
        Ok(())
    }

    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        let now = self.now();
        for index in 0..self.posters.len() {
            let poster = &self.posters[index];
            if poster.asked_at.is_none() && poster.next_at <= now && !self.is_over {
                self.ask(index, now)?;
            }
        }
        match self.poll.poll(events, Some(TURN)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in events.iter() {
            let Token(index) = event.token();
            if event.is_writable() {
                self.write(index);
            }
            if event.is_readable() || event.is_error() {
                self.read(index)?;
            }
        }
        Ok(())
    }

    /// Sends a poster's next request, over a new connection where the last one has ended.
    fn ask(&mut self, index: usize, now: u64) -> io::Result<()> {
        let poster = &mut self.posters[index];
        (poster.asked_at, poster.written) = (Some(now), 0);
        if poster.stream.is_none() {
            poster.input.clear();
            let mut stream = TcpStream::connect(self.address)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(index), interest)?;
            poster.stream = Some(stream);
            return Ok(());
        }
        self.write(index);
        Ok(())
    }

    fn write(&mut self, index: usize) {
        let poster = &mut self.posters[index];
        let Some(stream) = poster.stream.as_mut().filter(|_| poster.asked_at.is_some()) else {
            return;
        };
        while poster.written < poster.request.len() {
            match stream.write(&poster.request[poster.written..]) {
                Ok(count) => poster.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What is broken shows at the next read.
                Err(_) => return,
            }
        }
    }

    fn read(&mut self, index: usize) -> io::Result<()> {
        let mut chunk = [0; READ_BYTES];
        loop {
            let poster = &mut self.posters[index];
            let Some(stream) = poster.stream.as_mut() else { return Ok(()) };
            match stream.read(&mut chunk) {
                Ok(0) => return self.gone(index),
                Ok(count) => poster.input.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return self.gone(index),
            }
            match http::answer(&self.posters[index].input) {
                None => {}
                Some(Ok(answer)) => self.answered(index, answer)?,
                Some(Err(what)) => return Err(io::Error::other(format!("an answer: {what}"))),
            }
        }
    }

    fn answered(&mut self, index: usize, answer: Answer) -> io::Result<()> {
        let now = self.now();
        let poster = &mut self.posters[index];
        poster.input.drain(..answer.bytes);
        let Some(asked_at) = poster.asked_at.take() else {
            return Err(io::Error::other("an answer that nobody has asked for"));
        };
        poster.next_at = match answer.retry_after_s.filter(|_| self.plan.obey) {
            Some(seconds) => now + u64::from(seconds) * 1_000_000,
            None => now,
        };
        let is_accepted = matches!(answer.status, 200 | 202);
        *self.answers.statuses.entry(answer.status).or_default() += 1;
        let has_hint = is_accepted || answer.retry_after_s.is_some();
        self.answers.without_hint += u64::from(!has_hint);
        if asked_at >= self.measured_from {
            let latencies = if is_accepted { &mut self.accepted_us } else { &mut self.refused_us };
            latencies.saturating_record(now - asked_at);
        }
        if answer.is_last {
            self.drop_stream(index);
        }
        Ok(())
    }

    /// A connection has ended; between two requests it may.
    fn gone(&mut self, index: usize) -> io::Result<()> {
        let next_at = self.now() + RETRY_US;
        let poster = &mut self.posters[index];
        // One that ended just before the request came was not asked.
        if poster.asked_at.take().is_some() {
            self.answers.unanswered += 1;
            poster.next_at = next_at;
        }
        self.drop_stream(index);
        Ok(())
    }

    fn drop_stream(&mut self, index: usize) {
        if let Some(mut stream) = self.posters[index].stream.take() {
            let _ = self.poll.registry().deregister(&mut stream);
        }
    }
}
