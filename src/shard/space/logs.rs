//! The logs of a space: its frames, and the same in each other encoding while somebody reads it so.
//! What is appended goes to all of them, each message encoded once for all who read it so.
//!
//! Another log is made when its first reader comes, of what the log of frames holds, and goes with
//! its last: a reader that comes back finds what it missed in memory as others do.

use bytes::BytesMut;

use super::ChatFrame;
use super::log::SpaceLog;
use crate::shard::position::{Floor, Struck};
use crate::wire::deflate::Deflater;
use crate::wire::event_stream;
use crate::wire::time::MonoMs;
use crate::wire::{Encoding, Id};

/// The logs of one space.
#[derive(Debug)]
pub(super) struct Logs {
    frames: SpaceLog,
    events: Option<Box<Beside>>,
    deflated: Option<Box<Beside>>,
}

/// A log in another encoding.
#[derive(Debug)]
struct Beside {
    log: SpaceLog,
    /// How many read it.
    readers: u32,
}

impl Logs {
    /// Empty ones. `floor` is at or above everything that their space may have seen before.
    pub(super) fn new(floor: Floor) -> Logs {
        Logs { frames: SpaceLog::new(Encoding::Frames, floor), events: None, deflated: None }
    }

    /// The log that a member of this encoding reads.
    #[inline]
    pub(super) fn of(&self, encoding: Encoding) -> &SpaceLog {
        // Nobody reads so where there is no log of it.
        self.get(encoding).unwrap_or(&self.frames)
    }

    /// The log of this encoding, where there is one.
    #[inline]
    pub(super) fn get(&self, encoding: Encoding) -> Option<&SpaceLog> {
        match encoding {
            Encoding::Frames => Some(&self.frames),
            Encoding::Events => self.events.as_ref().map(|beside| &beside.log),
            Encoding::Deflated => self.deflated.as_ref().map(|beside| &beside.log),
        }
    }

    /// Where the log of another encoding stands, if it is one.
    fn place(&mut self, encoding: Encoding) -> Option<&mut Option<Box<Beside>>> {
        match encoding {
            Encoding::Frames => None,
            Encoding::Events => Some(&mut self.events),
            Encoding::Deflated => Some(&mut self.deflated),
        }
    }

    /// The log that is always there.
    #[inline]
    pub(super) fn main(&self) -> &SpaceLog {
        &self.frames
    }

