//! The batcher: moves records from journals to the sink, in batches, each exactly once.
//!
//! Owns the sink, the journals' tails, the batch in hand and the dead-letter file. One batch is
//! in flight at a time, and it is kept until the sink's positions say that it is stored. Never
//! touches a shard but through the cells that show committed positions.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::clock::Clock;
use crate::conditions::{Condition, Conditions};
use crate::faults::Faults;
use crate::metrics::{Metric, Metrics};
use crate::store::dead_letters::file::DeadLetters;
use crate::store::journal::TailFault;
use crate::store::sink::{Sink, SinkError};
use crate::store::{StoreConfig, StoreState};
use crate::wire::random::SplitMix64;
use crate::wire::time::{MonoMs, Now};
use crate::wire::{SpaceId, UserId};
use batch::{Batch, BatchLimits};

pub(super) mod batch;
mod nonces;
mod refused;
mod settle;
pub(super) mod sift;
mod sources;

pub(super) use nonces::NonceFiles;
pub use nonces::NonceLimits;
#[cfg(test)]
pub(super) use refused::NO_SPACE;
pub(super) use refused::Verdicts;
pub(super) use settle::Truth;
pub(super) use sources::JournalSources;

/// A store whose oldest waiting message is older than this is behind, in microseconds.
const BEHIND_US: i64 = 5_000_000;
/// Between two looks for rights that are missing, in milliseconds.
const RIGHTS_PERIOD: u64 = 2_000;

/// The longest that giving the sink free may take.
const RELEASE_MAX: Duration = Duration::from_secs(1);

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

/// What shutdown leaves in the journals, for the next start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Unstored {
    /// Messages that are not stored yet.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Asks the batcher to end.
#[derive(Debug)]
pub(super) struct Stop {
    /// Time for storing what the journals hold.
    pub(super) wait: Duration,
    pub(super) answer: oneshot::Sender<Unstored>,
}

/// What a batcher moves records from and into.
#[derive(Debug)]
pub(super) struct Ends<S> {
    pub(super) sink: S,
    pub(super) sources: JournalSources,
    pub(super) nonces: NonceFiles,
    pub(super) verdicts: Verdicts,
    pub(super) truth: Truth,
    /// Shows what the sink is doing.
    pub(super) state: watch::Sender<StoreState>,
}

/// Moves records; see the module.
pub(super) struct Batcher<S> {
    sink: S,
    sources: JournalSources,
    limits: BatchLimits,
    retry: RetryWait,
    dead: DeadLetters,
    nonces: NonceFiles,
    verdicts: Verdicts,
    journal_bytes_max: u64,
    clock: Clock,
    metrics: Arc<Metrics>,
    conditions: Conditions,
    faults: Faults,
    state: watch::Sender<StoreState>,
    flight: Flight,
    truth: Truth,
}

/// What is on its way to the sink.
#[derive(Debug, Default)]
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
    /// Whether a journal can't be read any more, or another hub has the sink.
    given_up: bool,
    /// Failures in a row.
    failures: u32,
    /// Why stored segments could not be removed the last time.
    kept: Option<String>,
    /// Times in a row that there was no descriptor or memory for reading.
    shortages: u32,
    jitter: SplitMix64,
    /// When rights were last looked for.
    rights_seen: MonoMs,
}

impl<S: Sink> Batcher<S> {
    /// A batcher that has not asked its sink yet; its waits are drawn from `seed`.
    pub(super) fn new(config: &StoreConfig, ends: Ends<S>, seed: u64) -> Batcher<S> {
        let Ends { sink, sources, nonces, verdicts, truth, state } = ends;
        let faults = config.faults.clone();
        Batcher {
            sink,
            sources,
            limits: config.batch,
            retry: config.retry,
            dead: DeadLetters::new(&config.data_dir),
            nonces,
            verdicts,
            journal_bytes_max: config.journal.bytes_max,
            clock: config.clock,
            metrics: faults.metrics().clone(),
            conditions: faults.conditions().clone(),
            faults,
            state,
            flight: Flight { jitter: SplitMix64(seed), ..Flight::default() },
            truth,
        }
    }

