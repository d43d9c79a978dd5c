//! The logs of a space: its frames, and the same as events while somebody reads those. What is
//! appended goes to both, each message encoded once for all who read it so.
//!
//! The log of events is made when its first reader comes, of what the log of frames holds, and goes
//! with its last: a reader that comes back finds what it missed in memory as others do.

use bytes::BytesMut;

use super::ChatFrame;
use super::log::SpaceLog;
use crate::shard::position::Floor;
use crate::wire::time::MonoMs;
use crate::wire::{Encoding, Id};

/// The logs of one space.
#[derive(Debug)]
pub(super) struct Logs {
    frames: SpaceLog,
    events: Option<Box<SpaceLog>>,
    /// How many read events.
    readers: u32,
}

impl Logs {
    /// Empty ones. `floor` is at or above everything that their space may have seen before.
    pub(super) fn new(floor: Floor) -> Logs {
        Logs { frames: SpaceLog::new(Encoding::Frames, floor), events: None, readers: 0 }
    }

    /// The log that a member of this encoding reads.
    #[inline]
    pub(super) fn of(&self, encoding: Encoding) -> &SpaceLog {
        match (encoding, &self.events) {
            (Encoding::Events, Some(events)) => events,
            // Nobody reads events where there is no log of them.
            _ => &self.frames,
        }
    }

    /// The log of this encoding, where there is one.
    pub(super) fn get(&self, encoding: Encoding) -> Option<&SpaceLog> {
        match encoding {
            Encoding::Frames => Some(&self.frames),
            Encoding::Events => self.events.as_deref(),
        }
    }

    /// The log that is always there.
    #[inline]
    pub(super) fn main(&self) -> &SpaceLog {
        &self.frames
    }

