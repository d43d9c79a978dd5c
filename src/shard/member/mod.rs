//! A member: one connection as its shard knows it. Who it is, and its parts: a send queue, how it
//! stands to its space and its socket, how it behaves, and its way back if it resumes.

use std::num::NonZeroU64;

use bytes::BytesMut;

use super::due::Due;
use super::event::{AddressKey, Guise, Join, MemberKey};
use super::rate::Gcra;
use super::turn::Turn;
use crate::limits::{Limits, MEMBER_WAITS_MAX};
use crate::metrics::Counts;
use crate::wire::close::Close;
use crate::wire::event_stream;
use crate::wire::frame_writer;
use crate::wire::reject::Reject;
use crate::wire::server_message::{self, Welcome, Whose};
use crate::wire::time::{MonoMs, Now};
use crate::wire::{Dialect, Encoding, Id, SpaceId, SpaceKey, UserId};

mod closing;
mod conduct;
mod queue;
mod resume;
mod standing;

use conduct::Conduct;
pub(super) use queue::{Offered, Queue};
pub(super) use resume::{CatchUp, Memory, PageTaken, Resume, StoreWait, WayBack};
pub(super) use standing::{Deadline, Standing};

/// One connection. Its size times the connections is what an idle hub costs: keep it small.
#[derive(Debug)]
pub(super) struct Member {
    /// Slot of its space.
    space: u32,
    pub who: Who,
    /// What it is to be sent.
    pub queue: Queue,
    standing: Standing,
    /// Its socket is full: the sweep passes it by until it is writable.
    is_blocked: bool,
    /// It was blocked, or resumes, and has not yet come up with the log's end.
    is_lagging: bool,
    /// It stands in the sweep's queue of single members.
    is_queued: bool,
    /// A ping was sent since it was last heard.
    is_pinged: bool,
    /// When something was last heard of it.
    heard: MonoMs,
    /// Its messages.
    rate: Gcra,
    /// Its control frames.
    control: Gcra,
    /// The count of its space's members that it was told last, by its number.
    presence_seen: u32,
    rare: Option<Box<Rare>>,
}

const _: () = assert!(size_of::<Member>() <= 144, "an idle connection stays small");

/// Who a member is and what it may do, as was known when it came.
#[derive(Debug)]
pub(super) struct Who {
    pub user: UserId,
    /// Which messages it understands.
    pub dialect: Dialect,
    /// How it is sent them.
    pub encoding: Encoding,
    /// As what it is in its space.
    pub guise: Guise,
    /// Whether it may say something.
    pub may_say: bool,
    /// The name shown with what it says.
    pub username: Box<str>,
    /// For rates; a loopback address is exempt.
    address: Option<NonZeroU64>,
}

impl Who {
    pub(super) fn address(&self) -> AddressKey {
        self.address.map(NonZeroU64::get)
    }
}

/// What few members need: those that resume, read a list, wait for the store, or misbehave.
#[derive(Default, Debug)]
struct Rare {
    /// It is being sent what the log no longer holds.
    catch_up: Option<CatchUp>,
    /// It is being sent what it missed from the log.
    resume: Option<Resume>,
    /// It is being sent the list of who is online: the next user of it.
    listing: Option<UserId>,
    /// Its messages whose commit it waits for.
    durable_waits: u32,
    conduct: Conduct,
}

impl Member {
    /// A connection that has just come.
    pub(super) fn new(now: Now, join: Join, space: u32, standing: Standing) -> Member {
        let who = Who {
            user: join.user,
            dialect: join.dialect,
            encoding: join.encoding,
            guise: join.guise,
            may_say: join.grant.may_say,
            username: join.username,
            address: join.address.and_then(NonZeroU64::new),
        };
        Member {
            space,
            who,
            queue: Queue::default(),
            standing,
            is_blocked: false,
            is_lagging: false,
            is_queued: false,
            is_pinged: false,
            heard: now.mono,
            rate: Gcra::default(),
            control: Gcra::default(),
            presence_seen: 0,
            rare: None,
        }
    }

