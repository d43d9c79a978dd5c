//! The journals that the batcher reads, in the order in which their records must be stored.
//!
//! Found journals come first, oldest run first, each to its end; this run's only then, in turns.
//! A space's records of one run are all in one journal and each run's ids are above those of the
//! runs before it, so in this order every space's ids ascend from one commit to the next: who
//! has read a space up to an id will never find a lower one stored later.

use std::collections::VecDeque;
use std::sync::Arc;

use super::batch::{Advance, Batch, BatchLimits, Origin};
use crate::store::data_dir::served::Offsets;
use crate::store::data_dir::trimmed::{Has, Lacking, Trimmed};
use crate::store::journal::{JournalId, Tail, TailFault};
use crate::store::latest::Latest;
use crate::store::sink::Gone;
use crate::wire::record::records;
use crate::wire::time::MonoMs;

/// A journal, and how far it has been taken and stored.
#[derive(Debug)]
pub(crate) struct JournalSource {
    tail: Tail,
    /// What the sink holds.
    stored: u64,
    /// The farthest that it has ever held of this journal.
    reached: u64,
    /// What lies before this belongs to another store.
    floor: u64,
    /// Up to here the sink may hold messages that its position says nothing of.
    again_to: u64,
    /// Where the shard reads it; nobody asks about a found journal's.
    shown: Arc<Latest<Option<u64>>>,
    /// Records that were read but did not fit into the batch, and where they come from.
    held: Vec<u8>,
    held_from: usize,
    held_offset: u64,
    /// Segments that were noted before they go, and are still there.
    noted: usize,
}

impl JournalSource {
    fn new(tail: Tail) -> JournalSource {
        JournalSource {
            tail,
            stored: 0,
            reached: 0,
            floor: 0,
            again_to: 0,
            shown: Arc::new(Latest::new()),
            held: Vec::new(),
            held_from: 0,
            held_offset: 0,
            noted: 0,
        }
    }

    fn has_more(&self) -> bool {
        self.held_from < self.held.len() || self.tail.has_more()
    }