    /// The task: until it is told to stop. A dropped sender is the same with no time to wait.
    pub(super) async fn run(mut self, stop: oneshot::Receiver<Stop>) {
        let stop = tokio::select! {
            stop = stop => stop,
            never = self.serve() => match never {},
        };
        let Ok(stop) = stop else { return };
        // A database whose file is gone is not waited for.
        let gone = self.conditions.holds(Condition::DatabaseFile);
        if !self.flight.given_up && !gone {
            // What is not stored in time stays in the journals.
            if let Ok(Err(fault)) = tokio::time::timeout(stop.wait, self.drain()).await {
                self.give_up(&fault);
            }
        }
        if self.flight.connected
            && let Err(error) = self.truth.bound.ends(&self.sources.stored())
        {
            // Then the next start takes all that the journals hold for unstored.
            tracing::debug!(%error, "how far the journals are stored can't be noted");
        }
        // If the claim is not given free, the next hub waits for the lease.
        let _ = tokio::time::timeout(RELEASE_MAX, self.sink.release()).await;
        // Whoever asked may have given up waiting.
        let _ = stop.answer.send(self.left());
    }

    async fn serve(&mut self) -> Infallible {
        self.connect().await;
        loop {
            tokio::select! {
                () = self.sources.wait() => {}
                () = Self::lost(&self.sink) => {
                    self.connect().await;
                    continue;
                }
            }
            if let Err(fault) = self.cycle().await {
                self.give_up(&fault);
                // The fault was told, and the process is about to end.
                return std::future::pending().await;
            }
        }
    }

    /// Reads the sink's positions, until it gives them.
    async fn connect(&mut self) {
        while let Err(error) = self.settle().await {
            self.failed(&error).await;
        }
        if self.flight.connect() {
            tracing::info!("the store takes messages again");
        }
        self.conditions.clear(Condition::DatabaseUnusable);
        self.conditions.set(Condition::RightsMissing, self.sink.lacks());
        self.count_backlog();
        self.forget_done().await;
        if let Err(error) = self.sink.forget_unused(&self.sources.journals()).await {
            tracing::debug!(%error, "positions of journals without records stay");
        }
        self.show(StoreState::Ready);
    }

    /// One batch, from the first record in it to its commit.
    async fn cycle(&mut self) -> Result<(), TailFault> {
        self.store().await?;
        self.fill().await?;
        let limits = BatchLimits { wait: self.limits.wait.max(self.sink.wait()), ..self.limits };
        while let Some(wait @ 1..) = self.flight.batch.due_in(&limits, self.clock.now().mono) {
            tokio::time::sleep(Duration::from_millis(wait)).await;
            self.fill().await?;
        }
        self.store().await
    }

    async fn drain(&mut self) -> Result<(), TailFault> {
        if !self.flight.connected {
            self.connect().await;
        }
        self.store().await?;
        while !self.sources.is_drained() || !self.flight.batch.is_empty() {
            self.fill().await?;
            self.store().await?;
        }
        Ok(())
    }

    /// Fills the batch. Waits, and says so, while there is no descriptor or memory for reading.
    async fn fill(&mut self) -> Result<(), TailFault> {
        loop {
            let now = self.clock.now().mono;
            let filled = self.sources.fill(&mut self.flight.batch, &self.limits, now);
            self.count_backlog();
            match filled {
                Err(fault) if fault.is_passing() => self.wait_for_means(&fault).await,
                filled => {
                    if std::mem::take(&mut self.flight.shortages) > 0 {
                        self.conditions.clear(Condition::JournalUnread);
                    }
                    return filled;
                }
            }
        }
    }

    async fn wait_for_means(&mut self, fault: &TailFault) {
        let why = fault.source.as_ref().map(ToString::to_string).unwrap_or_default();
        self.conditions.raise(Condition::JournalUnread, format!("{fault}: {why}"));
        let RetryWait { min, max } = self.retry;
        let wait = min.saturating_mul(1 << self.flight.shortages.min(32)).min(max);
        self.flight.shortages = self.flight.shortages.saturating_add(1);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }

