//! The embedded database's schema: made and brought up to date by numbered scripts, in one
//! transaction.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::look::open_to_look;
use super::{BUSY_WAIT, rebuild};
use crate::store::migrate::{Applied, MigrateError, MigrateStep, Migration, missing};

pub(super) const SCRIPTS: &[Migration] = &[
    Migration {
        number: 1,
        name: "chat_messages",
        sql: include_str!("../../../migrations/sqlite/0001_chat_messages.sql"),
    },
    Migration {
        number: 2,
        name: "store",
        sql: include_str!("../../../migrations/sqlite/0002_store.sql"),
    },
    Migration { number: rebuild::NUMBER, name: "one_index", sql: rebuild::SCRIPT },
];

const MIGRATIONS_TABLE: &str = "CREATE TABLE IF NOT EXISTS hub_migrations (\
    number INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL) STRICT";

/// Makes what is missing from the embedded database, which may not be there yet, or only looks
/// what that would be: then no file is made or changed.
pub(crate) fn migrate(path: &Path, dry_run: bool) -> Result<Vec<MigrateStep>, MigrateError> {
    if dry_run {
        return look(open_to_look(path)?.as_ref());
    }
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")?;
    bring_up_to_date(&mut connection, SCRIPTS)
}

fn look(connection: Option<&Connection>) -> Result<Vec<MigrateStep>, MigrateError> {
    match connection {
        Some(connection) if connection.table_exists(None, "hub_migrations")? => {
            Ok(steps(missing(SCRIPTS, &applied(connection)?)?))
        }
        _ => Ok(steps(SCRIPTS)),
    }
}

/// Applies the scripts that a database has not seen, in one transaction, after what takes long and
/// is done before; what was missing.
pub(super) fn bring_up_to_date(
    connection: &mut Connection,
    scripts: &[Migration],
) -> Result<Vec<MigrateStep>, MigrateError> {
    connection.execute_batch(MIGRATIONS_TABLE)?;
    let known = missing(scripts, &applied(connection)?)?;
    if known.iter().any(|migration| migration.number == rebuild::NUMBER) {
        rebuild::copy(connection)?;
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let missing = missing(scripts, &applied(&transaction)?)?;
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
            bring_up_to_date(&mut database, known).expect("it migrates");
        }
        database.execute_batch("SELECT x FROM a; SELECT x FROM b").expect("both are there");
    }

    #[test]
    fn a_changed_or_newer_schema_refuses_in_one_line() {
        let mut database = Connection::open_in_memory().expect("a database");
        bring_up_to_date(&mut database, &[OLD, NEW]).expect("it migrates");
        let changed = Migration { sql: "CREATE TABLE a (y INTEGER)", ..OLD };
        let error = bring_up_to_date(&mut database, &[changed, NEW]).expect_err("it was changed");
        assert_eq!(error.to_string(), "migration 1 (a) was changed after it was applied");
        let error = bring_up_to_date(&mut database, &[OLD]).expect_err("it is newer");
        let line = "the database has schema version 2, this program knows 1 at most";
        assert_eq!(error.to_string(), line);
    }

    #[test]
    fn a_script_that_fails_changes_nothing() {
        let mut database = Connection::open_in_memory().expect("a database");
        let broken = Migration { sql: "CREATE TABLE b (x INTEGER); CREATE NONSENSE", ..NEW };
        let error = bring_up_to_date(&mut database, &[OLD, broken]).expect_err("it is broken");
        assert!(matches!(error, MigrateError::Script { number: 2, .. }));
        bring_up_to_date(&mut database, &[OLD, NEW]).expect("as if it had never run");
    }
}
