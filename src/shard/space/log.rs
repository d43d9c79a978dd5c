//! The space log: the bytes of a space's frames, appended once and read by every member from its
//! own cursor. Offsets are absolute and never used twice, so a cursor is one number.
//!
//! Owns contiguous segments and the index of chat ids. It knows no members: who still needs
//! what is the space's business, which says up to where it may be trimmed.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::limits::{LOG_SEGMENT_BYTES_MAX, LOG_SEGMENT_BYTES_MIN};
use crate::shard::member::Queue;
use crate::shard::position::{Floor, Whereabouts};
use crate::wire::time::MonoMs;
use crate::wire::{Encoding, Id};

use super::ChatFrame;

mod secured;

#[derive(Debug)]
struct Segment {
    base: u64,
    bytes: BytesMut,
    appended_at: MonoMs,
}

impl Segment {
    fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// The bytes from `from`, which is in it or its end, up to `to` or its own end.
    fn slice(&self, from: u64, to: u64) -> &[u8] {
        let to = to.min(self.end()).max(from);
        &self.bytes[(from - self.base) as usize..(to - self.base) as usize]
    }
}

/// A chat frame of the log.
#[derive(Clone, Copy, Debug)]
struct Indexed {
    id: Id,
    offset: u64,
    record: u64,
}

const _: () = assert!(size_of::<Indexed>() == 32, "one for each retained chat");

/// The log of one space, in one encoding; a *frame* here is a message in that.
#[derive(Debug)]
pub(super) struct SpaceLog {
    encoding: Encoding,
    segments: VecDeque<Segment>,
    end: u64,
    /// Where the first frame begins that waits for the store, or the end while none does: up to
    /// here it may be sent.
    secured: u64,
    segment_bytes: u32,
    /// Each retained chat frame, ascending in all.
    index: VecDeque<Indexed>,
    newest: Id,
    floor: Floor,
    held: usize,
}

impl SpaceLog {
    /// An empty log. `floor` is at or above everything that this space may have seen before.
    pub(super) fn new(encoding: Encoding, floor: Floor) -> SpaceLog {
        SpaceLog {
            encoding,
            segments: VecDeque::new(),
            end: 0,
            secured: 0,
            segment_bytes: LOG_SEGMENT_BYTES_MIN,
            index: VecDeque::new(),
            newest: floor.id,
            floor,
            held: 0,
        }
    }

    /// The lowest offset retained.
    pub(super) fn start(&self) -> u64 {
        self.segments.front().map_or(self.end, |segment| segment.base)
    }

    /// Where the next frame will begin.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Bytes of frames retained.
    pub(super) fn retained(&self) -> u64 {
        self.end - self.start()
    }

    /// Bytes of memory held by segments.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// The position of the space: its newest chat, or the floor while it has had none.
    pub(super) fn newest(&self) -> Id {
        self.newest
    }

    /// Appends one frame of at most `bound` bytes, written in place by `write`. Returns where it
    /// begins.
    pub(super) fn append(
        &mut self,
        now: MonoMs,
        bound: usize,
        write: impl FnOnce(&mut BytesMut) -> usize,
    ) -> u64 {
        let fits = |segment: &Segment| segment.bytes.capacity() - segment.bytes.len() >= bound;
        if !self.segments.back().is_some_and(fits) {
            self.open_segment(now, bound);
        }
        let segment = self.segments.back_mut().expect("one was opened");
        let begin = segment.bytes.len();
        let written = write(&mut segment.bytes);
        assert!(written <= bound, "a frame keeps its bound");
        debug_assert_eq!(begin + written, segment.bytes.len());
        segment.appended_at = now;
        let offset = self.end;
        self.end += written as u64;
        // What comes behind a frame that waits does so too.
        if self.secured == offset {
            self.secured = self.end;
        }
        offset
    }

    /// Notes that the frame at `offset` is this chat.
    pub(super) fn index(&mut self, offset: u64, chat: ChatFrame) {
        let ChatFrame { id, record, waits } = chat;
        debug_assert!(id > self.newest, "ids ascend");
        self.newest = id;
        self.index.push_back(Indexed { id, offset, record });
        if waits {
            self.wait_from(offset);
        }
    }

