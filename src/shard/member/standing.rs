//! How a member stands: in its space or on its way out, and whether its socket takes bytes. Keeps
//! the gauge of blocked members.

use super::Member;
use crate::limits::Limits;
use crate::metrics::{Counts, Metric};
use crate::wire::Encoding;
use crate::wire::close::Close;
use crate::wire::time::MonoMs;

/// In its space, or being closed.
#[derive(Clone, Copy, Debug)]
pub(in crate::shard) enum Standing {
    /// In its space, at this seat of the roster.
    Seated { seat: u32 },
    /// In its space, and its socket has taken nothing since then.
    Stuck { seat: u32, since: MonoMs },
    /// In no space any more, or never in one: its last frames are on their way since then.
    Closing { close: Close, since: MonoMs },
}

/// What time asks of a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::shard) enum Deadline {
    /// It has been silent: it is asked whether it is there.
    Ping,
    /// It is to be closed.
    Close(Close),
    /// It was closed, and has had its time to take its last frames.
    End,
}

impl Member {
    /// Its seat in its space's roster; `None`: it is being closed.
    pub(crate) fn seat(&self) -> Option<u32> {
        match self.standing {
            Standing::Seated { seat } | Standing::Stuck { seat, .. } => Some(seat),
            Standing::Closing { .. } => None,
        }
    }

    /// Whether it is in its space.
    pub(crate) fn is_seated(&self) -> bool {
        self.seat().is_some()
    }

    /// It has another seat now.
    pub(crate) fn move_to(&mut self, to: u32) {
        if let Standing::Seated { seat } | Standing::Stuck { seat, .. } = &mut self.standing {
            *seat = to;
        }
    }

    /// Why it is being closed.
    pub(crate) fn closing(&self) -> Option<Close> {
        match self.standing {
            Standing::Closing { close, .. } => Some(close),
            _ => None,
        }
    }

    /// It is being closed from now on.
    pub(super) fn stand_closing(&mut self, close: Close, now: MonoMs) {
        self.standing = Standing::Closing { close, since: now };
    }

    /// Whether its socket is full.
    pub(crate) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Whether it has not come up with the log's end since it was blocked or came back.
    pub(crate) fn is_lagging(&self) -> bool {
        self.is_lagging
    }

    /// Says whether it lags; its space keeps count, so only that calls this. Returns whether that
    /// is new.
    pub(crate) fn set_lagging(&mut self, lags: bool) -> bool {
        if !lags && let Standing::Stuck { seat, .. } = self.standing {
            self.standing = Standing::Seated { seat };
        }
        std::mem::replace(&mut self.is_lagging, lags) != lags
    }

    /// Its socket took bytes.
    pub(crate) fn took_bytes(&mut self) {
        if let Standing::Stuck { seat, .. } = self.standing {
            self.standing = Standing::Seated { seat };
        }
    }

    /// Its socket is full. While it stays stuck, its time counts from the first time.
    pub(crate) fn block(&mut self, now: MonoMs, counts: &mut Counts) {
        self.is_blocked = true;
        counts.add(Metric::MembersBlocked, 1);
        if let Standing::Seated { seat } = self.standing {
            self.standing = Standing::Stuck { seat, since: now };
        }
    }

    /// Whether its socket has taken nothing for this many ms.
    pub(crate) fn is_stuck_for(&self, now: MonoMs, wait: u64) -> bool {
        matches!(self.standing, Standing::Stuck { since, .. } if now.since(since) >= wait)
    }

    /// Its socket takes bytes again, or is no more. Returns whether it was blocked.
    pub(crate) fn unblock(&mut self, counts: &mut Counts) -> bool {
        let was_blocked = std::mem::take(&mut self.is_blocked);
        counts.sub(Metric::MembersBlocked, was_blocked.into());
        was_blocked
    }

    /// What time asks of it. In `grace` only what does it no harm: the process stood still, and
    /// what came in meanwhile is read first.
    pub(crate) fn deadline(
        &mut self,
        now: MonoMs,
        limits: &Limits,
        grace: bool,
    ) -> Option<Deadline> {
        if let Standing::Closing { since, .. } = self.standing {
            // Bytes that it takes meanwhile do not give it more time.
            return (now.since(since) >= limits.close_wait).then_some(Deadline::End);
        }
        let silent = now.since(self.heard);
        // Nobody is closed for a silence that it was not asked about.
        if silent >= limits.ping_period && !self.is_pinged {
            match self.who.encoding {
                Encoding::Frames | Encoding::Deflated => self.is_pinged = true,
                // Who only reads can't answer: whether it is there, only what it takes shows.
                Encoding::Events => self.heard = now,
            }
            return Some(Deadline::Ping);
        }
        if grace {
            return None;
        }
        if let Standing::Stuck { since, .. } = self.standing
            && self.is_blocked
            && now.since(since) >= limits.write_wait
        {
            return Some(Deadline::Close(Close::TooSlow));
        }
        let is_over = self.is_pinged && silent >= limits.pong_wait;
        is_over.then_some(Deadline::Close(Close::PongTimeout))
    }
}
