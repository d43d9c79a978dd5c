//! The journals that the batcher reads, in the order in which their records must be stored.
//!
//! Found journals come first, oldest run first, each to its end; this run's only then, in turns.
//! A space's records of one run are all in one journal and each run's ids are above those of the
//! runs before it, so in this order every space's ids ascend from one commit to the next: who
//! has read a space up to an id will never find a lower one stored later.

use std::collections::VecDeque;
use std::sync::Arc;

use super::batch::{Batch, BatchLimits, Origin};
use super::journal::{JournalId, Tail, TailFault};
use super::latest::Latest;
use crate::wire::record::records;
use crate::wire::time::MonoMs;

/// A journal, and how far it has been taken and stored.
#[derive(Debug)]
pub(super) struct Source {
    tail: Tail,
    /// What the sink holds.
    stored: u64,
    /// Where the shard reads it; nobody asks about a found journal's.
    shown: Arc<Latest>,
    /// Records that were read but did not fit into the batch, and where they come from.
    held: Vec<u8>,
    held_from: usize,
    held_offset: u64,
}

impl Source {
    fn new(tail: Tail) -> Source {
        Source {
            tail,
            stored: 0,
            shown: Arc::new(Latest::new()),
            held: Vec::new(),
            held_from: 0,
            held_offset: 0,
        }
    }

    fn has_more(&self) -> bool {
        self.held_from < self.held.len() || self.tail.has_more()
    }

    /// Bytes that are not stored yet.
    fn backlog(&self) -> u64 {
        self.tail.end().get().saturating_sub(self.stored)
    }

    /// Moves at most one block into the batch.
    fn take(
        &mut self,
        into: &mut Batch,
        limits: &BatchLimits,
        now: MonoMs,
    ) -> Result<(), TailFault> {
        if self.held_from == self.held.len() {
            self.held.clear();
            self.held_from = 0;
            let Some(stretch) = self.tail.read()? else { return Ok(()) };
            self.held.extend_from_slice(stretch.records);
            self.held_offset = stretch.offset;
        }
        let offset = self.held_offset + self.held_from as u64;
        let origin = Origin { journal: self.tail.journal(), last: self.stored, offset };
        let taken = into.push(origin, &self.held[self.held_from..], limits, now);
        let full = into.is_full(limits) || into.rows() > 0;
        assert!(taken > 0 || full, "a block behind its checksum holds records");
        self.held_from += taken;
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.tail.is_found() && self.stored >= self.tail.end().get()
    }

    /// Counts the records that nobody has taken yet.
    fn count_rest(&mut self) -> Result<u64, TailFault> {
        let mut rows = records(&self.held[self.held_from..]).count();
        while let Some(stretch) = self.tail.read()? {
            rows += records(stretch.records).count();
        }
        Ok(rows as u64)
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Sources {
    found: VecDeque<Source>,
    own: Vec<Source>,
    /// Whose turn it is.
    next: usize,
}

impl Sources {
    /// Found journals, oldest first, and this run's, one a shard.
    pub(super) fn new(found: Vec<Tail>, own: Vec<Tail>) -> Sources {
        Sources {
            found: found.into_iter().map(Source::new).collect(),
            own: own.into_iter().map(Source::new).collect(),
            next: 0,
        }
    }

    /// The cells that show each shard how far its journal is stored: 0, or 1 + the offset once
    /// all that earlier runs have left is stored.
    pub(super) fn shown(&self) -> Vec<Arc<Latest>> {
        self.own.iter().map(|source| source.shown.clone()).collect()
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Source> {
        self.found.iter_mut().chain(&mut self.own)
    }

    /// All journals' ids, for asking the sink.
    pub(super) fn journals(&self) -> Vec<JournalId> {
        self.found.iter().chain(&self.own).map(|source| source.tail.journal()).collect()
    }

    /// Goes on at what the sink holds, before anything is taken.
    pub(super) fn start_at(&mut self, positions: &[u64]) {
        for (source, position) in self.all().zip(positions) {
            source.stored = *position;
            source.tail.start_at(*position);
        }
    }

    /// Waits until a journal holds more than was taken.
    pub(super) async fn wait(&self) {
        let has_more = || self.found.iter().chain(&self.own).any(Source::has_more);
        match self.own.first() {
            // The cells of all own journals wake each other's waiters.
            Some(source) => source.tail.end().until(|| has_more().then_some(())).await,
            None if has_more() => {}
            None => std::future::pending().await,
        }
    }

    /// Whether all that journals hold was taken.
    pub(super) fn is_drained(&self) -> bool {
        !self.found.iter().chain(&self.own).any(Source::has_more)
    }

    /// Fills the batch as far as journals and limits go.
    pub(super) fn fill(
        &mut self,
        batch: &mut Batch,
        limits: &BatchLimits,
        now: MonoMs,
    ) -> Result<(), TailFault> {
        for source in &mut self.found {
            while source.has_more() {
                let rows = batch.rows();
                source.take(batch, limits, now)?;
                if batch.rows() == rows && source.has_more() {
                    return Ok(());
                }
            }
        }
        // Block by block from each in turn, so that no shard waits behind a busier one.
        let mut idle = 0;
        while idle < self.own.len() {
            let source = &mut self.own[self.next];
            let rows = batch.rows();
            if source.has_more() {
                source.take(batch, limits, now)?;
                if batch.rows() == rows {
                    return Ok(());
                }
                idle = 0;
            } else {
                idle += 1;
            }
            self.next = (self.next + 1) % self.own.len();
        }
        Ok(())
    }

    /// A batch was committed: shows it to the shards and frees what lies behind.
    pub(super) fn committed(&mut self, batch: &Batch) -> std::io::Result<()> {
        let mut outcome = Ok(());
        for advance in batch.advances() {
            let source = self.all().find(|source| source.tail.journal() == advance.journal);
            let Some(source) = source else { continue };
            assert!(source.stored < advance.next, "positions ascend");
            source.stored = advance.next;
            // All found journals are read to their ends before any of this run.
            source.shown.publish(advance.next + 1);
        }
        // Those of other batches too, where that has failed before.
        for source in self.all() {
            outcome = source.tail.trim(source.stored).and(outcome);
        }
        outcome
    }

    /// Shows the shards that all of the earlier runs is stored, once it is.
    pub(super) fn show_earlier_runs(&self) {
        if self.found.iter().all(Source::is_done) {
            self.own.iter().for_each(|source| source.shown.publish(source.stored + 1));
        }
    }

    /// Removes the files of a found journal that is stored to its end. One whose files can't be
    /// removed stays, and counts as stored.
    pub(super) fn remove_done(&mut self) -> Option<(JournalId, std::io::Result<()>)> {
        let done = self.found.iter().position(Source::is_done)?;
        let tail = &mut self.found[done].tail;
        let (journal, removed) = (tail.journal(), tail.remove());
        if removed.is_ok() {
            self.found.remove(done);
        }
        Some((journal, removed))
    }

    /// Bytes of records that wait in journals.
    pub(super) fn backlog(&self) -> u64 {
        self.found.iter().chain(&self.own).map(Source::backlog).sum()
    }

    /// Counts the records that nobody has taken yet.
    pub(super) fn count_rest(&mut self) -> Result<u64, TailFault> {
        self.all().map(Source::count_rest).sum()
    }
}
