//! What is on its way to the sink: the batch that is filled, those that are to be stored, what is
//! in doubt about them, and how long to wait after failures.
//!
//! Whatever is in hand here may be dropped: journals hold it until the sink does. What is noted
//! before an await still holds if the call is dropped there. Decides nothing about a failure.

use std::time::Duration;

use super::batch::{Batch, BatchLimits};
use super::sources::{Compared, JournalSources};
use crate::store::journal::TailFault;
use crate::store::sink::{SiftHints, Sifted, Sink, SinkError};
use crate::wire::random::SplitMix64;
use crate::wire::time::MonoMs;
use crate::wire::{Id, SpaceId, UserId};

/// How long the batcher waits after a failure: full jitter below a bound that doubles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetryWait {
    /// The first bound, in milliseconds.
    pub min: u64,
    /// The last bound, in milliseconds.
    pub max: u64,
}

impl Default for RetryWait {
    fn default() -> RetryWait {
        RetryWait { min: 100, max: 5_000 }
    }
}

impl RetryWait {
    /// The bound after this number of failures in a row.
    fn bound(self, failures: u32) -> u64 {
        self.min.saturating_mul(1 << failures.min(32)).min(self.max)
    }
}

/// What is on its way to the sink.
#[derive(Debug)]
pub(super) struct Flight {
    /// Being filled; empty while `work` is not.
    batch: Batch,
    /// To be stored, the next one last. More than one only while a refused row is looked for.
    work: Vec<Batch>,
    /// User and space of the last row that was stored.
    good: Option<(UserId, SpaceId)>,
    /// Whether the sink may have committed the next one already.
    in_doubt: bool,
    /// Whether the sink was asked where it is, and has not said it to the end.
    unsettled: bool,
    /// Whether the sink has ever told its positions.
    connected: bool,
    /// Failures in a row.
    failures: u32,
    /// Times in a row that there was no descriptor or memory for reading.
    shortages: u32,
    retry: RetryWait,
    jitter: SplitMix64,
}

impl Flight {
    /// Nothing is in hand yet; waits are drawn from `seed`.
    pub(super) fn new(retry: RetryWait, seed: u64) -> Flight {
        Flight {
            batch: Batch::new(),
            work: Vec::new(),
            good: None,
            in_doubt: false,
            unsettled: false,
            connected: false,
            failures: 0,
            shortages: 0,
            retry,
            jitter: SplitMix64(seed),
        }
    }

    /// Fills the batch as far as journals and limits go.
    pub(super) fn fill(
        &mut self,
        sources: &mut JournalSources,
        limits: &BatchLimits,
        now: MonoMs,
    ) -> Result<(), TailFault> {
        sources.fill(&mut self.batch, limits, now)
    }

    /// The batch that is filled.
    pub(super) fn filled(&self) -> &Batch {
        &self.batch
    }

    /// What was filled is to be stored.
    pub(super) fn begin(&mut self) {
        if !self.batch.is_empty() {
            debug_assert!(self.work.is_empty(), "one batch at a time");
            self.work.push(std::mem::take(&mut self.batch));
        }
    }

    /// The batch that is to be stored next.
    pub(super) fn next(&self) -> Option<&Batch> {
        self.work.last()
    }

    /// Leaves out of the next batch what is stored already, though its journal's position says
    /// that it is not: a table was put back without its positions, or positions without their
    /// table.
    pub(super) async fn leave_out_stored(
        &mut self,
        sink: &mut impl Sink,
        sources: &JournalSources,
    ) -> Result<(), SinkError> {
        let Some(batch) = self.work.last_mut() else { return Ok(()) };
        if !sources.is_again(batch) || batch.rows() == 0 {
            return Ok(());
        }
        let ids: Vec<Id> = batch.records().map(|record| record.id).collect();
        let stored = sink.stored_ids(&ids).await?;
        batch.leave_out(|record| stored.contains(&record.id));
        Ok(())
    }

    /// Has the sink store the next batch, if there is one.
    pub(super) async fn append(&mut self, sink: &mut impl Sink) -> Result<(), SinkError> {
        let Some(batch) = self.work.last() else { return Ok(()) };
        // True until the sink says what became of the batch; this call may be dropped before.
        self.in_doubt = true;
        let outcome = sink.append(batch).await;
        self.in_doubt = matches!(outcome, Err(SinkError::Unclear(_)));
        outcome
    }

