//! The heart: a shard owns spaces and their members, and is synchronous and pure.
//!
//! [`Shard::input`] takes one thing that happened, with the time beside it, and changes logs and
//! cursors; [`Shard::turn`] appends what was said to the journal, answers, and sends members what
//! they are owed. It knows no socket, clock, thread, runtime or logger, and draws no randomness but
//! from the seed it was made with. The same type runs in production, in property tests against a
//! plain model, and in the seeded simulator.
//!
//! A space is a log, a member is a cursor: fan-out is one append, and a slow member costs what
//! its cursor costs.
//!
//! Each file owns a piece of the state. `event`: what goes in and out. `turn`: the order of a turn,
//! and what all parts work with. `rooms`: the `space`s, the `member`s, who comes and goes. `door`:
//! what may be said; `say`: what is. `commits`: records, and who waits for them; `secured`: what
//! nobody is sent before the store has it; `stored`: what follows when it has. `resume`: the way
//! back. `due` and `sweep`: who is sent what. `ticks`: what time asks for.

use std::collections::BTreeSet;

use crate::limits::{Limits, room_for};
use crate::metrics::{Counts, Metric};
use crate::wire::client_message::Decoder;
use crate::wire::close::Close;
use crate::wire::frame_reader::Heard;
use crate::wire::nonce::First;
use crate::wire::reject::Reject;
use crate::wire::time::Now;
use crate::wire::{Encoding, Id, SpaceKey};

mod absent;
pub mod anew;
mod arena;
mod commits;
mod door;
mod due;
pub mod event;
mod grants;
mod hottest;
mod look;
mod member;
mod nonces;
mod position;
pub(crate) mod rate;
mod resume;
mod rooms;
mod say;
mod seated;
mod secured;
mod space;
mod stored;
mod sweep;
#[cfg(test)]
mod tests;
mod ticks;
mod timed;
pub mod turn;
mod waits;

use commits::{Commits, EARLIER_RUNS};
use door::Door;
use event::{Effects, Fed, Input, Join, MemberKey, Reply, Stretch};
use member::Member;
use rooms::Rooms;
pub use secured::Accept;
use space::{ChatFrame, Space};
use ticks::Ticks;
use turn::{Journal, Turn};

/// What a shard is made with.
#[derive(Clone, Debug)]
pub struct ShardSetup {
    /// Which shard it is; part of connection ids.
    pub number: u16,
    /// Every bound. Those of all logs, and of nonces, count for this shard alone.
    pub limits: Limits,
    /// When a chat is accepted.
    pub accept: Accept,
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
    turn: Turn,
    rooms: Rooms,
    door: Door,
    commits: Commits,
    ticks: Ticks,
    decoder: Decoder,
}

impl Shard {
    /// A shard without spaces. It takes no chat before its first [`Shard::tick`].
    pub fn new(setup: ShardSetup) -> Shard {
        let ShardSetup { number, limits, accept, seed, highest, published, now } = setup;
        let mut door = Door::new(&limits, seed);
        for first in &published {
            door.restore(now, first, EARLIER_RUNS);
        }
        let room = room_for(limits.connections_max);
        Shard {
            turn: Turn::new((number, accept), now, limits, seed),
            rooms: Rooms::with_room(room),
            door,
            commits: Commits::new(seed, highest),
            ticks: Ticks::default(),
            decoder: Decoder::default(),
        }
    }

    fn begin(&mut self, now: Now) {
        self.turn.now = self.commits.never_earlier(now);
    }

    /// Takes a connection in. One that is refused is a member too, about to be closed.
    pub fn join(&mut self, now: Now, join: Join) -> MemberKey {
        self.begin(now);
        if let Some(close) = self.door.refusal(&self.turn) {
            return self.rooms.turn_away(&mut self.turn, join, close);
        }
        if self.rooms.is_overdue(&self.turn, join.space) {
            return self.rooms.turn_away(&mut self.turn, join, Close::Overloaded);
        }
        if self.rooms.grants.is_revoked(now.mono, join.user, join.grant.mark) {
            return self.rooms.turn_away(&mut self.turn, join, Close::Unauthorized);
        }
        let after = join.after;
        let key = self.rooms.join(&mut self.turn, join, self.commits.floor());
        match after {
            Some(after) => self.rooms.resume(&mut self.turn, &mut self.commits, key, after),
            None => self.rooms.announce(&mut self.turn, key),
        }
        if let Some(member) = self.rooms.members.get(key) {
            self.rooms.note_occupancy(&mut self.turn.fx, member.space());
        }
        key
    }

