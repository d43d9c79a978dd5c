//! The heart: a shard owns spaces and their members, and is synchronous and pure.
//!
//! [`Shard::input`] takes one thing that happened, with the time beside it, and changes logs,
//! cursors and [`Effects`]; [`Shard::sweep`] sends what members are owed through [`Sockets`].
//! It knows no socket, clock, thread, runtime or logger, and draws no randomness but from the
//! seed it was made with. The same type runs in production, in property tests against a plain
//! model, and in the seeded simulator.
//!
//! A space is a log, a member is a cursor: fan-out is one append, and a slow member costs what
//! its cursor costs. Files: `event` what goes in and out, `membership` join and close, `chat`
//! what members and posts say, `durable` acks and commits, `resume` what was
//! missed, `sweep` sending, `upkeep` time, trims,
//! pauses and drain.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::limits::Limits;
use crate::metrics::{Counts, Metric};
use crate::wire::client_message::Decoder;
use crate::wire::nonce::First;
use crate::wire::reject::Reject;
use crate::wire::time::{MonoMs, Now, TimeFormat};
use crate::wire::{Id, IdGenerator, SpaceKey, UserId};

mod absent;
pub mod arena;
mod chat;
mod durable;
pub mod event;
mod log;
mod member;
mod membership;
mod nonce;
pub mod rate;
mod resume;
mod space;
mod sweep;
#[cfg(test)]
mod tests;
mod upkeep;

use absent::Absent;
use arena::Arena;
use durable::{AckTo, Appended, Waits};
use event::{Effects, Input, MemberKey, Reply, Ticket};
use log::Floor;
use member::Member;
use nonce::Nonces;
use rate::Buckets;
use space::Space;

/// The number of the record that stands for all that earlier runs have left in their journals.
const EARLIER_RUNS: u64 = 1;

/// What a shard is made with.
#[derive(Clone, Debug)]
pub struct ShardSetup {
    /// Which shard it is; part of connection ids.
    pub number: u16,
    /// Every bound. Those of all logs, and of nonces, count for this shard alone.
    pub limits: Limits,
    /// Makes its ids' random parts and its jitter.
    pub seed: u64,
    /// The highest id that any journal or the store holds.
    pub highest: Id,
    /// What earlier runs have published once, those that were said earlier first.
    pub published: Vec<First>,
    /// When it is made.
    pub now: Now,
}

/// Some spaces, their logs, and the members in them.
#[derive(Debug)]
pub struct Shard {
    number: u16,
    limits: Limits,
    ids: IdGenerator,
    jitter: u32,
    time: TimeFormat,
    utc: TimeFormat,
    decoder: Decoder,
    counts: Counts,

    spaces: Arena<Space>,
    by_key: HashMap<SpaceKey, u32>,
    members: Arena<Member>,
    /// Spaces that the sweep has work in, each once.
    dirty: VecDeque<u32>,
    /// Single members that the sweep has work for, each once.
    ready: VecDeque<MemberKey>,
    /// Spaces whose logs may be trimmed or pauses ended; looked at after each slice.
    unsettled: Vec<u32>,
    /// Memory of all spaces and their logs.
    logs_held: usize,

    user_rates: Buckets<UserId>,
    address_rates: Buckets<u64>,
    nonces: Nonces,

    /// Records made so far, and how many of them the store has committed. All that earlier runs
    /// have left counts as the first.
    records_made: u64,
    records_committed: u64,
    /// What stood where after each append that is not yet committed.
    appended: VecDeque<Appended>,
    /// Who waits for which record to be durable.
    acks: Waits<AckTo>,
    posts: Waits<(Ticket, Id)>,
    /// Messages that the store has refused and not yet stepped over, and who does not exist.
    refused: BTreeMap<Id, Reject>,
    absent: Absent,
    /// Members that need of the store what these records end with.
    floors: Waits<MemberKey>,
    waits_serial: u64,
    journal_room: u64,
    journal_failed: bool,

    last_tick: MonoMs,
    /// Until then no deadline is judged: the process stood still, reads come first.
    grace_until: MonoMs,
    member_stripe: u32,
    space_stripe: u32,
    drain: Option<upkeep::Drain>,
}

