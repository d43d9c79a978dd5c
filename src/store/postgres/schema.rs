//! Brings a PostgreSQL database up to date: an empty one, or that of the existing server.
//!
//! Tables in one transaction each script, indexes one by one beside whoever writes meanwhile. It
//! adds tables and indexes, and never changes a row, a column or a constraint of others. Several
//! hubs may start at once: the work is done under an advisory lock, which is polled, because a
//! session that waits for it would hold up an index being built. The lock is a transaction's, so
//! that no pooler can keep it; the work is done over a connection of its own, whose role's time
//! limits are lifted.

use std::collections::HashMap;
use std::time::Duration;

use tokio_postgres::types::Type;

use super::connect::{CallFault, Connection, DatabaseUrl, Means, column};
use super::transaction::{LOOK, WRITE_LONG};
use crate::store::migrate::{Applied, MigrateStep, Migration, missing};
use crate::store::sink::SinkError;

mod build;

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
/// Between two looks whether somebody else has built an index.
const INDEX_POLL: Duration = Duration::from_secs(1);
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
        false => bring_up_to_date(&connection, url).await?,
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
    /// It is an index that is there, and not whole: somebody may be building it.
    is_rebuilt: bool,
}

impl SchemaStep {
    fn of(name: String, statement: String) -> SchemaStep {
        SchemaStep { name, statements: vec![statement], is_rebuilt: false }
    }
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
    url: &DatabaseUrl,
) -> Result<Vec<SchemaStep>, CallFault> {
    let mut steps = look_in_a_transaction(connection).await?;
    if !steps.is_empty() {
        lock(connection).await?;
        // The lock ends with the transaction, and with the connection, whatever happens here.
        steps = until_unbuilt(connection).await?;
        if !steps.is_empty() {
            build::all(connection, url, &steps).await?;
        }
        connection.run("unlock", "COMMIT").await?;
    }
    connection.run("look at columns", LOOK).await?;
    check_columns(connection).await?;
    connection.run("look at columns", "COMMIT").await?;
    Ok(steps)
}

async fn look_in_a_transaction(connection: &Connection) -> Result<Vec<SchemaStep>, CallFault> {
    connection.run("look at the schema", LOOK).await?;
    let steps = missing_steps(connection).await?;
    connection.run("look at the schema", "COMMIT").await?;
    Ok(steps)
}

/// What is missing, once nobody else builds an index of the table: that one may be what is missing.
async fn until_unbuilt(connection: &Connection) -> Result<Vec<SchemaStep>, CallFault> {
    let mut told = false;
    loop {
        let steps = missing_steps(connection).await?;
        let others = steps.iter().any(|step| step.is_rebuilt) && is_built(connection).await?;
        let_go(connection).await?;
        if !others {
            return Ok(steps);
        }
        if !std::mem::replace(&mut told, true) {
            tracing::info!("somebody else builds an index that the hub needs; waiting for it");
        }
        tokio::time::sleep(INDEX_POLL).await;
    }
}

/// Lets go of the last query's snapshot, for which each index that is being built would wait.
async fn let_go(connection: &Connection) -> Result<(), CallFault> {
    connection.run("let go", "SELECT 1").await
}

/// Whether somebody else builds an index of the messages, or does something else that no index can
/// be built or dropped beside.
async fn is_built(connection: &Connection) -> Result<bool, CallFault> {
    let sql = "SELECT EXISTS (SELECT 1 FROM pg_locks \
               WHERE relation = to_regclass('chat_messages') AND granted \
               AND mode = 'ShareUpdateExclusiveLock' AND pid <> pg_backend_pid())";
    first(connection, "look for builders", sql).await
}

/// The table of the messages, as the role's search path finds it: schema and name.
pub(super) async fn table(connection: &Connection) -> Result<String, CallFault> {
    let sql = "SELECT n.nspname || '.' || c.relname FROM pg_class c \
               JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.oid = to_regclass('chat_messages')";
    let what = "look for the table";
    let rows = connection.ask(what, LOOK, (sql, &[])).await?;
    rows.first().map_or(Ok("chat_messages".into()), |row| column(what, row, 0))
}

