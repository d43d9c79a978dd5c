//! Rows that the sink refuses for what they are: found, dead-lettered, and told to their shards,
//! before the position behind them is committed.

use tokio::sync::mpsc;

use super::batcher::Batcher;
use super::sink::{Absent, Sink, SinkError};
use crate::metrics::Metric;
use crate::shard::event::Verdict;
use crate::wire::SpaceId;
use crate::wire::reject::Reject;

const NO_USER: &str = "the user does not exist (23503, chat_messages_user_id_fkey)";
pub(super) const NO_SPACE: &str = "the space does not exist (23503, chat_messages_space_id_fkey)";
/// Verdicts that wait for one shard; the batcher waits with them.
const VERDICTS_MAX: usize = 1_024;

/// Which of so many shards a space lives on.
pub type ShardOf = fn(SpaceId, usize) -> usize;

/// The ways to the shards.
#[derive(Debug)]
pub(super) struct Verdicts {
    shards: Vec<mpsc::Sender<Verdict>>,
    shard_of: ShardOf,
}

impl Verdicts {
    /// One way a shard, and their ends.
    pub(super) fn new(shards: usize, of: ShardOf) -> (Verdicts, Vec<mpsc::Receiver<Verdict>>) {
        let ways = (0..shards).map(|_| mpsc::channel(VERDICTS_MAX));
        let (shards, ends) = ways.unzip();
        (Verdicts { shards, shard_of: of }, ends)
    }

    /// Tells a space's shard. One that has ended needs to know nothing.
    async fn tell(&self, space: SpaceId, verdict: Verdict) {
        let shard = (self.shard_of)(space, self.shards.len());
        if let Some(shard) = self.shards.get(shard) {
            _ = shard.send(verdict).await;
        }
    }

    async fn tell_absent(&self, absent: &Absent) {
        for space in &absent.spaces {
            self.tell(*space, Verdict::NoSpace(*space)).await;
        }
        for user in &absent.users {
            for shard in &self.shards {
                _ = shard.send(Verdict::NoUser(*user)).await;
            }
        }
    }
}

impl<S: Sink> Batcher<S> {
    /// Halves a refused batch, down to the row that is refused: that goes to the dead letters.
    pub(super) async fn look_for_row(&mut self, reason: String) {
        let Some(batch) = self.flight.work.last() else { return };
        match batch.rows() {
            0 => return self.failed(&SinkError::Refused(reason)).await,
            1 => {}
            _ => {
                let (first, second) = batch.halves();
                self.flight.work.pop();
                self.flight.work.extend([second, first]);
                return;
            }
        }
        self.bury(|_| Some((Reject::StoreRefused, &reason))).await;
    }

    /// Asks once who is missing, and buries all that they said; halves only what is left.
    pub(super) async fn look_for_orphans(&mut self, reason: String) {
        let Some(batch) = self.flight.work.last() else { return };
        let absent = match self.sink.absent(batch).await {
            Ok(absent) => absent,
            Err(error) => return self.failed(&error).await,
        };
        if batch.records().all(|record| absent.reject(&record).is_none()) {
            return self.look_for_row(reason).await;
        }
        self.verdicts.tell_absent(&absent).await;
        self.bury(|record| {
            let reject = absent.reject(record)?;
            Some((reject, if reject == Reject::UnknownUser { NO_USER } else { NO_SPACE }))
        })
        .await;
    }

    /// Dead-letters those rows of the next batch that `why` tells a reason for.
    async fn bury<'a>(
        &mut self,
        why: impl Fn(&crate::wire::record::Record<'_>) -> Option<(Reject, &'a str)>,
    ) {
        let Some(batch) = self.flight.work.last_mut() else { return };
        let refused = batch.records().filter_map(|record| Some((record, why(&record)?.1)));
        if let Err(error) = self.dead.write(refused) {
            let error = SinkError::Retry(format!("write dead letters: {error}"));
            return self.failed(&error).await;
        }
        let mut dead = 0;
        for record in batch.records() {
            let Some((reject, _)) = why(&record) else { continue };
            let nonce = record.nonce.map(|nonce| nonce.key);
            let verdict = Verdict::Refused { id: record.id, nonce, reject };
            self.verdicts.tell(record.space, verdict).await;
            dead += 1;
        }
        batch.bury(|record| why(record).is_some());
        tracing::warn!(rows = dead, "messages were refused by the store, see dead letters");
        self.metrics.store.add(Metric::RowsDead, dead);
    }
}