impl Shard {
    /// A shard without spaces.
    pub fn new(setup: ShardSetup) -> Shard {
        let mut ids = IdGenerator::new(setup.seed);
        ids.start_above(setup.highest);
        let limits = setup.limits;
        let mut nonces = Nonces::new(limits.nonces_max, limits.nonce_window, setup.seed);
        for first in &setup.published {
            nonces.restore(setup.now, first, EARLIER_RUNS);
        }
        let earlier = Appended { offset: 0, records: EARLIER_RUNS, highest: setup.highest };
        Shard {
            number: setup.number,
            ids,
            jitter: setup.seed as u32 ^ (setup.seed >> 32) as u32,
            time: TimeFormat::new(limits.utc_offset),
            utc: TimeFormat::new(0),
            decoder: Decoder::default(),
            counts: Counts::default(),
            spaces: Arena::default(),
            by_key: HashMap::new(),
            members: Arena::default(),
            dirty: VecDeque::new(),
            ready: VecDeque::new(),
            unsettled: Vec::new(),
            logs_held: 0,
            user_rates: Buckets::new(limits.rate_buckets_max),
            address_rates: Buckets::new(limits.rate_buckets_max),
            nonces,
            records_made: EARLIER_RUNS,
            records_committed: 0,
            appended: VecDeque::from([earlier]),
            acks: Waits::new(),
            posts: Waits::new(),
            refused: BTreeMap::new(),
            absent: Absent::default(),
            floors: Waits::new(),
            waits_serial: 0,
            journal_room: 0,
            journal_failed: false,
            last_tick: MonoMs(0),
            grace_until: MonoMs(0),
            member_stripe: 0,
            space_stripe: 0,
            drain: None,
            limits,
        }
    }

    /// Takes one thing that happened. What must be done about it outside is in `fx`.
    pub fn input(&mut self, now: Now, input: Input<'_>, fx: &mut Effects) {
        let now = self.never_earlier(now);
        match input {
            Input::Join(join) => self.join(now, join, fx),
            Input::Message(key, json) => self.message(now, key, json, fx),
            Input::Ping(key, payload) => self.ping(now, key, Some(payload), fx),
            Input::Pong(key) => self.ping(now, key, None, fx),
            Input::Close(key, close) => self.close(now, key, close, fx),
            Input::Writable(key) => self.writable(key),
            Input::Post(ticket, post) => self.post(now, ticket, post, fx),
            Input::Kick(ticket, space, user) => self.kick(now, ticket, (space, user), fx),
            Input::Notify(ticket, user, push) => self.notify(now, ticket, user, &push, fx),
            Input::Presence(ticket, space, users_max) => {
                let present = self.present(SpaceKey::Chat(space), users_max);
                fx.replies.push((ticket, Reply::Presence(present)));
            }
            Input::Appended(offset) => {
                self.counts.add(Metric::JournalAppends, 1);
                let (records, highest) = (self.records_made, self.ids.last());
                self.appended.push_back(Appended { offset, records, highest });
            }
            Input::AppendFailed => self.append_failed(now, fx),
            Input::JournalRoom(bytes) => self.journal_room = bytes,
            Input::Verdict(verdict) => self.verdict(now.mono, verdict),
            Input::Committed(offset) => self.committed(now, offset, fx),
            Input::Fetched(key, number, stretch) => {
                self.fetched(now, (key, number), stretch, fx);
            }
            Input::Tick => self.tick(now, fx),
            Input::Drain(window) => self.begin_drain(now, window),
        }
    }

    /// The time of a turn, its wall clock not before what a frame has said already.
    fn never_earlier(&mut self, now: Now) -> Now {
        Now { unix: self.ids.instant(now.unix), ..now }
    }

    /// The numbers of this shard, gauges brought up to date.
    pub fn counts(&mut self) -> &Counts {
        self.counts.set(Metric::Members, self.members.len() as u64);
        self.counts.set(Metric::Spaces, self.spaces.len() as u64);
        self.counts.set(Metric::LogBytes, self.logs_held as u64);
        let refuses = self.journal_failed || self.journal_room < self.longest_record();
        self.counts.set(Metric::ShardsRefusing, refuses.into());
        &self.counts
    }

    /// Bytes of a record that the door lets in, at most: a character takes four.
    fn longest_record(&self) -> u64 {
        let characters = self.limits.username_chars_max + self.limits.content_chars_max;
        (64 + 4 * characters) as u64
    }

    /// Whether a member's socket is to be read now: not while its space's readers lag too far.
    pub fn may_read(&self, key: MemberKey) -> bool {
        let Some(member) = self.members.get(key) else { return true };
        let paused = |space: &Space| space.paused.is_some();
        !member.is_seated() || !self.spaces.at(member.space).is_some_and(paused)
    }

