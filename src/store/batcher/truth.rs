//! Where the sink is, held against what the batcher believes: after each connection, and after
//! each commit that is in doubt.
//!
//! A sink that is behind (another copy of the database, an older backup) is given again what the
//! journals still hold; what they no longer hold is told. One that is ahead of all that was ever
//! sent is refused, and so is another store than the one the journals were made for.

use std::time::Duration;

use super::Batcher;
use super::sources::Compared;
use crate::clock::Clock;
use crate::conditions::Condition;
use crate::faults::Faults;
use crate::store::DAY_MS;
use crate::store::data_dir::bound::Bound;
use crate::store::data_dir::holes::{Holes, Missing};
use crate::store::data_dir::trimmed::{Accounted, Has, Lacking, Trimmed};
use crate::store::dead_letters::file::Letters;
use crate::store::journal::JournalId;
use crate::store::sink::{Sink, SinkError};
use crate::wire::Id;

/// How often a quiet batcher looks whether its sink is still connected.
const LOOK: Duration = Duration::from_secs(1);

/// What is known of the store beside what the journals hold.
#[derive(Debug)]
pub(crate) struct Truth {
    pub(crate) bound: Bound,
    pub(crate) trimmed: Trimmed,
    pub(crate) holes: Holes,
}

impl Truth {
    /// Nothing is stored in another store than that which the journals were made for.
    async fn check_store(
        &mut self,
        sink: &mut impl Sink,
        faults: &Faults,
    ) -> Result<(), SinkError> {
        let identity = sink.identity().await?;
        let Err(other) = self.bound.meet(&identity) else { return Ok(()) };
        faults.end(Condition::AnotherStore, &other);
        Err(SinkError::Refused(other.to_string()))
    }

    /// What the sink has of journals that are gone.
    async fn gone(
        &self,
        sink: &mut impl Sink,
        there: &[JournalId],
        limit: Id,
    ) -> Result<Vec<Lacking>, SinkError> {
        let gone = self.trimmed.gone(there);
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        let past = sink.past(&gone, limit).await?;
        let lacking = |(journal, at): (JournalId, Option<u64>)| {
            let has = at.map_or(Has::Ids(past.highest), Has::UpTo);
            Lacking { journal, has, end: None }
        };
        Ok(gone.into_iter().zip(past.positions).map(lacking).collect())
    }

    /// Tells what neither the sink nor a journal has, of what the sink seems to lack.
    async fn tell_missing(
        &mut self,
        sink: &mut impl Sink,
        mut lacking: Vec<Lacking>,
        clock: Clock,
    ) -> Result<(), SinkError> {
        // Where positions are gone, the messages may still be there.
        let ids = self.trimmed.last_ids(&lacking);
        let mut known = Accounted::default();
        if !ids.is_empty() {
            known.stored = sink.stored_ids(&ids).await?;
            let letters = Letters::read(self.holes.data_dir()).unwrap_or_default();
            known.dead = letters.letters.iter().map(|letter| letter.id).collect();
        }
        let mut missing = Missing::default();
        lacking.retain(|lacking| {
            let more = self.trimmed.missing(lacking, &known);
            missing.add(more);
            !more.is_none()
        });
        if !missing.is_none() {
            // What is missing is noted first, then that it was told: after a crash in between it
            // is told again.
            self.holes.add(missing, clock.now().unix);
            self.trimmed.told(&lacking);
        }
        Ok(())
    }
}

/// Waits until the sink's connection is lost. A quiet batcher asks its sink nothing, and a
/// database that comes back older is to be noticed before somebody says something.
pub(super) async fn lost(sink: &impl Sink) {
    while sink.is_connected() {
        tokio::time::sleep(LOOK).await;
    }
}

impl<S: Sink> Batcher<S> {
    /// Reads where the sink is, and goes on from there; whether the batch whose commit was in
    /// doubt is stored. If the sink is elsewhere than it was, nothing is in flight any more.
    pub(super) async fn settle(&mut self) -> Result<bool, SinkError> {
        self.flight.unsettle();
        self.truth.check_store(&mut self.sink, self.health.faults()).await?;
        let journals = self.sources.journals();
        let positions = self.sink.positions(&journals).await?;
        let standing = self.flight.compare(&mut self.sources, &positions);
        let limit = Id::first_of_ms(self.clock.now().unix.0 / 1000 + DAY_MS);
        let gone = self.truth.gone(&mut self.sink, &journals, limit).await?;
        match standing {
            Compared::Committed => {}
            Compared::AsBelieved => self.flight.not_stored(),
            Compared::Impossible => {
                let text = "the journals' positions were changed by someone else";
                return Err(SinkError::Refused(text.into()));
            }
            Compared::Moved => {
                self.flight.drop_all();
                let before = self.sources.backlog();
                self.sources.go_to(&positions);
                if self.flight.is_connected() {
                    let bytes = self.sources.backlog().saturating_sub(before);
                    tracing::warn!(bytes, "the store went back: storing again what journals hold");
                }
            }
        }
        let lacking = self.sources.lacking().chain(gone).collect();
        self.truth.tell_missing(&mut self.sink, lacking, self.clock).await?;
        self.flight.settle();
        Ok(standing == Compared::Committed)
    }
}