    /// Appends a text frame as `write` has it in this encoding, which is found by positions if it
    /// is a `chat`.
    pub(super) fn append_as(
        &mut self,
        now: MonoMs,
        chat: Option<ChatFrame>,
        frame: &[u8],
        write: impl FnOnce(&mut BytesMut, &[u8]),
    ) {
        let bound = frame.len() + self.encoding.bytes_more();
        let offset = self.append(now, bound, |out| {
            let before = out.len();
            write(out, frame);
            out.len() - before
        });
        if let Some(chat) = chat {
            self.index(offset, chat);
        }
    }

    /// All that a log of frames holds, in another encoding. Nothing is compressed for that: one
    /// member that comes is to cost no more than a copy.
    pub(super) fn in_encoding(&self, encoding: Encoding) -> SpaceLog {
        debug_assert_eq!(self.encoding, Encoding::Frames);
        let mut other = SpaceLog::new(encoding, self.floor);
        let mut chats = self.index.iter().peekable();
        for segment in &self.segments {
            let mut at = segment.base;
            while at < segment.end() {
                let end = at + self.frame_bytes(at);
                let chat = chats.next_if(|chat| chat.offset == at);
                let waits = at >= self.secured;
                let chat = chat.map(|&Indexed { id, record, .. }| ChatFrame { id, record, waits });
                let (appended_at, frame) = (segment.appended_at, segment.slice(at, end));
                other.append_as(appended_at, chat, frame, |out, it| encoding.add_frames(out, it));
                at = end;
            }
        }
        debug_assert_eq!((other.newest, chats.next().is_none()), (self.newest, true));
        other
    }

    fn open_segment(&mut self, now: MonoMs, bound: usize) {
        let capacity = bound.max(self.segment_bytes as usize);
        self.segment_bytes = (self.segment_bytes * 2).min(LOG_SEGMENT_BYTES_MAX);
        let bytes = BytesMut::with_capacity(capacity);
        self.held += bytes.capacity();
        self.segments.push_back(Segment { base: self.end, bytes, appended_at: now });
    }

    /// The bytes from `from` up to `to`: one piece, or two where they cross a segment's end; more
    /// than two segments take another call.
    #[inline]
    pub(super) fn slices(&self, from: u64, to: u64) -> (&[u8], &[u8]) {
        debug_assert!(self.start() <= from && from <= to && to <= self.end);
        // Nearly all cursors stand in the newest segment.
        match self.segments.back() {
            Some(newest) if from >= newest.base => (newest.slice(from, to), &[]),
            Some(_) => self.older_slices(from, to),
            None => (&[], &[]),
        }
    }

    /// As [`SpaceLog::slices`], from a place that is not in the newest segment.
    #[inline(never)]
    fn older_slices(&self, from: u64, to: u64) -> (&[u8], &[u8]) {
        // Most stand in the one before that.
        let before = self.segments.len().saturating_sub(2);
        let at = if self.segments[before].base <= from {
            before
        } else {
            self.segments.partition_point(|segment| segment.end() <= from)
        };
        let (first, second) = (&self.segments[at], &self.segments[at + 1]);
        (first.slice(from, to), second.slice(second.base, to))
    }

    /// Writes what is still sent from a queue's cursor on: all that is secured, if that is at most
    /// `max` bytes and the queue is live, or the rest of the frame that the cursor stands inside.
    /// Says up to where that is; `None`: the end of that frame lies too far away.
    pub(super) fn write_rest(
        &self,
        queue: &Queue,
        is_live: bool,
        max: u64,
        out: &mut BytesMut,
    ) -> Option<u64> {
        let mut from = queue.cursor();
        let secured = self.secured();
        let end = if is_live && secured - from <= max {
            secured
        } else if from >= queue.boundary() {
            from
        } else {
            // `boundary` is the end of a frame too; a member that resumes is sent nothing behind.
            let end = self.boundary_from(from).min(queue.boundary());
            Some(end).filter(|end| end - from <= max)?
        };
        while from < end {
            let (first, second) = self.slices(from, end);
            out.extend_from_slice(first);
            out.extend_from_slice(second);
            from += (first.len() + second.len()) as u64;
        }
        Some(end)
    }

