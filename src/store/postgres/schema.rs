//! Brings a PostgreSQL database up to date: an empty one, or that of the existing server.
//!
//! Tables in one transaction each script, indexes one by one beside whoever writes meanwhile. It
//! adds tables and indexes, and never changes a row, a column or a constraint of others. What a hub
//! can serve without is done [`beside`] it, by `cpi-hub migrate` in its turn with all else. Several
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

use layout::{Index, Layout, find, missing_index};
use words::Search;

pub(super) mod beside;
mod build;
pub(super) mod layout;
pub(super) mod words;

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
    Migration {
        number: MESSAGES,
        name: "messages",
        sql: include_str!("../../../migrations/postgres/0005_messages.sql"),
    },
];

/// The first script had another table of messages, which is made no more.
const EARLIER_MESSAGES: u32 = 1;
/// The script with the table of messages.
const MESSAGES: u32 = 4;

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
    search: Search,
    dry_run: bool,
) -> Result<Vec<MigrateStep>, SinkError> {
    let connection = Connection::open(url).await?;
    let aim = Aim { reach: Reach::All, search };
    let brought = match dry_run {
        true => look(&connection, aim).await?,
        false => bring_up_to_date(&connection, url, aim).await?,
    };
    if let Some(why) = brought.kept {
        tell_kept(why);
    }
    Ok(brought.done.into_iter().map(MigrateStep::from).collect())
}

/// Tells that the table of messages stays as it is, though it looks like the hub's.
pub(super) fn tell_kept(why: &str) {
    tracing::info!(why, "chat_messages keeps the key and the indexes that it has");
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
    /// A hub can serve without it.
    can_wait: bool,
}

impl SchemaStep {
    fn of(name: String, statement: String) -> SchemaStep {
        SchemaStep { name, statements: vec![statement], is_rebuilt: false, can_wait: false }
    }
}

impl From<SchemaStep> for MigrateStep {
    fn from(step: SchemaStep) -> MigrateStep {
        MigrateStep { name: step.name, sql: step.statements.join(";\n") }
    }
}

/// How much of what is missing is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reach {
    /// What a hub can't serve without.
    Needed,
    /// All of it.
    All,
}

/// What a database is to become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Aim {
    pub(super) reach: Reach,
    /// What becomes of the index of words.
    pub(super) search: Search,
}

/// What has become of a database.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Brought {
    /// What was missing; after a look it is still.
    done: Vec<SchemaStep>,
    /// Something is left that can wait.
    pub(super) has_more: bool,
    /// Why the table of messages stays as it is, though it looks like the hub's.
    pub(super) kept: Option<&'static str>,
}

impl Brought {
    fn of((mut steps, layout): (Vec<SchemaStep>, Layout), reach: Reach) -> Brought {
        let all = steps.len();
        steps.retain(|step| reach == Reach::All || !step.can_wait);
        let has_more = steps.len() < all;
        let kept = if let Layout::Kept(why) = layout { why } else { None };
        Brought { done: steps, has_more, kept }
    }
}

/// Does what is missing, if anything is, and says what it was; then holds the columns against
/// what is written to them.
pub(super) async fn bring_up_to_date(
    connection: &Connection,
    url: &DatabaseUrl,
    aim: Aim,
) -> Result<Brought, CallFault> {
    let mut brought = look_in_a_transaction(connection, aim).await?;
    if !brought.done.is_empty() {
        lock(connection).await?;
        // The lock ends with the transaction, and with the connection, whatever happens here.
        brought = until_unbuilt(connection, aim).await?;
        if !brought.done.is_empty() {
            build::all(connection, url, &brought.done).await?;
        }
        connection.run("unlock", "COMMIT").await?;
    }
    connection.run("look at columns", LOOK).await?;
    check_columns(connection).await?;
    connection.run("look at columns", "COMMIT").await?;
    Ok(brought)
}

async fn look_in_a_transaction(connection: &Connection, aim: Aim) -> Result<Brought, CallFault> {
    connection.run("look at the schema", LOOK).await?;
    let brought = Brought::of(missing_steps(connection, aim.search).await?, aim.reach);
    connection.run("look at the schema", "COMMIT").await?;
    Ok(brought)
}

/// What is missing, once nobody else builds an index of the table: that one may be what is missing.
async fn until_unbuilt(connection: &Connection, aim: Aim) -> Result<Brought, CallFault> {
    let mut told = false;
    loop {
        let brought = Brought::of(missing_steps(connection, aim.search).await?, aim.reach);
        let may_be_built = brought.done.iter().any(|step| step.is_rebuilt);
        let others = may_be_built && is_built(connection).await?;
        let_go(connection).await?;
        if !others {
            return Ok(brought);
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
async fn look(connection: &Connection, aim: Aim) -> Result<Brought, CallFault> {
    connection.run("only look", LOOK).await?;
    let found = missing_steps(connection, aim.search).await?;
    if found.1 != Layout::Absent {
        check_columns(connection).await?;
    }
    connection.run("only look", "ROLLBACK").await?;
    Ok(Brought::of(found, aim.reach))
}

/// What is missing, in the order in which it is made; and how the messages are laid out.
async fn missing_steps(
    connection: &Connection,
    search: Search,
) -> Result<(Vec<SchemaStep>, Layout), CallFault> {
    let mut steps = Vec::new();
    if !exists(connection, "hub_migrations").await? {
        let sql = "CREATE TABLE hub_migrations (number INTEGER NOT NULL PRIMARY KEY, \
                   name TEXT NOT NULL, checksum TEXT NOT NULL)";
        steps.push(SchemaStep::of("table of migrations".into(), sql.into()));
    }
    let layout = Layout::look(connection).await?;
    let applied = applied(connection).await?;
    for migration in missing(TABLES, &applied).map_err(refused)? {
        let Migration { number, name, sql } = *migration;
        // Messages that are there stay, in whatever schema the search path finds them: a script
        // would put an empty table into the role's first schema, before the real one.
        let is_known = number == MESSAGES && layout != Layout::Absent;
        let sql = match number {
            EARLIER_MESSAGES => &without_messages(sql),
            _ if is_known => "-- They are there.",
            _ => sql,
        };
        // Names and checksums are our own: nothing in them needs quoting.
        let checksum = migration.checksum();
        let script = format!(
            "BEGIN;\n{sql}\nINSERT INTO hub_migrations VALUES ({number}, '{name}', \
             '{checksum}');\nCOMMIT"
        );
        let step = SchemaStep::of(migration.title(), script);
        steps.push(SchemaStep { can_wait: is_known, ..step });
    }
    steps.extend(layout.steps(connection).await?);
    steps.extend(words::steps(connection, search).await?);
    Ok((steps, layout))
}

/// A script without its table of messages.
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
    fn the_first_script_makes_no_messages() {
        let sql = without_messages(TABLES[0].sql);
        assert!(!sql.contains("TABLE IF NOT EXISTS chat_messages"), "{sql}");
        assert!(!sql.contains("content"), "{sql}");
        assert!(sql.contains("CREATE TABLE hub_positions (") && sql.contains("highest  TEXT"));
    }

    #[test]
    fn no_script_needs_one_that_can_wait() {
        assert_eq!(TABLES.last().map(|last| last.number), Some(MESSAGES));
        assert!(TABLES[3].sql.contains("CREATE TABLE chat_messages ("));
    }
}