    /// Bytes that are not stored yet.
    fn backlog(&self) -> u64 {
        self.tail.end().get().saturating_sub(self.stored.max(self.floor))
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

    /// Whether somebody waits for what it holds and the sink does not.
    fn is_wanted(&self) -> bool {
        self.tail.wanted().get() > self.stored.max(self.floor)
    }

    fn is_done(&self) -> bool {
        self.tail.is_found() && self.stored.max(self.floor) >= self.tail.end().get()
    }

    /// Goes on at what the sink holds, wherever it was before.
    fn go_to(&mut self, position: u64) {
        let end = self.tail.end().get();
        // A run that was killed has not noted how far the sink was: then all may be there.
        let reached = match self.tail.is_found() && (position == 0 || position < self.tail.begin())
        {
            true => end,
            false => self.reached,
        };
        self.again_to = self.again_to.max(reached);
        self.stored = position;
        self.reached = self.reached.max(position);
        self.held.clear();
        self.held_from = 0;
        self.tail.start_at(position.max(self.floor));
    }

    /// Notes what its first segments held for this store, each once. What can't be read is not
    /// noted: should the sink lack it one day, its number is not known.
    fn note(&mut self, segments: usize, trimmed: &mut Trimmed) {
        if segments > self.noted {
            let pieces = self.tail.pieces(self.noted..segments);
            let mut pieces = pieces.unwrap_or_default();
            pieces.retain(|piece| piece.to > self.floor);
            trimmed.add(pieces);
            self.noted = segments;
        }
    }

    /// Unlinks the segments that the sink holds, once they are noted.
    fn trim(&mut self, trimmed: &mut Trimmed) -> std::io::Result<()> {
        self.note(self.tail.done_with(self.stored), trimmed);
        let before = self.tail.segments();
        let outcome = self.tail.trim(self.stored);
        self.noted -= before - self.tail.segments();
        outcome
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

/// Where a sink is, measured by what was believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Compared {
    /// Where it was before the batch in doubt.
    AsBelieved,
    /// Where it is with that batch.
    Committed,
    /// Elsewhere, where it can have been: it is older than it was, or new again.
    Moved,
    /// Farther than anything was ever sent.
    Impossible,
}

/// All journals that the batcher reads.
#[derive(Debug)]
pub(crate) struct JournalSources {
    found: VecDeque<JournalSource>,
    own: Vec<JournalSource>,
    /// Which of this run's journals is read next.
    next: usize,
    /// Why stored segments could not be removed the last time.
    kept: Option<String>,
}

impl JournalSources {
    /// Found journals, oldest first, and this run's, one a shard.
    pub(crate) fn new(found: Vec<Tail>, own: Vec<Tail>) -> JournalSources {
        JournalSources {
            found: found.into_iter().map(JournalSource::new).collect(),
            own: own.into_iter().map(JournalSource::new).collect(),
            next: 0,
            kept: None,
        }
    }

    /// Shows the shards in these cells how far they are stored, once all that earlier runs have
    /// left is.
    pub(crate) fn show_to(&mut self, shown: &[Arc<Latest<Option<u64>>>]) {
        for (source, shown) in self.own.iter_mut().zip(shown) {
            source.shown = shown.clone();
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut JournalSource> {
        self.found.iter_mut().chain(&mut self.own)
    }

    /// All journals' ids, for asking the sink.
    pub(crate) fn journals(&self) -> Vec<JournalId> {
        self.found.iter().chain(&self.own).map(|source| source.tail.journal()).collect()
    }

    /// What lies before these offsets belongs to another store.
    pub(crate) fn leave_elsewhere(&mut self, floors: &Offsets) {
        for source in self.all() {
            source.floor = floors.get(&source.tail.journal()).copied().unwrap_or(0);
        }
    }

    /// Goes on at what the sink holds; of what was taken and not stored nobody may be left.
    pub(crate) fn go_to(&mut self, positions: &[u64]) {
        for (source, position) in self.all().zip(positions) {
            source.go_to(*position);
        }
    }

    /// Holds the sink's positions against those believed, and a batch's whose commit is in doubt.
    pub(crate) fn compare(&mut self, positions: &[u64], doubted: &[Advance]) -> Compared {
        let next = |source: &JournalSource| {
            let mut steps = doubted.iter().filter(|step| step.journal == source.tail.journal());
            steps.next().map(|step| step.next)
        };
        let (mut before, mut behind, mut possible) = (true, !doubted.is_empty(), true);
        for (source, position) in self.all().zip(positions) {
            let next = next(source);
            source.reached = source.reached.max(next.unwrap_or(0));
            before &= *position == source.stored;
            behind &= *position == next.unwrap_or(source.stored);
            possible &= *position <= source.reached;
        }
        match (before, behind) {
            (true, _) => Compared::AsBelieved,
            (_, true) => Compared::Committed,
            _ if possible => Compared::Moved,
            _ => Compared::Impossible,
        }
    }

    /// The journals that no longer hold all that the sink lacks.
    pub(crate) fn lacking(&self) -> impl Iterator<Item = Lacking> {
        let all = self.found.iter().chain(&self.own);
        let lacking = all.map(|it| (it.tail.journal(), it.stored.max(it.floor), it.tail.begin()));
        lacking.filter(|(_, at, begin)| at < begin).map(|(journal, at, begin)| Lacking {
            journal,
            has: Has::UpTo(at),
            end: Some(begin),
        })
    }

    /// Whether a batch holds what the sink may have held before.
    pub(crate) fn is_again(&self, batch: &Batch) -> bool {
        let is_again = |source: &JournalSource, step: &Advance| {
            source.tail.journal() == step.journal && step.last < source.again_to
        };
        let mut all = self.found.iter().chain(&self.own);
        all.any(|source| batch.advances().iter().any(|step| is_again(source, step)))
    }

    /// How far each journal is stored.
    pub(crate) fn stored(&self) -> Offsets {
        let all = self.found.iter().chain(&self.own);
        all.map(|source| (source.tail.journal(), source.stored.max(source.floor))).collect()
    }

    /// Waits until a journal holds more than was taken.
    pub(crate) async fn wait(&self) {
        let has_more = || self.found.iter().chain(&self.own).any(JournalSource::has_more);
        match self.own.first() {
            // The cells of all own journals wake each other's waiters.
            Some(source) => source.tail.end().until(|| has_more().then_some(())).await,
            None if has_more() => {}
            None => std::future::pending().await,
        }
    }

    /// Whether somebody waits for what is not stored yet.
    pub(crate) fn is_wanted(&self) -> bool {
        self.found.iter().chain(&self.own).any(JournalSource::is_wanted)
    }

    /// Waits until somebody waits for what is not stored yet.
    pub(crate) async fn wanted(&self) {
        match self.own.first() {
            Some(source) => source.tail.wanted().until(|| self.is_wanted().then_some(())).await,
            None => std::future::pending().await,
        }
    }

    /// Whether all that journals hold was taken.
    pub(crate) fn is_drained(&self) -> bool {
        !self.found.iter().chain(&self.own).any(JournalSource::has_more)
    }

    /// Fills the batch as far as journals and limits go.
    pub(crate) fn fill(
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
        // One block from each journal in turn, so that no shard waits behind a busier one.
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

    /// A batch was committed: shows it to the shards and frees what lies behind, once it is noted.
    /// What can't be removed is tried again with each batch; the bound still counts it.
    pub(crate) fn committed(&mut self, batch: &Batch, trimmed: &mut Trimmed) {
        for advance in batch.advances() {
            let source = self.all().find(|source| source.tail.journal() == advance.journal);
            let Some(source) = source else { continue };
            source.stored = advance.next;
            source.reached = source.reached.max(advance.next);
            // All found journals are read to their ends before any of this run.
            source.shown.publish(Some(advance.next));
        }
        let mut outcome = Ok(());
        // Segments of earlier batches too, where unlinking them has failed.
        for source in self.all() {
            outcome = source.trim(trimmed).and(outcome);
        }
        self.kept = outcome.err().map(|error| error.to_string());
    }

    /// Why stored segments could not be removed the last time.
    pub(crate) fn kept(&self) -> Option<String> {
        self.kept.clone()
    }

    /// Shows the shards how far they are stored, once all of earlier runs is stored.
    pub(crate) fn show_earlier_runs(&self) {
        if self.found.iter().all(JournalSource::is_done) {
            self.own.iter().for_each(|source| source.shown.publish(Some(source.stored)));
        }
    }

    /// Removes the files of a found journal that is stored to its end, once what left it last is
    /// noted. One whose files can't be removed stays, and counts as stored.
    pub(crate) fn remove_done(
        &mut self,
        trimmed: &mut Trimmed,
    ) -> Option<(Gone, std::io::Result<()>)> {
        let done = self.found.iter().position(JournalSource::is_done)?;
        let source = &mut self.found[done];
        source.note(source.tail.segments(), trimmed);
        let (journal, stored) = (source.tail.journal(), source.stored);
        let highest = trimmed.highest(Some(journal));
        let removed = source.tail.remove();
        if removed.is_ok() {
            self.found.remove(done);
        }
        Some((Gone { journal, stored, highest }, removed))
    }

    /// Bytes of records that wait in journals.
    pub(crate) fn backlog(&self) -> u64 {
        self.found.iter().chain(&self.own).map(JournalSource::backlog).sum()
    }

    /// Counts the records that nobody has taken yet.
    pub(crate) fn count_rest(&mut self) -> Result<u64, TailFault> {
        self.all().map(JournalSource::count_rest).sum()
    }
}
