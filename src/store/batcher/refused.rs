//! What becomes of a batch that the sink refuses. Rows that are refused for what they are get
//! found, dead-lettered and told to their shards before the position behind them is committed.
//! Where the database refuses all, nothing is given up: rows wait, with what comes meanwhile.

use std::io;
use std::path::Path;

use tokio::sync::mpsc;

use super::Batcher;
use super::batch::Batch;
use crate::conditions::Condition;
use crate::faults::Faults;
use crate::limits::VERDICTS_MAX;
use crate::metrics::Metric;
use crate::shard::event::Verdict;
use crate::store::StoreConfig;
use crate::store::dead_letters::file::{DeadLetters, DeadRecord};
use crate::store::journal::TailFault;
use crate::store::sink::{AbsentIds, RefusedRow, SiftHints, Sifted, Sink, SinkError};
use crate::wire::record::Record;
use crate::wire::reject::Reject;
use crate::wire::{SpaceId, SpaceKey};

const NO_USER: &str = "the user does not exist (23503, chat_messages_user_id_fkey)";
pub(crate) const NO_SPACE: &str = "the space does not exist (23503, chat_messages_space_id_fkey)";

/// Where refused rows go: into the dead letters, and to the shards that they came from.
#[derive(Debug)]
pub(crate) struct DeadRows {
    letters: DeadLetters,
    faults: Faults,
    /// The ways to the shards.
    shards: Vec<mpsc::Sender<Verdict>>,
}

impl DeadRows {
    /// A way for each shard, and the shards' ends of them.
    pub(crate) fn new(config: &StoreConfig) -> (DeadRows, Vec<mpsc::Receiver<Verdict>>) {
        let (shards, ends) = (0..config.shards).map(|_| mpsc::channel(VERDICTS_MAX)).unzip();
        let letters = DeadLetters::new(&config.data_dir, config.letters_bytes_max);
        (DeadRows { letters, faults: config.faults.clone(), shards }, ends)
    }

    /// Where the letters are.
    pub(super) fn folder(&self) -> &Path {
        self.letters.folder()
    }

    /// The same ways to the shards, for another life of the batcher.
    pub(crate) fn beside(&self, config: &StoreConfig) -> DeadRows {
        let letters = DeadLetters::new(&config.data_dir, config.letters_bytes_max);
        DeadRows { letters, faults: self.faults.clone(), shards: self.shards.clone() }
    }

    /// Finds out what of a batch is refused, after the sink has said this of the whole: who does
    /// not exist, if the sink has named that as the cause, and what trying shows. Refused rows go
    /// to the dead letters.
    async fn sift(
        &mut self,
        sink: &mut impl Sink,
        batch: &Batch,
        mut known: SiftHints,
        told: &SinkError,
    ) -> Result<Sifted, SinkError> {
        let is_asked = matches!(told, SinkError::Orphan(_));
        if is_asked {
            known.absent = sink.absent(batch).await?;
        }
        let sifted = sink.sift(batch, &known).await?;
        if !is_asked && sifted.refused.iter().any(|refusal| refusal.orphan) {
            known.absent = sink.absent(batch).await?;
        }
        if !sifted.refused.is_empty() {
            let buried = self.bury(batch, &known.absent, &sifted.refused).await;
            buried.map_err(|error| SinkError::Retry(format!("write dead letters: {error}")))?;
        }
        Ok(sifted)
    }

    /// Dead-letters rows of a batch, and tells their shards. An error: the disk takes no letter.
    async fn bury(
        &mut self,
        batch: &Batch,
        absent: &AbsentIds,
        refused: &[RefusedRow],
    ) -> io::Result<()> {
        let records: Vec<Record<'_>> = batch.records().collect();
        let (dead, rejects): (Vec<_>, Vec<_>) = refused
            .iter()
            .filter_map(|refusal| Some((*records.get(refusal.row)?, refusal)))
            .map(|(record, refusal)| {
                let (reject, reason) = cause(absent, &record, refusal);
                (DeadRecord { record, reason, orphan: refusal.orphan }, reject)
            })
            .unzip();
        let unkept = self.letters.write(&dead)?;
        self.tell_unkept(&unkept);
        for (DeadRecord { record, .. }, reject) in dead.iter().zip(&rejects) {
            match reject {
                Reject::UnknownSpace => {
                    self.tell(record.space, Verdict::NoSpace(record.space)).await;
                }
                Reject::UnknownUser => {
                    for shard in &self.shards {
                        _ = shard.send(Verdict::NoUser(record.user)).await;
                    }
                }
                _ => {}
            }
            let nonce = record.nonce.map(|nonce| nonce.key);
            let verdict = Verdict::Refused { id: record.id, nonce, reject: *reject };
            self.tell(record.space, verdict).await;
        }
        // The file's tally tells the operator.
        tracing::debug!(rows = dead.len(), "messages were refused by the store");
        Ok(())
    }

    /// Tells the operator of letters for which there was no room. Whoever said them is told of the
    /// refusal as always.
    fn tell_unkept(&self, unkept: &[Record<'_>]) {
        let Some(last) = unkept.last() else { return };
        let store = &self.faults.metrics().store;
        store.add(Metric::LettersUnkept, unkept.len() as u64);
        let all = store.read().get(Metric::LettersUnkept);
        let detail =
            format!("{all} were not kept since the start, the last one with id {}", last.id);
        self.faults.conditions().raise(Condition::DeadLettersFull, detail);
    }

    /// Tells a space's shard. A shard that has ended needs to know nothing.
    async fn tell(&self, space: SpaceId, verdict: Verdict) {
        let shard = SpaceKey::Chat(space).shard(self.shards.len());
        _ = self.shards[shard].send(verdict).await;
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
    /// Rows of the next batch that are refused for what they are go to the dead letters; what
    /// stands before the first that is not decided is stored next; with nothing decided the rows
    /// wait.
    pub(super) async fn sift(&mut self, told: SinkError) -> Result<(), TailFault> {
        let Some(batch) = self.flight.next() else { return Ok(()) };
        let known = self.flight.hints();
        let sifted = match self.dead.sift(&mut self.sink, batch, known, &told).await {
            Ok(sifted) => sifted,
            Err(SinkError::Closed(words)) => return self.wait_for_mending(words).await,
            Err(error) => {
                self.failed(&error).await;
                return Ok(());
            }
        };
        self.health.buried(sifted.refused.len());
        let is_whole = sifted.refused.is_empty() && sifted.decided == batch.rows();
        let parts = self.flight.part(&sifted);
        match sifted.stuck {
            // The whole was refused and each row is taken: the cause has passed, or is no row's.
            None if is_whole && !self.flight.is_failing() => {
                self.failed(&SinkError::Retry(told.to_string())).await;
                Ok(())
            }
            None if is_whole => self.wait_for_mending(told.to_string()).await,
            Some(words) if parts == 1 => self.wait_for_mending(words).await,
            _ => Ok(()),
        }
    }

    /// Waits while the database refuses all rows: none of them is to blame. Then goes on with what
    /// has come meanwhile too.
    pub(super) async fn wait_for_mending(&mut self, words: String) -> Result<(), TailFault> {
        self.tell(&SinkError::Refused(words.clone()));
        self.health.conditions.raise(Condition::DatabaseRefuses, words);
        self.health.conditions.clear(Condition::DatabaseUnusable);
        self.flight.wait().await;
        self.gather()
    }
}