    /// The lowest offset up to which a trim by size would free something: the end of the oldest
    /// segment, if the bytes behind it are still at least `keep`.
    pub(super) fn trimmable(&self, keep: u64) -> Option<u64> {
        let first = self.segments.front()?;
        (self.segments.len() > 1 && self.end - first.end() >= keep).then(|| first.end())
    }

    /// Where the log would begin if no member needed it: what stays beyond is `keep`'s.
    pub(super) fn kept_from(&self, keep: u64) -> u64 {
        let newest = self.segments.len().saturating_sub(1);
        let older = self.segments.iter().take(newest);
        let spare = older.take_while(|segment| self.end - segment.end() >= keep).last();
        spare.map_or(self.start(), Segment::end)
    }

    /// How many chats were appended from this offset on. Where some of them are trimmed already,
    /// those that are left speak for them.
    pub(super) fn chats_since(&self, offset: u64) -> f32 {
        let (start, end) = (self.start(), self.end);
        let from = self.index.partition_point(|known| known.offset < offset);
        let known = (self.index.len() - from) as f32;
        if offset >= start || end == start {
            return known;
        }
        known * ((end - offset) as f32 / (end - start) as f32)
    }

    /// Whether it has a chat that a position may be before.
    pub(super) fn has_chats(&self) -> bool {
        !self.index.is_empty()
    }

    /// Frees all that it holds; there is no chat in it. Says how many bytes that were.
    pub(super) fn clear(&mut self) -> usize {
        debug_assert!(!self.has_chats());
        self.segments.clear();
        self.segment_bytes = LOG_SEGMENT_BYTES_MIN;
        self.index = VecDeque::new();
        std::mem::take(&mut self.held)
    }

    /// Frees whole segments below `offset`, as long as `keep` bytes stay. Says how many
    /// bytes of memory that were.
    pub(super) fn trim(&mut self, offset: u64, keep: u64) -> usize {
        let held = self.held;
        while self.trimmable(keep).is_some_and(|end| end <= offset) {
            self.drop_first();
        }
        held - self.held
    }

    /// Frees whole segments of what is secured whose newest frame is older than `window` ms; the
    /// last one too. Says how many bytes of memory that were.
    pub(super) fn expire(&mut self, now: MonoMs, window: u64) -> usize {
        let (held, offset) = (self.held, self.secured());
        while let Some(first) = self.segments.front() {
            if first.end() > offset || now.since(first.appended_at) < window {
                break;
            }
            self.drop_first();
        }
        if self.segments.is_empty() {
            self.segment_bytes = LOG_SEGMENT_BYTES_MIN;
            // Their tables too: a space in which nobody has spoken holds nothing.
            (self.segments, self.index) = (VecDeque::new(), VecDeque::new());
        }
        held - self.held
    }

    fn drop_first(&mut self) {
        let Some(first) = self.segments.pop_front() else { return };
        self.held -= first.bytes.capacity();
        let start = self.start();
        while let Some(&Indexed { id, offset, record }) = self.index.front()
            && offset < start
        {
            self.floor = Floor { id, record };
            self.index.pop_front();
        }
    }

    /// Where the frames behind the chat of `id` begin.
    pub(super) fn find(&self, id: Id) -> Whereabouts {
        if id > self.newest {
            return Whereabouts::Ahead;
        }
        if id < self.floor.id {
            let (offset, chats) = (self.start(), self.index.len());
            return Whereabouts::Trimmed { offset, floor: self.floor, chats };
        }
        let next = self.index.partition_point(|known| known.id <= id);
        let chats = self.index.len() - next;
        // Behind the chat itself, so that the joins and leaves up to the next one come too.
        let offset = match next.checked_sub(1).map(|at| self.index[at]) {
            Some(known) if known.id == id => known.offset + self.frame_bytes(known.offset),
            _ => self.index.get(next).map_or(self.end, |known| known.offset),
        };
        Whereabouts::At { offset, chats }
    }

