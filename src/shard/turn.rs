//! The turn: the order in which a shard's work is done, and what its parts work with meanwhile.
//!
//! The order is what keeps anybody from being sent, or told, what the journal does not have: the
//! records of all that came in are appended first, then the edge gets its answers, then a slice of
//! the sweep sends what members are owed, then the rest is carried out. The hub's threads, the
//! simulator, tests and benches all run this one function.

use super::Shard;
use super::due::Due;
use super::event::{Effects, Fetch, MemberKey, Renewal, Reply, Sockets, Ticket};
use super::secured::{Accept, Secured};
use super::timed::Timed;
use crate::limits::Limits;
use crate::metrics::{Counts, Metric};
use crate::wire::close::Close;
use crate::wire::deflate::Deflater;
use crate::wire::reject::Reject;
use crate::wire::server_message::{Resumed, TimeText};
use crate::wire::time::{Micros, MonoMs, Now, TimeFormat};
use crate::wire::{Id, SpaceKey};

/// A shard's journal, as the heart sees it.
pub trait Journal {
    /// Appends a turn's records in one write. `highest` is the highest id made so far. Returns
    /// where the journal ends.
    ///
    /// # Errors
    ///
    /// [`Broken`]: nothing of the turn may be sent, and no chat is taken before a restart.
    fn append(&mut self, records: &[u8], highest: Id) -> Result<u64, Broken>;
    /// Bytes of records that can surely be appended now; 0: chat is refused at the door.
    fn room(&self) -> u64;
}

/// The journal could not take a turn's records. Whoever appends has told the operator why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken;

/// Everything around a shard that a turn needs: its journal, its members' sockets, and those who
/// hear what became of what they asked.
pub trait Host {
    /// Where records go.
    fn journal(&mut self) -> &mut impl Journal;
    /// Where frames go.
    fn sockets(&mut self) -> &mut impl Sockets;
    /// Answers a request of the edge's.
    fn reply(&mut self, ticket: Ticket, reply: Reply);
    /// A member is about to be told that it is closed for what it did.
    fn offended(&mut self, member: MemberKey, close: Close);
    /// A connection is over: its socket is to be shut and dropped.
    fn ended(&mut self, member: MemberKey, close: Close);
    /// Asks for a page of the store, to be given back as an `Input::Fetched`. Returns false where
    /// nobody can be asked now.
    fn fetch(&mut self, fetch: &Fetch) -> bool;
    /// Has a token judged, which comes back as an `Input::Granted`. Returns false where nobody can
    /// be asked now.
    fn renew(&mut self, renewal: Renewal) -> bool;
    /// It is settled from where a member that came back goes on.
    fn resumed(&mut self, member: MemberKey, resumed: &Resumed);
    /// A member's socket may be read again after a pause.
    fn readable(&mut self, member: MemberKey);
    /// The number of a space's members has changed.
    fn occupancy(&mut self, space: SpaceKey, members: usize);
}

/// Memory of a shard's spaces and their logs. Spaces say what they take and free.
#[derive(Default, Debug)]
pub(super) struct LogMemory(usize);

impl LogMemory {
    /// Bytes held now.
    pub(super) fn held(&self) -> usize {
        self.0
    }

    pub(super) fn grew(&mut self, bytes: usize) {
        self.0 += bytes;
    }

    pub(super) fn shrank(&mut self, bytes: usize) {
        self.0 -= bytes;
    }
}

/// What the parts of the heart work with: the time of the input or turn that is going on, the
/// bounds, who is due, and what is to be carried out. The shard keeps it from turn to turn.
#[derive(Debug)]
pub(super) struct Turn {
    /// The shard's number, a part of connection ids.
    pub shard: u16,
    /// The time; its wall clock is never before what a frame has said already.
    pub now: Now,
    /// Every bound.
    pub limits: Limits,
    /// The shard's numbers.
    pub counts: Counts,
    /// Chats that are timed.
    pub timed: Timed,
    /// Chats that wait for the store before anybody is sent them.
    pub secured: Secured,
    /// What the sweep has to do.
    pub due: Due,
    /// Memory of all spaces and their logs.
    pub logs: LogMemory,
    /// What is to be carried out.
    pub fx: Effects,
    /// Compresses what spaces say to those who read it so.
    pub deflater: Deflater,
    time: TimeFormat,
    utc: TimeFormat,
    random: u32,
    /// When time was told last.
    ticked: Option<MonoMs>,
    /// Until then no deadline is judged.
    grace_until: MonoMs,
}

/// A tick that comes this many milliseconds late means that the process stood still: what came in
/// meanwhile is read first.
const STALL: u64 = 1_000;
/// How long deadlines wait then, in ms.
const GRACE: u64 = 2_000;

