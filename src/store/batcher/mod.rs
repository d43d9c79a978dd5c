//! The batcher: moves records from journals to the sink, in batches, each exactly once.
//!
//! Owns the sink, and puts together what reads journals (`sources`), what is on its way
//! (`flight`), what is known of the store (`truth`), where refused rows go (`refused`) and what
//! is shown (`health`). One batch is in flight at a time, kept until the sink's positions say that
//! it is stored. Never touches a shard but through the cells that show committed positions, and
//! the verdicts on refused rows.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::clock::Clock;
use crate::conditions::Condition;
use crate::faults::panic_place;
use crate::store::journal::TailFault;
use crate::store::sink::{Sink, SinkError};
use crate::store::{StoreConfig, StoreState};
use crate::telemetry::Traces;
use crate::wire::time::{MonoMs, Now};
use batch::BatchLimits;
use flight::Flight;
use health::Health;

mod anew;
pub(super) mod batch;
mod flight;
mod health;
mod letters;
mod nonces;
mod published;
mod refused;
pub(super) mod sift;
mod sources;
mod traced;
mod truth;

pub(super) use anew::{Anew, Reopen};
pub use flight::RetryWait;
pub(super) use letters::Retrials;
pub(super) use nonces::NonceFiles;
pub use nonces::NonceLimits;
pub(crate) use published::Published;
pub(super) use refused::DeadRows;
#[cfg(test)]
pub(super) use refused::NO_SPACE;
pub(super) use sources::JournalSources;
pub(super) use truth::Truth;

/// How soon a batch that nobody waits for is looked at, in milliseconds.
const LINGER_LOOK: u64 = 5;
/// Between two looks for rights that are missing, in milliseconds.
const RIGHTS_PERIOD: u64 = 2_000;
/// How often a quiet batcher looks whether its sink is still connected.
const LOOK: Duration = Duration::from_secs(1);
/// The longest that giving the sink free may take.
const RELEASE_MAX: Duration = Duration::from_secs(1);

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

/// A stop, or the end of whoever could ask for one.
pub(super) type Stopped = Result<Stop, oneshot::error::RecvError>;

/// What a batcher moves records from and into.
#[derive(Debug)]
pub(super) struct Ends<S> {
    pub(super) sink: S,
    pub(super) sources: JournalSources,
    pub(super) nonces: NonceFiles,
    pub(super) dead: DeadRows,
    pub(super) truth: Truth,
    /// Shows what the sink is doing.
    pub(super) state: watch::Sender<StoreState>,
}

/// Moves records; see the module.
pub(super) struct Batcher<S> {
    sink: S,
    sources: JournalSources,
    limits: BatchLimits,
    /// How long rows that nobody waits for wait, from the last batch on, in milliseconds.
    linger: u64,
    nonces: NonceFiles,
    dead: DeadRows,
    clock: Clock,
    health: Health,
    flight: Flight,
    truth: Truth,
    traces: Traces,
    /// When rights were last looked for.
    rights_seen: MonoMs,
    /// A batch waits for more rows than it begins with: so the last one did, and it paid.
    waits: bool,
    /// When the last batch was full, or due.
    due: MonoMs,
}

impl<S: Sink> Batcher<S> {
    /// A batcher that has not asked its sink yet; its waits are drawn from `seed`.
    pub(super) fn new(config: &StoreConfig, ends: Ends<S>, seed: u64) -> Batcher<S> {
        let Ends { sink, sources, nonces, dead, truth, state } = ends;
        Batcher {
            sink,
            sources,
            limits: config.batch,
            linger: config.batch_linger,
            nonces,
            dead,
            clock: config.clock.clone(),
            health: Health::new(config, state),
            flight: Flight::new(config.retry, seed),
            truth,
            traces: config.traces.clone(),
            rights_seen: MonoMs::default(),
            waits: false,
            due: MonoMs::default(),
        }
    }

    /// How long rows linger, in milliseconds.
    #[cfg(test)]
    pub(super) fn linger_for(&mut self, linger: u64) {
        self.linger = linger;
    }