    /// Stores what was filled, however long it takes. May be dropped and called again.
    async fn store(&mut self) -> Result<(), TailFault> {
        if !self.flight.batch.is_empty() {
            debug_assert!(self.flight.work.is_empty(), "one batch at a time");
            self.flight.work.push(std::mem::take(&mut self.flight.batch));
        }
        while !self.flight.work.is_empty() {
            match self.try_store().await {
                Ok(begun) => {
                    self.stored(begun).await;
                    self.look_at_rights().await;
                }
                Err(SinkError::Closed(words)) => self.wait_for_mending(words).await?,
                Err(told @ (SinkError::Data(_) | SinkError::Orphan(_))) => self.sift(told).await?,
                Err(error) => self.failed(&error).await,
            }
        }
        self.forget_done().await;
        Ok(())
    }

    /// Tries the next batch once; when it began, if it is stored.
    async fn try_store(&mut self) -> Result<Now, SinkError> {
        let begun = self.clock.now();
        if self.flight.work.is_empty() {
            return Ok(begun);
        }
        let settled = !self.flight.in_doubt && !self.flight.unsettled;
        if !(settled && self.sink.is_connected()) && self.settle().await? {
            return Ok(begun);
        }
        self.leave_out_stored().await?;
        // The batch is gone if the sink is not where it was: then other records come first.
        let Some(batch) = self.flight.work.last() else { return Ok(begun) };
        // True until the sink says what became of the batch; this call may be dropped before.
        self.flight.in_doubt = true;
        let outcome = self.sink.append(batch).await;
        self.flight.in_doubt = matches!(outcome, Err(SinkError::Unclear(_)));
        outcome.map(|()| begun)
    }

    async fn stored(&mut self, begun: Now) {
        let Some(batch) = self.flight.work.pop() else { return };
        self.flight.in_doubt = false;
        if std::mem::take(&mut self.flight.failures) > 0 {
            tracing::info!("the store takes messages again");
        }
        self.mended(&batch);
        // Written before the journal's segments may go.
        self.nonces.append(&batch, begun.mono);
        self.conditions.set(Condition::NoncesLost, self.nonces.failing());
        // What can't be removed is tried again with each batch; the bound still counts it.
        let freed = self.sources.committed(&batch, &mut self.truth.trimmed);
        self.flight.kept = freed.err().map(|error| error.to_string());
        let now = self.clock.now();
        let store = &self.metrics.store;
        store.add(Metric::RowsStored, batch.rows() as u64);
        store.add(Metric::Batches, 1);
        store.add(Metric::BatchMicros, micros_between(begun, now));
        let backlog = self.count_backlog();
        let late = batch.oldest().is_some_and(|at| now.unix.0 - at.0 > BEHIND_US);
        let full = backlog > self.journal_bytes_max / 10 * 8;
        // A late batch with nothing behind it means that the store has caught up.
        let behind = (late && backlog > 0) || full;
        self.show(if behind { StoreState::Behind } else { StoreState::Ready });
    }

    /// Clears what a stored batch shows to be over, and remembers whose row was taken.
    fn mended(&mut self, batch: &Batch) {
        self.conditions.clear(Condition::DatabaseRefuses);
        self.conditions.clear(Condition::DatabaseUnusable);
        let good = batch.records().last().map(|record| (record.user, record.space));
        self.flight.good = good.or(self.flight.good);
    }

    /// Looks again for rights that were missing, now and then.
    async fn look_at_rights(&mut self) {
        let now = self.clock.now().mono;
        let is_due = now.since(self.flight.rights_seen) >= RIGHTS_PERIOD;
        if is_due && self.conditions.holds(Condition::RightsMissing) {
            self.flight.rights_seen = now;
            // A connection that fails shows in the next batch.
            _ = self.sink.look_at_rights().await;
        }
        self.conditions.set(Condition::RightsMissing, self.sink.lacks());
    }

    /// Tells a failure, and waits. What only a person can mend is a condition too.
    async fn failed(&mut self, error: &SinkError) {
        if let SinkError::Taken(_) = error {
            // Two hubs that serve one database break every promise of order: this one ends.
            self.show(StoreState::Refused);
            self.flight.given_up = true;
            self.faults.end(Condition::ClaimLost, error);
            return std::future::pending().await;
        }
        if let SinkError::Refused(reason) = error {
            self.conditions.raise(Condition::DatabaseUnusable, reason);
            // What this error says is newer.
            self.conditions.clear(Condition::DatabaseRefuses);
        }
        self.wait_out(error).await;
    }

