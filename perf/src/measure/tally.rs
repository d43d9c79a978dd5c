//! What came in during a run with messages: deliveries and their faults, latencies, joins,
//! acknowledgements, and connections that ended.
//!
//! One owner: the run. It is told each text by the engine and never sends.

use std::io;

use hdrhistogram::Histogram;

use crate::client::centrifugo;
use crate::client::engine::{Ended, Receive};
use crate::client::stamp::{ID_BYTES, Seen, Shape, Stamp, read_ack};
use crate::measure::figures::Figures;
use crate::measure::ledger::{Faults, Ledger};
use crate::measure::marks::{histogram, quantile_ms};

/// One delivery in this many gives a latency; a prime, so that it falls on all members.
const LATENCY_EVERY: u64 = 7;

/// What came in.
#[derive(Debug)]
pub struct Tally {
    members: usize,
    publishers: usize,
    has_ids: bool,
    shapes: Vec<Shape>,
    /// The books.
    pub ledger: Ledger,
    joined: Vec<bool>,
    /// Members that heard something of the server's.
    pub joined_count: usize,
    /// Chats that came, all members together.
    pub deliveries: u64,
    /// Publishers whose messages came back since they were last asked, once each.
    pub returned: Vec<u32>,
    /// Latencies of what was published since `measured_from`.
    pub latency_us: Histogram<u64>,
    /// From which microsecond on latencies count.
    pub measured_from: u64,
    /// Acknowledgements, by level.
    pub acks: Acks,
    errors: u64,
    /// What the server refused first, in its own words.
    pub first_error: Option<String>,
    /// Members whose connection ended, and why.
    pub ended: Vec<(usize, Ended)>,
}

/// What the hub acknowledged.
#[derive(Debug)]
pub struct Acks {
    /// Acknowledgements that the message will have its place.
    pub accepted: u64,
    /// Acknowledgements that it is stored.
    pub durable: u64,
    /// Acknowledgements that call a nonce a repeat; this generator repeats none.
    pub duplicates: u64,
    accepted_us: Histogram<u64>,
    durable_us: Histogram<u64>,
}

impl Tally {
    /// A tally for `spaces` spaces of this many members and publishers each.
    pub fn new(spaces: usize, members: usize, publishers: usize) -> io::Result<Tally> {
        let all = spaces * members;
        Ok(Tally {
            members,
            publishers,
            has_ids: true,
            shapes: vec![Shape::default(); all],
            ledger: Ledger::new(all, publishers),
            joined: vec![false; all],
            joined_count: 0,
            deliveries: 0,
            returned: Vec::new(),
            latency_us: histogram()?,
            measured_from: u64::MAX,
            acks: Acks {
                accepted: 0,
                durable: 0,
                duplicates: 0,
                accepted_us: histogram()?,
                durable_us: histogram()?,
            },
            errors: 0,
            first_error: None,
            ended: Vec::new(),
        })
    }

    /// For a server that gives no ids: what it passes on of them says nothing.
    pub fn without_ids(mut self) -> Tally {
        self.has_ids = false;
        self
    }

    /// The latencies so far; they start anew.
    pub fn take_latencies(&mut self) -> io::Result<Histogram<u64>> {
        Ok(std::mem::replace(&mut self.latency_us, histogram()?))
    }

    /// What a run's verdict hangs on.
    pub fn verdict(&self, faults: Faults, figures: &mut Figures) {
        figures.count("lost", faults.lost).count("late", faults.late);
        figures.count("doubled", faults.doubled);
        figures.count("reordered", faults.reordered);
        figures.count("ids_not_ascending", faults.ids_not_ascending);
        figures.count("foreign", faults.foreign).count("errors", self.errors);
        figures.count("members_ended", self.ended.len());
        if let Some((_, why)) = self.ended.first() {
            figures.text("first_end", format!("{why:?}"));
        }
        if let Some(error) = &self.first_error {
            figures.text("first_error", error.as_str());
        }
    }

    fn chat(&mut self, member: usize, stamp: Stamp, id: Option<&[u8; ID_BYTES]>, now: u64) {
        let publisher = stamp.publisher as usize;
        let (space, own) = (publisher / self.publishers, publisher % self.publishers);
        if space != member / self.members {
            return self.ledger.enter_foreign();
        }
        self.deliveries += 1;
        self.ledger.enter(member, own, stamp, id.filter(|_| self.has_ids));
        if own == member % self.members {
            self.returned.push(stamp.publisher);
        }
        if self.deliveries.is_multiple_of(LATENCY_EVERY) && self.is_measured(stamp) {
            // A message can be due after the read that brought it back was begun.
            self.latency_us.saturating_record(now.saturating_sub(stamp.at.into()));
        }
    }

    fn is_measured(&self, stamp: Stamp) -> bool {
        u64::from(stamp.at) >= self.measured_from
    }

    fn other(&mut self, member: usize, text: &[u8], now: u64) {
        if is_error(text) {
            self.errors += 1;
            self.first_error.get_or_insert_with(|| String::from_utf8_lossy(text).into_owned());
            return;
        }
        if !self.joined[member] {
            self.joined[member] = true;
            self.joined_count += 1;
        }
        if let Some(ack) = read_ack(text) {
            let is_measured = self.is_measured(ack.stamp);
            let took = now.saturating_sub(ack.stamp.at.into());
            self.acks.enter(ack.is_durable, is_measured.then_some(took));
            self.acks.duplicates += u64::from(ack.is_duplicate);
        }
    }
}

/// Whether a text says that something was refused, in any dialect.
fn is_error(text: &[u8]) -> bool {
    const STARTS: [&[u8]; 3] =
        [b"{\"type\":\"error\"", b"{\"event\":\"pusher:error\"", centrifugo::NOT_PUBLISHED];
    STARTS.iter().any(|start| text.starts_with(start))
}

impl Acks {
    fn enter(&mut self, is_durable: bool, took_us: Option<u64>) {
        let (count, histogram) = match is_durable {
            true => (&mut self.durable, &mut self.durable_us),
            false => (&mut self.accepted, &mut self.accepted_us),
        };
        *count += 1;
        if let Some(took) = took_us {
            histogram.saturating_record(took);
        }
    }

    /// How long they took, and what is wrong about their number.
    pub fn figures(&self, published: u64, figures: &mut Figures) {
        let accepted = ("accepted_p50_ms", "accepted_p99_ms", &self.accepted_us);
        let durable = ("durable_p50_ms", "durable_p99_ms", &self.durable_us);
        for (p50, p99, histogram) in [accepted, durable] {
            if !histogram.is_empty() {
                figures.number(p50, quantile_ms(histogram, 0.5));
                figures.number(p99, quantile_ms(histogram, 0.99));
            }
        }
        let missing = |acks: u64| published.saturating_sub(acks);
        let extra = |acks: u64| acks.saturating_sub(published);
        figures.count("acks_missing", missing(self.accepted) + missing(self.durable));
        figures.count("acks_extra", extra(self.accepted) + extra(self.durable));
        figures.count("acks_duplicate", self.duplicates);
    }
}

impl Receive for Tally {
    fn text(&mut self, member: usize, text: &[u8], now: u64) {
        match self.shapes[member].see(text) {
            Seen::Chat(stamp, id) => self.chat(member, stamp, id, now),
            Seen::Foreign => self.ledger.enter_foreign(),
            Seen::Other => self.other(member, text, now),
        }
    }

    fn ended(&mut self, member: usize, why: Ended) {
        self.ended.push((member, why));
    }
}