    /// The sink has the next batch, which is handed back.
    pub(super) fn stored(&mut self) -> Option<Batch> {
        let batch = self.work.pop()?;
        self.in_doubt = false;
        self.end_failures();
        let good = batch.records().last().map(|record| (record.user, record.space));
        self.good = good.or(self.good);
        Some(batch)
    }

    /// Takes refused rows out of the next batch, which are dead-lettered, and parts what is decided
    /// from the rest; how many parts that leaves.
    pub(super) fn part(&mut self, sifted: &Sifted) -> usize {
        let Some(mut batch) = self.work.pop() else { return 0 };
        let dead: Vec<usize> = sifted.refused.iter().map(|refusal| refusal.row).collect();
        let rest = batch.settle(&dead, sifted.decided);
        let before = self.work.len();
        self.work.extend([rest, batch].into_iter().filter(|part| !part.is_empty()));
        self.work.len() - before
    }

    /// Puts the rows that wait together again, with what has come meanwhile: that may show that
    /// the database takes others. A full batch may grow to twice its bound.
    pub(super) fn gather(
        &mut self,
        sources: &mut JournalSources,
        limits: &BatchLimits,
        now: MonoMs,
    ) -> Result<(), TailFault> {
        let Some(mut batch) = self.work.pop() else { return Ok(()) };
        while let Some(later) = self.work.pop() {
            batch.join(later);
        }
        let (rows_max, bytes_max) = (limits.rows_max, limits.bytes_max);
        let (rows_max, bytes_max) = (rows_max.saturating_mul(2), bytes_max.saturating_mul(2));
        let filled = sources.fill(&mut batch, &BatchLimits { rows_max, bytes_max, ..*limits }, now);
        self.work.push(batch);
        // Where descriptors for reading are short, the rows in hand wait without more.
        filled.or_else(|fault| if fault.is_passing() { Ok(()) } else { Err(fault) })
    }

    /// What is known before the next batch's rows are tried.
    pub(super) fn hints(&self) -> SiftHints {
        SiftHints { good: self.good, round: self.failures as usize, ..SiftHints::default() }
    }

    /// How many rows are in hand.
    pub(super) fn rows(&self) -> usize {
        self.work.iter().chain([&self.batch]).map(Batch::rows).sum()
    }

    /// The sink is asked where it is; until it has said that, nothing is stored.
    pub(super) fn unsettle(&mut self) {
        self.unsettled = true;
    }

    /// It is known where the sink is.
    pub(super) fn settle(&mut self) {
        self.unsettled = false;
    }

    /// Whether it is known where the sink is, and what it has of the next batch.
    pub(super) fn is_settled(&self) -> bool {
        !self.in_doubt && !self.unsettled
    }

    /// Holds the sink's positions against those believed and the batch in doubt. The first
    /// positions are always news.
    pub(super) fn compare(&self, sources: &mut JournalSources, positions: &[u64]) -> Compared {
        if !self.connected {
            return Compared::Moved;
        }
        let doubted = self.work.last().filter(|_| self.in_doubt);
        sources.compare(positions, doubted.map_or(&[], Batch::advances))
    }

    /// The sink has not committed the batch in doubt.
    pub(super) fn not_stored(&mut self) {
        self.in_doubt = false;
    }

    /// Everything is to be read from the journals again.
    pub(super) fn drop_all(&mut self) {
        self.work.clear();
        self.batch = Batch::new();
        self.in_doubt = false;
    }

    /// The sink has told its positions.
    pub(super) fn connect(&mut self) {
        self.end_failures();
        self.connected = true;
    }

    /// Whether the sink has ever told its positions.
    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether the last thing asked of the sink failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Those before the first connection were told as a start.
    fn end_failures(&mut self) {
        if std::mem::take(&mut self.failures) > 0 && self.connected {
            tracing::info!("the store takes messages again");
        }
    }

    /// Waits after a failure.
    pub(super) async fn wait(&mut self) {
        let bound = self.retry.bound(self.failures);
        self.failures = self.failures.saturating_add(1);
        let wait = self.jitter.next() % (bound + 1);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }

    /// Waits for descriptors or memory for reading.
    pub(super) async fn wait_for_means(&mut self) {
        let wait = self.retry.bound(self.shortages);
        self.shortages = self.shortages.saturating_add(1);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }

    /// Reading works; whether it did not the last time.
    pub(super) fn end_shortage(&mut self) -> bool {
        std::mem::take(&mut self.shortages) > 0
    }
}