    /// Slot of its space; of the one it was in, when it is being closed.
    pub(super) fn space(&self) -> u32 {
        self.space
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Where its private frames belong.
    pub(super) fn whose(&self, space: SpaceKey) -> Whose {
        let space = match space {
            SpaceKey::Chat(space) => Some(space),
            SpaceKey::Lobby | SpaceKey::Inbox(_) | SpaceKey::Echo => None,
        };
        Whose { user: self.who.user, space }
    }

    /// Makes it due by itself: it has private frames, or takes bytes again.
    pub(super) fn make_due(&mut self, key: MemberKey, due: &mut Due) {
        if !self.is_queued && !self.is_blocked {
            self.is_queued = true;
            due.push_member(key);
        }
    }

    /// It does not stand in the sweep's queue any more: it is being visited.
    pub(super) fn dequeued(&mut self) {
        self.is_queued = false;
    }

    /// Something came from it.
    pub(super) fn heard(&mut self, now: MonoMs) {
        (self.heard, self.is_pinged) = (now, false);
    }

    /// How long nothing was heard of it.
    pub(super) fn silent_ms(&self, now: MonoMs) -> u64 {
        now.since(self.heard)
    }

    /// Takes one message from its own rate.
    pub(super) fn take_rate(&mut self, now: MonoMs, limits: &Limits) -> Result<(), Reject> {
        let limited = |retry_after_ms| Reject::RateLimited { retry_after_ms };
        self.rate.take(now, limits.message_rate).map_err(limited)
    }

    /// Takes one control frame from its rate.
    pub(super) fn take_control(&mut self, now: MonoMs, limits: &Limits) -> Result<(), Reject> {
        let limited = |retry_after_ms| Reject::RateLimited { retry_after_ms };
        self.control.take(now, limits.control_rate).map_err(limited)
    }

    /// Gives it a frame of its own that goes before anything more of the log, and makes it due.
    /// The caller looks at [`Queue::private_bytes`] where these can be many.
    pub(super) fn give(
        &mut self,
        key: MemberKey,
        turn: &mut Turn,
        write: impl FnOnce(&mut BytesMut),
    ) {
        self.push(&mut turn.counts, write);
        self.make_due(key, &mut turn.due);
    }

    /// Adds frames of its own that go before anything more of the log. It is to be made due.
    pub(super) fn push(&mut self, counts: &mut Counts, write: impl FnOnce(&mut BytesMut)) {
        let encoding = self.who.encoding;
        self.queue.push(counts, |out| encoding.add(out, write));
    }

    /// Adds an answer, which goes behind the log up to `at`. It is to be made due.
    pub(super) fn answer(
        &mut self,
        counts: &mut Counts,
        at: u64,
        write: impl FnOnce(&mut BytesMut),
    ) {
        let encoding = self.who.encoding;
        self.queue.answer(counts, at, |out| encoding.add(out, write));
    }

    /// Shows it that the hub is there, and has it show that it is too, if it says anything at all.
    pub(super) fn ping(&mut self, key: MemberKey, turn: &mut Turn) {
        let ping = match self.who.encoding {
            Encoding::Frames | Encoding::Deflated => frame_writer::ping,
            Encoding::Events => event_stream::ping,
        };
        self.queue.push(&mut turn.counts, ping);
        self.make_due(key, &mut turn.due);
    }

    /// Whether the others in its space are told of it.
    pub(super) fn is_shown(&self) -> bool {
        self.who.guise == Guise::Member
    }

    /// Welcomes a member of the second dialect; to a chat space with its id, its newest chat and
    /// how many members it has. It may have come back with a position.
    pub(super) fn greet(
        &mut self,
        key: MemberKey,
        turn: &mut Turn,
        (space, after): (Option<(SpaceId, Id, usize)>, Option<Id>),
    ) {
        if self.who.dialect == Dialect::Seed {
            return;
        }
        let at = turn.at();
        let welcome = Welcome {
            connection: (turn.shard, key.slot, key.generation),
            user: (self.who.guise != Guise::Nobody).then_some((self.who.user, &*self.who.username)),
            space,
            message_bytes_max: turn.limits.message_bytes_max,
            content_chars_max: turn.limits.content_chars_max,
            ping_period_ms: turn.limits.ping_period,
        };
        match self.who.encoding {
            Encoding::Frames | Encoding::Deflated => {
                self.queue.push(&mut turn.counts, |out| server_message::welcome(out, &welcome, &at))
            }
            Encoding::Events => {
                let jitter = turn.jitter();
                self.queue.push(&mut turn.counts, |out| {
                    event_stream::welcome(out, &welcome, after, (&at, jitter));
                });
            }
        }
        self.make_due(key, &mut turn.due);
    }

    /// Gives it its own join, where joins are not announced. It is to be made due.
    pub(super) fn tell_join(&mut self, turn: &mut Turn, space: SpaceId) {
        let (at, user, name) = (turn.at(), self.who.user, &self.who.username);
        let encoding = self.who.encoding;
        self.queue.push(&mut turn.counts, |out| {
            encoding.add(out, |out| _ = server_message::join(out, space, user, name, &at));
        });
    }

    /// Notes a refusal, and says whether it was one too many.
    pub(super) fn judge(&mut self, now: MonoMs, limits: &Limits, reject: Reject) -> Option<Close> {
        self.rare().conduct.judge(now, limits, reject)
    }

    /// Whether it floods and was read in this tick.
    pub(super) fn is_held(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.conduct.is_held())
    }

    /// One that floods is not to be read again before the next tick. Returns whether it does.
    pub(super) fn hold_if_it_floods(&mut self, now: MonoMs) -> bool {
        self.rare.as_mut().is_some_and(|rare| rare.conduct.hold_if_it_floods(now))
    }

    /// It may be read again.
    pub(super) fn release(&mut self) {
        self.rare().conduct.release();
    }

    /// Whether it waits for as many commits as one member may.
    pub(super) fn waits_are_full(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.durable_waits >= MEMBER_WAITS_MAX)
    }

    /// Whether it waits for a commit.
    pub(super) fn is_waiting(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.durable_waits > 0)
    }

    /// It waits for a commit.
    pub(super) fn wait(&mut self) {
        self.rare().durable_waits += 1;
    }

    /// A commit that it waited for has come, or will not.
    pub(super) fn waited(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.durable_waits -= 1;
        }
    }

    /// It knows the count of its space's members that has this number. Returns whether that is new.
    pub(super) fn learn_presence(&mut self, version: u32) -> bool {
        std::mem::replace(&mut self.presence_seen, version) != version
    }

    /// The next user of the list that it is being sent.
    pub(super) fn listing(&self) -> Option<UserId> {
        self.rare.as_ref()?.listing
    }

    /// Where its list of who is online begins or goes on; `None`: it has all of it.
    pub(super) fn list_from(&mut self, next: Option<UserId>) {
        self.rare().listing = next;
    }

    /// Whether nothing of the log is for it yet.
    pub(super) fn is_held_back(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.listing.is_some() || rare.catch_up.is_some())
    }

    /// Whether nothing, or not everything, of the log is for it yet.
    pub(super) fn is_behind_by_choice(&self) -> bool {
        self.is_held_back() || self.resume().is_some()
    }

    /// Whether it has nothing that only few members have: the sweep's usual case.
    pub(super) fn is_plain(&self) -> bool {
        self.rare.is_none()
    }
}
