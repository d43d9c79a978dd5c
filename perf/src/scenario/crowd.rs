//! People of `cpi-hub.v1` who chat, wait for the answer to each message, and come back with their
//! position when their connection has ended: what the scenarios of overload, drain and restart
//! have in common.
//!
//! Owns the books: each message is accepted, refused, or under way on a connection that was ended;
//! all members of a space have seen the same messages, each once and in order.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::client::connection::{Server, dial_after};
use crate::client::dialect::{Dialect, Seat};
use crate::client::engine::{Ended, Engine, Receive};
use crate::client::probe;
use crate::client::said::{self, Position, Said};
use crate::client::stamp::{ID_BYTES, Message, Seen, Shape, Stamp, find, read_ack};
use crate::measure::figures::Figures;
use crate::measure::marks::histogram;
use crate::measure::progress::Progress;

/// The longest wait for a socket.
pub(super) const TURN: Duration = Duration::from_millis(1);
/// How long all may take to come in.
const OPEN_WAIT_US: u64 = 60_000_000;
/// When somebody comes again who was told no time.
const RETRY_MS: u64 = 1_000;

/// Who has a connection.
#[derive(Clone, Copy, Debug)]
enum Owner {
    Person(usize),
    /// Somebody who joins once and goes, and since when.
    Arrival(u64),
}

/// Somebody of the crowd.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Person {
    /// Which connection of the engine's is this person's.
    pub member: Option<usize>,
    /// Whether its connection is in its space.
    pub is_in: bool,
    /// What was said on this connection, and how much of that was answered.
    pub sent: u32,
    pub answered: u32,
    sequence: u32,
    position: Option<Position>,
    seen: u64,
    /// All ids that were seen, in one number.
    sum: u64,
    own_seen: u64,
    acked: u64,
    told: Option<(u16, Option<u64>)>,
    /// A resume has said that it was incomplete.
    knows_of_a_gap: bool,
}

/// What somebody was told before its connection was closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closing {
    pub at: u64,
    pub code: u16,
    pub retry_after_ms: Option<u64>,
}

/// What came in.
#[derive(Debug)]
pub(super) struct Tally {
    pub people: Vec<Person>,
    owners: Vec<Owner>,
    shape: Shape,
    now: u64,
    /// The people who are to come again, by time. Empty while nobody comes back.
    again: BTreeMap<(u64, usize), ()>,
    returns: bool,
    pub in_count: usize,
    pub deliveries: u64,
    pub accepted: u64,
    /// Those among them of the people from `floods_from` on.
    pub accepted_of_floods: u64,
    pub floods_from: usize,
    pub refused: u64,
    pub closings: Vec<Closing>,
    /// From when on latencies count.
    pub measured_from: u64,
    /// From a message's due time to its acknowledgement.
    pub latency_us: Histogram<u64>,
    /// Latencies of the people up to `polite`, who are in no other histogram.
    pub polite_us: Histogram<u64>,
    pub polite: usize,
    /// Messages that were on their way when a connection was ended.
    pub cut_off: u64,
    closes: BTreeMap<u16, u64>,
    refusals: BTreeMap<u16, u64>,
    without_hint: u64,
    not_ascending: u64,
    incomplete: u64,
    acks_extra: u64,
    /// Ids of acknowledged messages, where they are kept.
    pub acked_ids: Option<Vec<u8>>,
    /// Arrivals that are in: their connections, to be ended.
    arrived: Vec<usize>,
    pub arrivals_in: u64,
    pub arrivals_refused: u64,
    /// From an arrival's first packet to its first frame.
    pub arrival_us: Histogram<u64>,
}

/// What others of their space have seen, and these have not.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Gaps {
    /// Who has missed something.
    pub members: usize,
    /// The messages of all of them.
    pub messages: u64,
    /// Those of members whom no resume told that it was incomplete.
    pub untold: u64,
}

impl Gaps {
    /// Puts them among the figures.
    pub(super) fn describe(self, figures: &mut Figures) {
        figures.count("members_with_gaps", self.members).count("lost", self.messages);
        figures.count("lost_untold", self.untold);
    }
}