    /// The task: until it is told to stop. A dropped sender is the same with no time to wait. Gives
    /// the sink back, which is to be closed after all that read the store.
    pub(super) async fn run(
        mut self,
        stop: impl Future<Output = Stopped>,
        retrials: &mut Retrials,
    ) -> S {
        let stop = tokio::select! {
            stop = stop => stop,
            never = self.serve(retrials) => match never {},
        };
        let Ok(stop) = stop else { return self.sink };
        if !self.health.is_lost() {
            // What is not stored in time stays in the journals.
            if let Ok(Err(fault)) = tokio::time::timeout(stop.wait, self.drain()).await {
                self.health.give_up().report("read the journal", &fault);
            }
        }
        // After a damaged store's end the next start looks at it as after a crash.
        if self.flight.is_connected()
            && !self.health.conditions.holds(Condition::DatabaseDamaged)
            && let Err(error) = self.truth.bound.ends(&self.sources.stored())
        {
            // Then the next start takes all that the journals hold for unstored.
            tracing::debug!(%error, "how far the journals are stored can't be noted");
        }
        // If the claim is not given free, the next hub waits for the lease.
        let _ = tokio::time::timeout(RELEASE_MAX, self.sink.release()).await;
        // Whoever asked may have given up waiting.
        let _ = stop.answer.send(self.left());
        self.sink
    }

    async fn serve(&mut self, retrials: &mut Retrials) -> Infallible {
        self.connect().await;
        loop {
            tokio::select! {
                () = self.sources.wait() => {}
                () = Self::lost(&self.sink) => {
                    self.connect().await;
                    continue;
                }
                Some(asked) = retrials.recv() => {
                    self.retry_letters(asked).await;
                    continue;
                }
            }
            if let Err(fault) = self.cycle().await {
                self.health.give_up().report("read the journal", &fault);
                // The fault was told, and the process is about to end.
                return std::future::pending().await;
            }
        }
    }

