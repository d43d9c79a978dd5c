//! A shard's end of its journal: appends the records of a turn, says how much room there is.
//!
//! Owns the segment that is written now and the spare behind it. Never waits: spares are made,
//! and written bytes are synced, by the threads of `keeper.rs`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::keeper::{Nudge, SegmentSizes, Spare};
use super::segment::{
    BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, BlockPlace, HEADER_BYTES, JournalId, SegmentHeader,
    put_blocks,
};
use crate::conditions::Condition;
use crate::faults::Faults;
use crate::store::latest::{Latest, Switch};
use crate::wire::Id;

/// An append that did not happen; nothing of it will ever be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// No room: more than [`Writer::room`] said. Try again when there is some.
    #[error("the journal is full")]
    Full,
    /// The write failed. The journal takes nothing any more.
    #[error("write the journal")]
    Io(#[source] io::Error),
    /// An earlier write has failed.
    #[error("the journal has failed before")]
    Failed,
}

/// The segment that is written now.
#[derive(Debug)]
struct Active {
    file: Arc<File>,
    index: u32,
    base: u64,
}

/// What `open` hands a writer at its making.
#[derive(Debug)]
pub(super) struct Wires {
    pub(super) journal: JournalId,
    pub(super) end: Arc<Latest>,
    /// Somebody waits until what lies before this is stored.
    pub(super) wanted: Arc<Latest>,
    pub(super) synced: Arc<Latest>,
    /// Counts the segments made, and those begun.
    pub(super) made: Arc<Latest>,
    pub(super) begun: Arc<Latest>,
    pub(super) spares: Receiver<Spare>,
    pub(super) nudge: Nudge,
    pub(super) faults: Faults,
    pub(super) sizes: SegmentSizes,
    pub(super) record_bytes_max: u64,
    /// Shut while what is written would be lost.
    pub(super) door: Switch,
}

/// A shard's journal of this run, for its owner.
#[derive(Debug)]
pub struct Writer {
    pub(super) wires: Wires,
    seed: u32,
    active: Option<Active>,
    /// The logical end.
    at: u64,
    highest: Id,
    failed: bool,
    head: Vec<u8>,
    next: Vec<u8>,
}

impl Writer {
    pub(super) fn new(wires: Wires, highest: Id) -> Writer {
        let seed = wires.journal.crc_seed();
        Writer {
            wires,
            seed,
            active: None,
            at: 0,
            highest,
            failed: false,
            head: Vec::new(),
            next: Vec::new(),
        }
    }

    /// Begins the first segment at once, so that the highest id is on the disk.
    pub(super) fn begin_first(&mut self, spare: Spare) -> io::Result<()> {
        spare.file.write_all_at(&self.header(spare.index, 0), 0)?;
        spare.file.sync_data()?;
        self.activate(spare, 0);
        Ok(())
    }

    /// Whether its first segment is there, so that its header is on the disk.
    pub(super) fn has_begun(&self) -> bool {
        self.active.is_some()
    }

    /// The name of the journal.
    #[cfg(test)]
    pub(crate) fn journal(&self) -> JournalId {
        self.wires.journal
    }

    /// The logical end: what the last append returned.
    pub(crate) fn end(&self) -> u64 {
        self.at
    }

    /// Somebody waits until all that it holds is stored.
    pub(crate) fn want(&self) {
        self.wires.wanted.publish(self.at);
    }

    /// The highest id of what it holds, or of what was known when it was made.
    pub(crate) fn highest(&self) -> Id {
        self.highest
    }

    /// Whether it can be written on: no write has failed, nor ended in a panic.
    pub(crate) fn is_whole(&self) -> bool {
        !self.failed
    }

    /// Bytes of records that the next append will surely take; 0: refuse chat at the door.
    /// Cheap: it reads two of its own numbers, one of the keeper's, and the door.
    pub fn room(&self) -> u64 {
        if self.failed || self.wires.door.is_shut() {
            return 0;
        }
        let (active, spare) = (self.left(), self.has_spare());
        let kept = self.wires.record_bytes_max;
        match spare {
            // At the end of a segment a rest stays empty that is shorter than one record.
            true => records_in(active).saturating_sub(kept) + records_in(self.spare_capacity()),
            false => records_in(active),
        }
    }

    /// Appends encoded records, ascending to `highest`, in one write (two where a segment ends);
    /// the journal's logical end. When it returns, they outlive a kill of the process.
    pub fn append(&mut self, records: &[u8], highest: Id) -> Result<u64, JournalError> {
        if self.failed {
            return Err(JournalError::Failed);
        }
        if records.is_empty() || cfg!(measure_no_journal) {
            return Ok(self.at);
        }
        // What a panic in here would leave is not to be written on.
        self.failed = true;
        let outcome = self.put(records, highest);
        self.failed = matches!(outcome, Err(JournalError::Io(_)));
        outcome
    }

