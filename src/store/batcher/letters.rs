//! Dead letters are tried again for an operator, between two batches: by the one who writes their
//! file, into the sink that is open. A stretch at a time, so that what is said meanwhile waits for
//! little.

use tokio::sync::mpsc;

use super::Batcher;
use crate::limits::{LETTERS_RETRIED_MAX, LETTERS_WAIT};
use crate::store::care::Retrial;
use crate::store::dead_letters::retrial::Stretch;
use crate::store::dead_letters::retry::{Fate, Retried, Retry};
use crate::store::journal::JournalId;
use crate::store::sink::{Sink, SinkError};

/// Whoever asks for letters to be tried again. They wait in it while the store is away.
pub(in crate::store) type Retrials = mpsc::Receiver<Retrial>;

impl<S: Sink> Batcher<S> {
    /// Tries the next letters again, and answers whoever has asked, if somebody still waits.
    pub(super) async fn retry_letters(&mut self, asked: Retrial) {
        if asked.is_closed() {
            return;
        }
        let retried = self
            .retry_stretch()
            .await
            .unwrap_or_else(|error| Retried { stopped: Some(error), ..Retried::default() });
        // What a new connection leads to is looked at before the next batch.
        self.flight.unsettle();
        let Retried { stored, already, refused, left, .. } = retried;
        tracing::info!(stored, already, refused, left, "dead letters were tried again");
        // Who has given up hears nothing.
        _ = asked.send(retried);
    }

    async fn retry_stretch(&mut self) -> Result<Retried, SinkError> {
        let io = |error| SinkError::Retry(format!("dead letters: {error}"));
        // It is the store that it was before anything is stored in it.
        self.settle().await?;
        let Some(mut stretch) = Stretch::read(self.dead.folder()).map_err(io)? else {
            return Ok(Retried::default());
        };
        let (begun, mut retried) = (self.clock.now().mono, Retried::default());
        let journal = JournalId(self.flight.random());
        let mut retry = Retry::new(&mut self.sink, journal);
        for _ in 0..LETTERS_RETRIED_MAX {
            let Some(letter) = stretch.next() else { break };
            if self.clock.now().mono.since(begun) >= LETTERS_WAIT {
                break;
            }
            if !retry.is_connected() {
                retried.stopped = Some(SinkError::Retry("the store went away".into()));
                break;
            }
            match retry.store(&letter).await {
                Ok(Fate::Stored) => retried.stored += 1,
                Ok(Fate::Already) => retried.already += 1,
                Ok(Fate::Refused(reason)) => {
                    retried.refused += 1;
                    stretch.is_refused(letter, &reason);
                    continue;
                }
                Err(error) => {
                    retried.stopped = Some(error);
                    break;
                }
            }
            stretch.is_stored();
        }
        retry.end().await;
        retried.left = stretch.end().map_err(io)?;
        Ok(retried)
    }
}
