//! What was published once, in files that outlive a restart: the nonces of stored messages.
//!
//! A message's nonce is in its journal record, so a kill can't part the two. Before a stored
//! stretch of a journal may go, its nonces are appended here, by the batcher. There are two files
//! at most, the newer one written: when it is full or as old as the window, the older one goes.
//! Nothing is synced: a power cut may take what was stored just before it.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::batch::Batch;
use crate::store::files::is_full;
use crate::wire::nonce::{First, Nonce, NonceKey};
use crate::wire::time::{Micros, MonoMs, Now};
use crate::wire::{Id, SpaceId};

const PREFIX: &str = "nonces-";
/// `crc u32 | space i32 | key u128 | content u64 | id u128 | at i64`, little-endian.
const ENTRY_BYTES: usize = 56;

/// How much is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NonceLimits {
    /// Nonces of each shard.
    pub max: usize,
    /// How long each is kept, in milliseconds.
    pub window: u64,
}

/// Appends to the files.
#[derive(Debug)]
pub(crate) struct NonceFiles {
    folder: PathBuf,
    /// The file that is written now.
    number: u64,
    file: File,
    entries: usize,
    began: MonoMs,
    entries_max: usize,
    window: u64,
    buffer: Vec<u8>,
    /// Why what waits could not be written the last time.
    failing: Option<String>,
    /// Whether a failed write has left a part of itself behind the last whole entry.
    torn: bool,
}

impl NonceFiles {
    /// Reads what earlier runs have left in the files, adds what was found in their journals, and
    /// begins a new file with what is still within the window: that comes back too, oldest first.
    pub(crate) fn open(
        folder: &Path,
        found: Vec<First>,
        shards: usize,
        limits: NonceLimits,
        now: Now,
    ) -> io::Result<(NonceFiles, Vec<First>)> {
        let (numbers, mut published) = read_all(folder)?;
        published.extend(found);
        settle(&mut published, limits.window, now);
        let number = numbers.iter().max().map_or(0, |last| last + 1);
        let mut files = NonceFiles {
            folder: folder.into(),
            number,
            file: create(folder, number)?,
            entries: 0,
            began: now.mono,
            entries_max: limits.max.saturating_mul(shards),
            window: limits.window,
            buffer: Vec::new(),
            failing: None,
            torn: false,
        };
        published.iter().for_each(|first| put(&mut files.buffer, first));
        match files.write() {
            Ok(()) => numbers.iter().try_for_each(|it| fs::remove_file(path(folder, *it)))?,
            // Journals fill the disk, and only a hub that runs can store them. The file is written
            // with the next batch; those of earlier runs stay until the next start.
            Err(error) if is_full(&error) => files.failing = Some(error.to_string()),
            Err(error) => return Err(error),
        }
        Ok((files, published))
    }

    /// Why nonces can't be kept now.
    pub(crate) fn failing(&self) -> Option<&str> {
        self.failing.as_deref()
    }

    /// Keeps the nonces of a stored batch. Those that the disk does not take are tried again with
    /// the next batch, as far as the bound goes.
    pub(crate) fn append(&mut self, batch: &Batch, now: MonoMs) {
        for first in batch.records().filter_map(|record| record.first()) {
            put(&mut self.buffer, &first);
        }
        if self.buffer.is_empty() {
            return;
        }
        let written = self.turn_over(now).and_then(|()| self.write());
        self.failing = written.err().map(|error| error.to_string());
        if self.buffer.len() > self.entries_max.saturating_mul(ENTRY_BYTES) {
            self.buffer.clear();
        }
    }

