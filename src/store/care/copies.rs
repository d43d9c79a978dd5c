//! Copies of the embedded database, made while the hub serves by a thread of their own, one at a
//! time, into a folder of the data directory, which may lead to another disk.
//!
//! Owns that folder: a copy that is whole makes the oldest one go, so that a number of them stay.
//! Nothing is begun that might leave the journals without room.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{Builder, JoinHandle};

use rustix::fs::statfs;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{NotDone, Shown};
use crate::faults::panic_place;
use crate::limits::COPIES_MAX;
use crate::store::StoreConfig;
use crate::store::sqlite::DATABASE_FILE;
use crate::store::sqlite::backup::{BackedUp, backup};
use crate::wire::time::{Micros, TimeFormat};

/// The folder in the data directory.
const FOLDER: &str = "backups";
/// What a copy's name is around its time.
const NAME: (&str, &str) = ("hub-", ".sqlite3");

/// A copy that was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Made {
    /// Its name.
    pub file: String,
    /// What is in it.
    pub of: BackedUp,
}

/// A copy in the folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Kept {
    /// Its name.
    pub file: String,
    /// Its length.
    pub bytes: u64,
}

/// What the thread does, and did last.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct CopyState {
    /// How many bytes of how many are copied; `None`: no copy is being made.
    pub running: Option<(u64, u64)>,
    /// What became of the last copy since the start; else why there is none, in one line.
    pub last: Option<Result<Made, String>>,
}

/// How copies are ordered, and seen. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    folder: Arc<PathBuf>,
    order: SyncSender<()>,
    state: watch::Receiver<CopyState>,
}

impl Orders {
    pub(super) fn copy(&self) -> Result<(), NotDone> {
        if self.state.borrow().running.is_some() {
            return Ok(());
        }
        match self.order.try_send(()) {
            Ok(()) | Err(TrySendError::Full(())) => Ok(()),
            Err(TrySendError::Disconnected(())) => Err(NotDone::Away),
        }
    }

    pub(super) fn shown(&self) -> io::Result<Shown> {
        let state = self.state.borrow().clone();
        Ok(Shown { folder: self.folder.to_path_buf(), state, kept: kept(&self.folder)? })
    }
}

/// Whether there is no folder, or something else stands in its place.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The copies in a folder, the newest first. Other files in it are none of the hub's.
fn kept(folder: &Path) -> io::Result<Vec<Kept>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let time = name.strip_prefix(NAME.0).and_then(|rest| rest.strip_suffix(NAME.1));
        let is_time = |text: &str| {
            let fits = |it: u8| it.is_ascii_digit() || b"TZ".contains(&it);
            text.len() == 16 && text.bytes().all(fits)
        };
        if time.is_some_and(is_time) {
            found.push(Kept { file: name, bytes: entry.metadata()?.len() });
        }
    }
    found.sort_by(|one, two| two.file.cmp(&one.file));
    Ok(found)
}

/// The thread; it ends with [`stop`](Copies::stop).
#[derive(Debug)]
pub(crate) struct Copies {
    orders: Orders,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Copies {
    /// Waits for orders.
    pub(crate) fn start(config: &StoreConfig) -> io::Result<Copies> {
        let folder = Arc::new(config.data_dir.join(FOLDER));
        let (order, ordered) = sync_channel(1);
        let (shown, state) = watch::channel(CopyState::default());
        let stop = CancellationToken::new();
        let making = Making {
            config: config.clone(),
            folder: Arc::clone(&folder),
            shown,
            stop: stop.clone(),
        };
        let part = config.faults.watch("hub-copies");
        let thread = Builder::new().name("hub-copies".into()).spawn(move || {
            panic_place("hub-copies");
            making.run(&ordered);
            part.ended();
        })?;
        Ok(Copies { orders: Orders { folder, order, state }, stop, thread })
    }

    /// How it is ordered.
    pub(crate) fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// Ends the thread. A copy that is not whole yet is none.
    pub(crate) fn stop(self) {
        self.stop.cancel();
        // Where one is full, the thread is awake.
        _ = self.orders.order.try_send(());
        // A panic was told when it happened.
        _ = self.thread.join();
    }
}

/// What the thread owns.
struct Making {
    config: StoreConfig,
    folder: Arc<PathBuf>,
    shown: watch::Sender<CopyState>,
    stop: CancellationToken,
}

impl Making {
    fn run(self, ordered: &Receiver<()>) {
        while ordered.recv().is_ok() && !self.stop.is_cancelled() {
            self.shown.send_modify(|state| state.running = Some((0, 0)));
            let made = self.make();
            match &made {
                Ok(Made { file, of }) => {
                    tracing::info!(%file, bytes = of.bytes, messages = of.messages, "copied");
                }
                Err(why) if self.stop.is_cancelled() => tracing::info!(why, "no copy is made"),
                Err(why) => tracing::warn!(why, "no copy could be made"),
            }
            self.shown.send_modify(|state| {
                *state = CopyState { running: None, last: Some(made) };
            });
        }
    }

