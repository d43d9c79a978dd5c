//! Whether the files that the store writes are still those at their paths: looked at twice a
//! second, because a file that was removed takes everything and gives nothing back.
//!
//! Owns the thread that looks. While a file is gone or another stands in its place the journals'
//! door is shut, so that nobody is told of a message that would be lost; when the very same files
//! are back it opens again. Tells also while others can get at the directory. Never touches
//! what is in a file.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::holes::Holes;
use super::private;
use crate::conditions::{Condition, Conditions};
use crate::faults::{Faults, panic_place};
use crate::store::dead_letters::tally::Tally;
use crate::store::journal::{JournalId, journals_in};
use crate::store::latest::Switch;

/// Between two looks; what is accepted meanwhile may be lost.
const PERIOD: Duration = Duration::from_millis(500);

/// A path, and the file that stood there first.
#[derive(Debug)]
pub(crate) struct WatchedFile {
    path: PathBuf,
    file: Option<(u64, u64)>,
}

/// A file that is not where it was.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Strayed {
    /// Nothing stands there.
    #[error("{} is gone", .0.display())]
    Gone(PathBuf),
    /// Another file stands there.
    #[error("{} was replaced", .0.display())]
    Replaced(PathBuf),
}

impl WatchedFile {
    /// A path where a file stands, or will.
    pub(crate) fn new(path: PathBuf) -> WatchedFile {
        let file = fs::metadata(&path).ok().map(|file| (file.dev(), file.ino()));
        WatchedFile { path, file }
    }

    /// Whether the file that was seen there first still stands there.
    pub(crate) fn look(&mut self) -> Result<(), Strayed> {
        let now = match fs::metadata(&self.path) {
            Ok(file) => Some((file.dev(), file.ino())),
            Err(error) if is_absent(&error) => None,
            // A path that can't be looked at says nothing.
            Err(_) => return Ok(()),
        };
        match (self.file, now) {
            (Some(_), None) => Err(Strayed::Gone(self.path.clone())),
            (Some(first), Some(now)) if first != now => Err(Strayed::Replaced(self.path.clone())),
            _ => {
                self.file = self.file.or(now);
                Ok(())
            }
        }
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// An embedded database's files: what is written to its log is in it only together with that.
pub(crate) fn database_places(database: &Path) -> Vec<WatchedFile> {
    let with = |suffix: &str| {
        let mut path = database.as_os_str().to_owned();
        path.push(suffix);
        WatchedFile::new(path.into())
    };
    ["", "-wal", "-shm"].into_iter().map(with).collect()
}

/// What is looked at.
pub(crate) struct WatchPlan {
    /// The data directory.
    pub(crate) data_dir: PathBuf,
    /// This run's journals.
    pub(crate) journals: Vec<JournalId>,
    /// The embedded database, where there is one.
    pub(crate) database: Option<PathBuf>,
    /// Shut while something has strayed.
    pub(crate) door: Switch,
    /// Where it tells what it finds, and its own end.
    pub(crate) faults: Faults,
    pub(crate) holes: Holes,
    pub(crate) letters: Tally,
}

/// The thread; it ends with [`stop`](Watch::stop).
#[derive(Debug)]
pub(crate) struct Watch {
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Begins to look.
    pub(crate) fn start(watched: WatchPlan) -> io::Result<Watch> {
        let (stop, stopped) = mpsc::sync_channel(1);
        let faults = watched.faults.clone();
        let mut looking = Looking::new(watched);
        let thread = Builder::new().name("hub-watch".into()).spawn(move || {
            let part = faults.watch("hub-watch");
            looking.run(&stopped);
            part.ended();
        })?;
        Ok(Watch { stop, thread })
    }

    /// Ends the thread.
    pub(crate) fn stop(self) {
        drop(self.stop);
        // A panic was told when it happened.
        let _ = self.thread.join();
    }
}

/// What the thread owns.
struct Looking {
    data_dir: PathBuf,
    folders: Vec<WatchedFile>,
    journal_folder: PathBuf,
    /// This run's journals, and whether a file of each was seen.
    journals: Vec<(JournalId, bool)>,
    database: Vec<WatchedFile>,
    door: Switch,
    conditions: Conditions,
    holes: Holes,
    holes_bytes: u64,
    letters: Tally,
}

impl Looking {
    fn new(watched: WatchPlan) -> Looking {
        let WatchPlan { data_dir, journals, database, door, faults, holes, letters } = watched;
        let journal_folder = data_dir.join("journal");
        let lock = journal_folder.join(crate::store::journal::LOCK_FILE);
        let folders =
            [data_dir.clone(), journal_folder.clone(), lock].into_iter().map(WatchedFile::new);
        Looking {
            data_dir,
            folders: folders.collect(),
            journal_folder,
            journals: journals.into_iter().map(|journal| (journal, false)).collect(),
            database: database.map_or_else(Vec::new, |path| database_places(&path)),
            door,
            conditions: faults.conditions().clone(),
            holes_bytes: holes.length(),
            holes,
            letters,
        }
    }

    fn run(&mut self, stopped: &Receiver<()>) {
        while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
            panic_place("hub-watch");
            self.look();
        }
    }

    fn look(&mut self) {
        let folders = first_strayed(&mut self.folders).or_else(|| self.missing_journal());
        let database = first_strayed(&mut self.database);
        self.door.set_shut(folders.is_some() || database.is_some());
        self.conditions.set(Condition::DataDirectory, folders);
        self.conditions.set(Condition::DataDirectoryOpen, private::openness(&self.data_dir));
        self.conditions.set(Condition::DatabaseFile, database);
        let bytes = self.holes.length();
        if std::mem::replace(&mut self.holes_bytes, bytes) != bytes {
            self.holes.look();
        }
        self.letters.look();
    }

    /// A journal of this run that had files and has none.
    fn missing_journal(&mut self) -> Option<Strayed> {
        let there = journals_in(&self.journal_folder).ok()?;
        for (journal, seen) in &mut self.journals {
            let is_there = there.contains(journal);
            if *seen && !is_there {
                let path = self.journal_folder.join(format!("{journal}.*"));
                return Some(Strayed::Gone(path));
            }
            *seen |= is_there;
        }
        None
    }
}

fn first_strayed(places: &mut [WatchedFile]) -> Option<Strayed> {
    places.iter_mut().find_map(|place| place.look().err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_gone_or_replaced_is_told_until_it_is_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, aside) = (folder.path().join("file"), folder.path().join("aside"));
        let mut place = WatchedFile::new(path.clone());
        assert_eq!(place.look(), Ok(()), "it was never there");
        fs::write(&path, "a").expect("it writes");
        assert_eq!(place.look(), Ok(()));
        fs::rename(&path, &aside).expect("it moves");
        assert_eq!(place.look(), Err(Strayed::Gone(path.clone())));
        fs::write(&path, "a").expect("it writes");
        assert_eq!(place.look(), Err(Strayed::Replaced(path.clone())));
        fs::rename(&aside, &path).expect("it moves back");
        assert_eq!(place.look(), Ok(()));
    }
}