    /// Takes one thing that happened.
    pub fn input(&mut self, now: Now, input: Input<'_>) {
        self.begin(now);
        let Shard { turn, rooms, .. } = self;
        match input {
            Input::Message(key, json) => self.message(key, json),
            Input::Echo(key, message) => rooms.with(turn, key, |it, turn| it.echo(turn, message)),
            Input::Unheard(key, bytes) => rooms.with(turn, key, |it, turn| it.unheard(turn, bytes)),
            Input::Ping(key, payload) => {
                rooms.with(turn, key, |it, turn| it.ping(turn, Some(payload)))
            }
            Input::Pong(key) => rooms.with(turn, key, |it, turn| it.ping(turn, None)),
            Input::Close(key, close) => rooms.close(turn, key, close),
            Input::Writable(key) => rooms.writable(turn, key),
            Input::Post(ticket, post) => self.post(ticket, &post),
            Input::Kick(ticket, space, user) => {
                let closed = rooms.kick(turn, space, user);
                turn.reply(ticket, Ok(Reply::Count(closed)));
            }
            Input::Revoke(ticket, revocation) => {
                let closed = rooms.revoke(turn, revocation);
                turn.reply(ticket, Ok(Reply::Count(closed)));
            }
            Input::Notify(ticket, user, push) => {
                let pushed = rooms.notify(turn, user, &push);
                turn.reply(ticket, Ok(Reply::Count(pushed)));
            }
            Input::Presence(ticket, space, users_max) => {
                let present = rooms.present(SpaceKey::Chat(space), users_max);
                turn.reply(ticket, Ok(Reply::Presence(present)));
            }
            Input::Look(ticket, space, from, max) => {
                let seen = rooms.look(turn.now.mono, (SpaceKey::Chat(space), from), max);
                turn.reply(ticket, Ok(Reply::Seen(seen)));
            }
            Input::Hottest(ticket, max) => {
                let hottest = rooms.spaces.hottest(max);
                turn.reply(ticket, Ok(Reply::Hottest(hottest)));
            }
            Input::Verdict(verdict) => self.verdict(verdict),
            Input::Committed(offset) => self.committed(offset),
            Input::Fetched(key, number, page) => self.fetched((key, number), page),
            Input::Granted(key, grant) => rooms.granted(turn, key, grant),
            Input::Fed(space, frame) => self.feed(space, frame),
            Input::Relieve(bytes) => rooms.relieve(turn, bytes),
            Input::Drain(window) => {
                self.door.drain();
                self.ticks.drain(turn.now.mono, window, rooms.members.len());
            }
        }
    }

    /// Time has passed; to be called about every 100 ms.
    pub fn tick(&mut self, now: Now, journal: &impl Journal) {
        self.begin(now);
        self.door.set_room(journal.room());
        self.ticks.tick(&mut self.turn, &mut self.rooms, &mut self.door, &mut self.commits);
        self.answer_hasty();
    }

    /// A page has come for a member that catches up.
    fn fetched(&mut self, whose: (MemberKey, u32), page: Option<Stretch>) {
        self.rooms.fetched(&mut self.turn, &mut self.commits, whose, page);
    }

    /// A frame was made elsewhere, which has stored its chat: it goes to the end of a space's log
    /// as what is said here does.
    fn feed(&mut self, space: SpaceKey, fed: Fed<'_>) {
        let floor = self.commits.floor();
        let space = self.rooms.spaces.open(&mut self.turn, space, floor);
        // No record of this shard's has it. Those that it made before have what lies below.
        let record = space.last_record();
        let chat = fed.chat.map(|id| ChatFrame { id, record, waits: false });
        if let Some(id) = fed.chat {
            self.commits.start_above(id);
        }
        space.append(&mut self.turn, chat, fed.frame.len(), |out| {
            out.extend_from_slice(fed.frame);
            fed.frame.len()
        });
    }

    /// The turn's records are not in the journal: nothing of the turn may be sent. The logs are
    /// dropped, their members closed, and no more chat is taken until a restart.
    fn append_failed(&mut self) {
        // Where posts are told of once they are stored, what they are told stays true.
        let by_store = self.turn.secured.is_by_store();
        let refused = if by_store { BTreeSet::new() } else { self.turn.fx.take_back_posts() };
        refused.iter().for_each(|_| self.turn.counts.reject(Reject::StoreUnavailable));
        for ticket in self.commits.append_failed(&refused) {
            self.turn.reply(ticket, Err(Reject::StoreUnavailable));
        }
        self.turn.timed.forget();
        self.turn.secured.forget();
        self.door.break_down();
        self.rooms.let_all_go(&mut self.turn, Close::Internal);
        self.rooms.spaces.drop_logs(&mut self.turn, self.commits.floor());
    }

