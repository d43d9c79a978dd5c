//! What of a log is secured, so that it may be sent: all of it, or all before the first chat that
//! the store is still to commit.
//!
//! Frames behind that one wait too, whatever they are: a log is sent in its order. Of what waits
//! nobody has been sent a byte, so a chat that the store refuses is struck where it stands.

use super::{Indexed, SpaceLog};
use crate::shard::position::Struck;
use crate::wire::Id;

impl SpaceLog {
    /// Up to where it may be sent.
    #[inline]
    pub(in crate::shard::space) fn secured(&self) -> u64 {
        self.secured
    }

    /// Whether all of it may be sent.
    #[inline]
    pub(in crate::shard::space) fn is_secured(&self) -> bool {
        self.secured == self.end
    }

    /// The chat at `offset` waits, and whatever comes behind it.
    #[inline]
    pub(super) fn wait_from(&mut self, offset: u64) {
        self.secured = self.secured.min(offset);
    }

    /// The store has committed the records up to this one.
    pub(in crate::shard::space) fn secure(&mut self, committed: u64) {
        let first = self.index.partition_point(|known| known.record <= committed);
        let secured = self.first_waiting(first, committed);
        debug_assert!(secured >= self.secured, "what was stored stays so");
        self.secured = secured;
    }

    /// Where the first chat stands that waits, from the one of this number on, or the end. What was
    /// made elsewhere has the record of what stands before it, and waits for nothing itself.
    fn first_waiting(&self, from: usize, committed: u64) -> u64 {
        let mut before = self.record_before(from);
        let mut later = self.index.iter().skip(from);
        let waiting = later.find(|known| {
            let is_own = known.record > std::mem::replace(&mut before, known.record);
            is_own && known.record > committed
        });
        waiting.map_or(self.end, |known| known.offset)
    }

    /// The newest chat of what is secured, or the floor while there is none.
    pub(in crate::shard::space) fn newest_secured(&self) -> Id {
        if self.is_secured() {
            return self.newest;
        }
        let waiting = self.index.partition_point(|known| known.offset < self.secured);
        self.id_before(waiting)
    }

    /// The number of the record that its newest chat needs, or that all before it do.
    pub(in crate::shard::space) fn last_record(&self) -> u64 {
        self.record_before(self.index.len())
    }

    /// Takes out a chat that waits and that the store will never hold; it has the records up to
    /// `committed`. Nothing waits for that chat any more.
    pub(in crate::shard::space) fn strike(&mut self, id: Id, committed: u64) -> Option<Struck> {
        let at = self.index.binary_search_by_key(&id, |known| known.id).ok()?;
        let Indexed { offset, record, .. } = self.index[at];
        debug_assert!(offset >= self.secured, "nobody has been sent it");
        let bytes = self.frame_bytes(offset) as usize;
        let segment = self.segments.iter_mut().rev().find(|segment| segment.base <= offset)?;
        let begin = (offset - segment.base) as usize;
        self.encoding.blank(&mut segment.bytes[begin..begin + bytes]);
        self.index.remove(at);
        // What was made elsewhere and stands behind it needs what stands before it.
        let needed = self.record_before(at);
        let of_it = self.index.iter_mut().skip(at).take_while(|known| known.record == record);
        of_it.for_each(|known| known.record = needed);
        if self.secured == offset {
            self.secured = self.first_waiting(at, committed);
        }
        let before = self.id_before(at);
        if self.newest == id {
            self.newest = before;
        }
        Some(Struck { id, offset, before })
    }

    /// The record that the chat before the one of this number needs.
    fn record_before(&self, at: usize) -> u64 {
        at.checked_sub(1).map_or(self.floor.record, |before| self.index[before].record)
    }

    /// The chat before the one of this number.
    fn id_before(&self, at: usize) -> Id {
        at.checked_sub(1).map_or(self.floor.id, |before| self.index[before].id)
    }
}