impl Turn {
    /// For a shard that is made now; `seed` makes its jitter.
    pub(super) fn new((shard, accept): (u16, Accept), now: Now, limits: Limits, seed: u64) -> Turn {
        Turn {
            shard,
            now,
            counts: Counts::default(),
            timed: Timed::default(),
            secured: Secured::new(accept),
            due: Due::default(),
            logs: LogMemory::default(),
            fx: Effects::default(),
            deflater: Deflater::new(limits.compression),
            time: TimeFormat::new(limits.utc_offset),
            utc: TimeFormat::new(0),
            random: seed as u32 ^ (seed >> 32) as u32,
            ticked: None,
            grace_until: MonoMs(0),
            limits,
        }
    }

    /// Time is told.
    pub(super) fn tick(&mut self) {
        if self.stood_still() {
            self.grace_until = MonoMs(self.now.mono.0 + GRACE);
        }
        self.ticked = Some(self.now.mono);
        self.counts.add(Metric::Ticks, 1);
    }

    fn stood_still(&self) -> bool {
        self.ticked.is_some_and(|ticked| self.now.mono.since(ticked) > STALL)
    }

    /// Whether the process stood still just now, so that nobody can be blamed for a wait.
    pub(super) fn is_grace(&self) -> bool {
        self.now.mono < self.grace_until || self.stood_still()
    }

    /// The turn's time as frames say it.
    pub(super) fn at(&mut self) -> TimeText {
        *self.time.text(self.now.unix)
    }

    /// The turn's time as the lobby says it.
    pub(super) fn utc(&mut self) -> TimeText {
        *self.utc.text(self.now.unix)
    }

    /// An instant as frames say it.
    pub(super) fn text(&mut self, at: Micros) -> TimeText {
        *self.time.text(at)
    }

    /// A number that spreads a herd.
    pub(super) fn jitter(&mut self) -> u32 {
        // Xorshift; zero would stay zero.
        let mut word = self.random | 1;
        word ^= word << 13;
        word ^= word >> 17;
        word ^= word << 5;
        self.random = word;
        word
    }

    /// Answers a request of the edge's, after the turn's records are in the journal.
    pub(super) fn reply(&mut self, ticket: Ticket, result: Result<Reply, Reject>) {
        let reply = result.unwrap_or_else(|reject| {
            self.counts.reject(reject);
            Reply::Rejected(reject)
        });
        self.fx.replies.push((ticket, reply));
    }
}

impl Shard {
    /// Runs a turn: journal, answers, a slice of the sweep with at most `sweep_sends_max` sends,
    /// and the rest of what is to be carried out. Returns whether the sweep has more to do.
    pub fn turn(&mut self, now: Now, host: &mut impl Host) -> bool {
        self.begin(now);
        if !self.turn.fx.records.is_empty() {
            self.append(host.journal());
        }
        for (ticket, reply) in self.turn.fx.replies.drain(..) {
            host.reply(ticket, reply);
        }
        // Before those that are closed are told so, and come back.
        self.tell_offended(host);
        self.sweep(host.sockets());
        self.turn.timed.look(|space, end| self.rooms.spaces.has_sent(space, end));
        self.carry_out(host);
        !self.turn.due.is_empty()
    }

    fn append(&mut self, journal: &mut impl Journal) {
        match journal.append(&self.turn.fx.records, self.commits.highest()) {
            Ok(end) => {
                self.turn.counts.add(Metric::JournalAppends, 1);
                self.commits.appended(end, self.turn.now);
            }
            Err(Broken) => self.append_failed(),
        }
        self.turn.fx.records.clear();
        self.door.set_room(journal.room());
    }

    fn tell_offended(&mut self, host: &mut impl Host) {
        for (member, close) in self.turn.fx.offended.drain(..) {
            host.offended(member, close);
        }
    }

    fn carry_out(&mut self, host: &mut impl Host) {
        // Whom the sweep has evicted; they are told in the next one.
        self.tell_offended(host);
        for (member, close) in self.turn.fx.ended.drain(..) {
            host.ended(member, close);
        }
        for fetch in std::mem::take(&mut self.turn.fx.fetches) {
            if !host.fetch(&fetch) {
                self.fetched((fetch.member, fetch.number), None);
            }
        }
        for renewal in std::mem::take(&mut self.turn.fx.renewals) {
            let member = renewal.member;
            if !host.renew(renewal) {
                self.rooms.not_renewed(&mut self.turn, member, Reject::Overloaded);
            }
        }
        for (member, resumed) in self.turn.fx.resumed.drain(..) {
            host.resumed(member, &resumed);
        }
        for member in self.turn.fx.readable.drain(..) {
            host.readable(member);
        }
        // The last of several changes of one space counts.
        for (space, members) in self.turn.fx.occupancy.drain(..) {
            host.occupancy(space, members);
        }
    }
}