impl Tally {
    fn new(people: usize) -> io::Result<Tally> {
        Ok(Tally {
            people: vec![Person::default(); people],
            owners: Vec::new(),
            shape: Shape::default(),
            now: 0,
            again: BTreeMap::new(),
            returns: false,
            in_count: 0,
            deliveries: 0,
            accepted: 0,
            accepted_of_floods: 0,
            floods_from: people,
            refused: 0,
            closings: Vec::new(),
            measured_from: u64::MAX,
            latency_us: histogram()?,
            polite_us: histogram()?,
            polite: 0,
            cut_off: 0,
            closes: BTreeMap::new(),
            refusals: BTreeMap::new(),
            without_hint: 0,
            not_ascending: 0,
            incomplete: 0,
            acks_extra: 0,
            acked_ids: None,
            arrived: Vec::new(),
            arrivals_in: 0,
            arrivals_refused: 0,
            arrival_us: histogram()?,
        })
    }

    fn chat(&mut self, index: usize, stamp: Stamp, id: &Position) {
        self.deliveries += 1;
        let person = &mut self.people[index];
        self.not_ascending += u64::from(person.position.is_some_and(|last| *id <= last));
        person.position = Some(*id);
        person.seen += 1;
        person.sum = person.sum.wrapping_add(mixed(id));
        person.own_seen += u64::from(stamp.publisher as usize == index);
    }

    fn other(&mut self, index: usize, text: &[u8], now: u64) {
        let person = &mut self.people[index];
        if let Some(ack) = read_ack(text) {
            match person.answered < person.sent {
                true => person.answered += 1,
                false => self.acks_extra += 1,
            }
            person.acked += 1;
            self.accepted += 1;
            self.accepted_of_floods += u64::from(index >= self.floods_from);
            if u64::from(ack.stamp.at) >= self.measured_from {
                let took = now.saturating_sub(ack.stamp.at.into());
                let latencies = match index < self.polite {
                    true => &mut self.polite_us,
                    false => &mut self.latency_us,
                };
                latencies.saturating_record(took);
            }
            if let (Some(ids), Some(id)) = (&mut self.acked_ids, id_of_ack(text)) {
                ids.extend_from_slice(id);
                ids.push(b'\n');
            }
            return;
        }
        match said::read(text) {
            Some(Said::Welcome(position)) => {
                person.position.get_or_insert(position);
                self.in_count += usize::from(!std::mem::replace(&mut person.is_in, true));
            }
            Some(Said::Resumed { is_complete, .. }) => {
                self.incomplete += u64::from(!is_complete);
                person.knows_of_a_gap |= !is_complete;
            }
            Some(Said::Refused { message, retry_after_ms }) => {
                let is_awaited = message.is_some() && person.answered < person.sent;
                person.answered += u32::from(is_awaited);
                self.refused += 1;
                self.without_hint += u64::from(retry_after_ms.is_none());
            }
            Some(Said::Closing { code, retry_after_ms }) => {
                person.told = Some((code, retry_after_ms));
                self.closings.push(Closing { at: now, code, retry_after_ms });
            }
            None => {}
        }
    }

    fn person_ended(&mut self, index: usize, why: Ended) {
        let person = &mut self.people[index];
        self.in_count -= usize::from(std::mem::take(&mut person.is_in));
        person.member = None;
        self.cut_off += u64::from(person.sent - person.answered);
        (person.sent, person.answered) = (0, 0);
        let told = person.told.take();
        let hint_ms = match why {
            Ended::Refused(refusal) => {
                *self.refusals.entry(refusal.status).or_default() += 1;
                self.without_hint += u64::from(refusal.retry_after_s.is_none());
                refusal.retry_after_s.map(|seconds| u64::from(seconds) * 1_000)
            }
            Ended::Closed(code) => {
                *self.closes.entry(code).or_default() += 1;
                told.and_then(|(_, hint)| hint)
            }
            _ => {
                *self.closes.entry(0).or_default() += 1;
                told.and_then(|(_, hint)| hint)
            }
        };
        if self.returns {
            self.again.insert((self.now + hint_ms.unwrap_or(RETRY_MS) * 1_000, index), ());
        }
    }
}

