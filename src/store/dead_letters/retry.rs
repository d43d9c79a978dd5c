//! Dead letters, for `cpi-hub dead-letters`: what `file.rs` has written, tried again.
//!
//! Trying takes the data directory's lock, so no hub writes the file meanwhile. A letter leaves
//! the file only once its message is stored; the file is replaced whole or not at all, and what
//! can't be read stays in it as it is. Killed at any point, the next try finds each letter either
//! stored, which counts, or still there.

use std::fs;
use std::path::Path;

use super::file::{DEAD_LETTERS_FILE, Letter, Letters};
use crate::limits::DOUBTS_MAX;
use crate::store::OpenError;
use crate::store::batcher::batch::{Batch, BatchLimits, Origin};
use crate::store::data_dir::bound::is_embedded;
use crate::store::data_dir::served::Served;
use crate::store::journal::{self, JournalId};
use crate::store::postgres::{DatabaseUrl, PostgresSink};
use crate::store::sink::{Gone, Sink, SinkError};
use crate::store::sqlite::{DATABASE_FILE, SqliteSink};
use crate::wire::Id;
use crate::wire::time::MonoMs;

/// What became of a try.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Retried {
    /// Stored now.
    pub stored: u64,
    /// Were stored already.
    pub already: u64,
    /// Refused again; they stay in the file, with the new reason.
    pub refused: u64,
    /// Not tried, because the database went away; they stay as they were.
    pub left: u64,
    /// Why the try has stopped.
    pub stopped: Option<SinkError>,
}

/// Tries to store each letter again, in the PostgreSQL database or the embedded one; those that
/// are refused stay. `random` names the step that goes with each row, as a journal is named.
pub async fn retry(
    data_dir: &Path,
    url: Option<&DatabaseUrl>,
    utc_offset: i32,
    random: u128,
) -> Result<Retried, OpenError> {
    let io = |error| OpenError::Io { path: data_dir.join(DEAD_LETTERS_FILE), error };
    if Letters::read(data_dir).map_err(io)?.letters.is_empty() {
        return Ok(Retried::default());
    }
    let served = Served::read(data_dir).map_err(io)?;
    if let (Some(url), Some(served)) = (url, &served)
        && served.database != url.identity()
    {
        let (from, to) = (&served.database, url.identity());
        tracing::warn!(
            from,
            to,
            "the letters were refused by another store, or at another address"
        );
    }
    if let (None, Some(served)) = (url, served.filter(|served| !is_embedded(served))) {
        // Without this, what belongs to that database would be stored in the embedded one, and
        // leave the file.
        return Err(OpenError::Sink(SinkError::Refused(format!(
            "{} has stored in {}: say --database-url, or remove served-database.json if it no \
             longer does",
            data_dir.display(),
            served.database
        ))));
    }
    let folder = data_dir.join("journal");
    fs::create_dir_all(&folder).map_err(|error| OpenError::Io { path: folder.clone(), error })?;
    // Held to the end, so that no hub adds a letter that the new file would lack.
    let _lock = journal::lock(&folder)?;
    let mut letters = Letters::read(data_dir).map_err(io)?;
    let journal = JournalId(random);
    let retried = match url {
        Some(url) => {
            let mut sink = PostgresSink::new(url.clone(), utc_offset);
            Retry::new(&mut sink, journal).run(&mut letters).await
        }
        None => {
            let path = data_dir.join(DATABASE_FILE);
            let mut sink = SqliteSink::open(&path, utc_offset)
                .map_err(|error| OpenError::Database { path, error })?;
            if let Some(other) = sink.other_offset(utc_offset)? {
                return Err(OpenError::Offset(other));
            }
            Retry::new(&mut sink, journal).run(&mut letters).await
        }
    };
    letters.write(data_dir).map_err(io)?;
    Ok(retried)
}

/// Stores rows one by one, each with a step of its own, so that a sink's promises hold for them
/// as they do for a journal's.
pub(crate) struct Retry<'a, S> {
    sink: &'a mut S,
    journal: JournalId,
    /// The step before.
    at: u64,
}

/// What became of one letter.
pub(crate) enum Fate {
    /// It is stored now.
    Stored,
    /// It was stored already.
    Already,
    /// It is refused again, with these words.
    Refused(String),
}

impl<'a, S: Sink> Retry<'a, S> {
    /// A try whose steps go by the name of a journal, which no other has.
    pub(crate) fn new(sink: &'a mut S, journal: JournalId) -> Retry<'a, S> {
        Retry { sink, journal, at: 0 }
    }

    /// Whether the sink is still the one that it was.
    pub(crate) fn is_connected(&self) -> bool {
        self.sink.is_connected()
    }

    async fn run(mut self, letters: &mut Letters) -> Retried {
        let mut retried = Retried::default();
        let mut kept = Vec::new();
        let mut waiting = std::mem::take(&mut letters.letters).into_iter();
        for mut letter in waiting.by_ref() {
            match self.store(&letter).await {
                Ok(Fate::Stored) => retried.stored += 1,
                Ok(Fate::Already) => retried.already += 1,
                Ok(Fate::Refused(reason)) => {
                    retried.refused += 1;
                    letter.line.insert("reason".into(), reason.clone().into());
                    kept.push(Letter { reason, ..letter });
                }
                Err(error) => {
                    retried.stopped = Some(error);
                    kept.push(letter);
                    break;
                }
            }
        }
        kept.extend(waiting);
        retried.left = kept.len() as u64 - retried.refused;
        letters.letters = kept;
        self.end().await;
        retried
    }

    /// Has the sink forget the steps.
    pub(crate) async fn end(self) {
        if self.at > 0 {
            let gone = Gone { journal: self.journal, stored: self.at, highest: Id::MIN };
            // If it stays, it is one row too many that nobody asks for again.
            let _ = self.sink.forget(&gone).await;
        }
    }

    /// Stores one letter, if it is not stored yet.
    pub(crate) async fn store(&mut self, letter: &Letter) -> Result<Fate, SinkError> {
        let mut bytes = Vec::new();
        letter.record().append_to(&mut bytes);
        let mut doubts = 0;
        loop {
            // Positions first: reading them waits for what a lost connection may still commit.
            self.at = self.sink.positions(&[self.journal]).await?.first().copied().unwrap_or(0);
            if self.sink.stored_ids(&[letter.record().into()]).await?.contains(&letter.id) {
                return Ok(if doubts > 0 { Fate::Stored } else { Fate::Already });
            }
            let origin = Origin { journal: self.journal, last: self.at, offset: self.at };
            let all = BatchLimits { rows_max: 1, bytes_max: usize::MAX, wait: 0 };
            let mut batch = Batch::new();
            batch.push(origin, &bytes, &all, MonoMs(0));
            match self.sink.append(&batch).await {
                Ok(()) => {
                    self.at += bytes.len() as u64;
                    return Ok(Fate::Stored);
                }
                Err(SinkError::Data(reason) | SinkError::Orphan(reason)) => {
                    return Ok(Fate::Refused(reason));
                }
                Err(SinkError::Unclear(_)) if doubts < DOUBTS_MAX => doubts += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_letters_need_no_lock_and_no_database() {
        let folder = tempfile::tempdir().expect("a folder");
        let retried = retry(folder.path(), None, 0, 1).await.expect("nothing to do");
        assert_eq!(retried, Retried::default());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
