//! Brings a PostgreSQL database up to date: an empty one, or that of the existing server.
//!
//! Tables in one transaction each script, indexes one by one beside whoever writes meanwhile. It
//! adds tables and indexes, and never changes a row, a column or a constraint of others. Several
//! hubs may start at once: the work is done under an advisory lock, which is polled, because a
//! session that waits for it would hold up an index being built.

use std::collections::HashMap;
use std::time::Duration;

use tokio_postgres::types::ToSql;

use super::connect::{CALL_MAX, CallFault, Connection, DatabaseUrl, Means, column, within};
use crate::store::migrate::{Applied, MigrateStep, Migration, missing};
use crate::store::sink::SinkError;

/// PostgreSQL's scripts with tables.
const TABLES: &[Migration] = &[
    Migration {
        number: 1,
        name: "tables",
        sql: include_str!("../../../migrations/postgres/0001_tables.sql"),
    },
    Migration {
        number: 2,
        name: "nodes",
        sql: include_str!("../../../migrations/postgres/0003_nodes.sql"),
    },
    Migration {
        number: 3,
        name: "store",
        sql: include_str!("../../../migrations/postgres/0004_store.sql"),
    },
];

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

/// Connects and brings a database up to date, or only looks what that would be.
pub(crate) async fn migrate(
    url: &DatabaseUrl,
    dry_run: bool,
) -> Result<Vec<MigrateStep>, SinkError> {
    let connection = Connection::open(url).await?;
    let steps = match dry_run {
        true => look(&connection).await?,
        false => bring_up_to_date(&connection).await?,
    };
    Ok(steps.into_iter().map(MigrateStep::from).collect())
}

/// Something that is missing, and how it is made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SchemaStep {
    /// For people.
    name: String,
    /// One call each: some can't be in a transaction, and several in one call are one.
    statements: Vec<String>,
}

impl From<SchemaStep> for MigrateStep {
    fn from(step: SchemaStep) -> MigrateStep {
        MigrateStep { name: step.name, sql: step.statements.join(";\n") }
    }
}

/// Does what is missing, if anything is, and says what it was; then holds the columns against
/// what is written to them.
pub(super) async fn bring_up_to_date(
    connection: &Connection,
) -> Result<Vec<SchemaStep>, CallFault> {
    let mut steps = missing_steps(connection).await?;
    if !steps.is_empty() {
        lock(connection).await?;
        // Another may have done it meanwhile.
        steps = missing_steps(connection).await?;
        // The lock ends with the connection too, whatever happens here.
        for step in &steps {
            tracing::info!(step = step.name, "bringing the database up to date");
            for statement in &step.statements {
                let done = connection.client.batch_execute(statement);
                within(BUILD_MAX, "migrate", done).await?;
            }
        }
        connection.run("unlock", &format!("SELECT pg_advisory_unlock({LOCK})")).await?;
    }
    check_columns(connection).await?;
    Ok(steps)
}

/// What [`bring_up_to_date`] would do; nothing is done.
pub(super) async fn look(connection: &Connection) -> Result<Vec<SchemaStep>, CallFault> {
    connection.run("only look", "SET default_transaction_read_only = on").await?;
    let steps = missing_steps(connection).await?;
    if exists(connection, "chat_messages").await? {
        check_columns(connection).await?;
    }
    Ok(steps)
}

