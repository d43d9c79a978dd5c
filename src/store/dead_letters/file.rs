//! The dead-letter file: records that the sink refuses for what they are, as lines of JSON.
//!
//! A line is on the disk before the position behind its record is committed. After a crash in
//! between it is written again: readers of the file go by `id`. Here are the file's writer, for the
//! batcher, and its reader, for `cpi-hub dead-letters` and whoever asks what is missing.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::store::files::{replace, sync_folder};
use crate::wire::record::Record;
use crate::wire::time::Micros;
use crate::wire::{Id, SpaceId, UserId};

/// The file's name in the data directory.
pub(crate) const DEAD_LETTERS_FILE: &str = "dead-letters.jsonl";

/// Appends to the file, which is made when the first record comes, and made anew when somebody has
/// moved it away. It has a bound, and what names users or spaces that do not exist may take half
/// of it: any stranger can make such.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    path: PathBuf,
    file: Option<File>,
    bytes_max: u64,
}

/// A record that is to be kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeadRecord<'a> {
    pub(crate) record: Record<'a>,
    pub(crate) reason: &'a str,
    /// It names a user or a space that does not exist.
    pub(crate) orphan: bool,
}

impl DeadLetters {
    /// The file of a data directory.
    pub(crate) fn new(data_dir: &Path, bytes_max: u64) -> DeadLetters {
        DeadLetters { path: data_dir.join(DEAD_LETTERS_FILE), file: None, bytes_max }
    }

    /// The folder that it is in.
    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Writes records, each with why it was refused, and waits for the disk; those for which there
    /// was no room.
    pub(crate) fn write<'a>(&mut self, refused: &[DeadRecord<'a>]) -> io::Result<Vec<Record<'a>>> {
        let bytes_max = self.bytes_max;
        let mut file = self.open()?;
        let end = file.metadata()?.len();
        let (mut lines, mut unkept) = (String::new(), Vec::new());
        for DeadRecord { record, reason, orphan } in refused {
            let line = serde_json::json!({
                "reason": reason,
                "id": record.id.to_string(),
                "space_id": record.space.0,
                "user_id": record.user.0,
                "username": record.username,
                "content": record.content,
                "unix_us": record.at.0,
            });
            let line = format!("{line}\n");
            let room = if *orphan { bytes_max / 2 } else { bytes_max };
            match end + (lines.len() + line.len()) as u64 <= room {
                true => lines.push_str(&line),
                false => unkept.push(*record),
            }
        }
        // One write for all: only a full disk cuts a line, and then all are written again.
        if let Err(error) = file.write_all(lines.as_bytes()) {
            file.set_len(end)?;
            return Err(error);
        }
        file.sync_data()?;
        Ok(unkept)
    }

    /// The file at the path, which may have been moved away since the last letter.
    fn open(&mut self) -> io::Result<&File> {
        let place = |file: fs::Metadata| (file.dev(), file.ino());
        let there = fs::metadata(&self.path).map(place).ok();
        let file = match self.file.take() {
            Some(file) if Some(place(file.metadata()?)) == there => file,
            _ => {
                let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
                if let Some(folder) = self.path.parent() {
                    sync_folder(folder)?;
                }
                file
            }
        };
        Ok(self.file.insert(file))
    }
}

/// One line of the file.
#[derive(Clone, PartialEq, Debug)]
pub struct Letter {
    /// The message's id.
    pub id: Id,
    /// Where it was said.
    pub space: SpaceId,
    /// Who said it.
    pub user: UserId,
    /// When it was said.
    pub at: Micros,
    /// What they were called then.
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
    pub(super) fn find(line: &[u8]) -> (&[u8], Option<Letter>) {
        let begins = line.windows(2).enumerate().filter(|(_, pair)| pair == b"{\"");
        let mut letters = begins.filter_map(|(at, _)| Some((at, Letter::read(&line[at..])?)));
        match letters.next() {
            Some((at, letter)) => (&line[..at], Some(letter)),
            None => (line, None),
        }
    }

    /// The letter as a record, without its nonce, whose window is long over.
    pub(super) fn record(&self) -> Record<'_> {
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
    pub(super) fn write(&self, data_dir: &Path) -> io::Result<()> {
        let mut bytes = Vec::new();
        for line in &self.unread {
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
        }
        for letter in &self.letters {
            serde_json::to_writer(&mut bytes, &letter.line)?;
            bytes.push(b'\n');
        }
        replace(&data_dir.join(DEAD_LETTERS_FILE), &bytes)
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
    fn what_any_stranger_can_make_takes_half_of_the_room() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(DEAD_LETTERS_FILE);
        let mut letters = DeadLetters::new(folder.path(), 4_000);
        let content = "x".repeat(300);
        let record = |id| Record {
            id: Id(id),
            at: Micros(0),
            space: SpaceId(1),
            user: UserId(2),
            username: "Ana",
            content: &content,
            nonce: None,
        };
        let mut write = |orphan| {
            let of = |id| DeadRecord { record: record(id), reason: "no", orphan };
            let unkept = letters.write(&(0..20).map(of).collect::<Vec<_>>()).expect("it writes");
            (20 - unkept.len(), fs::metadata(&path).expect("a file").len())
        };
        let (strangers, bytes) = write(true);
        assert!((1..10).contains(&strangers) && bytes <= 2_000, "{strangers} {bytes}");
        assert_eq!(write(true), (0, bytes));
        let (others, bytes) = write(false);
        assert!(others >= strangers && bytes <= 4_000, "{others} {bytes}");
        // Moved away, it is made anew.
        fs::rename(&path, folder.path().join("aside")).expect("it moves");
        assert_eq!(write(true).0, strangers);
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
}
