//! What is on its way to the sink: the batch that is filled, those that are to be stored, what is
//! in doubt about them, and how long to wait after failures.
//!
//! A sink that is behind (another copy of the database, an older backup) is given again what the
//! journals still hold. One that is ahead of all that was ever sent is refused. Whatever is in hand
//! may be dropped: journals hold it until the sink does. A call may be dropped at any await, and
//! what was noted before it still holds.

use std::time::Duration;

use super::Batcher;
use super::batch::{Batch, BatchLimits};
use super::sources::Compared;
use crate::conditions::Condition;
use crate::store::DAY_MS;
use crate::store::journal::TailFault;
use crate::store::sink::{SiftHints, Sifted, Sink, SinkError, Sought};
use crate::wire::random::SplitMix64;
use crate::wire::time::Now;
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
#[derive(Default, Debug)]
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
        Flight { retry, jitter: SplitMix64(seed), ..Flight::default() }
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

    /// The sink has the next batch, which is handed back.
    pub(super) fn stored(&mut self) -> Option<Batch> {
        let batch = self.work.pop()?;
        self.in_doubt = false;
        self.end_failures();
        let good = batch.records().last().map(|record| (record.user, record.space));
        self.good = good.or(self.good);
        Some(batch)
    }

    /// What is known before the next batch's rows are tried.
    pub(super) fn hints(&self) -> SiftHints {
        SiftHints { good: self.good, round: self.failures as usize, ..SiftHints::default() }
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

    /// How many rows are in hand.
    pub(super) fn rows(&self) -> usize {
        self.work.iter().chain([&self.batch]).map(Batch::rows).sum()
    }

    /// The sink has told its positions, and all that follows from them is done.
    pub(super) fn connect(&mut self) {
        self.end_failures();
        self.connected = true;
    }

    /// Somebody else has used the sink: it is asked where it is before the next batch.
    pub(super) fn unsettle(&mut self) {
        self.unsettled = true;
    }

    /// A number that nothing else is named by.
    pub(super) fn random(&mut self) -> u128 {
        u128::from(self.jitter.next()) << 64 | u128::from(self.jitter.next())
    }

    /// Whether the sink has ever told its positions.
    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether storing has failed since the last batch that was stored.
    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Failures in a row since then.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Failures are over. Those of a start that had to wait for its database are no news.
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
}

impl<S: Sink> Batcher<S> {
    /// Fills the batch. Waits, and says so, while there is no descriptor or memory for reading.
    pub(super) async fn fill(&mut self) -> Result<(), TailFault> {
        loop {
            let (flight, now) = (&mut self.flight, self.clock.now().mono);
            let filled = self.sources.fill(&mut flight.batch, &self.limits, now);
            self.health.count_backlog(&self.sources);
            match filled {
                Err(fault) if fault.is_passing() => {
                    let why = fault.source.as_ref().map(ToString::to_string).unwrap_or_default();
                    self.health
                        .conditions
                        .raise(Condition::JournalUnread, format!("{fault}: {why}"));
                    let wait = flight.retry.bound(flight.shortages);
                    flight.shortages = flight.shortages.saturating_add(1);
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                }
                filled => {
                    if std::mem::take(&mut flight.shortages) > 0 {
                        self.health.conditions.clear(Condition::JournalUnread);
                    }
                    return filled;
                }
            }
        }
    }

    /// Puts the rows that wait together again, with what has come meanwhile: that may show that
    /// the database takes others. A full batch may grow to twice its bound.
    pub(super) fn gather(&mut self) -> Result<(), TailFault> {
        let Some(mut batch) = self.flight.work.pop() else { return Ok(()) };
        while let Some(later) = self.flight.work.pop() {
            batch.join(later);
        }
        let limits = BatchLimits {
            rows_max: self.limits.rows_max.saturating_mul(2),
            bytes_max: self.limits.bytes_max.saturating_mul(2),
            ..self.limits
        };
        let filled = self.sources.fill(&mut batch, &limits, self.clock.now().mono);
        self.flight.work.push(batch);
        self.health.count_backlog(&self.sources);
        // Where descriptors for reading are short, the rows in hand wait without more.
        filled.or_else(|fault| if fault.is_passing() { Ok(()) } else { Err(fault) })
    }

    /// Tries the next batch once; when it began, if it is stored.
    pub(super) async fn try_store(&mut self) -> Result<Now, SinkError> {
        let begun = self.clock.now();
        self.health.is_sound()?;
        let settled = !self.flight.in_doubt && !self.flight.unsettled;
        if !(settled && self.sink.is_connected()) && self.settle().await? {
            return Ok(begun);
        }
        // The batch is gone if the sink is not where it was: then other records come first.
        let Some(batch) = self.flight.work.last_mut() else { return Ok(begun) };
        // What is stored already, though its journal's position says that it is not, is left out: a
        // table was put back without its positions, or positions without their table.
        if self.sources.is_again(batch) && batch.rows() > 0 {
            let sought: Vec<Sought> = batch.records().map(Sought::from).collect();
            let stored = self.sink.stored_ids(&sought).await?;
            batch.leave_out(|record| stored.contains(&record.id));
        }
        // True until the sink says what became of the batch; this call may be dropped before.
        self.flight.in_doubt = true;
        let outcome = self.sink.append(batch).await;
        self.flight.in_doubt = matches!(outcome, Err(SinkError::Unclear(_)));
        outcome.map(|()| begun)
    }

    /// Reads where the sink is, and goes on from there; whether the batch whose commit was in
    /// doubt is stored. If the sink is elsewhere than it was, nothing is in flight any more.
    pub(super) async fn settle(&mut self) -> Result<bool, SinkError> {
        self.flight.unsettled = true;
        self.health.is_sound()?;
        self.truth.check_store(&self.sink.identity().await?, &self.health)?;
        let journals = self.sources.journals();
        let positions = self.sink.positions(&journals).await?;
        let doubted = self.flight.work.last().filter(|_| self.flight.in_doubt);
        let standing = match self.flight.connected {
            true => self.sources.compare(&positions, doubted.map_or(&[], Batch::advances)),
            false => Compared::Moved,
        };
        let limit = Id::first_of_ms(self.clock.now().unix.0 / 1000 + DAY_MS);
        let gone = self.truth.gone(&mut self.sink, &journals, limit).await?;
        match standing {
            Compared::Committed => {}
            Compared::AsBelieved => self.flight.in_doubt = false,
            Compared::Impossible => {
                let text = "the journals' positions were changed by someone else";
                return Err(SinkError::Refused(text.into()));
            }
            Compared::Moved => {
                self.flight.work.clear();
                self.flight.batch = Batch::new();
                self.flight.in_doubt = false;
                let before = self.sources.backlog();
                self.sources.go_to(&positions);
                if self.flight.connected {
                    let bytes = self.sources.backlog().saturating_sub(before);
                    tracing::warn!(bytes, "the store went back: storing again what journals hold");
                }
            }
        }
        let lacking = self.sources.lacking().chain(gone).collect();
        self.truth.tell_missing(&mut self.sink, lacking, self.clock.clone()).await?;
        self.flight.unsettled = false;
        Ok(standing == Compared::Committed)
    }
}
