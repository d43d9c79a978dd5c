//! A member's send queue: a cursor into its space's log, and the private frames that are meant for
//! it alone. Keeps the gauge of private bytes.
//!
//! A private frame goes out between two frames of the log, and there are two sorts. What is due at
//! the cursor (a welcome, a page, a count) goes before anything more of the log. An *answer* goes
//! behind everything that the log had when it was given, so that who asks something hears first
//! what was said before that (docs/WIRE.md, A2).

use bytes::{Buf, BytesMut};

use crate::metrics::{Counts, Metric};

/// What a member is to be sent.
#[derive(Default, Debug)]
pub(in crate::shard) struct Queue {
    /// What it has been sent of the log.
    cursor: u64,
    /// Where the last send of the log was to end; below it, the cursor may stand inside a frame.
    boundary: u64,
    /// Frames meant for it alone; freed when sent.
    private: Option<Box<Private>>,
}

/// Lengths of what one send was made of: frames due at the cursor, the log, answers.
#[derive(Clone, Copy, Default, Debug)]
pub(in crate::shard) struct Offered {
    pub head: usize,
    pub log: usize,
    pub tail: usize,
}

/// Frames meant for one member alone.
#[derive(Default, Debug)]
struct Private {
    /// Frames that are due at the cursor, in order.
    now: BytesMut,
    /// Bytes at the begin of `now` that are the answer to the handshake.
    opening: usize,
    answers: Answers,
    /// What was sent in part.
    cut: Cut,
}

/// A frame that was sent up to its middle, perhaps; of the log, the cursor knows.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
enum Cut {
    #[default]
    None,
    Now,
    Answers,
}

/// Answers in two groups: the first has its place in the log, the rest has that of the newest. So
/// those that wait do not wait longer for each one that comes.
#[derive(Default, Debug)]
struct Answers {
    bytes: BytesMut,
    /// Bytes of the first group, and up to where the log is sent before it.
    first: (usize, u64),
    /// Up to where the log is sent before the rest.
    rest_at: u64,
}

impl Queue {
    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Where the last send of the log was to end.
    pub(crate) fn boundary(&self) -> u64 {
        self.boundary
    }

    /// Puts the cursor between two frames of the log.
    pub(crate) fn place(&mut self, offset: u64) {
        (self.cursor, self.boundary) = (offset, offset);
    }

    /// Up to where the log is to be sent now: the end of a frame.
    pub(crate) fn aim(&mut self, boundary: u64) {
        self.boundary = boundary;
    }

    /// A number of bytes of the log have been sent, and nothing else.
    pub(crate) fn sent_log(&mut self, bytes: usize) {
        self.cursor += bytes as u64;
    }

    /// Whether nothing is sent in part, so that anything may come next.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.at_boundary() && self.cut() == Cut::None
    }

    /// Whether a close frame may be the next that is sent: not within a frame, nor before the 101.
    pub(crate) fn can_be_interrupted(&self) -> bool {
        self.is_between_frames() && self.opening().is_empty()
    }

    fn at_boundary(&self) -> bool {
        self.cursor >= self.boundary
    }

    fn cut(&self) -> Cut {
        self.private.as_ref().map_or(Cut::None, |private| private.cut)
    }

    /// Whether a part of a frame, of the log or private, may have been sent.
    pub(crate) fn is_cut(&self) -> bool {
        !self.is_between_frames()
    }

    /// Whether there is no private frame: the sweep's usual case.
    pub(crate) fn has_log_only(&self) -> bool {
        self.private.is_none()
    }

    /// Bytes of private frames that wait.
    pub(crate) fn private_bytes(&self) -> usize {
        self.private.as_ref().map_or(0, |private| private.len())
    }

    /// What the next send begins with, before the log: frames due at the cursor, unless the cursor
    /// may stand inside a frame of the log.
    pub(crate) fn head(&self, is_between_frames: bool) -> &[u8] {
        match &self.private {
            Some(private) if is_between_frames || private.cut == Cut::Now => &private.now,
            _ => &[],
        }
    }

    /// What the next send ends with: answers that are due once the log is sent up to `offset`.
    pub(crate) fn tail(&self, offset: u64) -> &[u8] {
        self.private.as_ref().map_or(&[], |private| private.answers.due(offset))
    }

    /// Whether an answer was sent in part, and has to be sent to its end before anything else.
    pub(crate) fn is_answer_cut(&self) -> bool {
        self.cut() == Cut::Answers
    }

    /// The answer to the handshake, if nothing of it was sent.
    pub(crate) fn opening(&self) -> &[u8] {
        let unsent = |private: &Private| private.cut == Cut::None;
        let private = self.private.as_deref().filter(|private| unsent(private));
        private.map_or(&[], |private| &private.now[..private.opening])
    }

    /// Begins with the answer to the handshake.
    pub(crate) fn open(&mut self, counts: &mut Counts, opening: BytesMut) {
        self.change(counts, |private| {
            private.opening = opening.len();
            private.now = opening;
        });
    }

    /// Adds a frame that goes before anything more of the log.
    pub(crate) fn push(&mut self, counts: &mut Counts, write: impl FnOnce(&mut BytesMut)) {
        self.change(counts, |private| write(&mut private.now));
    }

    /// Adds an answer, which goes behind the log up to `at`.
    pub(crate) fn answer(
        &mut self,
        counts: &mut Counts,
        at: u64,
        write: impl FnOnce(&mut BytesMut),
    ) {
        self.change(counts, |private| private.answers.push(at, write));
    }

    fn change(&mut self, counts: &mut Counts, change: impl FnOnce(&mut Private)) {
        let private = self.private.get_or_insert_default();
        let before = private.len();
        change(private);
        counts.add(Metric::PrivateBytes, (private.len() - before) as u64);
    }

    /// A number of bytes have been sent of what was offered.
    pub(crate) fn sent(&mut self, counts: &mut Counts, bytes: usize, offered: Offered) {
        let Offered { head, log, tail } = offered;
        let of_log = bytes.saturating_sub(head).min(log);
        self.cursor += of_log as u64;
        let Some(private) = &mut self.private else { return };
        let (of_head, of_tail) = (bytes.min(head), bytes.saturating_sub(head + log));
        private.now.advance(of_head);
        private.answers.sent(of_tail);
        private.note_cut((of_head, head), (of_tail, tail));
        counts.sub(Metric::PrivateBytes, (of_head + of_tail) as u64);
        if private.len() == 0 {
            self.private = None;
        }
    }

    /// Writes what is owed, as the sweep would send it: `rest` writes what the log has, and says up
    /// to where. Answers to what that does not reach are left out, and all that have not begun
    /// where nobody may be `answered`: that they never come means what it always does, that nobody
    /// knows.
    pub(crate) fn write_owed(
        &self,
        out: &mut BytesMut,
        answered: bool,
        rest: impl FnOnce(&mut BytesMut) -> Option<u64>,
    ) -> Option<()> {
        let cut = if self.is_answer_cut() { self.tail(self.cursor) } else { &[] };
        out.extend_from_slice(cut);
        let head = self.head(self.is_between_frames() || self.is_answer_cut());
        out.extend_from_slice(head);
        let reached = rest(out)?;
        if head.is_empty() {
            out.extend_from_slice(self.head(true));
        }
        if answered {
            out.extend_from_slice(&self.tail(reached)[cut.len()..]);
        }
        Some(())
    }

    /// Puts these bytes in the place of all private frames.
    pub(crate) fn replace(&mut self, counts: &mut Counts, last: Option<BytesMut>) {
        counts.sub(Metric::PrivateBytes, self.private_bytes() as u64);
        let private = |now| Box::new(Private { now, ..Private::default() });
        self.private = last.map(private);
        counts.add(Metric::PrivateBytes, self.private_bytes() as u64);
    }
}

