//! Schema versions: numbered scripts, applied once each, in order, and never changed afterwards.
//!
//! Pure but for [`sqlite`]. A script that was applied in another form, or by a newer version,
//! refuses the start in one line.

use rusqlite::{Connection, TransactionBehavior};

/// One script.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// From 1, without gaps.
    pub number: u32,
    /// For people.
    pub name: &'static str,
    /// The script.
    pub sql: &'static str,
}

/// SQLite's.
pub const SQLITE: &[Migration] = &[
    Migration {
        number: 1,
        name: "chat_messages",
        sql: include_str!("../../migrations/sqlite/0001_chat_messages.sql"),
    },
    Migration {
        number: 2,
        name: "store",
        sql: include_str!("../../migrations/sqlite/0002_store.sql"),
    },
];

/// Something that was missing from a database, and what makes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MigrateStep {
    /// For people.
    pub name: String,
    /// Statements, without the last semicolon.
    pub sql: String,
}

/// A script as the database remembers it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// Its number.
    pub number: u32,
    /// [`Migration::checksum`] of what was applied.
    pub checksum: String,
}

/// Why the schema can't be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database is ahead of this program.
    #[error("the database has schema version {found}, this program knows {known} at most")]
    Newer {
        /// The database's.
        found: u32,
        /// This program's.
        known: u32,
    },
    /// A script is not the one that was applied.
    #[error("migration {number} ({name}) was changed after it was applied")]
    Changed {
        /// Which.
        number: u32,
        /// Its name.
        name: &'static str,
    },
    /// A script failed; nothing was changed.
    #[error("migration {number}: {error}")]
    Script {
        /// Which.
        number: u32,
        /// SQLite's error.
        error: rusqlite::Error,
    },
    /// The database failed.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

impl Migration {
    /// What it is called, for people.
    pub(super) fn title(&self) -> String {
        format!("migration {} ({})", self.number, self.name)
    }

    /// Tells one script from another; against accidents, not forgers.
    pub fn checksum(&self) -> String {
        format!("{:08x}", crc32c::crc32c(self.sql.as_bytes()))
    }
}

/// The scripts that are still to be applied. `applied` ascends.
pub fn missing<'a>(
    known: &'a [Migration],
    applied: &[Applied],
) -> Result<&'a [Migration], MigrateError> {
    for (n, done) in applied.iter().enumerate() {
        let Some(migration) = known.get(n).filter(|known| known.number == done.number) else {
            let known = known.last().map_or(0, |last| last.number);
            return Err(MigrateError::Newer { found: done.number, known });
        };
        if migration.checksum() != done.checksum {
            let Migration { number, name, .. } = *migration;
            return Err(MigrateError::Changed { number, name });
        }
    }
    Ok(&known[applied.len()..])
}

const MIGRATIONS_TABLE: &str = "CREATE TABLE IF NOT EXISTS hub_migrations (\
    number INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL) STRICT";

/// Brings a SQLite database up to date, in one transaction; what was missing.
pub fn sqlite(
    connection: &mut Connection,
    known: &[Migration],
) -> Result<Vec<MigrateStep>, MigrateError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(MIGRATIONS_TABLE)?;
    let missing = missing(known, &applied(&transaction)?)?;
    for migration in missing {
        let Migration { number, name, sql } = *migration;
        transaction.execute_batch(sql).map_err(|error| MigrateError::Script { number, error })?;
        transaction.execute(
            "INSERT INTO hub_migrations (number, name, checksum) VALUES (?1, ?2, ?3)",
            (number, name, migration.checksum()),
        )?;
    }
    transaction.commit()?;
    Ok(steps(missing))
}

/// What [`sqlite`] would do, with a database or with none; nothing is done.
pub(super) fn look(
    connection: Option<&Connection>,
    known: &[Migration],
) -> Result<Vec<MigrateStep>, MigrateError> {
    let there = match connection {
        Some(connection) => connection.table_exists(None, "hub_migrations")?,
        None => false,
    };
    match connection.filter(|_| there) {
        Some(connection) => Ok(steps(missing(known, &applied(connection)?)?)),
        None => Ok(steps(known)),
    }
}

fn applied(connection: &Connection) -> Result<Vec<Applied>, rusqlite::Error> {
    let sql = "SELECT number, checksum FROM hub_migrations ORDER BY number";
    let mut statement = connection.prepare(sql)?;
    let applied = statement
        .query_map([], |row| Ok(Applied { number: row.get(0)?, checksum: row.get(1)? }))?;
    applied.collect()
}

fn steps(missing: &[Migration]) -> Vec<MigrateStep> {
    let step = |migration: &Migration| {
        let sql = migration.sql.trim_end().trim_end_matches(';').to_owned();
        MigrateStep { name: migration.title(), sql }
    };
    missing.iter().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Migration = Migration { number: 1, name: "a", sql: "CREATE TABLE a (x INTEGER)" };
    const NEW: Migration = Migration { number: 2, name: "b", sql: "CREATE TABLE b (x INTEGER)" };

    #[test]
    fn scripts_are_applied_once_and_in_order() {
        let mut database = Connection::open_in_memory().expect("a database");
        for known in [&[OLD][..], &[OLD], &[OLD, NEW], &[OLD, NEW]] {
            sqlite(&mut database, known).expect("it migrates");
        }
        database.execute_batch("SELECT x FROM a; SELECT x FROM b").expect("both are there");
    }

    #[test]
    fn a_changed_or_newer_schema_refuses_in_one_line() {
        let mut database = Connection::open_in_memory().expect("a database");
        sqlite(&mut database, &[OLD, NEW]).expect("it migrates");
        let changed = Migration { sql: "CREATE TABLE a (y INTEGER)", ..OLD };
        let error = sqlite(&mut database, &[changed, NEW]).expect_err("it was changed");
        assert_eq!(error.to_string(), "migration 1 (a) was changed after it was applied");
        let error = sqlite(&mut database, &[OLD]).expect_err("it is newer");
        let line = "the database has schema version 2, this program knows 1 at most";
        assert_eq!(error.to_string(), line);
    }

    #[test]
    fn a_script_that_fails_changes_nothing() {
        let mut database = Connection::open_in_memory().expect("a database");
        let broken = Migration { sql: "CREATE TABLE b (x INTEGER); CREATE NONSENSE", ..NEW };
        let error = sqlite(&mut database, &[OLD, broken]).expect_err("it is broken");
        assert!(matches!(error, MigrateError::Script { number: 2, .. }));
        sqlite(&mut database, &[OLD, NEW]).expect("as if it had never run");
    }
}
