//! Dead letters, for `cpi-hub dead-letters`: what `dead.rs` has written, read back and tried again.
//!
//! Trying takes the data directory's lock, so no hub writes the file meanwhile. A letter leaves
//! the file only once its message is stored; the file is replaced whole or not at all, and what
//! can't be read stays in it as it is. Killed at any point, the next try finds each letter either
//! stored, which counts, or still there.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Map, Value};

use super::file::DEAD_LETTERS_FILE;
use crate::store::OpenError;
use crate::store::batcher::batch::{Batch, BatchLimits, Origin};
use crate::store::data_dir::bound::is_embedded;
use crate::store::data_dir::served::Served;
use crate::store::journal::{self, JournalId, sync_folder};
use crate::store::postgres::{DatabaseUrl, PostgresSink};
use crate::store::sink::{Gone, Sink, SinkError};
use crate::store::sqlite::{DATABASE_FILE, SqliteSink};
use crate::wire::record::Record;
use crate::wire::time::{Micros, MonoMs};
use crate::wire::{Id, SpaceId, UserId};

/// How often a commit may be in doubt before a letter is left for another day.
const DOUBTS_MAX: usize = 5;

/// One line of the file.
#[derive(Clone, PartialEq, Debug)]
pub struct Letter {
    /// The message's.
    pub id: Id,
    /// Where it was said.
    pub space: SpaceId,
    /// By whom.
    pub user: UserId,
    /// When.
    pub at: Micros,
    /// As they were called.
    pub username: String,
    /// What was said.
    pub content: String,
    /// Why it was refused.
    pub reason: String,
    /// The line as it is, with what later versions may have added.
    pub line: Map<String, Value>,
}

/// The file, as far as it can be read.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Letters {
    /// Each message once, its last line, in the order of the first ones.
    pub letters: Vec<Letter>,
    /// Lines that are no letters: one that a full disk has cut, or somebody's edits.
    pub unread: Vec<Vec<u8>>,
}

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
    /// Why.
    pub stopped: Option<SinkError>,
}

impl Letter {
    fn read(line: &[u8]) -> Option<Letter> {
        let Value::Object(line) = serde_json::from_slice(line).ok()? else { return None };
        let number = |name: &str| line.get(name)?.as_i64();
        let text = |name: &str| line.get(name)?.as_str().map(str::to_owned);
        Some(Letter {
            id: Id::parse(line.get("id")?.as_str()?)?,
            space: SpaceId(i32::try_from(number("space_id")?).ok()?),
            user: UserId(i32::try_from(number("user_id")?).ok()?),
            at: Micros(number("unix_us")?),
            username: text("username")?,
            content: text("content")?,
            reason: text("reason").unwrap_or_default(),
            line,
        })
    }

    /// A line's letter, and what stands before it: a full disk cuts a line, and the next one is
    /// written right behind the cut.
    fn find(line: &[u8]) -> (&[u8], Option<Letter>) {
        let begins = line.windows(2).enumerate().filter(|(_, pair)| pair == b"{\"");
        let mut letters = begins.filter_map(|(at, _)| Some((at, Letter::read(&line[at..])?)));
        match letters.next() {
            Some((at, letter)) => (&line[..at], Some(letter)),
            None => (line, None),
        }
    }

    /// For a nonce it is too late: its window is long over.
    fn record(&self) -> Record<'_> {
        Record {
            id: self.id,
            at: self.at,
            space: self.space,
            user: self.user,
            username: &self.username,
            content: &self.content,
            nonce: None,
        }
    }
}

impl Letters {
    /// Reads the file of a data directory; where there is none there are no letters.
    pub fn read(data_dir: &Path) -> io::Result<Letters> {
        let bytes = match fs::read(data_dir.join(DEAD_LETTERS_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            bytes => bytes?,
        };
        let mut found = Letters::default();
        let mut places: HashMap<Id, usize> = HashMap::new();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let (torn, letter) = Letter::find(line);
            if !torn.is_empty() {
                found.unread.push(torn.to_vec());
            }
            let Some(letter) = letter else { continue };
            let place = *places.entry(letter.id).or_insert(found.letters.len());
            match found.letters.get_mut(place) {
                Some(before) => *before = letter,
                None => found.letters.push(letter),
            }
        }
        Ok(found)
    }

