//! A copy of the embedded database as it was at one moment, made beside a hub that goes on writing.
//!
//! Reads the database in one transaction, so that the copy is of one state and never begins anew.
//! Changes no file but the copy, which takes its name when it is whole, checked and on the disk.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{BUSY_WAIT, DATABASE_FILE, check};
use crate::store::files::sync_folder;

/// Pages copied between two reports of how far it is.
const STEP_PAGES: i32 = 4_096;
/// How many virtual machine steps the check of a copy runs between two looks whether it is to end.
const STEPS: i32 = 100_000;

/// Why there is no copy; each is one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is nothing to copy.
    #[error("{}: there is no embedded database", .0.display())]
    Missing(PathBuf),
    /// The copy's name is taken.
    #[error("{}: is there already; --force replaces it", .0.display())]
    Exists(PathBuf),
    /// The copy's name is one of the hub's own files.
    #[error("{}: is the hub's own name for a file; the copy needs another", .0.display())]
    Own(PathBuf),
    /// Another backup writes the same copy.
    #[error("{}: another backup is writing it", .0.display())]
    Busy(PathBuf),
    /// The copy can't be written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The copy.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The database can't be read, or the copy not be written.
    #[error("{}: {error}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// SQLite's error.
        error: rusqlite::Error,
    },
    /// Whoever makes the copy has ended.
    #[error("stopped before it was whole")]
    Stopped,
    /// The copy is of a damaged database.
    #[error("{}: is damaged, so a copy of it would be no backup: {what}", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// A copy that was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackedUp {
    /// Messages in it.
    pub messages: u64,
    /// Its length.
    pub bytes: u64,
}

/// Copies the embedded database of a data directory to a file, which is made or, if that is asked
/// for, replaced. `goes_on` is told how many bytes of how many are copied, and ends it by `false`;
/// while the copy is checked it is told its length again and again.
pub fn backup(
    data_dir: &Path,
    file: &Path,
    replace: bool,
    mut goes_on: impl FnMut(u64, u64) -> bool + Send + 'static,
) -> Result<BackedUp, BackupError> {
    let database = data_dir.join(DATABASE_FILE);
    let io = |error| BackupError::Io { path: file.into(), error };
    if !database.exists() {
        return Err(BackupError::Missing(database));
    }
    if is_own(data_dir, file).map_err(io)? {
        return Err(BackupError::Own(file.into()));
    }
    if !replace && fs::symlink_metadata(file).is_ok() {
        return Err(BackupError::Exists(file.into()));
    }
    let part = Part::begin(file)?;
    let of = |path: &Path| {
        let (path, database) = (path.to_owned(), database.clone());
        move |error: rusqlite::Error| match check::is_damage(&error) {
            true => BackupError::Damaged { path: database, what: error.to_string() },
            false if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
                BackupError::Stopped
            }
            false => BackupError::Database { path, error },
        }
    };
    let source = open_source(&database).map_err(of(&database))?;
    if !copy(&source, &part.path, &mut goes_on).map_err(of(&database))? {
        return Err(BackupError::Stopped);
    }
    let mut copied = Connection::open(&part.path).map_err(of(&part.path))?;
    let length = part.file.metadata().map_err(io)?.len();
    let is_over = move || !goes_on(length, length);
    copied.progress_handler(STEPS, Some(is_over)).map_err(of(&part.path))?;
    // One file, with nothing beside it that might be left behind when it is moved.
    copied.pragma_update(None, "journal_mode", "DELETE").map_err(of(&part.path))?;
    if let Some(what) = check::damage(&copied).map_err(of(&part.path))? {
        return Err(BackupError::Damaged { path: database, what });
    }
    let messages = check::messages(&copied).map_err(of(&part.path))?.unwrap_or(0);
    copied.close().map_err(|(_, error)| of(&part.path)(error))?;
    let bytes = part.end(file, replace)?;
    Ok(BackedUp { messages, bytes })
}

