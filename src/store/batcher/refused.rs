//! What becomes of a batch that the sink refuses. Rows that are refused for what they are get
//! found, dead-lettered and told to their shards before the position behind them is committed.
//! Where the database refuses all, nothing is given up: rows wait, with what comes meanwhile.

use tokio::sync::mpsc;

use super::Batcher;
use super::batch::BatchLimits;
use crate::conditions::Condition;
use crate::limits::VERDICTS_MAX;
use crate::metrics::Metric;
use crate::shard::event::Verdict;
use crate::store::journal::TailFault;
use crate::store::sink::{AbsentIds, RefusedRow, SiftHints, Sifted, Sink, SinkError};
use crate::wire::record::Record;
use crate::wire::reject::Reject;
use crate::wire::{SpaceId, SpaceKey};

const NO_USER: &str = "the user does not exist (23503, chat_messages_user_id_fkey)";
pub(crate) const NO_SPACE: &str = "the space does not exist (23503, chat_messages_space_id_fkey)";

/// The ways to the shards.
#[derive(Debug)]
pub(crate) struct Verdicts(Vec<mpsc::Sender<Verdict>>);

impl Verdicts {
    /// A way for each shard, and the shards' ends of them.
    pub(crate) fn new(shards: usize) -> (Verdicts, Vec<mpsc::Receiver<Verdict>>) {
        let (ways, ends) = (0..shards).map(|_| mpsc::channel(VERDICTS_MAX)).unzip();
        (Verdicts(ways), ends)
    }

    /// Tells a space's shard. A shard that has ended needs to know nothing.
    async fn tell(&self, space: SpaceId, verdict: Verdict) {
        let shard = SpaceKey::Chat(space).shard(self.0.len());
        _ = self.0[shard].send(verdict).await;
    }

    /// Tells who has to know that a refused row's user or space does not exist.
    async fn tell_absent(&self, record: &Record<'_>, reject: Reject) {
        match reject {
            Reject::UnknownSpace => {
                self.tell(record.space, Verdict::NoSpace(record.space)).await;
            }
            Reject::UnknownUser => {
                for shard in &self.0 {
                    _ = shard.send(Verdict::NoUser(record.user)).await;
                }
            }
            _ => {}
        }
    }
}

/// What is said of a refused row: to whoever said it, and in the dead letters.
fn cause<'a>(
    absent: &AbsentIds,
    record: &Record<'_>,
    refusal: &'a RefusedRow,
) -> (Reject, &'a str) {
    match refusal.orphan.then(|| absent.reject(record)).flatten() {
        Some(Reject::UnknownUser) => (Reject::UnknownUser, NO_USER),
        Some(reject) => (reject, NO_SPACE),
        None => (Reject::StoreRefused, &refusal.reason),
    }
}

impl<S: Sink> Batcher<S> {
    /// Finds out by trying what of the next batch is refused, after the sink has said this of the
    /// whole. Rows that are refused for what they are go to the dead letters; what stands before
    /// the first that is not decided is stored next; with nothing decided the rows wait.
    pub(super) async fn sift(&mut self, told: SinkError) -> Result<(), TailFault> {
        let (absent, sifted) = match self.try_rows(&told).await {
            Ok(tried) => tried,
            Err(SinkError::Closed(words)) => return self.wait_for_mending(words).await,
            Err(error) => {
                self.failed(&error).await;
                return Ok(());
            }
        };
        if !self.bury(&absent, &sifted.refused).await {
            return Ok(());
        }
        let Some(mut batch) = self.flight.work.pop() else { return Ok(()) };
        let dead: Vec<usize> = sifted.refused.iter().map(|refusal| refusal.row).collect();
        let is_whole = dead.is_empty() && sifted.decided == batch.rows();
        let rest = batch.settle(&dead, sifted.decided);
        let parts = [rest, batch].into_iter().filter(|part| !part.is_empty());
        let before = self.flight.work.len();
        self.flight.work.extend(parts);
        match sifted.stuck {
            // The whole was refused and each row is taken: the cause has passed, or is no row's.
            None if is_whole && self.flight.failures == 0 => {
                self.failed(&SinkError::Retry(told.to_string())).await;
                Ok(())
            }
            None if is_whole => self.wait_for_mending(told.to_string()).await,
            Some(words) if self.flight.work.len() == before + 1 => {
                self.wait_for_mending(words).await
            }
            _ => Ok(()),
        }
    }

    /// Who does not exist, if the sink has named that as the cause, and what trying shows.
    async fn try_rows(&mut self, told: &SinkError) -> Result<(AbsentIds, Sifted), SinkError> {
        let Some(batch) = self.flight.work.last() else { return Ok(Default::default()) };
        let mut known = SiftHints {
            good: self.flight.good,
            round: self.flight.failures as usize,
            ..SiftHints::default()
        };
        let is_asked = matches!(told, SinkError::Orphan(_));
        if is_asked {
            known.absent = self.sink.absent(batch).await?;
        }
        let sifted = self.sink.sift(batch, &known).await?;
        if !is_asked && sifted.refused.iter().any(|refusal| refusal.orphan) {
            known.absent = self.sink.absent(batch).await?;
        }
        Ok((known.absent, sifted))
    }

    /// Waits while the database refuses all rows: none of them is to blame. Then goes on with what
    /// has come meanwhile too.
    pub(super) async fn wait_for_mending(&mut self, words: String) -> Result<(), TailFault> {
        self.conditions.raise(Condition::DatabaseRefuses, &words);
        self.conditions.clear(Condition::DatabaseUnusable);
        self.wait_out(&SinkError::Refused(words)).await;
        self.gather()
    }

    /// Puts the rows that wait together again, with what has come meanwhile: that may show that
    /// the database takes others. A full batch may grow to twice its bound.
    fn gather(&mut self) -> Result<(), TailFault> {
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
        self.count_backlog();
        // Where descriptors for reading are short, the rows in hand wait without more.
        filled.or_else(|fault| if fault.is_passing() { Ok(()) } else { Err(fault) })
    }

    /// Dead-letters refused rows of the next batch; `false`: the disk does not take them.
    async fn bury(&mut self, absent: &AbsentIds, refused: &[RefusedRow]) -> bool {
        let Some(batch) = self.flight.work.last().filter(|_| !refused.is_empty()) else {
            return true;
        };
        let records: Vec<Record<'_>> = batch.records().collect();
        let dead: Vec<_> = refused
            .iter()
            .filter_map(|refusal| Some((*records.get(refusal.row)?, refusal)))
            .map(|(record, refusal)| (record, cause(absent, &record, refusal)))
            .collect();
        if let Err(error) = self.dead.write(dead.iter().map(|(record, why)| (*record, why.1))) {
            let error = SinkError::Retry(format!("write dead letters: {error}"));
            self.failed(&error).await;
            return false;
        }
        for (record, (reject, _)) in &dead {
            self.verdicts.tell_absent(record, *reject).await;
            let nonce = record.nonce.map(|nonce| nonce.key);
            let verdict = Verdict::Refused { id: record.id, nonce, reject: *reject };
            self.verdicts.tell(record.space, verdict).await;
        }
        tracing::warn!(rows = dead.len(), "messages were refused by the store, see dead letters");
        self.metrics.store.add(Metric::RowsDead, dead.len() as u64);
        true
    }
}
