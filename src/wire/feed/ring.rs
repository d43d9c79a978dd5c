//! The newest messages of a slot's feed, kept for nodes that have missed some.
//!
//! Owns their bytes, up to a bound. Whoever follows a slot keeps them, so that an owner by
//! take-over has those of the owner before it.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Anew, Feed, Place, Question, Stretch};
use crate::limits::{FEED_RING_BYTES_MAX, FEED_STRETCH_BYTES_MAX};

/// What a part of a stretch takes beside its bytes.
const PART_BYTES: usize = 4;

/// A message that is kept.
#[derive(Debug)]
struct Kept {
    place: Place,
    /// What its epoch goes on from, where that begins here.
    base: Option<Place>,
    bytes: Bytes,
}

/// The newest messages of one slot.
#[derive(Default, Debug)]
pub struct Ring {
    kept: VecDeque<Kept>,
    bytes: usize,
}

/// What a question is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// All that was missed, which may be nothing.
    Stretch,
    /// What was missed is no longer kept.
    Anew,
}

impl Ring {
    /// Keeps a message, which stands behind all those before it. `bytes` are all of it.
    pub fn push(&mut self, feed: &Feed<'_>, bytes: Bytes) {
        debug_assert_eq!(feed.bytes(), bytes);
        let place = feed.place;
        assert!(self.newest().is_none_or(|newest| newest < place), "a feed goes on");
        let base = feed.begin().and_then(|begin| begin.base);
        self.bytes += bytes.len() + PART_BYTES;
        self.kept.push_back(Kept { place, base, bytes });
        while self.bytes > FEED_RING_BYTES_MAX && self.kept.len() > 1 || self.is_too_many() {
            let Some(oldest) = self.kept.pop_front() else { return };
            self.bytes -= oldest.bytes.len() + PART_BYTES;
        }
    }

    /// A stretch counts its parts in 16 bits.
    fn is_too_many(&self) -> bool {
        self.kept.len() > usize::from(u16::MAX)
    }

    /// The newest message kept.
    pub fn newest(&self) -> Option<Place> {
        self.kept.back().map(|kept| kept.place)
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes the answer to a node's question into `out`: all that it has missed in one message, or
    /// that it is to begin anew.
    pub fn answer(&self, question: &Question, out: &mut Vec<u8>) -> Answer {
        let Question { slot, number, from, .. } = *question;
        let newest = self.newest().unwrap_or(from);
        let first = self.kept.partition_point(|kept| kept.place <= from);
        let missed = self.kept.range(first..);
        // An owner has kept the begin of its epoch, if nothing else.
        let is_kept = missed.clone().next().is_none_or(|next| goes_on(next, from));
        if self.kept.is_empty() || !is_kept {
            Anew { slot, number, epoch: newest.epoch }.append_to(out);
            return Answer::Anew;
        }
        let count = u16::try_from(missed.len()).expect("they are bounded");
        let before = out.len();
        Stretch::begin(out, question, newest, count);
        missed.for_each(|kept| Stretch::add(out, &kept.bytes));
        debug_assert!(out.len() - before <= FEED_STRETCH_BYTES_MAX);
        Answer::Stretch
    }
}

/// Whether a message is the next one for who has all up to `from`: the very next, or the begin of
/// an epoch that goes on from there or from before.
fn goes_on(next: &Kept, from: Place) -> bool {
    let Place { epoch, n } = next.place;
    if epoch == from.epoch {
        return from.n.checked_add(1) == Some(n);
    }
    next.base.is_some_and(|base| base.epoch == from.epoch && base.n <= from.n)
}