    /// The logs that there are.
    pub(super) fn all(&self) -> impl Iterator<Item = (Encoding, &SpaceLog)> {
        let events = self.events.as_deref().map(|events| (Encoding::Events, events));
        std::iter::once((Encoding::Frames, &self.frames)).chain(events)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut SpaceLog> {
        std::iter::once(&mut self.frames).chain(self.events.as_deref_mut())
    }

    /// Bytes of memory that they hold.
    pub(super) fn held(&self) -> usize {
        self.frames.held() + self.events.as_ref().map_or(0, |events| events.held())
    }

    /// The most bytes that one of them retains.
    pub(super) fn retained(&self) -> u64 {
        let frames = self.frames.retained();
        self.events.as_ref().map_or(frames, |events| frames.max(events.retained()))
    }

    /// Appends one frame of at most `bound` bytes, written in place by `write`, which is found by
    /// positions if it is a `chat`. Says how many bytes of memory that took anew.
    pub(super) fn append(
        &mut self,
        now: MonoMs,
        chat: Option<ChatFrame>,
        bound: usize,
        write: impl FnOnce(&mut BytesMut) -> usize,
    ) -> usize {
        let held = self.frames.held();
        let offset = self.frames.append(now, bound, write);
        let grown = self.frames.held() - held;
        if let Some(ChatFrame { id, record }) = chat {
            self.frames.index(id, offset, record);
        }
        let Some(events) = &mut self.events else { return grown };
        let held = events.held();
        let (frame, _) = self.frames.slices(offset, self.frames.end());
        events.append_event(now, chat, frame);
        grown + events.held() - held
    }

    /// A member comes that reads this encoding. Says how many bytes of memory that took anew.
    pub(super) fn reader_came(&mut self, encoding: Encoding) -> usize {
        if encoding == Encoding::Frames {
            return 0;
        }
        self.readers += 1;
        if self.events.is_some() {
            return 0;
        }
        self.events.insert(Box::new(self.frames.as_events())).held()
    }

    /// A member that reads this encoding goes. Says how many bytes of memory that has freed.
    pub(super) fn reader_left(&mut self, encoding: Encoding) -> usize {
        if encoding == Encoding::Frames {
            return 0;
        }
        self.readers -= 1;
        let freed = self.events.take_if(|_| self.readers == 0);
        freed.map_or(0, |events| events.held())
    }

    /// Frees all that they hold; there is no chat in them. Says how many bytes that were.
    pub(super) fn clear(&mut self) -> usize {
        self.all_mut().map(SpaceLog::clear).sum()
    }

    /// Frees what is older than `window` ms of all of them. Says how many bytes of memory that
    /// were.
    pub(super) fn expire(&mut self, now: MonoMs, window: u64) -> usize {
        self.all_mut().map(|log| log.expire(log.end(), now, window)).sum()
    }

    /// Frees whole segments below `offset` of one of them, as long as `keep` bytes stay. Says how
    /// many bytes of memory that were.
    pub(super) fn trim(&mut self, encoding: Encoding, offset: u64, keep: u64) -> usize {
        let log = match (encoding, &mut self.events) {
            (Encoding::Events, Some(events)) => events,
            _ => &mut self.frames,
        };
        log.trim(offset, keep)
    }

    /// The newest chat, or the floor while there was none.
    pub(super) fn newest(&self) -> Id {
        self.frames.newest()
    }

    /// Whether they have a chat that a position may be before.
    pub(super) fn has_chats(&self) -> bool {
        self.all().any(|(_, log)| log.has_chats())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::position::Whereabouts;
    use crate::wire::server_message::{self, Chat};
    use crate::wire::{SpaceId, UserId};

    const AT: &[u8; 32] = b"2026-01-02T03:04:05.678901-03:00";

    fn say(logs: &mut Logs, id: u128, content: &str) {
        let (id, space, user, image) = (Id(id), SpaceId(1), UserId(1), "");
        let chat = Chat { id, space, user, username: "Ana", content, image };
        let frame = ChatFrame { id, record: 1 };
        logs.append(MonoMs(5), Some(frame), chat.frame_bytes_max(), |out| {
            server_message::chat(out, &chat, AT)
        });
    }

    fn read(log: &SpaceLog, mut from: u64) -> Vec<u8> {
        let mut all = Vec::new();
        while from < log.end() {
            let (first, second) = log.slices(from, log.end());
            all.extend_from_slice(first);
            all.extend_from_slice(second);
            from += (first.len() + second.len()) as u64;
        }
        all
    }

    #[test]
    fn who_comes_first_for_events_finds_all_that_is_kept_as_if_there_had_been_readers_before() {
        let mut logs = Logs::new(Floor { id: Id(10), record: 0 });
        let mut always = Logs::new(Floor { id: Id(10), record: 0 });
        always.reader_came(Encoding::Events);
        for id in 11..60 {
            let content = "x".repeat(id as usize * 40);
            for logs in [&mut logs, &mut always] {
                let bound = 400;
                logs.append(MonoMs(5), None, bound, |out| {
                    server_message::leave(out, SpaceId(1), UserId(id as i32), AT)
                });
                say(logs, id, &content);
            }
        }
        let frames = logs.held();
        logs.reader_came(Encoding::Events);
        assert!(logs.held() > frames);
        let (log, other) = (logs.of(Encoding::Events), always.of(Encoding::Events));
        assert_eq!(read(log, 0), read(other, 0));
        for id in 10..=60 {
            let (found, expected) = (log.find(Id(id)), other.find(Id(id)));
            assert_eq!(found, expected, "{id}");
            if let Whereabouts::At { offset, .. } = found
                && offset < log.end()
            {
                let next = read(log, offset);
                assert!(next.starts_with(b"event: ") || next.starts_with(b"id: "), "{id}");
            }
        }
        logs.reader_came(Encoding::Events);
        logs.reader_left(Encoding::Events);
        assert_eq!(logs.all().count(), 2, "somebody still reads");
        logs.reader_left(Encoding::Events);
        assert_eq!((logs.all().count(), logs.held()), (1, frames), "gone with its last reader");
    }
}