    fn turn_over(&mut self, now: MonoMs) -> io::Result<()> {
        if self.entries < self.entries_max && now.since(self.began) < self.window {
            return Ok(());
        }
        let number = self.number + 1;
        let file = create(&self.folder, number)?;
        if let Some(older) = self.number.checked_sub(1) {
            match fs::remove_file(path(&self.folder, older)) {
                // The first run's first file has none before it.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        (self.file, self.number, self.entries, self.began) = (file, number, 0, now);
        self.torn = false;
        Ok(())
    }

    /// Writes what waits, at the end of the last whole entry.
    fn write(&mut self) -> io::Result<()> {
        // A part of an entry would hide all that follows it.
        let end = (self.entries * ENTRY_BYTES) as u64;
        if self.torn {
            self.file.set_len(end)?;
        }
        self.torn = true;
        if let Err(error) = self.file.write_all(&self.buffer) {
            self.torn = self.file.set_len(end).is_err();
            return Err(error);
        }
        self.torn = false;
        self.entries += self.buffer.len() / ENTRY_BYTES;
        self.buffer.clear();
        Ok(())
    }
}

/// What was published once, by the files and what was `found` in journals, oldest first.
pub(super) fn published(
    folder: &Path,
    mut found: Vec<First>,
    window: u64,
    now: Now,
) -> io::Result<Vec<First>> {
    found.append(&mut read_all(folder)?.1);
    settle(&mut found, window, now);
    Ok(found)
}

/// Leaves what is within the window, each once, oldest first.
fn settle(published: &mut Vec<First>, window: u64, now: Now) {
    // A nonce that was forgotten and used anew is known by its last message, as it was when the
    // last run ended; by none if that one is too old. Only ids tell which is the last: by a clock
    // that was set back it may be the older one.
    published.sort_unstable_by_key(|first| Reverse(first.id));
    let mut known = HashSet::new();
    published.retain(|first| known.insert(first.nonce.key));
    published.reverse();
    let since = now.unix.0.saturating_sub_unsigned(window.saturating_mul(1_000));
    published.retain(|first| first.at.0 >= since);
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{PREFIX}{number}"))
}

fn create(folder: &Path, number: u64) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path(folder, number))?;
    file.set_len(0)?;
    Ok(file)
}

/// The files' numbers, and what they hold.
fn read_all(folder: &Path) -> io::Result<(Vec<u64>, Vec<First>)> {
    let (mut numbers, mut all) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let Some(number) = number.and_then(|number| number.parse().ok()) else { continue };
        numbers.push(number);
        let bytes = fs::read(entry.path())?;
        let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
        // An entry that does not hold ends the file: a kill cut it, or a page was lost.
        all.extend(entries.iter().map_while(take));
    }
    Ok((numbers, all))
}

fn put(out: &mut Vec<u8>, first: &First) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&first.space.0.to_le_bytes());
    out.extend_from_slice(&first.nonce.key.0.to_le_bytes());
    out.extend_from_slice(&first.nonce.content.to_le_bytes());
    out.extend_from_slice(&first.id.0.to_le_bytes());
    out.extend_from_slice(&first.at.0.to_le_bytes());
    let crc = crc32c::crc32c(&out[at + 4..]);
    out[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}

