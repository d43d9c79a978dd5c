//! Whether an embedded database is whole, and the thread that looks at a large one while the hub
//! serves.
//!
//! After an end that was not in order a log lies beside the database. Put beside another state of
//! it, as by who restores a copy and leaves the log, it makes a mixture that opens and reads well
//! until somebody asks for the wrong page. Owns the thread; only reads.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::thread::{Builder, JoinHandle};

use rusqlite::{Connection, Error, ErrorCode, OpenFlags};

use super::BUSY_WAIT;
use super::look::open_to_look;
use crate::conditions::Condition;
use crate::faults::{Faults, panic_place};
use crate::limits::CHECK_AT_START_BYTES_MAX;
use crate::store::query::unsigned;

/// How many virtual machine steps a check runs between two looks whether it is to end.
const STEPS: i32 = 100_000;

/// The indexes of the messages' table that have a name; that of a key has none.
const INDEXES: &str = "SELECT name FROM sqlite_schema \
     WHERE tbl_name = 'chat_messages' AND type = 'index' AND sql IS NOT NULL";

/// When a database is to be checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    /// It is not: its last user has ended in order, or it is new.
    Never,
    /// Before anything else.
    First,
    /// While the hub serves, because it takes long.
    Beside,
}

/// Looks at a database's files, before anybody opens them; `in_order`: so the last hub has ended.
pub(crate) fn due(database: &Path, in_order: bool) -> Due {
    let bytes = |suffix: &str| {
        let mut path = database.as_os_str().to_owned();
        path.push(suffix);
        fs::metadata(path).map_or(0, |file| file.len())
    };
    match (bytes(""), bytes("-wal")) {
        (0, _) => Due::Never,
        (_, 0) if in_order => Due::Never,
        (file, log) if file + log <= CHECK_AT_START_BYTES_MAX => Due::First,
        _ => Due::Beside,
    }
}

/// What is wrong with a database that nobody has opened yet, in one line; no file is changed, so
/// that a copy which is sound without the log beside it stays so.
pub(crate) fn damage_before(database: &Path, due: Due) -> Option<String> {
    let looked = open_to_look(database).and_then(|connection| match connection {
        Some(connection) if due == Due::First => damage(&connection),
        Some(connection) => connection.table_exists(None, "hub_store").map(|_| None),
        None => Ok(None),
    });
    match looked {
        Ok(found) => found,
        Err(error) if is_damage(&error) => Some(error.to_string()),
        // Who opens it to write says more.
        Err(_) => None,
    }
}

/// What is wrong with a database, in one line; `None`: it is whole.
pub(crate) fn damage(connection: &Connection) -> Result<Option<String>, Error> {
    match find_damage(connection) {
        Err(error) if is_damage(&error) => Ok(Some(error.to_string())),
        found => found,
    }
}

/// Messages that a database counts, be it of this version or an earlier one; `None`: it is of
/// none.
pub(super) fn messages(connection: &Connection) -> Result<Option<u64>, Error> {
    for table in ["hub_space_totals", "hub_space_blocks"] {
        if connection.table_exists(None, table)? {
            let sql = format!("SELECT coalesce(sum(total), 0) FROM {table}");
            return connection.query_row(&sql, [], |row| row.get(0)).map(unsigned).map(Some);
        }
    }
    Ok(None)
}

/// Whether an error says that the file is no sound database.
pub(crate) fn is_damage(error: &Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn find_damage(connection: &Connection) -> Result<Option<String>, Error> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        let line = found.lines().find(|line| !line.starts_with("***")).unwrap_or_default();
        return Ok(Some(line.to_owned()));
    }
    // Pages of two states may each be sound, but they do not count the same messages. SQLite's
    // `integrity_check` compares them one by one, and takes ten times as long.
    let Some(counted) = messages(connection)? else { return Ok(None) };
    let mut indexes = connection.prepare(INDEXES)?;
    let named = indexes.query_map([], |row| row.get::<_, String>(0))?;
    let mut ways = vec![String::from("*) FROM chat_messages NOT INDEXED")];
    // This one takes the key's index, where there is one.
    ways.push("*) FROM chat_messages".into());
    for index in named {
        ways.push(format!("id) FROM chat_messages INDEXED BY \"{}\"", index?));
    }
    for way in ways {
        let sql = format!("SELECT count({way}");
        let there = connection.query_row(&sql, [], |row| row.get(0)).map(unsigned)?;
        if there != counted {
            return Ok(Some(format!("it counts {counted} messages and holds {there}")));
        }
    }
    Ok(None)
}

/// The thread that checks; it ends by itself, or with [`stop`](Checking::stop).
#[derive(Debug)]
pub(crate) struct Checking {
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Checking {
    /// Begins to check a database beside the hub.
    pub(crate) fn start(database: &Path, faults: &Faults) -> io::Result<Checking> {
        let (stop, stopped) = mpsc::sync_channel(1);
        let (database, faults) = (database.to_owned(), faults.clone());
        let part = faults.watch("hub-check");
        let what = format!("{} is {}", database.display(), size(&database));
        faults.conditions().raise(Condition::DatabaseChecking, what);
        let thread = Builder::new().name("hub-check".into()).spawn(move || {
            panic_place("hub-check");
            check(&database, &faults, stopped);
            faults.conditions().clear(Condition::DatabaseChecking);
            part.ended();
        })?;
        Ok(Checking { stop, thread })
    }

    /// Ends the thread.
    pub(crate) fn stop(self) {
        drop(self.stop);
        // A panic was told when it happened.
        let _ = self.thread.join();
    }
}

fn size(database: &Path) -> String {
    let bytes = fs::metadata(database).map_or(0, |file| file.len());
    format!("{} MiB long", bytes >> 20)
}

fn check(database: &Path, faults: &Faults, stopped: Receiver<()>) {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let looked = Connection::open_with_flags(database, flags).and_then(|mut connection| {
        connection.busy_timeout(BUSY_WAIT)?;
        let is_stopped = move || stopped.try_recv() == Err(TryRecvError::Disconnected);
        connection.progress_handler(STEPS, Some(is_stopped))?;
        damage(&connection)
    });
    match looked {
        Ok(None) => tracing::info!("the embedded database was checked and is whole"),
        Ok(Some(what)) => faults.conditions().raise(Condition::DatabaseDamaged, what),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {}
        // Readers and the sink tell what stays wrong.
        Err(error) => tracing::warn!(%error, "the embedded database could not be checked"),
    }
}