    fn put(&mut self, records: &[u8], highest: Id) -> Result<u64, JournalError> {
        let rest = self.encode(records)?;
        self.highest = self.highest.max(highest);
        if let Err(error) = self.write(rest) {
            let detail = format!("write a journal: {error}");
            self.wires.faults.conditions().raise(Condition::JournalBroken, detail);
            return Err(JournalError::Io(error));
        }
        self.wires.end.publish(self.at);
        Ok(self.at)
    }

    /// Lays the records out into `head` for the active segment and, where that is too small,
    /// `next` for the spare; whether the spare is needed. Changes no file.
    fn encode(&mut self, records: &[u8]) -> Result<bool, JournalError> {
        self.head.clear();
        self.next.clear();
        let left = usize::try_from(self.left()).unwrap_or(usize::MAX);
        let synced = self.wires.synced.get();
        let place = BlockPlace { seed: self.seed, offset: self.at, synced };
        let taken = put_blocks(&mut self.head, place, records, left);
        if taken == records.len() {
            return Ok(false);
        }
        if !self.has_spare() {
            return Err(JournalError::Full);
        }
        let (rest, capacity) = (&records[taken..], self.spare_capacity());
        let place = BlockPlace { offset: self.at + self.head.len() as u64, ..place };
        self.next.resize(HEADER_BYTES, 0);
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        match put_blocks(&mut self.next, place, rest, capacity) == rest.len() {
            true => Ok(true),
            false => Err(JournalError::Full),
        }
    }

    fn write(&mut self, to_spare: bool) -> io::Result<()> {
        let base = self.at + self.head.len() as u64;
        let mut spare = None;
        if to_spare {
            let taken = self.wires.spares.try_recv().map_err(io::Error::other)?;
            // The later part is written first: after a kill or a failure in between, the turn
            // counts for nothing, because the earlier part's place stays a hole.
            let header = self.header(taken.index, base);
            self.next[..HEADER_BYTES].copy_from_slice(&header);
            taken.file.write_all_at(&self.next, 0)?;
            spare = Some(taken);
        }
        if let Some(active) = self.active.as_ref().filter(|_| !self.head.is_empty()) {
            let at = HEADER_BYTES as u64 + self.at - active.base;
            active.file.write_all_at(&self.head, at)?;
        }
        self.at = base;
        if let Some(spare) = spare {
            self.at += (self.next.len() - HEADER_BYTES) as u64;
            self.activate(spare, base);
        }
        Ok(())
    }

    fn activate(&mut self, spare: Spare, base: u64) {
        let Spare { file, index } = spare;
        debug_assert!(self.active.as_ref().is_none_or(|last| last.index + 1 == index));
        self.active = Some(Active { file, index, base });
        self.wires.begun.publish(u64::from(index) + 1);
        self.wires.nudge.look();
    }

    fn header(&self, index: u32, base: u64) -> [u8; HEADER_BYTES] {
        let (journal, synced) = (self.wires.journal, self.wires.synced.get());
        SegmentHeader { journal, index, base, synced, highest: self.highest }.encode()
    }

    fn has_spare(&self) -> bool {
        self.wires.made.get() > self.wires.begun.get()
    }

    fn capacity(&self, index: u64) -> u64 {
        self.wires.sizes.of(index) - HEADER_BYTES as u64
    }

    /// Bytes of blocks that the segment to be begun next takes.
    fn spare_capacity(&self) -> u64 {
        self.capacity(self.wires.begun.get())
    }

    fn left(&self) -> u64 {
        let left = |active: &Active| self.capacity(active.index.into()) - (self.at - active.base);
        self.active.as_ref().map_or(0, left)
    }
}

/// How many bytes of records surely fit into this many bytes of blocks: each block but the last
/// is at least half full, because a record is at most half a block.
fn records_in(bytes: u64) -> u64 {
    let blocks = bytes / (BLOCK_BYTES_MAX as u64 / 2) + 1;
    bytes.saturating_sub(blocks * BLOCK_HEADER_BYTES as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::tests::{LIMITS, ids, one, reopen};

    #[test]
    fn after_a_failed_write_nothing_is_taken_any_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut opened = reopen(folder.path(), 1, &LIMITS, 0).expect("it opens");
        let writer = &mut opened.writers[0];
        writer.append(&one(1, 10), Id(1)).expect("there is room");
        let full = File::options().write(true).open("/dev/full").expect("it is always there");
        let active = writer.active.as_mut().expect("a segment was begun");
        let file = std::mem::replace(&mut active.file, Arc::new(full));
        let failed = writer.append(&one(2, 10), Id(2));
        assert!(matches!(failed, Err(JournalError::Io(_))), "{failed:?}");
        writer.active.as_mut().expect("it is still there").file = file;
        assert_eq!(writer.room(), 0);
        assert!(matches!(writer.append(&one(3, 10), Id(3)), Err(JournalError::Failed)));
        assert_eq!(ids(&mut opened.own[0]), [1]);
    }
}
