//! What a collector of traces is told of a batch: a span for each try to store one.
//!
//! Nothing of a message is in it, nor of what the database said.

use super::Batcher;
use crate::store::sink::{Sink, SinkError};
use crate::telemetry::Kind;
use crate::wire::time::Now;

impl<S: Sink> Batcher<S> {
    /// Traces a try that began at this time and ends now, while its batch is still the next one.
    pub(super) fn trace(&self, begun: Now, failed: Option<&SinkError>) {
        let Some(batch) = self.flight.next() else { return };
        let Some(mut span) = self.traces.begin(Kind::Batch, begun) else { return };
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        span.text("db.system.name", S::SYSTEM);
        span.number("db.operation.batch.size", number(batch.rows()));
        span.number("cpi_hub.batch.bytes", number(batch.bytes()));
        span.number("cpi_hub.batch.journals", number(batch.advances().len()));
        span.number("cpi_hub.batch.retries", self.flight.failures().into());
        match failed {
            None => span.outcome("stored"),
            Some(error) => {
                span.outcome("failed");
                span.fail(sort(error));
            }
        }
    }
}

/// What the batcher does about it.
fn sort(error: &SinkError) -> &'static str {
    match error {
        SinkError::Retry(_) => "retry",
        SinkError::Unclear(_) => "unclear",
        SinkError::Data(_) => "data",
        SinkError::Orphan(_) => "orphan",
        SinkError::Closed(_) => "closed",
        SinkError::Refused(_) => "refused",
        SinkError::Damaged(_) => "damaged",
        SinkError::Taken(_) => "taken",
    }
}
