//! The dead-letter file: records that the sink refuses for what they are, as lines of JSON.
//!
//! A line is on the disk before the position behind its record is committed. After a crash in
//! between it is written again: readers of the file go by `id`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::store::journal::sync_folder;
use crate::wire::record::Record;

/// The file's name in the data directory.
pub(crate) const DEAD_LETTERS_FILE: &str = "dead-letters.jsonl";

/// Appends to the file, which is made when the first record comes.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    path: PathBuf,
    file: Option<File>,
}

impl DeadLetters {
    /// In this data directory.
    pub(crate) fn new(data_dir: &Path) -> DeadLetters {
        DeadLetters { path: data_dir.join(DEAD_LETTERS_FILE), file: None }
    }

    /// Writes records, each with why it was refused, and waits for the disk.
    pub(crate) fn write<'a>(
        &mut self,
        refused: impl Iterator<Item = (Record<'a>, &'a str)>,
    ) -> io::Result<()> {
        let mut lines = String::new();
        for (record, reason) in refused {
            let line = serde_json::json!({
                "reason": reason,
                "id": record.id.to_string(),
                "space_id": record.space.0,
                "user_id": record.user.0,
                "username": record.username,
                "content": record.content,
                "unix_us": record.at.0,
            });
            lines.push_str(&format!("{line}\n"));
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
                if let Some(folder) = self.path.parent() {
                    sync_folder(folder)?;
                }
                self.file.insert(file)
            }
        };
        // In one write: only a full disk cuts a line, and then all are written again.
        let end = file.metadata()?.len();
        if let Err(error) = file.write_all(lines.as_bytes()) {
            file.set_len(end)?;
            return Err(error);
        }
        file.sync_data()
    }
}
