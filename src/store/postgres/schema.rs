//! Brings a PostgreSQL database up to date: an empty one, or that of the existing server.
//!
//! Tables in one transaction each script, indexes one by one beside whoever writes meanwhile. It
//! adds tables and indexes, and never changes a row, a column or a constraint of others. Several
//! hubs may start at once: the work is done under an advisory lock, which is polled, because a
//! session that waits for it would hold up an index being built.

use std::time::Duration;

use tokio_postgres::types::ToSql;

use super::connect::{CALL_MAX, CallFault, Connection, Means, within};
use crate::store::migrate::{Applied, Migration, missing};

/// PostgreSQL's scripts with tables.
const TABLES: &[Migration] = &[Migration {
    number: 1,
    name: "tables",
    sql: include_str!("../../../migrations/postgres/0001_tables.sql"),
}];

const INDEXES: &str = include_str!("../../../migrations/postgres/0002_indexes.sql");
const INDEX_NAMES: [&str; 2] = ["chat_messages_space_id_id", "chat_messages_space_id_timestamp_id"];

/// `cpi-hub` as a number: whose lock it is.
const LOCK: i64 = 0x63_7069_2d68_7562;
const LOCK_POLL: Duration = Duration::from_millis(250);
/// An index of a big table takes its time.
pub(super) const BUILD_MAX: Duration = Duration::from_secs(6 * 3600);

/// What the hub's rows are made of; a wrong type would make each row seem to be to blame.
const COLUMNS: [(&str, &[&str]); 6] = [
    ("id", &["text", "varchar", "bpchar"]),
    ("content", &["text", "varchar"]),
    ("user_id", &["int4"]),
    ("username", &["text", "varchar"]),
    ("space_id", &["int4"]),
    ("timestamp", &["timestamp"]),
];

/// Does what is missing, if anything is; then holds the columns against what is written to them.
pub(super) async fn bring_up_to_date(connection: &Connection) -> Result<(), CallFault> {
    if !is_up_to_date(connection).await? {
        lock(connection).await?;
        // The lock ends with the connection too, whatever happens here.
        apply(connection).await?;
        connection.run("unlock", &format!("SELECT pg_advisory_unlock({LOCK})")).await?;
    }
    check_columns(connection).await
}

async fn is_up_to_date(connection: &Connection) -> Result<bool, CallFault> {
    let applied = applied(connection).await?;
    let missing = missing(TABLES, &applied).map_err(refused)?;
    let mut complete = missing.is_empty();
    for name in INDEX_NAMES {
        complete &= index_state(connection, name).await? == IndexState::Valid;
    }
    Ok(complete)
}

fn refused(error: crate::store::migrate::MigrateError) -> CallFault {
    CallFault::new("migrate", Means::Person, error.to_string())
}

