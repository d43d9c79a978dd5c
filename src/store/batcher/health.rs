//! What the operator is shown of the store: its state, what is wrong with it, what it counts.
//!
//! Owns the state, and whether the batcher has given up. Decides nothing about a failure.

use tokio::sync::watch;

use super::batch::Batch;
use super::flight::Flight;
use super::sources::JournalSources;
use crate::conditions::{Condition, Conditions};
use crate::faults::Faults;
use crate::metrics::{Latency, Metric};
use crate::store::sink::SinkError;
use crate::store::{StoreConfig, StoreState};
use crate::wire::time::Now;

/// A store whose oldest waiting message is older than this is behind, in microseconds.
const BEHIND_US: i64 = 5_000_000;

/// Shows how the store is.
pub(super) struct Health {
    pub(super) conditions: Conditions,
    pub(super) faults: Faults,
    state: watch::Sender<StoreState>,
    /// Whether a journal can't be read any more, or another hub has the sink.
    given_up: bool,
    journal_bytes_max: u64,
}

impl Health {
    pub(super) fn new(config: &StoreConfig, state: watch::Sender<StoreState>) -> Health {
        let (faults, journal_bytes_max) = (config.faults.clone(), config.journal.bytes_max);
        let conditions = faults.conditions().clone();
        Health { conditions, faults, state, given_up: false, journal_bytes_max }
    }

    pub(super) fn show(&self, state: StoreState) {
        self.state.send_if_modified(|shown| std::mem::replace(shown, state) != state);
    }

    /// Shows how many bytes wait in journals.
    pub(super) fn count_backlog(&self, sources: &JournalSources) -> u64 {
        let backlog = sources.backlog();
        self.faults.metrics().store.set(Metric::JournalBytes, backlog);
        backlog
    }

    /// A batch was stored, whose storing began and ended at these times.
    pub(super) fn stored(&self, batch: &Batch, [begun, now]: [Now; 2], sources: &JournalSources) {
        let store = &self.faults.metrics().store;
        store.add(Metric::RowsStored, batch.rows() as u64);
        store.add(Metric::Batches, 1);
        store.observe(Latency::Batch, now.micros_since(begun));
        let backlog = self.count_backlog(sources);
        let late = batch.oldest().is_some_and(|at| now.unix.0 - at.0 > BEHIND_US);
        let full = backlog > self.journal_bytes_max / 10 * 8;
        // A late batch with nothing behind it means that the store has caught up.
        let behind = (late && backlog > 0) || full;
        self.show(if behind { StoreState::Behind } else { StoreState::Ready });
    }

    /// Rows were dead-lettered.
    pub(super) fn buried(&self, rows: usize) {
        self.faults.metrics().store.add(Metric::RowsDead, rows as u64);
    }

    /// A failure, told in the log once until it is over or changes its kind.
    pub(super) fn failing(&self, error: &SinkError, flight: &Flight) {
        self.faults.metrics().store.add(Metric::BatchFaults, 1);
        let refused = matches!(error, SinkError::Refused(_) | SinkError::Damaged(_));
        let state = match refused {
            true => StoreState::Refused,
            false if flight.is_connected() => StoreState::Behind,
            false => StoreState::Connecting,
        };
        if !flight.is_failing() || (refused && *self.state.borrow() != state) {
            tracing::warn!(%error, ?state, "the store takes no messages; trying again");
        }
        self.show(state);
    }

    /// Nothing is stored any more; the caller tells why.
    pub(super) fn give_up(&mut self) -> &Faults {
        self.show(StoreState::Refused);
        self.given_up = true;
        &self.faults
    }

    /// Whether nothing can be stored any more. A database whose file is gone, or damaged, is not
    /// waited for.
    pub(super) fn is_lost(&self) -> bool {
        let files = [Condition::DatabaseFile, Condition::DatabaseDamaged];
        self.given_up || files.into_iter().any(|it| self.conditions.holds(it))
    }

    /// Whether anything may be stored: what goes into a damaged store leaves the journals. Whoever
    /// finds damage tells it, be it a reader.
    pub(super) fn is_sound(&self) -> Result<(), SinkError> {
        match self.conditions.detail(Condition::DatabaseDamaged) {
            Some(what) => Err(SinkError::Damaged(what)),
            None => Ok(()),
        }
    }
}