fn take(bytes: &[u8; ENTRY_BYTES]) -> Option<First> {
    let (crc, rest) = bytes.split_first_chunk::<4>()?;
    if crc32c::crc32c(rest) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (space, rest) = rest.split_first_chunk()?;
    let (key, rest) = rest.split_first_chunk()?;
    let (content, rest) = rest.split_first_chunk()?;
    let (id, rest) = rest.split_first_chunk()?;
    let at = rest.first_chunk()?;
    let key = NonceKey(u128::from_le_bytes(*key));
    Some(First {
        nonce: Nonce { key, content: u64::from_le_bytes(*content) },
        space: SpaceId(i32::from_le_bytes(*space)),
        id: Id(u128::from_le_bytes(*id)),
        at: Micros(i64::from_le_bytes(*at)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::batcher::batch::{BatchLimits, Origin};
    use crate::store::journal::JournalId;
    use crate::wire::UserId;
    use crate::wire::record::Record;

    const LIMITS: NonceLimits = NonceLimits { max: 4, window: 1_000 };

    fn first(number: u32) -> First {
        let key = NonceKey::new(UserId(1), SpaceId(2), &number.to_string());
        let at = i64::from(number) * 1_000;
        let nonce = Nonce { key, content: number.into() };
        First { nonce, space: SpaceId(2), id: Id(number.into()), at: Micros(at) }
    }

    fn batch(numbers: std::ops::Range<u32>) -> Batch {
        let mut bytes = Vec::new();
        for First { nonce, space, id, at } in numbers.map(first) {
            let nonce = (id.0 % 10 != 5).then_some(nonce);
            let record =
                Record { id, at, space, user: UserId(1), username: "", content: "", nonce };
            record.append_to(&mut bytes);
        }
        let mut batch = Batch::new();
        let all = BatchLimits { rows_max: usize::MAX, bytes_max: usize::MAX, wait: 0 };
        let origin = Origin { journal: JournalId(1), last: 0, offset: 0 };
        batch.push(origin, &bytes, &all, MonoMs(0));
        batch
    }

    fn open(folder: &Path, found: &[u32], millis: i64) -> (NonceFiles, Vec<u128>) {
        let now = Now { mono: MonoMs(7), unix: Micros(millis * 1_000) };
        let found = found.iter().copied().map(first).collect();
        let (files, all) = NonceFiles::open(folder, found, 1, LIMITS, now).expect("it opens");
        (files, all.iter().map(|first| first.id.0).collect())
    }

    fn count(folder: &Path) -> usize {
        fs::read_dir(folder).expect("a folder").count()
    }

    #[test]
    fn nonces_of_files_and_journals_come_back_once_within_the_window() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut files, none) = open(folder.path(), &[], 0);
        assert!(none.is_empty());
        files.append(&batch(1..7), MonoMs(0));
        drop(files);
        // The fifth had none.
        let (_, all) = open(folder.path(), &[6, 8], 10);
        assert_eq!(all, [1, 2, 3, 4, 6, 8]);
        let (_, all) = open(folder.path(), &[], 1_003);
        assert_eq!(all, [3, 4, 6, 8]);
        assert_eq!(count(folder.path()), 1);
    }

    #[test]
    fn a_torn_entry_hides_nothing_before_it_and_is_written_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut files, _) = open(folder.path(), &[], 0);
        files.append(&batch(1..4), MonoMs(0));
        let file =
            OpenOptions::new().write(true).open(path(folder.path(), 0)).expect("it is there");
        file.set_len(2 * ENTRY_BYTES as u64 + 9).expect("it is cut");
        let (mut files, all) = open(folder.path(), &[], 0);
        assert_eq!(all, [1, 2]);
        files.append(&batch(7..8), MonoMs(0));
        assert_eq!(open(folder.path(), &[], 0).1, [1, 2, 7]);
    }

    #[test]
    fn two_files_hold_what_the_bounds_ask_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut files, _) = open(folder.path(), &[], 0);
        for number in [1, 2, 3, 4, 6, 7, 8, 9, 11, 12] {
            files.append(&batch(number..number + 1), MonoMs(10));
            assert!(count(folder.path()) <= 2);
        }
        drop(files);
        let (mut files, all) = open(folder.path(), &[], 0);
        assert_eq!(all, [6, 7, 8, 9, 11, 12]);
        // Old files go by time too.
        files.append(&batch(13..14), MonoMs(1_007));
        files.append(&batch(14..15), MonoMs(2_007));
        assert_eq!(open(folder.path(), &[], 0).1, [13, 14]);
    }

    #[test]
    fn of_a_nonce_that_was_used_anew_the_last_message_comes_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut files, _) = open(folder.path(), &[], 0);
        files.append(&batch(1..3), MonoMs(0));
        // Forgotten, used anew and stored; then the clock was set back to when both were recent.
        let mut again = first(9);
        again.nonce.key = first(1).nonce.key;
        put(&mut files.buffer, &again);
        files.append(&batch(3..4), MonoMs(0));
        assert_eq!(open(folder.path(), &[], 0).1, [2, 3, 9]);
    }

    #[test]
    fn a_first_message_from_a_clock_that_was_ahead_does_not_come_back_for_a_later_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut files, _) = open(folder.path(), &[], 0);
        let (mut ahead, mut again) = (first(3_000), first(1));
        again.nonce.key = ahead.nonce.key;
        (ahead.id, again.id) = (Id(4), Id(5));
        put(&mut files.buffer, &ahead);
        put(&mut files.buffer, &again);
        files.append(&batch(6..7), MonoMs(0));
        assert_eq!(open(folder.path(), &[], 900).1, [5, 6]);
        assert_eq!(open(folder.path(), &[], 1_004).1, [6], "both are forgotten");
    }

    #[test]
    fn a_full_disk_hides_nothing_that_was_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut files, _) = open(folder.path(), &[], 0);
        files.append(&batch(1..3), MonoMs(0));
        let full = File::options().append(true).open("/dev/full").expect("it is always there");
        let file = std::mem::replace(&mut files.file, full);
        files.append(&batch(3..4), MonoMs(0));
        assert!(files.failing().is_some());
        files.file = file;
        files.append(&batch(4..5), MonoMs(0));
        assert_eq!(files.failing(), None);
        assert_eq!(open(folder.path(), &[], 0).1, [1, 2, 3, 4]);
    }
}