async fn lock(connection: &Connection) -> Result<(), CallFault> {
    let sql = format!("SELECT pg_try_advisory_lock({LOCK})");
    let mut told = false;
    loop {
        let row = within(CALL_MAX, "lock the schema", connection.client.query_one(&sql, &[]));
        if row.await?.get(0) {
            return Ok(());
        }
        if !std::mem::replace(&mut told, true) {
            tracing::info!("another hub brings the database up to date; waiting for it");
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
}

/// The scripts that were applied. The table is made where it is not there only by [`apply`].
async fn applied(connection: &Connection) -> Result<Vec<Applied>, CallFault> {
    if !exists(connection, "hub_migrations").await? {
        return Ok(Vec::new());
    }
    let sql = "SELECT number, checksum FROM hub_migrations ORDER BY number";
    let rows = within(CALL_MAX, "read the schema's version", connection.client.query(sql, &[]));
    let applied = |row: &tokio_postgres::Row| Applied {
        number: u32::try_from(row.get::<_, i32>(0)).unwrap_or(0),
        checksum: row.get(1),
    };
    Ok(rows.await?.iter().map(applied).collect())
}

async fn exists(connection: &Connection, table: &str) -> Result<bool, CallFault> {
    let sql = "SELECT to_regclass($1::text) IS NOT NULL";
    let parameters: [&(dyn ToSql + Sync); 1] = [&table];
    let row = connection.client.query_one(sql, &parameters);
    Ok(within(CALL_MAX, "look for tables", row).await?.get(0))
}

async fn apply(connection: &Connection) -> Result<(), CallFault> {
    if !exists(connection, "hub_migrations").await? {
        let sql = "CREATE TABLE hub_migrations (number INTEGER NOT NULL PRIMARY KEY, \
                   name TEXT NOT NULL, checksum TEXT NOT NULL)";
        connection.run("make the table of migrations", sql).await?;
    }
    let applied = applied(connection).await?;
    for migration in missing(TABLES, &applied).map_err(refused)? {
        let Migration { number, name, sql } = *migration;
        tracing::info!(number, name, "bringing the database up to date");
        // Names and checksums are our own: nothing in them needs quoting.
        let checksum = migration.checksum();
        let script = format!(
            "BEGIN; {sql}; INSERT INTO hub_migrations VALUES ({number}, '{name}', '{checksum}'); \
             COMMIT"
        );
        within(BUILD_MAX, "migrate", connection.client.batch_execute(&script)).await?;
    }
    for (statement, name) in INDEXES.split(';').zip(INDEX_NAMES) {
        build(connection, name, statement).await?;
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum IndexState {
    Missing,
    Valid,
    /// Its building was cut short.
    Invalid,
}

async fn index_state(connection: &Connection, name: &str) -> Result<IndexState, CallFault> {
    let sql = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1::text)";
    let parameters: [&(dyn ToSql + Sync); 1] = [&name];
    let row = connection.client.query_opt(sql, &parameters);
    Ok(match within(CALL_MAX, "look for indexes", row).await? {
        None => IndexState::Missing,
        Some(row) if row.get(0) => IndexState::Valid,
        Some(_) => IndexState::Invalid,
    })
}

async fn build(connection: &Connection, name: &str, statement: &str) -> Result<(), CallFault> {
    match index_state(connection, name).await? {
        IndexState::Valid => return Ok(()),
        IndexState::Missing => {}
        IndexState::Invalid => {
            let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {name}");
            let drop = connection.client.batch_execute(&drop);
            within(BUILD_MAX, "drop an invalid index", drop).await?;
        }
    }
    tracing::info!(index = name, "building an index");
    // One call each: several statements in one are a transaction, which this can't be in.
    within(BUILD_MAX, "build an index", connection.client.batch_execute(statement)).await
}

async fn check_columns(connection: &Connection) -> Result<(), CallFault> {
    let sql = "SELECT a.attname::text, t.typname::text FROM pg_attribute a \
               JOIN pg_type t ON t.oid = a.atttypid \
               WHERE a.attrelid = to_regclass('chat_messages') AND a.attnum > 0 \
               AND NOT a.attisdropped";
    let rows = within(CALL_MAX, "look at columns", connection.client.query(sql, &[])).await?;
    let found = |name: &str| rows.iter().find(|row| row.get::<_, &str>(0) == name);
    for (name, types) in COLUMNS {
        let problem = match found(name).map(|row| row.get::<_, &str>(1)) {
            Some(kind) if types.contains(&kind) => continue,
            Some(kind) => format!("chat_messages.{name} is {kind}, not {}", types[0]),
            None => format!("chat_messages has no column {name}"),
        };
        return Err(CallFault::new("look at columns", Means::Person, problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_index_has_its_statement() {
        let statements: Vec<&str> = INDEXES.split(';').collect();
        assert_eq!(statements.len(), INDEX_NAMES.len() + 1);
        for (statement, name) in statements.iter().zip(INDEX_NAMES) {
            assert!(statement.contains(&format!("IF NOT EXISTS {name}\n")), "{statement}");
        }
        assert_eq!(statements.last().map(|rest| rest.trim()), Some(""));
    }
}