    /// Waits until the sink's connection is lost. A quiet batcher asks its sink nothing, and a
    /// database that comes back older is to be noticed before somebody says something.
    async fn lost(sink: &S) {
        while sink.is_connected() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Reads the sink's positions, until it gives them.
    async fn connect(&mut self) {
        while let Err(error) = self.settle().await {
            self.failed(&error).await;
        }
        self.flight.connect();
        self.health.conditions.clear(Condition::DatabaseUnusable);
        self.show_rights();
        self.health.count_backlog(&self.sources);
        self.forget_done().await;
        if let Err(error) = self.sink.forget_unused(&self.sources.journals()).await {
            tracing::debug!(%error, "positions of journals without records stay");
        }
        self.health.show(StoreState::Ready);
    }

    /// One batch, from the first record in it to its commit.
    async fn cycle(&mut self) -> Result<(), TailFault> {
        panic_place("hub-store");
        self.store().await?;
        self.fill().await?;
        if !self.linger().await? {
            return self.store().await;
        }
        // Rows that came together are a sign of more; one that waited alone, that none will.
        let rows = self.flight.rows();
        self.waits |= rows > 1;
        // What came while the last batch was stored has waited for that.
        let waited = self.clock.now().mono.since(self.due);
        let wait = if self.waits { self.limits.wait.max(self.sink.wait()) } else { 0 };
        let limits = BatchLimits { wait: wait.saturating_sub(waited), ..self.limits };
        while let Some(wait @ 1..) = self.flight.filled().due_in(&limits, self.clock.now().mono) {
            tokio::time::sleep(Duration::from_millis(wait)).await;
            self.fill().await?;
        }
        self.waits = self.flight.rows() > rows;
        self.due = self.clock.now().mono;
        self.store().await
    }

    /// Waits for more rows while nobody waits for those that are there. `false`: nobody does, and
    /// they have waited long enough.
    async fn linger(&mut self) -> Result<bool, TailFault> {
        if self.linger <= self.limits.wait {
            return Ok(true);
        }
        let waited = self.clock.now().mono.since(self.due);
        let limits = BatchLimits { wait: self.linger.saturating_sub(waited), ..self.limits };
        while !self.sources.is_wanted() {
            let left = self.flight.filled().due_in(&limits, self.clock.now().mono);
            let Some(left @ 1..) = left else {
                self.due = self.clock.now().mono;
                return Ok(false);
            };
            // Looks at 5 ms, 10, 20, ...: a batch that fills up early is not late by much, and a
            // few rows wake nobody often.
            let look = left.min(LINGER_LOOK.max(limits.wait - left));
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(look)) => {}
                () = self.sources.wanted() => {}
            }
            self.fill().await?;
        }
        Ok(true)
    }

    async fn drain(&mut self) -> Result<(), TailFault> {
        if !self.flight.is_connected() {
            self.connect().await;
        }
        self.store().await?;
        while !self.sources.is_drained() || !self.flight.filled().is_empty() {
            self.fill().await?;
            self.store().await?;
        }
        Ok(())
    }

    /// Stores what was filled, however long it takes. May be dropped and called again.
    async fn store(&mut self) -> Result<(), TailFault> {
        self.flight.begin();
        while self.flight.next().is_some() {
            let begun = self.clock.now();
            let tried = self.try_store().await;
            if let Err(error) = &tried {
                self.trace(begun, Some(error));
            }
            match tried {
                Ok(begun) => {
                    self.stored(begun);
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

    fn stored(&mut self, begun: Now) {
        panic_place("a batch that is stored");
        self.trace(begun, None);
        let Some(batch) = self.flight.stored() else { return };
        self.health.conditions.clear(Condition::DatabaseRefuses);
        self.health.conditions.clear(Condition::DatabaseUnusable);
        // Written before the journal's segments may go.
        self.nonces.append(&batch, begun.mono);
        self.health.conditions.set(Condition::NoncesLost, self.nonces.failing());
        self.sources.committed(&batch, &mut self.truth.trimmed);
        self.health.stored(&batch, [begun, self.clock.now()], &self.sources);
    }

    /// Looks again for rights that were missing, now and then.
    async fn look_at_rights(&mut self) {
        let now = self.clock.now().mono;
        let is_due = now.since(self.rights_seen) >= RIGHTS_PERIOD;
        if is_due && self.health.conditions.holds(Condition::RightsMissing) {
            self.rights_seen = now;
            // A connection that fails shows in the next batch.
            _ = self.sink.look_at_rights().await;
        }
        self.show_rights();
    }

    fn show_rights(&self) {
        self.health.conditions.set(Condition::RightsMissing, self.sink.lacks());
    }

    /// Tells a failure, and waits. What only a person can mend is a condition too.
    async fn failed(&mut self, error: &SinkError) {
        if let SinkError::Taken(_) = error {
            // Two hubs that serve one database break every promise of order: this one ends.
            self.health.give_up().end(Condition::ClaimLost, error);
            return std::future::pending().await;
        }
        self.tell(error);
        match error {
            SinkError::Refused(reason) => {
                self.health.conditions.raise(Condition::DatabaseUnusable, reason);
                // What this error says is newer.
                self.health.conditions.clear(Condition::DatabaseRefuses);
            }
            SinkError::Damaged(what) => {
                self.health.conditions.raise(Condition::DatabaseDamaged, what);
            }
            _ => {}
        }
        self.flight.wait().await;
    }

    /// Tells a failure in the log, and shows what the store does now: before any condition, which
    /// is read with it.
    fn tell(&mut self, error: &SinkError) {
        self.show_rights();
        self.health.failing(error, &self.flight);
        // While the store is away, nothing else counts what grows.
        self.health.count_backlog(&self.sources);
    }

    /// Removes found journals that are stored to their ends: first the files, then, when no
    /// crash can bring them back, their positions.
    async fn forget_done(&mut self) {
        let mut kept = self.sources.kept();
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
        self.health.conditions.set(Condition::JournalKept, kept);
        self.sources.show_earlier_runs();
    }

    fn left(&mut self) -> Unstored {
        // What can't be read was told before; it stays uncounted.
        let records = self.flight.rows() as u64 + self.sources.count_rest().unwrap_or(0);
        Unstored { records, bytes: self.sources.backlog() }
    }
}