    /// Replaces the file, whole or not at all.
    fn write(&self, data_dir: &Path) -> io::Result<()> {
        let (path, new) = (data_dir.join(DEAD_LETTERS_FILE), data_dir.join("dead-letters.new"));
        let mut bytes = Vec::new();
        for line in &self.unread {
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
        }
        for letter in &self.letters {
            serde_json::to_writer(&mut bytes, &letter.line)?;
            bytes.push(b'\n');
        }
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        sync_folder(data_dir)
    }
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
        // Else what belongs there would end here, and leave the file.
        return Err(OpenError::Sink(SinkError::Refused(format!(
            "{} has stored in {}: say --database-url, or remove served-database.json if it no \
             longer does",
            data_dir.display(),
            served.database
        ))));
    }
    let folder = data_dir.join("journal");
    fs::create_dir_all(&folder).map_err(|error| OpenError::Io { path: folder.clone(), error })?;
    // Held to the end: no hub may add a letter that the new file would lack.
    let _lock = journal::lock(&folder)?;
    let mut letters = Letters::read(data_dir).map_err(io)?;
    let journal = JournalId(random);
    let retried = match url {
        Some(url) => {
            let sink = PostgresSink::new(url.clone(), utc_offset);
            Retry { sink, journal, at: 0 }.run(&mut letters).await
        }
        None => {
            let path = data_dir.join(DATABASE_FILE);
            let sink = SqliteSink::open(&path, utc_offset)
                .map_err(|error| OpenError::Database { path, error })?;
            Retry { sink, journal, at: 0 }.run(&mut letters).await
        }
    };
    letters.write(data_dir).map_err(io)?;
    Ok(retried)
}

/// A sink that can be asked for single messages.
pub(crate) trait Holds: Sink {
    /// Whether a message is stored.
    async fn holds(&mut self, id: Id) -> Result<bool, SinkError>;
}

/// Stores rows one by one, each with a step of its own, so that a sink's promises hold for them
/// as they do for a journal's.
struct Retry<S> {
    sink: S,
    journal: JournalId,
    /// The step before.
    at: u64,
}

/// What became of one letter.
enum Fate {
    Stored,
    Already,
    Refused(String),
}

impl<S: Holds> Retry<S> {
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
        if self.at > 0 {
            let gone = Gone { journal: self.journal, stored: self.at, highest: Id::MIN };
            // A row too many, if it stays; nobody will ask for it again.
            let _ = self.sink.forget(&gone).await;
        }
        retried
    }

    async fn store(&mut self, letter: &Letter) -> Result<Fate, SinkError> {
        let mut bytes = Vec::new();
        letter.record().append_to(&mut bytes);
        let mut doubts = 0;
        loop {
            // Before the question: it waits for what a lost connection may still commit.
            self.at = self.sink.positions(&[self.journal]).await?.first().copied().unwrap_or(0);
            if self.sink.holds(letter.id).await? {
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

    fn line(id: u128, reason: &str) -> String {
        let id = Id(id);
        format!(
            r#"{{"content":"hola","id":"{id}","later":1,"reason":"{reason}","space_id":1,"unix_us":5,"user_id":2,"username":"Ana"}}"#
        )
    }

    #[test]
    fn letters_are_read_once_each_and_what_is_none_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(Letters::read(folder.path()).expect("it reads"), Letters::default());
        let (one, two, torn) = (line(1, "a"), line(2, "b"), r#"{"content":"ho"#);
        let text = format!("{one}\n{torn}{two}\n{}\n{torn}", line(1, "c"));
        fs::write(folder.path().join(DEAD_LETTERS_FILE), text).expect("it writes");
        let letters = Letters::read(folder.path()).expect("it reads");
        let told: Vec<_> = letters.letters.iter().map(|one| (one.id.0, &*one.reason)).collect();
        assert_eq!(told, [(1, "c"), (2, "b")]);
        letters.write(folder.path()).expect("it writes");
        let text = fs::read_to_string(folder.path().join(DEAD_LETTERS_FILE)).expect("it reads");
        assert_eq!(
            text,
            format!("{torn}\n{torn}\n{}\n{two}\n", line(1, "c")),
            "what is new stays too"
        );
        assert_eq!(Letters::read(folder.path()).expect("it reads"), letters);
    }

    #[tokio::test]
    async fn no_letters_need_no_lock_and_no_database() {
        let folder = tempfile::tempdir().expect("a folder");
        let retried = retry(folder.path(), None, 0, 1).await.expect("nothing to do");
        assert_eq!(retried, Retried::default());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