    /// The lowest frame's begin at or above `offset` that the log can tell: that of a chat, or
    /// the end.
    fn boundary_from(&self, offset: u64) -> u64 {
        let next = self.index.partition_point(|known| known.offset < offset);
        self.index.get(next).map_or(self.end, |known| known.offset)
    }

    /// The length of the frame that begins at `offset`.
    fn frame_bytes(&self, offset: u64) -> u64 {
        let (frame, _) = self.slices(offset, self.end);
        self.encoding.message_bytes(frame) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame_writer::FrameWriter;
    use proptest::prelude::*;

    fn log_above(id: u128) -> SpaceLog {
        SpaceLog::new(Encoding::Frames, Floor { id: Id(id), record: 3 })
    }

    fn append(log: &mut SpaceLog, id: u128, text_bytes: usize) -> u64 {
        let text = "x".repeat(text_bytes);
        let offset = log.append(MonoMs(id as u64), text_bytes + 12, |out| {
            let mut frame = FrameWriter::begin(out);
            frame.raw(&text);
            frame.end()
        });
        log.index(offset, ChatFrame { id: Id(id), record: id as u64, waits: false });
        offset
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
    fn a_position_is_found_behind_its_chat_or_said_to_be_trimmed_or_ahead() {
        let mut log = log_above(10);
        assert_eq!(log.find(Id(10)), Whereabouts::At { offset: 0, chats: 0 });
        assert_eq!(
            log.find(Id(9)),
            Whereabouts::Trimmed { offset: 0, floor: Floor { id: Id(10), record: 3 }, chats: 0 }
        );
        let second = append(&mut log, 11, 10) + 12;
        append(&mut log, 13, 10);
        assert_eq!(log.find(Id(10)), Whereabouts::At { offset: 0, chats: 2 });
        assert_eq!(log.find(Id(11)), Whereabouts::At { offset: second, chats: 1 });
        assert_eq!(log.find(Id(12)), Whereabouts::At { offset: second, chats: 1 });
        assert_eq!(log.find(Id(13)), Whereabouts::At { offset: log.end(), chats: 0 });
        assert_eq!(log.find(Id(14)), Whereabouts::Ahead);
    }

    #[test]
    fn an_expired_log_holds_no_memory_and_knows_its_floor() {
        let mut log = log_above(0);
        for id in 1..100 {
            append(&mut log, id, 300);
        }
        assert!(log.held() > 0);
        assert!(log.expire(MonoMs(10_000), 300) > 0);
        assert_eq!((log.held(), log.retained()), (0, 0));
        assert_eq!((log.segments.capacity(), log.index.capacity()), (0, 0), "nor tables for it");
        assert_eq!(
            log.find(Id(98)),
            Whereabouts::Trimmed {
                offset: log.end(),
                floor: Floor { id: Id(99), record: 99 },
                chats: 0
            }
        );
        assert_eq!(log.find(Id(99)), Whereabouts::At { offset: log.end(), chats: 0 });
    }

    proptest! {
        #[test]
        fn every_retained_byte_is_read_back_from_any_cursor(
            frames in proptest::collection::vec(1usize..3000, 1..60),
            keep in 0u64..40_000, cut in 0u64..100_000, from in 0.0f64..1.0,
        ) {
            let mut log = log_above(0);
            let mut model = Vec::new();
            for (at, bytes) in frames.iter().enumerate() {
                let offset = append(&mut log, at as u128 + 1, *bytes);
                prop_assert_eq!(offset, model.len() as u64);
                model.extend(read(&log, offset));
                let kept_from = log.kept_from(keep);
                log.trim(cut.min(log.end()), keep);
                prop_assert!(log.start() <= kept_from);
                prop_assert!(cut < log.end() || log.start() == kept_from);
                prop_assert!(log.end() - log.start() >= keep.min(log.end()));
            }
            prop_assert!(log.start() <= cut);
            let start = log.start();
            let from = start + ((log.end() - start) as f64 * from) as u64;
            prop_assert_eq!(read(&log, from), &model[from as usize..]);
            prop_assert!(log.boundary_from(from) >= from);
        }
    }
}