    fn make(&self) -> Result<Made, String> {
        let folder = self.folder.as_path();
        let told = |error: io::Error| format!("{}: {error}", folder.display());
        fs::create_dir_all(folder).map_err(told)?;
        self.has_room().map_err(told)??;
        let file = free_name(folder, self.config.clock.now().unix);
        let (shown, stop) = (self.shown.clone(), self.stop.clone());
        let goes_on = move |copied, all| {
            shown.send_modify(|state| state.running = Some((copied, all)));
            !stop.is_cancelled()
        };
        let of = backup(&self.config.data_dir, &folder.join(&file), false, goes_on)
            .map_err(|error| error.to_string())?;
        for old in kept(folder).map_err(told)?.iter().skip(COPIES_MAX) {
            // One too many is no reason to call a copy none.
            if let Err(error) = fs::remove_file(folder.join(&old.file)) {
                tracing::warn!(file = old.file, %error, "an old copy stays");
            }
        }
        Ok(Made { file, of })
    }

    /// Whether there is room for a copy, and then still for all that journals may hold.
    fn has_room(&self) -> io::Result<Result<(), String>> {
        let length = |suffix: &str| {
            let file = self.config.data_dir.join(format!("{DATABASE_FILE}{suffix}"));
            fs::metadata(file).map_or(0, |file| file.len())
        };
        let needed = length("") + length("-wal") + self.config.journal.bytes_max;
        let disk = statfs(self.folder.as_path())?;
        let free = disk.f_bavail.saturating_mul(u64::try_from(disk.f_bsize).unwrap_or(0));
        Ok(if free >= needed {
            Ok(())
        } else {
            let (free, needed) = (free >> 20, needed >> 20);
            let folder = self.folder.display();
            Err(format!(
                "{folder}: {free} MiB are free, and {needed} MiB are to be: the length of a copy, \
                 and journal_bytes_max"
            ))
        })
    }
}

/// The name of a copy that is made now: of the next second, and so on, where there is one of this.
fn free_name(folder: &Path, mut at: Micros) -> String {
    while folder.join(name_at(at)).exists() {
        at = Micros(at.0 + 1_000_000);
    }
    name_at(at)
}

/// A copy's name: its time in UTC, so that names are in the order of times.
fn name_at(at: Micros) -> String {
    let text = TimeFormat::new(0).string(at);
    let digits: String = text.chars().take(19).filter(|it| !"-:".contains(*it)).collect();
    format!("{}{digits}Z{}", NAME.0, NAME.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_known_by_their_names_the_newest_first() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(kept(&folder.path().join("none")).expect("no folder"), []);
        let (one, two) = (Micros(1_767_323_045_678_901), Micros(1_767_323_046_000_000));
        assert_eq!(name_at(one), "hub-20260102T030405Z.sqlite3");
        let (one, two) = (name_at(one), name_at(two));
        let others = ["hub.sqlite3", "hub-20260102T030405Z.sqlite3.part", "hub-mine.sqlite3"];
        let others = others.map(|name| (name, ""));
        for (name, text) in [(&*one, "1"), (&*two, "22")].into_iter().chain(others) {
            fs::write(folder.path().join(name), text).expect("it writes");
        }
        let shown = [Kept { file: two, bytes: 2 }, Kept { file: one, bytes: 1 }];
        assert_eq!(kept(folder.path()).expect("it reads"), shown);
    }

    #[test]
    fn copies_of_one_second_have_names_of_their_own_in_their_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let now = Micros(1_767_323_099_900_000);
        let mut made: Vec<String> = Vec::new();
        for _ in 0..3 {
            let name = free_name(folder.path(), now);
            fs::write(folder.path().join(&name), "").expect("it writes");
            made.insert(0, name);
        }
        assert_eq!(made[2], "hub-20260102T030459Z.sqlite3");
        assert_eq!(made[0], "hub-20260102T030501Z.sqlite3");
        let shown = kept(folder.path()).expect("it reads");
        assert!(shown.iter().map(|it| &it.file).eq(&made));
    }
}
