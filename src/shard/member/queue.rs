//! A member's send queue: a cursor into its space's log, and the private frames that are meant for
//! it alone. Keeps the gauge of private bytes.

use bytes::{Buf, BytesMut};

use crate::metrics::{Counts, Metric};
use crate::wire::frame_writer;

/// What a member is to be sent.
#[derive(Default, Debug)]
pub(in crate::shard) struct Queue {
    /// What it has been sent of the log.
    cursor: u64,
    /// Where the last send was to end; below it, the cursor may stand inside a frame.
    boundary: u64,
    /// Frames meant for it alone; freed when sent.
    private: Option<Box<Private>>,
}

impl Queue {
    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Where the last send was to end.
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

    /// A number of bytes of the log have been sent.
    pub(crate) fn sent_log(&mut self, bytes: usize) {
        self.cursor += bytes as u64;
    }

    /// Whether the cursor stands between two frames.
    pub(crate) fn at_boundary(&self) -> bool {
        self.cursor >= self.boundary
    }

    /// Whether a part of a frame, of the log or private, may have been sent.
    pub(crate) fn is_cut(&self) -> bool {
        !self.at_boundary() || self.private.as_ref().is_some_and(|private| private.is_cut)
    }

    /// Private frames that wait.
    pub(crate) fn private(&self) -> &[u8] {
        self.private.as_ref().map_or(&[], |private| &private.bytes)
    }

    /// Bytes of private frames that wait.
    pub(crate) fn private_bytes(&self) -> usize {
        self.private().len()
    }

    /// Adds private frames.
    pub(crate) fn push(&mut self, counts: &mut Counts, write: impl FnOnce(&mut Private)) {
        let private = self.private.get_or_insert_default();
        let before = private.bytes.len();
        write(private);
        // A newer pong may have replaced a longer one.
        let grown = (private.bytes.len() as u64).wrapping_sub(before as u64);
        counts.add(Metric::PrivateBytes, grown);
    }

    /// A number of private bytes have been sent.
    pub(crate) fn sent_private(&mut self, counts: &mut Counts, bytes: usize) {
        let Some(private) = &mut self.private else { return };
        private.sent(bytes);
        counts.sub(Metric::PrivateBytes, bytes as u64);
        if private.bytes.is_empty() {
            self.private = None;
        }
    }

    /// Puts these bytes in the place of all private frames.
    pub(crate) fn replace(&mut self, counts: &mut Counts, last: Option<BytesMut>) {
        counts.sub(Metric::PrivateBytes, self.private_bytes() as u64);
        let private = |bytes| Box::new(Private { bytes, ..Private::default() });
        self.private = last.map(private);
        counts.add(Metric::PrivateBytes, self.private_bytes() as u64);
    }
}

/// Frames meant for one member alone, in order.
#[derive(Default, Debug)]
pub(in crate::shard) struct Private {
    bytes: BytesMut,
    /// Where the last frame begins, if it is a pong that nothing has been sent of.
    newest_pong: Option<usize>,
    /// Something of the first frame was sent, perhaps up to its middle.
    is_cut: bool,
}

impl Private {
    /// Adds a frame.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut BytesMut)) {
        self.newest_pong = None;
        write(&mut self.bytes);
    }

    /// Adds the answer to a ping; the newest replaces one that waits (RFC 6455 5.5.3).
    pub(crate) fn push_pong(&mut self, payload: &[u8]) {
        if let Some(at) = self.newest_pong {
            self.bytes.truncate(at);
        }
        let at = self.bytes.len();
        frame_writer::pong(&mut self.bytes, payload);
        self.newest_pong = Some(at);
    }

    fn sent(&mut self, bytes: usize) {
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
        let (mut queue, mut counts) = (Queue::default(), Counts::default());
        queue.push(&mut counts, |private| private.push(frame_writer::ping));
        queue.push(&mut counts, |private| private.push_pong(b"older"));
        queue.push(&mut counts, |private| private.push_pong(b"new"));
        assert_eq!(queue.private(), b"\x89\x00\x8a\x03new");
        queue.sent_private(&mut counts, 3);
        queue.push(&mut counts, |private| private.push_pong(b"x"));
        assert_eq!(queue.private(), b"\x03new\x8a\x01x");
        assert_eq!(counts.get(Metric::PrivateBytes), 7);
    }
}