    /// Tells a failure in the log, once until it is over or changes its kind, and waits.
    async fn wait_out(&mut self, error: &SinkError) {
        self.conditions.set(Condition::RightsMissing, self.sink.lacks());
        self.metrics.store.add(Metric::BatchFaults, 1);
        let refused = matches!(error, SinkError::Refused(_));
        let state = match refused {
            true => StoreState::Refused,
            false if self.flight.connected => StoreState::Behind,
            false => StoreState::Connecting,
        };
        if self.flight.failures == 0 || (refused && *self.state.borrow() != state) {
            tracing::warn!(%error, ?state, "the store takes no messages; trying again");
        }
        self.show(state);
        // While the store is away, nothing else counts what grows.
        self.count_backlog();
        let wait = self.flight.next_wait(self.retry);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }

    /// Removes found journals that are stored to their ends: first the files, then, when no
    /// crash can bring them back, their positions.
    async fn forget_done(&mut self) {
        let mut kept = self.flight.kept.clone();
        while let Some((gone, removed)) = self.sources.remove_done(&mut self.truth.trimmed) {
            let journal = gone.journal;
            if let Err(error) = removed {
                // Its records count as stored, and removing is tried again with the next batch.
                kept = Some(error.to_string());
                break;
            } else if let Err(error) = self.sink.forget(&gone).await {
                // One row too many, which nobody asks for again.
                tracing::debug!(%journal, %error, "a journal's position stays");
            } else {
                tracing::info!(%journal, "a journal of an earlier run is stored");
            }
        }
        self.conditions.set(Condition::JournalKept, kept);
        self.sources.show_earlier_runs();
    }

    fn count_backlog(&self) -> u64 {
        let backlog = self.sources.backlog();
        self.metrics.store.set(Metric::JournalBytes, backlog);
        backlog
    }

    fn show(&self, state: StoreState) {
        self.state.send_if_modified(|shown| std::mem::replace(shown, state) != state);
    }

    fn give_up(&mut self, fault: &TailFault) {
        self.flight.given_up = true;
        self.show(StoreState::Refused);
        self.faults.report("read the journal", fault);
    }

    fn left(&mut self) -> Unstored {
        let in_hand: usize = self.flight.work.iter().map(Batch::rows).sum();
        let in_hand = (in_hand + self.flight.batch.rows()) as u64;
        // What can't be read was told before; it stays uncounted.
        let records = in_hand + self.sources.count_rest().unwrap_or(0);
        Unstored { records, bytes: self.sources.backlog() }
    }
}

impl Flight {
    /// The sink has told its positions; whether it had failed before, having done so once.
    fn connect(&mut self) -> bool {
        let before = std::mem::replace(&mut self.connected, true);
        std::mem::take(&mut self.failures) > 0 && before
    }

    /// Whether the sink has ever told its positions.
    fn connected(&self) -> bool {
        self.connected
    }

    /// The batch that the sink may have committed already.
    fn doubted(&self) -> Option<&Batch> {
        self.work.last().filter(|_| self.in_doubt)
    }

    /// The sink has not committed the batch in doubt.
    fn not_stored(&mut self) {
        self.in_doubt = false;
    }

    /// Everything is to be read from the journals again.
    fn drop_all(&mut self) {
        self.work.clear();
        self.batch = Batch::new();
        self.in_doubt = false;
    }

    fn next_wait(&mut self, retry: RetryWait) -> u64 {
        let bound = retry.min.saturating_mul(1 << self.failures.min(32)).min(retry.max);
        self.failures = self.failures.saturating_add(1);
        self.jitter.next() % (bound + 1)
    }
}

/// How long something took. The wall clock counts microseconds and is taken, unless it has jumped.
fn micros_between(begun: Now, now: Now) -> u64 {
    let mono = now.mono.since(begun.mono) * 1000;
    let wall = u64::try_from(now.unix.0 - begun.unix.0).unwrap_or(0);
    if wall.abs_diff(mono) <= 2_000 { wall } else { mono }
}