async fn first<T>(connection: &Connection, what: &'static str, sql: &str) -> Result<T, CallFault>
where
    T: for<'a> tokio_postgres::types::FromSql<'a>,
{
    match connection.query(what, sql, &[]).await?.first() {
        Some(row) => column(what, row, 0),
        None => Err(CallFault::new(what, Means::Away, "no answer".into())),
    }
}

/// What [`bring_up_to_date`] would do; nothing is done.
pub(super) async fn look(connection: &Connection) -> Result<Vec<SchemaStep>, CallFault> {
    connection.run("only look", LOOK).await?;
    let steps = missing_steps(connection).await?;
    if exists(connection, "chat_messages").await? {
        check_columns(connection).await?;
    }
    connection.run("only look", "ROLLBACK").await?;
    Ok(steps)
}

async fn missing_steps(connection: &Connection) -> Result<Vec<SchemaStep>, CallFault> {
    let mut steps = Vec::new();
    if !exists(connection, "hub_migrations").await? {
        let sql = "CREATE TABLE hub_migrations (number INTEGER NOT NULL PRIMARY KEY, \
                   name TEXT NOT NULL, checksum TEXT NOT NULL)";
        steps.push(SchemaStep::of("table of migrations".into(), sql.into()));
    }
    let applied = applied(connection).await?;
    for migration in missing(TABLES, &applied).map_err(refused)? {
        let Migration { number, name, sql } = *migration;
        // Names and checksums are our own: nothing in them needs quoting.
        let checksum = migration.checksum();
        let sql = match number == 1 && exists(connection, "chat_messages").await? {
            true => &without_messages(sql),
            false => sql,
        };
        let script = format!(
            "BEGIN;\n{sql};\nINSERT INTO hub_migrations VALUES ({number}, '{name}', \
             '{checksum}');\nCOMMIT"
        );
        steps.push(SchemaStep::of(migration.title(), script));
    }
    for (statement, name) in INDEXES.split(';').zip(INDEX_NAMES) {
        let mut step = SchemaStep::of(format!("index {name}"), statement.trim().to_owned());
        match index_state(connection, name).await? {
            IndexState::Valid => continue,
            IndexState::Missing => {}
            IndexState::Invalid(index) => {
                step.statements.insert(0, format!("DROP INDEX CONCURRENTLY IF EXISTS {index}"));
                step.is_rebuilt = true;
            }
        }
        steps.push(step);
    }
    Ok(steps)
}

/// The first script for a database that has messages, in whatever schema the search path finds
/// them: the script itself would look in the role's first schema alone, and put an empty table
/// there, before the real one.
fn without_messages(sql: &str) -> String {
    let Some((before, rest)) = sql.split_once("CREATE TABLE IF NOT EXISTS chat_messages") else {
        return sql.to_owned();
    };
    let after = rest.split_once(';').map_or("", |(_, after)| after);
    format!("{before}{after}")
}

fn refused(error: crate::store::migrate::MigrateError) -> CallFault {
    CallFault::new("migrate", Means::Person, error.to_string())
}

async fn lock(connection: &Connection) -> Result<(), CallFault> {
    let sql = format!("SELECT pg_try_advisory_xact_lock({LOCK})");
    let mut told = false;
    loop {
        let what = "lock the schema";
        connection.run(what, WRITE_LONG).await?;
        if first(connection, what, &sql).await? {
            return Ok(());
        }
        connection.run(what, "ROLLBACK").await?;
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
    let rows = connection.query(what, sql, &[]).await?;
    let applied = |row: &tokio_postgres::Row| {
        let number = u32::try_from(column::<i32>(what, row, 0)?).unwrap_or(0);
        Ok(Applied { number, checksum: column(what, row, 1)? })
    };
    rows.iter().map(applied).collect()
}

async fn exists(connection: &Connection, table: &str) -> Result<bool, CallFault> {
    let sql = "SELECT to_regclass($1::text) IS NOT NULL";
    let rows = connection.query("look for tables", sql, &[(&table, Type::TEXT)]).await?;
    rows.first().map_or(Ok(false), |row| column("look for tables", row, 0))
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum IndexState {
    Missing,
    Valid,
    /// Its building was cut short, or goes on; what it is called, with its schema.
    Invalid(String),
}

async fn index_state(connection: &Connection, name: &str) -> Result<IndexState, CallFault> {
    let sql = "SELECT i.indisvalid, format('%I.%I', n.nspname, c.relname) FROM pg_index i \
               JOIN pg_class c ON c.oid = i.indexrelid \
               JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE i.indrelid = to_regclass('chat_messages') AND c.relname = $1";
    let what = "look for indexes";
    let rows = connection.query(what, sql, &[(&name, Type::TEXT)]).await?;
    let Some(row) = rows.first() else { return Ok(IndexState::Missing) };
    Ok(match column(what, row, 0)? {
        true => IndexState::Valid,
        false => IndexState::Invalid(column(what, row, 1)?),
    })
}

async fn check_columns(connection: &Connection) -> Result<(), CallFault> {
    let sql = "SELECT a.attname::text, t.typname::text FROM pg_attribute a \
               JOIN pg_type t ON t.oid = a.atttypid \
               WHERE a.attrelid = to_regclass('chat_messages') AND a.attnum > 0 \
               AND NOT a.attisdropped";
    let what = "look at columns";
    let rows = connection.query(what, sql, &[]).await?;
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
    fn messages_that_are_there_get_no_second_table() {
        let sql = without_messages(TABLES[0].sql);
        assert!(!sql.contains("TABLE IF NOT EXISTS chat_messages"), "{sql}");
        assert!(!sql.contains("content"), "{sql}");
        assert!(sql.contains("CREATE TABLE hub_positions (") && sql.contains("highest  TEXT"));
    }

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