/// Whether a copy of this name would be taken for, or stand on, the database or what belongs to it.
fn is_own(data_dir: &Path, file: &Path) -> io::Result<bool> {
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let (folder, data_dir) = (fs::metadata(folder)?, fs::metadata(data_dir)?);
    let same = (folder.dev(), folder.ino()) == (data_dir.dev(), data_dir.ino());
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    Ok(same && name.starts_with(DATABASE_FILE))
}

/// Opens a database that a hub may have open, or may open meanwhile.
fn open_source(database: &Path) -> rusqlite::Result<Connection> {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    // What a killed hub has left in the log stays there. Where there is no log, the one that is
    // made for reading goes again with a connection that may write.
    let rights = match Path::new(&log).exists() {
        true => OpenFlags::SQLITE_OPEN_READ_ONLY,
        false => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let flags = rights | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(database, flags)?;
    source.busy_timeout(BUSY_WAIT)?;
    source.execute_batch("BEGIN")?;
    // Here its one moment begins.
    source.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(source)
}

/// Copies all pages; `false`: it was ended.
fn copy(
    source: &Connection,
    part: &Path,
    goes_on: &mut impl FnMut(u64, u64) -> bool,
) -> rusqlite::Result<bool> {
    let page = source.query_row("PRAGMA page_size", [], |row| row.get::<_, u32>(0))?;
    let mut copied = Connection::open(part)?;
    // Nobody but this function sees the copy before it is whole and flushed.
    copied.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")?;
    let backup = Backup::new(source, &mut copied)?;
    loop {
        let step = backup.step(STEP_PAGES)?;
        let pages = backup.progress();
        let bytes = |pages: i32| u64::try_from(pages).unwrap_or(0) * u64::from(page);
        let goes_on = goes_on(bytes(pages.pagecount - pages.remaining), bytes(pages.pagecount));
        match step {
            StepResult::Done => return Ok(goes_on),
            StepResult::More if !goes_on => return Ok(false),
            StepResult::More => {}
            // Nobody else has the copy, and the source is read already.
            _ => {
                return Err(rusqlite::Error::SqliteFailure(
                    rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                    None,
                ));
            }
        }
    }
}

/// The copy while it is not whole: beside its place, and of nobody's concern but ours.
struct Part {
    path: PathBuf,
    file: File,
}

impl Part {
    fn begin(file: &Path) -> Result<Part, BackupError> {
        let mut path = file.as_os_str().to_owned();
        path.push(".part");
        let path = PathBuf::from(path);
        let io = |error| BackupError::Io { path: path.clone(), error };
        let mut options = File::options();
        options.write(true).create(true).truncate(false).mode(0o600);
        let opened = options.open(&path).map_err(io)?;
        // What a backup that was killed has left is nobody's.
        match opened.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BackupError::Busy(file.into())),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        opened.set_len(0).map_err(io)?;
        Ok(Part { path, file: opened })
    }

    /// Gives the copy its name; its length.
    fn end(mut self, file: &Path, replace: bool) -> Result<u64, BackupError> {
        let io = |error| BackupError::Io { path: file.into(), error };
        self.file.sync_all().map_err(io)?;
        let bytes = self.file.metadata().map_err(io)?.len();
        if replace {
            fs::rename(&self.path, file).map_err(io)?;
            self.path = PathBuf::new();
        } else {
            // A second name is refused where a file stands; a rename would replace it.
            match fs::hard_link(&self.path, file) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(BackupError::Exists(file.into()));
                }
                // Some file systems know no second names.
                Err(_) if fs::symlink_metadata(file).is_err() => {
                    fs::rename(&self.path, file).map_err(io)?;
                }
                Err(error) => return Err(io(error)),
            }
        }
        let folder = file.parent().filter(|folder| *folder != Path::new(""));
        sync_folder(folder.unwrap_or(Path::new("."))).map_err(io)?;
        Ok(bytes)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Gone if the copy has its name, or of no use to anybody.
        let _ = fs::remove_file(&self.path);
    }
}