    /// Whether a member is one of chat; the others may only be listened to.
    pub fn is_chat(&self, key: MemberKey) -> bool {
        let space = self.members.get(key).and_then(|member| self.spaces.at(member.space));
        space.is_some_and(|space| matches!(space.key, SpaceKey::Chat(_)))
    }

    /// Whether a member is in its space: not when it is being closed, or is no more.
    pub fn is_seated(&self, key: MemberKey) -> bool {
        self.members.get(key).is_some_and(Member::is_seated)
    }

    /// Whether a member is still sent the store's part of what it missed.
    pub fn is_catching_up(&self, key: MemberKey) -> bool {
        self.members.get(key).is_some_and(Member::is_catching_up)
    }

    /// Whether the sweep has something to do.
    pub fn is_dirty(&self) -> bool {
        !self.ready.is_empty() || !self.dirty.is_empty()
    }

    /// The highest id made or known so far.
    pub fn highest(&self) -> Id {
        self.ids.last()
    }

    /// Members, those that are being closed too.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// What lies behind a log that begins now.
    fn cold_floor(&self) -> Floor {
        Floor { id: self.ids.last(), record: self.records_made }
    }

    /// The space of a key, made if it is new. What it may have seen before lies at or below the
    /// highest id that this shard knows.
    fn space_for(&mut self, key: SpaceKey) -> u32 {
        if let Some(slot) = self.by_key.get(&key) {
            return *slot;
        }
        let slot = self.spaces.insert(Space::new(key, self.cold_floor())).slot;
        self.by_key.insert(key, slot);
        self.logs_held += space::SPACE_BYTES;
        slot
    }

    /// Appends one frame to a space's log and makes its members due. Returns where it begins.
    fn append(
        &mut self,
        now: Now,
        slot: u32,
        bound: usize,
        write: impl FnOnce(&mut bytes::BytesMut) -> usize,
    ) -> u64 {
        let space = self.spaces.at_mut(slot).expect("the caller's space exists");
        let held = space.log.held();
        let offset = space.log.append(now.mono, bound, write);
        self.logs_held += space.log.held() - held;
        self.counts.add(Metric::FramesAppended, 1);
        space.dirty();
        if !space.queued && space.sweep_left > 0 {
            space.queued = true;
            self.dirty.push_back(slot);
        }
        // At once: what is read in the same turn would all come on top.
        if space.paused.is_none() && space.outrun() > self.limits.log_bytes_max as u64 / 2 {
            space.paused = Some(now.mono);
            self.counts.add(Metric::SpacePauses, 1);
        }
        // Most appends can neither trim nor pause: those wait for the round's end. Where nobody
        // is to be visited there is no round.
        let long = space.log.retained() > self.limits.log_bytes_max as u64 / 2;
        if long || space.sweep_left == 0 {
            self.unsettled.push(slot);
        }
        offset
    }

    /// Makes a member due by itself: it has private frames, or takes bytes again.
    fn make_ready(&mut self, key: MemberKey) {
        let Some(member) = self.members.get_mut(key) else { return };
        if !member.queued && !member.blocked {
            member.queued = true;
            self.ready.push_back(key);
        }
    }

    /// Gives a member a private frame. One that doesn't take its own answers is evicted.
    fn push_private(
        &mut self,
        key: MemberKey,
        write: impl FnOnce(&mut member::Private),
    ) -> Result<(), TooMuch> {
        let Some(member) = self.members.get_mut(key) else { return Ok(()) };
        let before = member.private_bytes();
        write(member.private());
        let after = member.private_bytes();
        let grown = (after as u64).wrapping_sub(before as u64);
        self.counts.add(Metric::PrivateBytes, grown);
        self.make_ready(key);
        if after > self.limits.private_bytes_max { Err(TooMuch) } else { Ok(()) }
    }

    fn reply(&mut self, fx: &mut Effects, ticket: Ticket, result: Result<Reply, Reject>) {
        let reply = result.unwrap_or_else(|reject| {
            self.counts.reject(reject);
            Reply::Rejected(reject)
        });
        fx.replies.push((ticket, reply));
    }

    /// A number that spreads a herd.
    fn jitter(&mut self) -> u32 {
        // Xorshift; zero would stay zero.
        let mut word = self.jitter | 1;
        word ^= word << 13;
        word ^= word >> 17;
        word ^= word << 5;
        self.jitter = word;
        word
    }
}

/// A member's private frames are over their bound.
#[derive(Debug)]
struct TooMuch;