/// A number that stands for an id, so that a sum of them stands for a set.
fn mixed(id: &Position) -> u64 {
    id.iter().fold(0xCBF2_9CE4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

fn id_of_ack(text: &[u8]) -> Option<&[u8; ID_BYTES]> {
    const KEY: &[u8] = b"\"id\":\"";
    text[find(text, KEY)? + KEY.len()..].first_chunk()
}

impl Receive for Tally {
    fn text(&mut self, member: usize, text: &[u8], now: u64) {
        let index = match self.owners[member] {
            Owner::Person(index) => index,
            Owner::Arrival(since) => {
                if said::read(text).is_some_and(|said| matches!(said, Said::Welcome(_))) {
                    self.arrival_us.saturating_record(now.saturating_sub(since));
                    self.arrivals_in += 1;
                    self.arrived.push(member);
                }
                return;
            }
        };
        match self.shape.see(text) {
            Seen::Chat(stamp, Some(id)) => self.chat(index, stamp, id),
            _ => self.other(index, text, now),
        }
    }

    fn ended(&mut self, member: usize, why: Ended) {
        match self.owners[member] {
            Owner::Person(index) => self.person_ended(index, why),
            Owner::Arrival(_) => self.arrivals_refused += 1,
        }
    }
}

/// How many there are, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub spaces: usize,
    pub members: usize,
    pub connect_rate: f64,
    pub content_bytes: usize,
}

/// A crowd that is there.
pub(super) struct Crowd {
    size: Size,
    server: Server,
    first_space: i32,
    pub engine: Engine,
    pub tally: Tally,
    message: Message,
    pub progress: Progress,
    arrivals: usize,
}

impl Crowd {
    /// Nobody yet. `level` is the acknowledgement that people ask for.
    pub(super) fn new(
        size: Size,
        server: Server,
        first_space: i32,
        level: &str,
    ) -> io::Result<Crowd> {
        Ok(Crowd {
            size,
            server: Server { dialect: Dialect::HubV1, ..server },
            first_space,
            engine: Engine::new(Dialect::HubV1)?,
            tally: Tally::new(size.spaces * size.members)?,
            message: Message::acked(size.content_bytes, level),
            progress: Progress::default(),
            arrivals: 0,
        })
    }

    pub(super) fn count(&self) -> usize {
        self.tally.people.len()
    }

    /// Turns once; those who were told to come again are dialled when it is time.
    pub(super) fn turn(&mut self, wait: Duration) -> io::Result<()> {
        self.engine.turn(wait, &mut self.tally)?;
        self.tally.now = self.engine.now();
        while let Some(entry) = self.tally.again.first_entry() {
            let (at, index) = *entry.key();
            if at > self.tally.now {
                break;
            }
            entry.remove();
            self.dial(index)?;
        }
        for member in std::mem::take(&mut self.tally.arrived) {
            self.engine.cut(member);
        }
        Ok(())
    }

    fn dial(&mut self, index: usize) -> io::Result<()> {
        let space = self.first_space + (index / self.size.members) as i32;
        let seat = Seat { space, user: index as i32 + 1 };
        let after = self.tally.people[index].position;
        let connection = dial_after(self.server, seat, after)?;
        self.tally.owners.push(Owner::Person(index));
        let member = self.engine.add(connection, &mut self.tally)?;
        self.tally.people[index].member = Some(member);
        Ok(())
    }

    /// Has all come in; nobody may be refused.
    pub(super) fn open(&mut self) -> io::Result<()> {
        let started = self.engine.now();
        for index in 0..self.count() {
            self.dial(index)?;
            let due = started + (index as f64 * 1e6 / self.size.connect_rate) as u64;
            self.turn(Duration::ZERO)?;
            self.progress.tell(self.engine.now(), || format!("{index} connections"));
            while self.engine.now() < due {
                self.turn(TURN)?;
            }
        }
        let deadline = self.engine.now() + OPEN_WAIT_US;
        while self.tally.in_count < self.count() && self.engine.now() < deadline {
            self.turn(TURN)?;
        }
        let (there, all) = (self.tally.in_count, self.count());
        let [closes, refusals] = [&self.tally.closes, &self.tally.refusals].map(probe::told);
        match there == all {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "only {there} of {all} have come in; closed: {closes}; refused: {refusals}"
            ))),
        }
    }

    /// From now on whoever is closed comes back.
    pub(super) fn come_back(&mut self) {
        self.tally.returns = true;
    }

    /// Has a person say something that was due at a time; whether it could.
    pub(super) fn say(&mut self, index: usize, at: u64) -> bool {
        self.say_some(index, at, 1) == 1
    }

    /// Has a person say a number of messages in one go; how many it could.
    pub(super) fn say_some(&mut self, index: usize, at: u64, count: u64) -> u64 {
        let person = &mut self.tally.people[index];
        let (true, Some(member)) = (person.is_in, person.member) else { return 0 };
        for _ in 0..count {
            let stamp = Stamp { publisher: index as u32, sequence: person.sequence, at: at as u32 };
            person.sequence += 1;
            person.sent += 1;
            self.engine.push(member, self.message.stamped(stamp));
        }
        self.engine.flush(member);
        count
    }

    /// Has somebody join a space behind the crowd's, for a moment.
    pub(super) fn arrive(&mut self) -> io::Result<()> {
        let space = self.first_space + (self.size.spaces + self.arrivals % 100) as i32;
        let user = (self.count() + self.arrivals) as i32 + 1;
        self.arrivals += 1;
        let connection = dial_after(self.server, Seat { space, user }, None)?;
        self.tally.owners.push(Owner::Arrival(self.engine.now()));
        self.engine.add(connection, &mut self.tally)?;
        Ok(())
    }

    /// How many arrivals have begun.
    pub(super) fn arrivals(&self) -> u64 {
        self.arrivals as u64
    }

    /// Messages of people who are there that have no answer.
    pub(super) fn unanswered(&self) -> u64 {
        let people = self.tally.people.iter();
        people.map(|person| u64::from(person.sent - person.answered)).sum()
    }

    /// Who has not seen what others of its space have.
    pub(super) fn gaps(&self) -> Gaps {
        let mut gaps = Gaps::default();
        for space in self.tally.people.chunks(self.size.members) {
            let most = space.iter().max_by_key(|person| person.seen);
            let most = most.map_or((0, 0), |person| (person.seen, person.sum));
            let other = space.iter().filter(|person| (person.seen, person.sum) != most);
            for person in other {
                gaps.members += 1;
                gaps.messages += most.0 - person.seen;
                if !person.knows_of_a_gap {
                    gaps.untold += most.0 - person.seen;
                }
            }
        }
        gaps
    }

    /// The books of all connections.
    pub(super) fn books(&self, figures: &mut Figures) {
        let tally = &self.tally;
        let said: u64 = tally.people.iter().map(|person| u64::from(person.sequence)).sum();
        figures.count("messages_all", said).count("accepted", tally.accepted);
        figures.count("messages_refused", tally.refused).count("cut_off", tally.cut_off);
        figures.count("unanswered", self.unanswered());
        figures.text("closed", probe::told(&tally.closes));
        figures.text("handshakes_refused", probe::told(&tally.refusals));
        figures.count("refused_without_hint", tally.without_hint);
        figures.count("ids_not_ascending", tally.not_ascending);
        figures.count("resumes_incomplete", tally.incomplete);
        figures.count("acks_extra", tally.acks_extra);
        let lost = tally.people.iter().map(|person| person.acked.saturating_sub(person.own_seen));
        figures.count("acked_unseen", lost.sum::<u64>());
    }
}
