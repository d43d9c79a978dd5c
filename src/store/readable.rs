//! Whether history can be read, as those find who read it: a condition, a count and a log line.
//!
//! Shared by all connections that read. A connection that answers says little for as long as
//! another one has just failed, so that they do not contradict each other at every question.

use std::error::Error;
use std::sync::Arc;

use super::latest::Latest;
use super::query::ReadFault;
use crate::clock::Clock;
use crate::conditions::Condition;
use crate::faults::Faults;
use crate::metrics::Metric;
use crate::wire::time::MonoMs;

/// How long after the last failure an answer says that all is well, in milliseconds.
const QUIET: u64 = 1_000;

/// What is known of reading; all clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Readable {
    faults: Faults,
    clock: Clock,
    failed_at: Arc<Latest>,
}

impl Readable {
    /// Nothing has failed yet.
    pub(crate) fn new(faults: Faults, clock: Clock) -> Readable {
        Readable { faults, clock, failed_at: Arc::new(Latest::new()) }
    }

    /// A question could not be answered that is not about history; what its asker is told.
    pub(crate) fn unanswered(&self, error: &dyn Error) -> ReadFault {
        tracing::debug!(%error, "the store did not answer");
        self.faults.metrics().store.add(Metric::ReadFaults, 1);
        ReadFault::Away
    }

    /// A question for history could not be answered; what its asker is told.
    pub(crate) fn failed(&self, error: &dyn Error) -> ReadFault {
        self.faults.metrics().store.add(Metric::ReadFaults, 1);
        self.failed_at.publish(self.clock.now().mono.0);
        self.faults.conditions().raise(Condition::HistoryUnreadable, error);
        ReadFault::Away
    }

    /// A question was answered.
    pub(crate) fn answered(&self) {
        let conditions = self.faults.conditions();
        if conditions.holds(Condition::HistoryUnreadable)
            && self.clock.now().mono.since(MonoMs(self.failed_at.get())) >= QUIET
        {
            conditions.clear(Condition::HistoryUnreadable);
        }
    }
}
