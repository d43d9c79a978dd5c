//! A member: one connection as its shard knows it. Its send queue is a cursor into its space's
//! log plus the private frames that are meant for it alone.

use bytes::{Buf, BytesMut};

use super::rate::Gcra;
use super::resume::CatchUp;
use crate::wire::close::Close;
use crate::wire::server_message::{Resumed, Whose};
use crate::wire::time::MonoMs;
use crate::wire::{Dialect, SpaceKey, UserId, frame_writer};

/// The seat of a member that is in no space (any more).
pub(super) const NO_SEAT: u32 = u32::MAX;

/// One connection. Its size times the connections is what an idle hub costs: keep it small.
#[derive(Debug)]
pub(super) struct Member {
    /// Slot of its space.
    pub space: u32,
    /// Index in the space's roster, or [`NO_SEAT`].
    pub seat: u32,
    /// Who.
    pub user: UserId,
    /// The presence count that it was told last.
    pub presence_seen: u32,
    /// What it has been sent of the log.
    pub cursor: u64,
    /// Where the last send was to end; below it, the cursor may stand inside a frame.
    pub boundary: u64,
    /// When something was last heard of it.
    pub heard: MonoMs,
    /// When its cursor last moved, while it is blocked; when its close began, while it closes.
    pub since: MonoMs,
    /// Its messages.
    pub rate: Gcra,
    /// Its control frames.
    pub control: Gcra,
    /// What its address counts as; 0 is exempt.
    pub address: u64,
    /// The name shown with what it says.
    pub username: Box<str>,
    /// Frames meant for it alone; freed when sent.
    pub private: Option<Box<Private>>,
    /// What few members need.
    pub rare: Option<Box<Rare>>,
    /// Why it is being closed.
    pub closing: Option<Close>,
    /// Which messages it understands.
    pub dialect: Dialect,
    /// Its socket is full: the sweep passes it by until it is writable.
    pub blocked: bool,
    /// It was blocked, or resumes, and has not yet come up with the log's end.
    pub lagging: bool,
    /// It stands in the sweep's queue of single members.
    pub queued: bool,
    /// A ping was sent since it was last heard.
    pub pinged: bool,
}

const _: () = assert!(size_of::<Member>() <= 144, "an idle connection stays small");

/// What few members need: those that resume, read a list, or misbehave.
#[derive(Default, Debug)]
pub(super) struct Rare {
    /// It is being sent what the log no longer holds.
    pub catch_up: Option<CatchUp>,
    /// It is being sent what it missed.
    pub resume: Option<Resume>,
    /// It is being sent the list of who is online: the next user of it.
    pub listing: Option<i32>,
    /// Its messages whose commit it waits for.
    pub durable_waits: u32,
    /// Junk messages in the current window.
    pub junk: u32,
    /// When that window began.
    pub junk_since: MonoMs,
    /// When its flood began.
    pub flood_since: MonoMs,
    /// When it was last over its rate.
    pub flood_last: MonoMs,
}

impl Rare {
    /// Whether the log's newest frames are not yet for it.
    pub fn holds_back(&self) -> bool {
        self.catch_up.is_some() || self.resume.is_some() || self.listing.is_some()
    }
}

/// A resume on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resume {
    /// Where in the log it ends; the member's own join comes behind.
    pub end: u64,
    /// What will be said then.
    pub resumed: Resumed,
    /// The own join is not in the log (a big space): it is to be sent then.
    pub own_join: bool,
}

impl Member {
    /// Whether its cursor stands between two frames.
    pub fn at_boundary(&self) -> bool {
        self.cursor >= self.boundary
    }

    /// Whether it may have been sent a part of a frame, of the log or its own.
    pub fn is_cut(&self) -> bool {
        !self.at_boundary() || self.private.as_ref().is_some_and(|private| private.is_cut)
    }

    /// Whether the store's part of what it missed is being sent to it, so that it gets nothing of
    /// the log.
    pub fn is_catching_up(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.catch_up.is_some())
    }

    /// Whether it is in its space.
    pub fn is_seated(&self) -> bool {
        self.seat != NO_SEAT
    }

    /// Frames meant for it alone; made on first use.
    pub fn private(&mut self) -> &mut Private {
        self.private.get_or_insert_default()
    }

    /// Bytes of private frames that wait.
    pub fn private_bytes(&self) -> usize {
        self.private.as_ref().map_or(0, |private| private.bytes.len())
    }

    /// What few members need; made on first use.
    pub fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Where its private frames belong.
    pub fn whose(&self, space: SpaceKey) -> Whose {
        let space = match space {
            SpaceKey::Chat(space) => Some(space),
            SpaceKey::Lobby | SpaceKey::Inbox(_) => None,
        };
        Whose { user: self.user, space }
    }
}

/// Frames meant for one member alone, in order.
#[derive(Default, Debug)]
pub(super) struct Private {
    bytes: BytesMut,
    /// Where the last frame begins, if it is a pong that nothing has been sent of.
    newest_pong: Option<usize>,
    /// Something of it was sent, perhaps up to the middle of a frame.
    is_cut: bool,
}

impl Private {
    /// Adds a frame.
    pub fn push(&mut self, write: impl FnOnce(&mut BytesMut)) {
        self.newest_pong = None;
        write(&mut self.bytes);
    }

    /// Adds the answer to a ping; the newest replaces one that waits (RFC 6455 5.5.3).
    pub fn push_pong(&mut self, payload: &[u8]) {
        if let Some(at) = self.newest_pong {
            self.bytes.truncate(at);
        }
        let at = self.bytes.len();
        frame_writer::pong(&mut self.bytes, payload);
        self.newest_pong = Some(at);
    }

    /// What waits.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// So much of it has been sent.
    pub fn sent(&mut self, bytes: usize) {
        self.bytes.advance(bytes);
        self.is_cut = true;
        self.newest_pong = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_of_waiting_pongs_is_kept() {
        let mut private = Private::default();
        private.push(frame_writer::ping);
        private.push_pong(b"old");
        private.push_pong(b"new");
        assert_eq!(private.bytes(), b"\x89\x00\x8a\x03new");
        private.sent(3);
        private.push_pong(b"x");
        assert_eq!(private.bytes(), b"\x03new\x8a\x01x");
    }
}
