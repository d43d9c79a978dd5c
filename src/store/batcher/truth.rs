//! What is known of the store beside what the journals hold: which store it is, what has left the
//! journals, what is missing. Owns all three.
//!
//! Another store than the one that the journals were made for is refused. What a sink that is
//! behind lacks, and the journals no longer hold, is told.

use super::health::Health;
use crate::clock::Clock;
use crate::conditions::Condition;
use crate::store::data_dir::bound::Bound;
use crate::store::data_dir::holes::{Holes, Missing};
use crate::store::data_dir::trimmed::{Accounted, Has, Lacking, Trimmed};
use crate::store::dead_letters::file::Letters;
use crate::store::journal::JournalId;
use crate::store::sink::{Sink, SinkError, Sought};
use crate::wire::Id;

/// What is known of the store beside what the journals hold.
#[derive(Debug)]
pub(crate) struct Truth {
    pub(crate) bound: Bound,
    pub(crate) trimmed: Trimmed,
    pub(crate) holes: Holes,
}

impl Truth {
    /// Nothing is stored in another store than that which the journals were made for.
    pub(super) fn check_store(&mut self, name: &str, health: &Health) -> Result<(), SinkError> {
        let Err(other) = self.bound.meet(name) else { return Ok(()) };
        health.faults.end(Condition::AnotherStore, &other);
        Err(SinkError::Refused(other.to_string()))
    }

    /// What the sink has of journals that are gone.
    pub(super) async fn gone(
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
    pub(super) async fn tell_missing(
        &mut self,
        sink: &mut impl Sink,
        mut lacking: Vec<Lacking>,
        clock: Clock,
    ) -> Result<(), SinkError> {
        // Where positions are gone, the messages may still be there.
        let ids = self.trimmed.last_ids(&lacking);
        let mut known = Accounted::default();
        if !ids.is_empty() {
            let sought: Vec<Sought> = ids.iter().map(|id| Sought::anywhere(*id)).collect();
            known.stored = sink.stored_ids(&sought).await?;
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