    /// The logs that there are.
    pub(super) fn all(&self) -> impl Iterator<Item = (Encoding, &SpaceLog)> {
        Encoding::ALL.into_iter().filter_map(|encoding| Some((encoding, self.get(encoding)?)))
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut SpaceLog> {
        let beside = [&mut self.events, &mut self.deflated];
        let beside = beside.into_iter().flatten().map(|beside| &mut beside.log);
        std::iter::once(&mut self.frames).chain(beside)
    }

    /// Bytes of memory that they hold.
    pub(super) fn held(&self) -> usize {
        let beside = [&self.events, &self.deflated].into_iter().flatten();
        self.frames.held() + beside.map(|beside| beside.log.held()).sum::<usize>()
    }

    /// The most bytes that one of them retains.
    pub(super) fn retained(&self) -> u64 {
        let frames = self.frames.retained();
        if self.events.is_none() && self.deflated.is_none() {
            return frames;
        }
        self.all().fold(frames, |most, (_, log)| most.max(log.retained()))
    }

    /// Appends one frame of at most `bound` bytes, written in place by `write`, which is found by
    /// positions if it is a `chat`. Says how many bytes of memory that took anew.
    pub(super) fn append(
        &mut self,
        (now, deflater): (MonoMs, &mut Deflater),
        chat: Option<ChatFrame>,
        bound: usize,
        write: impl FnOnce(&mut BytesMut) -> usize,
    ) -> usize {
        let held = self.frames.held();
        let offset = self.frames.append(now, bound, write);
        let grown = self.frames.held() - held;
        if let Some(chat) = chat {
            self.frames.index(offset, chat);
        }
        if self.events.is_none() && self.deflated.is_none() {
            return grown;
        }
        grown + self.append_beside(offset, chat, (now, deflater))
    }

    /// Appends the newest frame, which begins at `offset`, to the logs that there are beside.
    fn append_beside(
        &mut self,
        offset: u64,
        chat: Option<ChatFrame>,
        (now, deflater): (MonoMs, &mut Deflater),
    ) -> usize {
        let (frame, _) = self.frames.slices(offset, self.frames.end());
        let mut grown = 0;
        if let Some(Beside { log, .. }) = self.events.as_deref_mut() {
            let held = log.held();
            log.append_as(now, chat, frame, event_stream::events);
            grown += log.held() - held;
        }
        if let Some(Beside { log, .. }) = self.deflated.as_deref_mut() {
            let held = log.held();
            log.append_as(now, chat, frame, |out, frame| deflater.frames(out, frame));
            grown += log.held() - held;
        }
        grown
    }

    /// A member comes that reads this encoding. Says how many bytes of memory that took anew.
    pub(super) fn reader_came(&mut self, encoding: Encoding) -> usize {
        if encoding == Encoding::Frames {
            return 0;
        }
        let made = self.get(encoding).is_none().then(|| self.frames.in_encoding(encoding));
        let held = made.as_ref().map_or(0, SpaceLog::held);
        let Some(place) = self.place(encoding) else { return 0 };
        if let Some(log) = made {
            *place = Some(Box::new(Beside { log, readers: 0 }));
        }
        if let Some(beside) = place {
            beside.readers += 1;
        }
        held
    }

    /// A member that reads this encoding goes. Says how many bytes of memory that has freed.
    pub(super) fn reader_left(&mut self, encoding: Encoding) -> usize {
        let Some(place) = self.place(encoding) else { return 0 };
        if let Some(beside) = place {
            beside.readers -= 1;
        }
        let freed = place.take_if(|beside| beside.readers == 0);
        freed.map_or(0, |beside| beside.log.held())
    }

    /// Frees all that they hold; there is no chat in them. Says how many bytes that were.
    pub(super) fn clear(&mut self) -> usize {
        self.all_mut().map(SpaceLog::clear).sum()
    }

    /// Frees what is older than `window` ms of all of them. Says how many bytes of memory that
    /// were.
    pub(super) fn expire(&mut self, now: MonoMs, window: u64) -> usize {
        self.all_mut().map(|log| log.expire(now, window)).sum()
    }

    /// Frees whole segments below `offset` of one of them, as long as `keep` bytes stay. Says how
    /// many bytes of memory that were.
    pub(super) fn trim(&mut self, encoding: Encoding, offset: u64, keep: u64) -> usize {
        match self.place(encoding) {
            None => self.frames.trim(offset, keep),
            Some(place) => place.as_mut().map_or(0, |beside| beside.log.trim(offset, keep)),
        }
    }

    /// The store has committed the records up to this one.
    pub(super) fn secure(&mut self, committed: u64) {
        self.all_mut().for_each(|log| log.secure(committed));
    }

    /// Takes out a chat that waits and that the store will never hold. Says where it stood in each
    /// of them.
    pub(super) fn strike(
        &mut self,
        id: Id,
        committed: u64,
    ) -> [Option<Struck>; Encoding::ALL.len()] {
        Encoding::ALL.map(|encoding| match self.place(encoding) {
            None => self.frames.strike(id, committed),
            Some(place) => place.as_mut()?.log.strike(id, committed),
        })
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
        let frame = ChatFrame { id, record: 1, waits: false };
        let mut deflater = Deflater::new(6);
        logs.append((MonoMs(5), &mut deflater), Some(frame), chat.frame_bytes_max(), |out| {
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
    fn a_chat_that_is_struck_is_blank_in_all_logs_and_none_in_those_made_later() {
        let mut logs = Logs::new(Floor { id: Id(10), record: 0 });
        logs.reader_came(Encoding::Deflated);
        let mut deflater = Deflater::new(6);
        for id in 11..14 {
            let content = "x".repeat(200);
            let chat = Chat {
                id: Id(id),
                space: SpaceId(1),
                user: UserId(1),
                username: "Ana",
                content: &content,
                image: "",
            };
            let frame = ChatFrame { id: Id(id), record: id as u64, waits: true };
            logs.append((MonoMs(5), &mut deflater), Some(frame), chat.frame_bytes_max(), |out| {
                server_message::chat(out, &chat, AT)
            });
        }
        logs.secure(11);
        assert_eq!((logs.main().newest_secured(), logs.newest()), (Id(11), Id(13)));
        let end = logs.main().end();
        let struck = logs.strike(Id(12), 11).map(|struck| struck.map(|it| (it.id, it.before)));
        let both = Some((Id(12), Id(11)));
        assert_eq!((struck[0], struck[1], struck[2]), (both, None, both));
        assert_eq!(logs.main().end(), end, "all else stands where it stood");
        logs.reader_came(Encoding::Events);
        for (encoding, log) in logs.all() {
            for known in [11, 12] {
                let found = log.find(Id(known));
                assert!(
                    matches!(found, Whereabouts::At { chats: 1, .. }),
                    "{encoding:?} {found:?}"
                );
            }
            assert!(log.secured() < log.end(), "{encoding:?}");
            let text = read(log, 0);
            let has = |id: u128| text.windows(26).any(|it| it == Id(id).text());
            let is_plain = encoding != Encoding::Deflated;
            assert_eq!((has(11), has(12), has(13)), (is_plain, false, is_plain), "{encoding:?}");
        }
        logs.strike(Id(13), 11);
        assert_eq!(logs.newest(), Id(11));
        assert!(logs.all().all(|(_, log)| log.is_secured()), "nothing waits for what is none");
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
                logs.append((MonoMs(5), &mut Deflater::new(6)), None, bound, |out| {
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

    #[test]
    fn who_comes_first_for_compressed_frames_finds_plain_ones_and_compressed_ones_from_then_on() {
        let mut logs = Logs::new(Floor { id: Id(10), record: 0 });
        let text = "hola que tal ".repeat(20);
        for id in 11..60 {
            say(&mut logs, id, &text);
        }
        let plain = logs.held();
        logs.reader_came(Encoding::Deflated);
        let (frames, log) = (logs.main(), logs.of(Encoding::Deflated));
        assert_eq!(read(log, 0), read(frames, 0), "a copy");
        let from = log.end();
        assert_eq!(log.find(Id(59)), Whereabouts::At { offset: from, chats: 0 });
        say(&mut logs, 60, &text);
        say(&mut logs, 61, &text);
        let (frames, log) = (logs.main(), logs.of(Encoding::Deflated));
        let (long, short) = (read(frames, from), read(log, from));
        assert_eq!((short[0], long[0]), (0xC1, 0x81));
        assert!(short.len() * 2 < long.len(), "{} of {}", short.len(), long.len());
        let Whereabouts::At { offset, chats: 1 } = log.find(Id(60)) else { panic!("not found") };
        assert_eq!(offset, from + Encoding::Deflated.message_bytes(&short) as u64);
        logs.reader_left(Encoding::Deflated);
        assert_eq!((logs.all().count(), logs.of(Encoding::Deflated).end()), (1, logs.main().end()));
        assert!(logs.held() <= plain + (64 << 10));
    }
}