async fn missing_steps(connection: &Connection) -> Result<Vec<SchemaStep>, CallFault> {
    let mut steps = Vec::new();
    if !exists(connection, "hub_migrations").await? {
        let sql = "CREATE TABLE hub_migrations (number INTEGER NOT NULL PRIMARY KEY, \
                   name TEXT NOT NULL, checksum TEXT NOT NULL)";
        steps.push(SchemaStep { name: "table of migrations".into(), statements: vec![sql.into()] });
    }
    let applied = applied(connection).await?;
    for migration in missing(TABLES, &applied).map_err(refused)? {
        let Migration { number, name, sql } = *migration;
        // Names and checksums are our own: nothing in them needs quoting.
        let checksum = migration.checksum();
        let script = format!(
            "BEGIN;\n{sql};\nINSERT INTO hub_migrations VALUES ({number}, '{name}', \
             '{checksum}');\nCOMMIT"
        );
        steps.push(SchemaStep { name: migration.title(), statements: vec![script] });
    }
    for (statement, name) in INDEXES.split(';').zip(INDEX_NAMES) {
        let mut statements = vec![statement.trim().to_owned()];
        match index_state(connection, name).await? {
            IndexState::Valid => continue,
            IndexState::Missing => {}
            IndexState::Invalid => {
                statements.insert(0, format!("DROP INDEX CONCURRENTLY IF EXISTS {name}"));
            }
        }
        steps.push(SchemaStep { name: format!("index {name}"), statements });
    }
    Ok(steps)
}

fn refused(error: crate::store::migrate::MigrateError) -> CallFault {
    CallFault::new("migrate", Means::Person, error.to_string())
}

async fn lock(connection: &Connection) -> Result<(), CallFault> {
    let sql = format!("SELECT pg_try_advisory_lock({LOCK})");
    let mut told = false;
    loop {
        let what = "lock the schema";
        let row = within(CALL_MAX, what, connection.client.query_one(&sql, &[])).await?;
        if column(what, &row, 0)? {
            return Ok(());
        }
        if !std::mem::replace(&mut told, true) {
            tracing::info!("another hub brings the database up to date; waiting for it");
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
}

/// The scripts that were applied. Where there is no table of them, none was.
async fn applied(connection: &Connection) -> Result<Vec<Applied>, CallFault> {
    if !exists(connection, "hub_migrations").await? {
        return Ok(Vec::new());
    }
    let sql = "SELECT number::int4, checksum::text FROM hub_migrations ORDER BY 1";
    let what = "read the schema's version";
    let rows = within(CALL_MAX, what, connection.client.query(sql, &[])).await?;
    let applied = |row: &tokio_postgres::Row| {
        let number = u32::try_from(column::<i32>(what, row, 0)?).unwrap_or(0);
        Ok(Applied { number, checksum: column(what, row, 1)? })
    };
    rows.iter().map(applied).collect()
}

async fn exists(connection: &Connection, table: &str) -> Result<bool, CallFault> {
    let sql = "SELECT to_regclass($1::text) IS NOT NULL";
    let parameters: [&(dyn ToSql + Sync); 1] = [&table];
    let row = connection.client.query_one(sql, &parameters);
    column("look for tables", &within(CALL_MAX, "look for tables", row).await?, 0)
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
    let row = within(CALL_MAX, "look for indexes", row).await?;
    let valid = row.map(|row| column::<bool>("look for indexes", &row, 0)).transpose()?;
    Ok(match valid {
        None => IndexState::Missing,
        Some(true) => IndexState::Valid,
        Some(false) => IndexState::Invalid,
    })
}

async fn check_columns(connection: &Connection) -> Result<(), CallFault> {
    let sql = "SELECT a.attname::text, t.typname::text FROM pg_attribute a \
               JOIN pg_type t ON t.oid = a.atttypid \
               WHERE a.attrelid = to_regclass('chat_messages') AND a.attnum > 0 \
               AND NOT a.attisdropped";
    let what = "look at columns";
    let rows = within(CALL_MAX, what, connection.client.query(sql, &[])).await?;
    let pair = |row| Ok((column::<&str>(what, row, 0)?, column::<&str>(what, row, 1)?));
    let kinds = rows.iter().map(pair).collect::<Result<HashMap<_, _>, CallFault>>()?;
    for (name, types) in COLUMNS {
        let problem = match kinds.get(name) {
            Some(kind) if types.contains(kind) => continue,
            Some(kind) => format!("chat_messages.{name} is {kind}, not {}", types[0]),
            None => format!("chat_messages has no column {name}"),
        };
        return Err(CallFault::new(what, Means::Person, problem));
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