impl Private {
    fn len(&self) -> usize {
        self.now.len() + self.answers.bytes.len()
    }

    /// These numbers of bytes were sent, of those that were offered.
    fn note_cut(&mut self, (of_head, head): (usize, usize), (of_tail, tail): (usize, usize)) {
        if of_head > 0 {
            self.opening = 0;
        }
        if of_head + of_tail > 0 {
            self.cut = match () {
                () if of_head < head => Cut::Now,
                () if of_tail > 0 && of_tail < tail => Cut::Answers,
                () => Cut::None,
            };
        }
    }
}

impl Answers {
    /// Those that are due once the log is sent up to `offset`.
    fn due(&self, offset: u64) -> &[u8] {
        let (first, first_at) = self.first;
        match () {
            () if offset < first_at => &[],
            () if offset < self.rest_at => &self.bytes[..first],
            () => &self.bytes,
        }
    }

    fn push(&mut self, at: u64, write: impl FnOnce(&mut BytesMut)) {
        let before = self.bytes.len();
        write(&mut self.bytes);
        let (first, first_at) = &mut self.first;
        if before == 0 {
            (*first_at, self.rest_at) = (at, at);
        }
        if before == *first && at == *first_at {
            *first = self.bytes.len();
        } else {
            self.rest_at = at;
        }
    }

    fn sent(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.bytes.advance(bytes);
        match self.first.0.checked_sub(bytes) {
            Some(left) if left > 0 => self.first.0 = left,
            _ => self.first = (self.bytes.len(), self.rest_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_wait_for_their_place_in_the_log_and_not_for_each_other() {
        let (mut queue, mut counts) = (Queue::default(), Counts::default());
        let text =
            |text: &'static str| move |out: &mut BytesMut| out.extend_from_slice(text.as_bytes());
        queue.answer(&mut counts, 10, text("a"));
        queue.answer(&mut counts, 10, text("b"));
        queue.answer(&mut counts, 20, text("c"));
        queue.answer(&mut counts, 30, text("d"));
        assert_eq!([queue.tail(9), queue.tail(10), queue.tail(29)], [&b""[..], b"ab", b"ab"]);
        assert_eq!(queue.tail(30), b"abcd");
        queue.push(&mut counts, text("now"));
        assert_eq!((queue.head(true), queue.head(false)), (&b"now"[..], &b""[..]));
        queue.aim(10);
        // One send: all that is due at the cursor, the log, half of the first answers.
        queue.sent(&mut counts, 14, Offered { head: 3, log: 10, tail: 2 });
        assert!(queue.is_answer_cut() && queue.is_cut());
        assert_eq!((queue.cursor(), queue.tail(10)), (10, &b"b"[..]));
        queue.answer(&mut counts, 40, text("e"));
        queue.sent(&mut counts, 1, Offered { tail: 1, ..Offered::default() });
        assert_eq!([queue.tail(39), queue.tail(40)], [&b""[..], b"cde"]);
        queue.sent(&mut counts, 3, Offered { tail: 3, ..Offered::default() });
        assert!(queue.has_log_only() && !queue.is_cut());
        assert_eq!(counts.get(Metric::PrivateBytes), 0);
    }
}
