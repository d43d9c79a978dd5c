//! `cpi-hub migrate`: brings a database up to date without serving, or looks what that would be.
//!
//! Opens no journal and takes no lock but the database's own, so it may run beside hubs. Looking
//! makes no file and no directory.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::OpenError;
use super::migrate::{self, MigrateError, MigrateStep};
use super::postgres::{self, DatabaseUrl};
use super::sqlite::DATABASE_FILE;

const BUSY_WAIT: Duration = Duration::from_secs(5);

/// What was missing from the PostgreSQL database, or from the embedded one in `data_dir`; unless
/// it is a dry run, it is there now.
pub async fn upgrade(
    data_dir: &Path,
    url: Option<&DatabaseUrl>,
    dry_run: bool,
) -> Result<Vec<MigrateStep>, OpenError> {
    if let Some(url) = url {
        return Ok(postgres::migrate(url, dry_run).await?);
    }
    if !dry_run {
        fs::create_dir_all(data_dir)
            .map_err(|error| OpenError::Io { path: data_dir.into(), error })?;
    }
    let path = data_dir.join(DATABASE_FILE);
    let steps = match dry_run {
        true => look(&path),
        false => embedded(&path),
    };
    steps.map_err(|error| OpenError::Database { path, error })
}

fn embedded(path: &Path) -> Result<Vec<MigrateStep>, MigrateError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")?;
    migrate::sqlite(&mut connection, migrate::SQLITE)
}

fn look(path: &Path) -> Result<Vec<MigrateStep>, MigrateError> {
    migrate::look(open_to_look(path)?.as_ref(), migrate::SQLITE)
}

/// Opens the embedded database without a change to any file; `None`: there is none.
pub(super) fn open_to_look(path: &Path) -> Result<Option<Connection>, rusqlite::Error> {
    let with = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        Path::new(&name).exists()
    };
    if !with("") {
        return Ok(None);
    }
    let mut uri = String::from("file:");
    for letter in path.to_string_lossy().chars() {
        match letter {
            '%' => uri.push_str("%25"),
            '?' => uri.push_str("%3f"),
            '#' => uri.push_str("%23"),
            letter => uri.push(letter),
        }
    }
    // Where nobody has it open there is no log beside it, and it would be made.
    if !with("-wal") {
        uri.push_str("?immutable=1");
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri, flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    Ok(Some(connection))
}
