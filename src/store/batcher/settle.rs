//! Where the sink is, held against what the batcher believes: after each connection, and after
//! each commit that is in doubt.
//!
//! A sink that is behind (another copy of the database, an older backup) is given again what the
//! journals still hold; what they no longer hold is told. One that is ahead of all that was ever
//! sent is refused, and so is another store than the one the journals were made for.

use std::time::Duration;

use super::Batcher;
use super::batch::Batch;
use super::sources::Compared;
use crate::conditions::Condition;
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

impl<S: Sink> Batcher<S> {
    /// Reads where the sink is, and goes on from there; whether the batch whose commit was in
    /// doubt is stored. If the sink is elsewhere than it was, nothing is in flight any more.
    pub(super) async fn settle(&mut self) -> Result<bool, SinkError> {
        self.flight.unsettled = true;
        self.check_store().await?;
        let journals = self.sources.journals();
        let positions = self.sink.positions(&journals).await?;
        let doubted = self.flight.doubted();
        let first = !self.flight.connected();
        let standing = match first {
            true => Compared::Moved,
            false => self.sources.compare(&positions, doubted.map_or(&[], Batch::advances)),
        };
        let limit = Id::first_of_ms(self.clock.now().unix.0 / 1000 + DAY_MS);
        let gone = self.gone(&journals, limit).await?;
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
                if !first {
                    let bytes = self.sources.backlog().saturating_sub(before);
                    tracing::warn!(bytes, "the store went back: storing again what journals hold");
                }
            }
        }
        self.tell_missing(gone).await?;
        self.flight.unsettled = false;
        Ok(standing == Compared::Committed)
    }

    /// Nothing is stored in another store than that which the journals were made for.
    async fn check_store(&mut self) -> Result<(), SinkError> {
        let identity = self.sink.identity().await?;
        let Err(other) = self.truth.bound.meet(&identity) else { return Ok(()) };
        self.faults.end(Condition::AnotherStore, &other);
        Err(SinkError::Refused(other.to_string()))
    }

    /// What the sink has of journals that are gone.
    async fn gone(&mut self, there: &[JournalId], limit: Id) -> Result<Vec<Lacking>, SinkError> {
        let gone = self.truth.trimmed.gone(there);
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        let past = self.sink.past(&gone, limit).await?;
        let lacking = |(journal, at): (JournalId, Option<u64>)| {
            let has = at.map_or(Has::Ids(past.highest), Has::UpTo);
            Lacking { journal, has, end: None }
        };
        Ok(gone.into_iter().zip(past.positions).map(lacking).collect())
    }

    /// Tells what neither the sink nor a journal has.
    async fn tell_missing(&mut self, gone: Vec<Lacking>) -> Result<(), SinkError> {
        let there = self.sources.lacking().map(|(journal, at, begin)| Lacking {
            journal,
            has: Has::UpTo(at),
            end: Some(begin),
        });
        let mut lacking: Vec<Lacking> = there.chain(gone).collect();
        // Where positions are gone, the messages may still be there.
        let ids = self.truth.trimmed.last_ids(&lacking);
        let mut known = Accounted::default();
        if !ids.is_empty() {
            known.stored = self.sink.stored_ids(&ids).await?;
            let letters = Letters::read(self.truth.holes.data_dir()).unwrap_or_default();
            known.dead = letters.letters.iter().map(|letter| letter.id).collect();
        }
        let mut missing = Missing::default();
        lacking.retain(|lacking| {
            let more = self.truth.trimmed.missing(lacking, &known);
            missing.add(more);
            !more.is_none()
        });
        if !missing.is_none() {
            // What is missing is noted first, then that it was told: after a crash in between it
            // is told again.
            self.truth.holes.add(missing, self.clock.now().unix);
            self.truth.trimmed.told(&lacking);
        }
        Ok(())
    }

    /// Waits until the sink's connection is lost. A quiet batcher asks its sink nothing, and a
    /// database that comes back older is to be noticed before somebody says something.
    pub(super) async fn lost(sink: &S) {
        while sink.is_connected() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Leaves out of the next batch what is stored already, though its journal's position says
    /// that it is not: a table was put back without its positions, or positions without their
    /// table.
    pub(super) async fn leave_out_stored(&mut self) -> Result<(), SinkError> {
        let Some(batch) = self.flight.work.last_mut() else { return Ok(()) };
        if !self.sources.is_again(batch) || batch.rows() == 0 {
            return Ok(());
        }
        let ids: Vec<Id> = batch.records().map(|record| record.id).collect();
        let stored = self.sink.stored_ids(&ids).await?;
        batch.leave_out(|record| stored.contains(&record.id));
        Ok(())
    }
}
