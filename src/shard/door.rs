//! The door: whether something may be said. Owns the rates that connections share, who is known
//! not to exist, the nonces of what was said, and what journal and shutdown allow.

use super::absent::Absent;
use super::event::{AddressKey, Verdict};
use super::nonces::{Known, Nonces};
use super::rate::Buckets;
use super::turn::Turn;
use crate::limits::Limits;
use crate::metrics::Metric;
use crate::wire::close::Close;
use crate::wire::nonce::{First, Nonce, NonceKey};
use crate::wire::reject::Reject;
use crate::wire::time::{MonoMs, Now};
use crate::wire::{SpaceId, UserId};

/// Bytes of a record beside its texts, at most.
const RECORD_BYTES: usize = 64;

/// What lets a message in, or refuses it.
#[derive(Debug)]
pub(super) struct Door {
    of_user: Buckets<UserId>,
    of_address: Buckets<u64>,
    absent: Absent,
    nonces: Nonces,
    /// Bytes of records that the journal can surely take.
    room: u64,
    /// The journal is broken: no chat, and no member, before a restart.
    is_broken: bool,
    /// The shard is shutting down.
    is_draining: bool,
}

impl Door {
    /// Open, with no room in the journal yet.
    pub(super) fn new(limits: &Limits, seed: u64) -> Door {
        Door {
            of_user: Buckets::new(limits.rate_buckets_max),
            of_address: Buckets::new(limits.rate_buckets_max),
            absent: Absent::default(),
            nonces: Nonces::new(limits.nonces_max, limits.nonce_window, seed),
            room: 0,
            is_broken: false,
            is_draining: false,
        }
    }

    /// Remembers what an earlier run has published once, by the record that stands for that run.
    pub(super) fn restore(&mut self, now: Now, first: &First, record: u64) {
        self.nonces.restore(now, first, record);
    }

    pub(super) fn set_room(&mut self, room: u64) {
        self.room = room;
    }

    /// Lets nobody in any more: members are about to be closed.
    pub(super) fn drain(&mut self) {
        self.is_draining = true;
    }

    /// The journal took a turn's records no more: what was said in it never was.
    pub(super) fn break_down(&mut self) {
        self.is_broken = true;
        self.nonces.clear();
    }

    /// Why a connection can't become a member now.
    pub(super) fn refusal(&self, turn: &Turn) -> Option<Close> {
        if self.is_draining {
            return Some(Close::Restart);
        }
        if self.is_broken {
            return Some(Close::Internal);
        }
        (turn.logs.held() > turn.limits.logs_bytes_max).then_some(Close::Overloaded)
    }

    /// Whether even a short message may be refused, because the journal is broken or nearly full.
    pub(super) fn is_refusing(&self, limits: &Limits) -> bool {
        // A character takes four bytes.
        let characters = limits.username_chars_max + limits.content_chars_max;
        self.is_broken || self.room < (RECORD_BYTES + 4 * characters) as u64
    }

    /// Takes one message from the rates of a user and an address.
    pub(super) fn take_rates(
        &mut self,
        turn: &Turn,
        user: UserId,
        address: AddressKey,
    ) -> Result<(), Reject> {
        let limited = |retry_after_ms| Reject::RateLimited { retry_after_ms };
        let now = turn.now.mono;
        self.of_user.take(user, now, turn.limits.user_message_rate).map_err(limited)?;
        if let Some(address) = address {
            let rate = turn.limits.address_message_rate;
            self.of_address.take(address, now, rate).map_err(limited)?;
        }
        Ok(())
    }

    /// Whether a message to a space that is not there yet may be let in: none is made for what
    /// will be refused.
    pub(super) fn check_new_space(&self, turn: &Turn, text_bytes: usize) -> Result<(), Reject> {
        self.check_room(turn, text_bytes)?;
        self.check_draining()
    }

    pub(super) fn check_draining(&self) -> Result<(), Reject> {
        if self.is_draining { Err(Reject::Draining) } else { Ok(()) }
    }

    /// The message that was said first under a nonce, if this says the same again.
    pub(super) fn find(&self, turn: &mut Turn, nonce: &Nonce) -> Result<Option<Known>, Reject> {
        let Some(known) = self.nonces.find(&nonce.key) else { return Ok(None) };
        if known.content != nonce.content {
            return Err(Reject::NonceReused);
        }
        turn.counts.add(Metric::ChatsDuplicate, 1);
        Ok(Some(known))
    }

    /// Remembers what was said first under a nonce.
    pub(super) fn remember(&mut self, now: MonoMs, key: NonceKey, known: Known) {
        self.nonces.remember(now, key, known);
    }

    /// Whether a new message may be let in: its sender and space are not known to be missing, and
    /// journal and logs can take it. Asked before anything is fanned out (docs/WIRE.md, P5).
    pub(super) fn check_new(
        &self,
        turn: &Turn,
        user: UserId,
        space: SpaceId,
        text_bytes: usize,
    ) -> Result<(), Reject> {
        self.absent.check(turn.now.mono, user, space)?;
        self.check_room(turn, text_bytes)
    }

    fn check_room(&self, turn: &Turn, text_bytes: usize) -> Result<(), Reject> {
        let record = RECORD_BYTES + text_bytes;
        if self.is_broken || (turn.fx.records.len() + record) as u64 > self.room {
            return Err(Reject::StoreUnavailable);
        }
        if turn.logs.held() > turn.limits.logs_bytes_max {
            return Err(Reject::Overloaded);
        }
        Ok(())
    }

    /// The store has found something out about who exists, or refused a message: said again, that
    /// is a new one.
    pub(super) fn verdict(&mut self, turn: &Turn, verdict: Verdict) {
        let until = MonoMs(turn.now.mono.0 + turn.limits.absent_window);
        match verdict {
            Verdict::Refused { nonce: Some(nonce), .. } => self.nonces.forget(&nonce),
            Verdict::Refused { nonce: None, .. } => {}
            Verdict::NoUser(user) => self.absent.no_user(user, until),
            Verdict::NoSpace(space) => self.absent.no_space(space, until),
        }
    }

    /// Forgets nonces whose time is over.
    pub(super) fn tick(&mut self, now: MonoMs) {
        self.nonces.expire(now);
    }
}