    /// The numbers of this shard, gauges brought up to date.
    pub fn counts(&mut self) -> &Counts {
        let is_awaiting = self.is_waiting_for_store();
        let is_refusing = self.door.is_refusing(&self.turn.limits) || is_awaiting;
        let Turn { now, counts, logs, deflater, secured, .. } = &mut self.turn;
        counts.set(Metric::ChatsUnsecured, secured.len() as u64);
        counts.set(Metric::ShardsAwaiting, is_awaiting.into());
        let (plain, deflated) = deflater.take_bytes();
        counts.add(Metric::DeflateInputBytes, plain);
        counts.add(Metric::DeflateOutputBytes, deflated);
        let lag = self.commits.oldest().map_or(0, |oldest| now.micros_since(oldest));
        counts.set(Metric::StoreLag, lag);
        counts.set(Metric::Members, self.rooms.members.len() as u64);
        counts.set(Metric::Spaces, self.rooms.spaces.len() as u64);
        counts.set(Metric::LogBytes, logs.held() as u64);
        counts.set(Metric::ShardsRefusing, is_refusing.into());
        counts
    }

    /// Whether a member's socket is to be read now: not while it takes nothing itself, while its
    /// space's readers lag too far, or when it floods and was read in this tick. The host is told
    /// when it is again.
    pub fn may_read(&self, key: MemberKey) -> bool {
        let Some(member) = self.rooms.members.get(key) else { return true };
        let is_paused = || self.rooms.spaces.at(member.space()).is_some_and(Space::is_paused);
        !(member.is_seated() && (member.is_blocked() || member.is_held() || is_paused()))
    }

    /// Bytes of a member's socket that may be read now, `max` at most: little of who floods. To be
    /// asked before each read; who is blocked is read only if its peer's side is over.
    pub fn readable(&mut self, key: MemberKey, max: usize) -> usize {
        let seated = self.rooms.seated(key);
        seated.map_or(max, |mut it| it.readable(&mut self.turn, max))
    }

    /// What becomes of a member's messages, and whether they may come compressed; `None`: it only
    /// reads, and has none.
    pub fn heard(&self, key: MemberKey) -> Option<(Heard, bool)> {
        let Some(member) = self.rooms.members.get(key) else {
            return Some((Heard::Dropped, false));
        };
        let may_deflate = match member.who.encoding {
            Encoding::Frames => false,
            Encoding::Deflated => true,
            Encoding::Events => return None,
        };
        let heard = match self.rooms.spaces.at(member.space()).map(Space::key) {
            Some(SpaceKey::Chat(_)) => Heard::Read,
            Some(SpaceKey::Echo) => Heard::Echoed,
            _ => Heard::Dropped,
        };
        Some((heard, may_deflate))
    }

    /// Whether a member is in its space: not when it is being closed, or is no more.
    pub fn is_seated(&self, key: MemberKey) -> bool {
        self.rooms.members.get(key).is_some_and(Member::is_seated)
    }

    /// Whether a member is still sent the store's part of what it missed.
    pub fn is_catching_up(&self, key: MemberKey) -> bool {
        self.rooms.members.get(key).is_some_and(Member::is_catching_up)
    }

    /// Whether chats that are timed have gone out in the last turn: [`Shard::time`] is to be told
    /// what time it is.
    pub fn is_to_be_timed(&self) -> bool {
        self.turn.timed.have_gone_out()
    }

    /// The last turn is over, and it is this time.
    pub fn time(&mut self, now: Now) {
        self.turn.timed.time(now, &mut self.turn.counts);
    }

    /// Whether there is something for a turn to do.
    pub fn is_due(&self) -> bool {
        !self.turn.due.is_empty() || !self.turn.fx.is_empty()
    }

    /// Whether somebody waits until what was accepted is stored.
    pub fn is_waited_for(&self) -> bool {
        self.commits.is_waited_for() || self.turn.secured.len() > 0
    }

    /// What is to be carried out by the next turn.
    pub fn effects(&self) -> &Effects {
        &self.turn.fx
    }

    /// Members, those that are being closed too.
    pub fn members(&self) -> usize {
        self.rooms.members.len()
    }
}
