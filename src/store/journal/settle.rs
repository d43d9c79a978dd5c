//! Gives back, at a start, what earlier runs have left of journals and nobody needs: journals
//! without records, spare segments, and the zeros behind a journal's last block.
//!
//! Nothing that tells an id or a damage is touched. The highest id stands in the header of each
//! journal, so the last one that knows it stays until a new header on the disk does. A start
//! that can't give something back keeps it, and goes on.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::recover::FoundJournal;
use super::segment::{HEADER_BYTES, segment_path};
use crate::store::files::sync_folder;
use crate::wire::Id;

/// What is left.
#[derive(Debug)]
pub(super) struct Settled {
    /// Those with records, oldest run first, and those that can't be removed.
    pub(super) found: Vec<FoundJournal>,
    /// One without records that alone knows the highest id.
    pub(super) carrier: Option<FoundJournal>,
}

impl Settled {
    /// Settles these journals, of which `highest` is the highest id.
    pub(super) fn new(folder: &Path, found: Vec<FoundJournal>, highest: Id) -> Settled {
        let (mut empty, mut found): (Vec<_>, Vec<_>) =
            found.into_iter().partition(FoundJournal::is_empty);
        for journal in &mut found {
            if let Err(error) = give_back(folder, journal) {
                warn(journal, &error);
            }
        }
        let knows = |journal: &FoundJournal| journal.highest == highest && highest > Id::MIN;
        let mut carrier = None;
        let synced = match found.iter().find(|journal| knows(journal)) {
            Some(journal) => sync(folder, journal),
            None => {
                carrier = empty.iter().position(knows).map(|known| empty.swap_remove(known));
                // Its header alone: on a full disk the rest makes room for a new one.
                let mut needed = carrier.iter_mut();
                needed.try_for_each(|it| sync(folder, it).and_then(|()| give_back(folder, it)))
            }
        };
        for mut journal in empty {
            let done = match &synced {
                Ok(()) => remove(folder, &mut journal),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            if let Err(error) = done {
                warn(&journal, &error);
                found.push(journal);
            }
        }
        Settled { found, carrier }
    }

    /// Removes the carrier if a new header that is on the disk knows the highest id, too; the
    /// bytes of it that stay.
    pub(super) fn end(&mut self, folder: &Path, known: bool) -> u64 {
        let Some(mut journal) = self.carrier.take() else { return 0 };
        let removed = known.then(|| remove(folder, &mut journal));
        if let Some(Err(error)) = &removed {
            warn(&journal, error);
        }
        if let Some(Ok(())) = removed {
            return 0;
        }
        let bytes = journal.bytes;
        self.found.push(journal);
        bytes
    }

    /// Bytes of the files that stay.
    pub(super) fn bytes(&self) -> u64 {
        self.found.iter().map(|journal| journal.bytes).sum()
    }
}

fn warn(journal: &FoundJournal, error: &io::Error) {
    let journal = journal.journal;
    tracing::warn!(%journal, %error, "what a journal does not need can't be given back");
}

/// Makes sure that what is known of a journal is on the disk.
fn sync(folder: &Path, journal: &FoundJournal) -> io::Result<()> {
    for index in &journal.files {
        File::open(segment_path(folder, journal.journal, *index))?.sync_data()?;
    }
    Ok(())
}

/// Removes all files of a journal.
fn remove(folder: &Path, journal: &mut FoundJournal) -> io::Result<()> {
    unlink(folder, journal, journal.files.clone())?;
    sync_folder(folder)?;
    tracing::debug!(journal = %journal.journal, "a journal without records was removed");
    Ok(())
}

/// Removes a journal's unused segments, and cuts the zeros off its last one; a torn tail stays
/// as it is, because damage is judged by all of it.
fn give_back(folder: &Path, journal: &mut FoundJournal) -> io::Result<()> {
    unlink(folder, journal, journal.blank.clone())?;
    let Some((index, base)) = journal.segments.last().filter(|_| !journal.cut) else {
        return Ok(());
    };
    let needed = HEADER_BYTES as u64 + journal.end - base;
    let path = segment_path(folder, journal.journal, *index);
    let length = fs::metadata(&path)?.len();
    if length > needed {
        let file = File::options().write(true).open(&path)?;
        file.set_len(needed)?;
        file.sync_all()?;
        journal.bytes -= length - needed;
    }
    Ok(())
}

fn unlink(folder: &Path, journal: &mut FoundJournal, files: Vec<u32>) -> io::Result<()> {
    for index in files {
        let path = segment_path(folder, journal.journal, index);
        let length = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            file => {
                let length = file?.len();
                fs::remove_file(&path)?;
                length
            }
        };
        journal.bytes = journal.bytes.saturating_sub(length);
        journal.files.retain(|it| *it != index);
        journal.blank.retain(|it| *it != index);
    }
    Ok(())
}
