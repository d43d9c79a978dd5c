//! Looks at a folder of journals from outside, for `cpi-hub journal`.
//!
//! Reads with the start's own reader and touches nothing: no lock is taken, not for a moment,
//! because a hub that starts in it would be refused. So a hub may be writing meanwhile, and what
//! looks damaged is looked at again before it is called so.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::recover::{self, FilePlace, FoundJournal, Judged};
use super::{JournalId, JournalOpenError, LOCK_FILE};
use crate::wire::Id;

/// How often damage must be found at the same place to be believed.
const LOOKS: usize = 4;

/// How a journal is.
#[derive(Debug)]
pub(crate) enum JournalState {
    /// Whole to its end.
    Sound,
    /// Sound, with bytes behind its end that were never promised to anybody and do not count.
    Torn {
        /// How many bytes.
        bytes: u64,
    },
    /// A hub would not start on it.
    Unusable(JournalOpenError),
    /// Its checksums hold, but it holds other than ascending records: a fault of the program.
    Odd {
        /// The segment.
        file: PathBuf,
        /// The block's place in it.
        offset: u64,
    },
}

/// A journal, as far as it can be read.
#[derive(Debug)]
pub(crate) struct JournalReport {
    /// The journal.
    pub journal: JournalId,
    /// Segments that hold records or did.
    pub segments: usize,
    /// Files, spare segments included.
    pub files: usize,
    /// The logical offsets of its first block and behind its last.
    pub offsets: (u64, u64),
    /// Records between them.
    pub records: u64,
    /// The highest id that it knows of, its own and those before it.
    pub highest: Id,
    /// Bytes of its files.
    pub bytes: u64,
    /// How it is.
    pub state: JournalState,
}

/// All journals of a folder.
#[derive(Debug)]
pub(crate) struct Reports {
    /// Oldest run first.
    pub journals: Vec<JournalReport>,
    /// Whether a hub has them open; `None`: the system does not tell.
    pub open: Option<bool>,
}

/// Looks at the journals in `folder`; there are none where there is no folder.
pub(crate) fn inspect(folder: &Path) -> Result<Reports, JournalOpenError> {
    let mut judged = look(folder)?;
    for _ in 1..LOOKS {
        if damage(&judged).is_empty() {
            break;
        }
        let again = look(folder)?;
        let same = damage(&again) == damage(&judged);
        judged = again;
        // While a hub writes, each look finds another end.
        if same && is_open(folder) == Some(false) {
            break;
        }
    }
    let journals = judged.into_iter().map(report).collect();
    Ok(Reports { journals, open: is_open(folder) })
}

fn look(folder: &Path) -> Result<Vec<Judged>, JournalOpenError> {
    match recover::look(folder, 0) {
        Err(JournalOpenError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
            Ok(Vec::new())
        }
        judged => judged,
    }
}

fn damage(judged: &[Judged]) -> Vec<String> {
    judged.iter().filter_map(|(_, verdict)| Some(verdict.as_ref().err()?.to_string())).collect()
}

fn report((found, verdict): Judged) -> JournalReport {
    let FoundJournal {
        journal, segments, files, end, records, highest, bytes, cut, torn, odd, ..
    } = found;
    let first = segments.first().map_or(end, |(_, base)| *base);
    let state = match (verdict, odd) {
        (Err(error), _) => JournalState::Unusable(error),
        (Ok(()), Some(FilePlace { file, at })) => JournalState::Odd { file, offset: at },
        (Ok(()), None) if cut => JournalState::Torn { bytes: torn },
        (Ok(()), None) => JournalState::Sound,
    };
    JournalReport {
        journal,
        segments: segments.len(),
        files: files.len(),
        offsets: (first, end),
        records,
        highest,
        bytes,
        state,
    }
}

/// Whether a hub has the folder, by the system's list of locks; `None`: it does not tell.
pub(crate) fn is_open(folder: &Path) -> Option<bool> {
    let inode = match fs::metadata(folder.join(LOCK_FILE)) {
        Ok(file) => file.ino(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(false),
        Err(_) => return None,
    };
    let locks = fs::read_to_string("/proc/locks").ok()?;
    Some(locks.lines().any(|line| is_lock_of(line, inode)))
}

/// `1: FLOCK  ADVISORY  WRITE 4711 08:02:131081 0 EOF`. The device is left out: file systems of
/// several layers tell another one here.
fn is_lock_of(line: &str, inode: u64) -> bool {
    let mut words = line.split_whitespace().skip(1);
    let (kind, mode) = (words.next(), words.nth(1));
    let place = words.nth(1).and_then(|place| place.rsplit(':').next());
    kind == Some("FLOCK") && mode == Some("WRITE") && place == Some(&*inode.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::tests::{LIMITS, one, reopen};

    #[test]
    fn a_lock_is_found_in_the_systems_list() {
        for (line, expected) in [
            ("1: FLOCK  ADVISORY  WRITE 4711 08:02:131081 0 EOF", true),
            ("1: FLOCK  ADVISORY  WRITE 4711 08:02:131082 0 EOF", false),
            ("1: FLOCK  ADVISORY  READ 4711 08:02:131081 0 EOF", false),
            ("2: POSIX  ADVISORY  WRITE 4711 08:02:131081 0 EOF", false),
            ("1: -> FLOCK  ADVISORY  WRITE 4711 08:02:131081 0 EOF", false),
            ("", false),
        ] {
            assert_eq!(is_lock_of(line, 131_081), expected, "{line}");
        }
    }

    #[test]
    fn a_folder_is_inspected_beside_its_hub_and_after_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let none = inspect(&folder.path().join("none")).expect("nothing is no fault");
        assert!(none.journals.is_empty());
        let mut opened = reopen(folder.path(), 1, &LIMITS, 0).expect("it opens");
        for id in 1..=3 {
            opened.writers[0].append(&one(id, 10), Id(id)).expect("there is room");
        }
        let end = opened.writers[0].end();
        let reports = inspect(folder.path()).expect("it reads");
        assert_eq!(reports.open, Some(true));
        let [report] = &reports.journals[..] else { panic!("{reports:?}") };
        let told = (report.records, report.offsets, report.highest, report.segments);
        assert_eq!(told, (3, (0, end), Id(3), 1));
        assert!(matches!(report.state, JournalState::Sound), "{report:?}");
        opened.writers[0].append(&one(2, 10), Id(3)).expect("it looks at no ids");
        drop(opened);
        let reports = inspect(folder.path()).expect("it reads");
        assert_eq!(reports.open, Some(false));
        let state = &reports.journals[0].state;
        assert!(matches!(state, JournalState::Odd { offset, .. } if *offset > 0), "{state:?}");
        reopen(folder.path(), 1, &LIMITS, 9).expect("looking has locked nobody out");
    }
}
