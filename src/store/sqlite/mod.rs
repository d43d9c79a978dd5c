//! The SQLite sink: one file in the data directory, one transaction a batch.
//!
//! Owns the only connection that writes, in WAL with `synchronous=FULL`, so that what it says is
//! committed survives a power cut. Its calls block; it lives on the store's own thread. History is
//! read by connections of its own (`reader`, `history`).

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{
    Connection, Error, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior,
};

use crate::faults::Faults;
use crate::store::batcher::batch::{Advance, Batch};
use crate::store::batcher::sift::{self, Trial};
use crate::store::data_dir::strayed::{Strayed, WatchedFile, database_places};
use crate::store::journal::JournalId;
use crate::store::migrate::MigrateError;
use crate::store::offset::{OtherOffset, remembered};
use crate::store::query::{signed, unsigned};
use crate::store::sink::{Gone, Past, SiftHints, Sifted, Sink, SinkError, Sought};
use crate::wire::Id;
use crate::wire::record::Record;
use checkpoint::Checkpointing;
use search::Index;
use wall::WallFormat;

pub(crate) mod backup;
pub(crate) mod check;
mod checkpoint;
pub(crate) mod history;
pub(crate) mod look;
mod reader;
mod rebuild;
pub(crate) mod schema;
mod search;
pub(crate) mod tally;
pub(crate) mod wall;

pub(crate) use reader::start_reader;

/// The file's name in the data directory.
pub const DATABASE_FILE: &str = "hub.sqlite3";

/// A connection that does nothing: only with the last one does SQLite's log go.
pub(crate) fn hold_log(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    // The log is opened by the first that reads.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

const BUSY_WAIT: Duration = Duration::from_secs(5);
/// The longest of [`SqliteSink::wait`], in milliseconds.
const WAIT_MAX: u64 = 20;

/// Writes to a SQLite database.
#[derive(Debug)]
pub struct SqliteSink {
    connection: Connection,
    wall: WallFormat,
    /// How many different spaces the last transaction had rows of.
    spaces: u64,
    files: Vec<WatchedFile>,
    checkpointing: Option<Checkpointing>,
    /// Where words are indexed.
    index: Option<Index>,
}

impl Drop for SqliteSink {
    fn drop(&mut self) {
        if let Some(mut checkpointing) = self.checkpointing.take() {
            checkpointing.stop(&mut self.connection);
        }
    }
}

impl SqliteSink {
    /// Opens the database, makes it where there is none, and brings its schema up to date.
    pub fn open(path: &Path, utc_offset: i32) -> Result<SqliteSink, MigrateError> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_WAIT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
             PRAGMA wal_autocheckpoint = 4096; PRAGMA journal_size_limit = 67108864; \
             PRAGMA cache_size = -65536",
        )?;
        schema::bring_up_to_date(&mut connection, schema::SCRIPTS)?;
        // `tally` does the work of the triggers, by the batch.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        let (wall, files) = (WallFormat::new(utc_offset), database_places(path));
        Ok(SqliteSink { connection, wall, spaces: 0, files, checkpointing: None, index: None })
    }

    /// Has a thread of its own move into the database what the log holds, from now on.
    pub(crate) fn checkpoint_beside(&mut self, database: &Path, faults: &Faults) -> io::Result<()> {
        let checkpointing = Checkpointing::start(&mut self.connection, database, faults)?;
        self.checkpointing = Some(checkpointing);
        Ok(())
    }

    /// Has the words of messages indexed from now on: of those that it stores, with them, and of
    /// all others by a thread of its own.
    pub fn index_words(&mut self, database: &Path, faults: &Faults) -> io::Result<()> {
        self.index = Some(Index::keep(&mut self.connection, database, faults)?);
        Ok(())
    }

    /// The highest id stored, those that are no ids or above `limit` left out.
    pub fn highest(&self, limit: Id) -> Result<Id, SinkError> {
        highest_id(&self.connection, limit).map_err(|error| sink_error("read ids", &error))
    }

    /// Whether the stored times are of another offset. Where there are none, this one counts from
    /// now on.
    pub(crate) fn other_offset(&self, utc_offset: i32) -> Result<Option<OtherOffset>, SinkError> {
        other_offset(&self.connection, utc_offset)
            .map_err(|error| sink_error("read the store's offset", &error))
    }

    /// The random name that the database was given when it was made.
    pub(crate) fn name(&self) -> Result<String, SinkError> {
        identity(&self.connection).map_err(|error| sink_error("read the store's name", &error))
    }

    /// Whether the database's files stand where they stood: what is written to a file that was
    /// removed is not stored.
    fn is_in_place(&mut self) -> Result<(), Strayed> {
        self.files.iter_mut().try_for_each(WatchedFile::look)
    }

    fn store(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.is_in_place().map_err(|strayed| SinkError::Retry(strayed.to_string()))?;
        if !self.try_store(batch, true)? {
            // No message waits for the index, which can be made anew at any time.
            self.try_store(batch, false)?;
        }
        self.is_in_place().map_err(|strayed| SinkError::Unclear(strayed.to_string()))
    }

    /// Stores a batch, its words too or not. `false`: nothing is stored, for the index takes no
    /// words.
    fn try_store(&mut self, batch: &Batch, words: bool) -> Result<bool, SinkError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| sink_error("begin", &error))?;
        step(&transaction, batch.advances())?;
        let rows = in_order(batch.records());
        insert(&transaction, &rows, &mut self.wall)?;
        let mut indexed = None;
        if let Some(index) = self.index.as_ref().filter(|_| batch.rows() > 0) {
            let done = match words {
                true => index.add(&transaction, batch.rows()).map(|last| indexed = Some(last)),
                false => search::give_up(&transaction),
            };
            match done {
                Ok(()) => {}
                Err(error) if words && is_of_the_index(&error) => {
                    tracing::warn!(%error, "the index of words takes none, and is made anew");
                    return Ok(false);
                }
                Err(error) => return Err(sink_error("index words", &error)),
            }
        }
        let spaces = tally::count_in(&transaction, &rows);
        self.spaces = spaces.map_err(|error| sink_error("count rows", &error))?;
        // Whatever a failed commit says, only the positions tell whether it happened.
        transaction.commit().map_err(|error| SinkError::Unclear(format!("commit: {error}")))?;
        if let (Some(index), Some(last)) = (&mut self.index, indexed) {
            index.kept(last);
        }
        Ok(true)
    }
}

impl Sink for SqliteSink {
    const SYSTEM: &'static str = "sqlite";

    async fn positions(&mut self, journals: &[JournalId]) -> Result<Vec<u64>, SinkError> {
        self.is_in_place().map_err(|strayed| SinkError::Retry(strayed.to_string()))?;
        positions(&mut self.connection, journals)
            .map_err(|error| sink_error("read positions", &error))
    }

    async fn append(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.store(batch)
    }

    async fn sift(&mut self, batch: &Batch, known: &SiftHints) -> Result<Sifted, SinkError> {
        let rows: Vec<Record<'_>> = batch.records().collect();
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| sink_error("begin", &error))?;
        // The transaction is rolled back when it is dropped.
        sift::sift(&mut Tried { transaction, wall: &mut self.wall }, &rows, known).await
    }

    /// A transaction writes whole pages, some for each of its spaces: where each row is of another
    /// space, twenty milliseconds cost the hub 0.85 of the CPU that five do.
    fn wait(&self) -> u64 {
        (self.spaces / 2).min(WAIT_MAX)
    }

    async fn forget(&mut self, gone: &Gone) -> Result<(), SinkError> {
        let forget = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            let sql = "DELETE FROM hub_positions WHERE journal = ?1 AND position = ?2";
            if transaction.execute(sql, (gone.journal.to_string(), signed(gone.stored)))? == 1 {
                let sql = "UPDATE hub_store SET highest = max(highest, ?1)";
                transaction.execute(sql, [gone.highest.to_string()])?;
            }
            transaction.commit()
        };
        forget(&mut self.connection).map_err(|error| sink_error("forget a journal", &error))
    }

    async fn identity(&mut self) -> Result<String, SinkError> {
        self.name()
    }

    async fn past(&mut self, journals: &[JournalId], limit: Id) -> Result<Past, SinkError> {
        past(&self.connection, journals, limit)
            .map_err(|error| sink_error("read positions", &error))
    }

    async fn stored_ids(&mut self, sought: &[Sought]) -> Result<BTreeSet<Id>, SinkError> {
        stored_ids(&self.connection, sought)
            .map_err(|error| sink_error("look for messages", &error))
    }

    async fn highest_id(&mut self, limit: Id) -> Result<Id, SinkError> {
        self.highest(limit)
    }
}

/// The positions of journals, in their order. Each of them gets a row, so that one without a row is
/// unknown, or forgotten.
fn positions(connection: &mut Connection, journals: &[JournalId]) -> Result<Vec<u64>, Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let first = "INSERT OR IGNORE INTO hub_positions (journal, position) VALUES (?1, 0)";
    let sql = "SELECT position FROM hub_positions WHERE journal = ?1";
    let mut positions = Vec::with_capacity(journals.len());
    for journal in journals {
        let journal = journal.to_string();
        transaction.execute(first, [&journal])?;
        let position = transaction.query_row(sql, [&journal], |row| row.get::<_, i64>(0))?;
        positions.push(unsigned(position));
    }
    transaction.commit()?;
    Ok(positions)
}

/// Moves the journals' positions on, from where they are known to be.
fn step(transaction: &Transaction<'_>, advances: &[Advance]) -> Result<(), SinkError> {
    let error = |error: Error| match sink_error("move positions", &error) {
        // No row is sent yet, so none is to blame.
        SinkError::Data(reason) => SinkError::Refused(reason),
        other => other,
    };
    let first = "INSERT INTO hub_positions (position, journal) VALUES (?1, ?2) \
                 ON CONFLICT (journal) DO UPDATE SET position = excluded.position \
                 WHERE hub_positions.position = 0";
    let mut next = transaction
        .prepare_cached(
            "UPDATE hub_positions SET position = ?1 WHERE journal = ?2 AND position = ?3",
        )
        .map_err(error)?;
    for advance in advances {
        let (journal, position) = (advance.journal.to_string(), signed(advance.next));
        let changed = match advance.last {
            0 => transaction.execute(first, (position, &journal)),
            last => next.execute((position, &journal, signed(last))),
        };
        if changed.map_err(error)? != 1 {
            let moved = format!("journal {journal} is not at {}", advance.last);
            return Err(SinkError::Unclear(moved));
        }
    }
    Ok(())
}

/// Rows that are tried, each stretch behind a savepoint.
struct Tried<'a> {
    transaction: Transaction<'a>,
    wall: &'a mut WallFormat,
}

impl Trial for Tried<'_> {
    async fn take(&mut self, rows: &[Record<'_>]) -> Result<(), SinkError> {
        self.run("SAVEPOINT tried")?;
        let outcome = insert(&self.transaction, &in_order(rows.iter().copied()), self.wall);
        match outcome {
            Ok(()) => self.run("RELEASE tried")?,
            Err(_) => self.run("ROLLBACK TO tried; RELEASE tried")?,
        }
        outcome
    }

    async fn probe(&mut self, row: &Record<'_>) -> Result<(), SinkError> {
        self.run("SAVEPOINT tried")?;
        let outcome = insert(&self.transaction, &[*row], self.wall);
        self.run("ROLLBACK TO tried; RELEASE tried")?;
        outcome
    }
}

impl Tried<'_> {
    fn run(&self, sql: &str) -> Result<(), SinkError> {
        self.transaction.execute_batch(sql).map_err(|error| sink_error("try rows", &error))
    }
}

/// Rows as the table's index has them: space by space, and ascending in each.
fn in_order<'a>(rows: impl Iterator<Item = Record<'a>>) -> Vec<Record<'a>> {
    let mut rows: Vec<Record<'_>> = rows.collect();
    rows.sort_unstable_by_key(|row| (row.space, row.id));
    rows
}

fn insert(
    transaction: &Transaction<'_>,
    rows: &[Record<'_>],
    wall: &mut WallFormat,
) -> Result<(), SinkError> {
    let error = |error: Error| match sink_error("insert rows", &error) {
        // SQLite may say this of a row or of the table: trying tells which.
        SinkError::Refused(reason) if !is_of_the_file(&error) => SinkError::Data(reason),
        other => other,
    };
    for rows in rows.chunks(STATEMENT_ROWS) {
        insert_some(transaction, rows, wall).map_err(error)?;
    }
    Ok(())
}

/// Inserts a few rows by one statement.
fn insert_some(
    transaction: &Transaction<'_>,
    rows: &[Record<'_>],
    wall: &mut WallFormat,
) -> Result<(), Error> {
    let mut insert = transaction.prepare_cached(insert_sql(rows.len()))?;
    for (row, record) in rows.iter().enumerate() {
        let first = row * COLUMNS;
        let id = record.id.text();
        let id = std::str::from_utf8(&id).expect("Crockford digits are ASCII");
        insert.raw_bind_parameter(first + 1, id)?;
        insert.raw_bind_parameter(first + 2, record.content)?;
        insert.raw_bind_parameter(first + 3, record.user.0)?;
        insert.raw_bind_parameter(first + 4, record.username)?;
        insert.raw_bind_parameter(first + 5, record.space.0)?;
        insert.raw_bind_parameter(first + 6, wall.text(record.at))?;
    }
    insert.raw_execute()?;
    Ok(())
}

/// Rows of one statement: more cost no less a row.
const STATEMENT_ROWS: usize = 16;
const COLUMNS: usize = 6;
/// Statements that are kept parsed: those of each number of rows, and all others.
const STATEMENTS: usize = 2 * STATEMENT_ROWS;

/// The statement that inserts that many rows. What it has put in before a row that is refused
/// stays: whoever calls takes all back, and a journal of each page for that would cost as much as
/// the rows.
const INSERT: &str = "INSERT OR FAIL INTO chat_messages \
    (id, content, user_id, username, space_id, timestamp) VALUES \
    (?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?), \
    (?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?), \
    (?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?), \
    (?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?)";

/// The statement that inserts a number of rows, which is the long one without its end.
fn insert_sql(rows: usize) -> &'static str {
    let end = (STATEMENT_ROWS - rows) * ", (?, ?, ?, ?, ?, ?)".len();
    &INSERT[..INSERT.len() - end]
}

/// The random name that a database was given when it was made.
pub(crate) fn identity(connection: &Connection) -> Result<String, Error> {
    connection.query_row("SELECT id FROM hub_store", [], |row| row.get(0))
}

fn past(connection: &Connection, journals: &[JournalId], limit: Id) -> Result<Past, Error> {
    let sql = "SELECT position FROM hub_positions WHERE journal = ?1";
    let mut statement = connection.prepare(sql)?;
    let mut position = |journal: &JournalId| {
        let at = statement.query_row([journal.to_string()], |row| row.get::<_, i64>(0));
        Ok(at.optional()?.map(unsigned))
    };
    let positions: Result<Vec<_>, Error> = journals.iter().map(&mut position).collect();
    let forgotten: String =
        connection.query_row("SELECT highest FROM hub_store", [], |row| row.get(0))?;
    let forgotten = Id::parse(&forgotten).filter(|id| *id <= limit).unwrap_or(Id::MIN);
    let highest = highest_id(connection, limit)?.max(forgotten);
    Ok(Past { positions: positions?, highest })
}

/// The row of `hub_positions` that remembers the offset of the stored times.
const OFFSET: &str = "utc_offset";

fn other_offset(connection: &Connection, utc_offset: i32) -> Result<Option<OtherOffset>, Error> {
    let note = "INSERT INTO hub_positions (journal, position) VALUES (?1, ?2) \
                ON CONFLICT (journal) DO UPDATE SET position = excluded.position \
                WHERE NOT EXISTS (SELECT 1 FROM chat_messages)";
    connection.execute(note, (OFFSET, remembered(utc_offset)))?;
    let sql = "SELECT position FROM hub_positions WHERE journal = ?1";
    let theirs = connection.query_row(sql, [OFFSET], |row| row.get(0))?;
    Ok(OtherOffset::of(utc_offset, theirs))
}

/// Which of these messages are stored. One whose space is not known is looked for in all of them.
fn stored_ids(connection: &Connection, sought: &[Sought]) -> Result<BTreeSet<Id>, Error> {
    let mut inside =
        connection.prepare("SELECT 1 FROM chat_messages WHERE space_id = ?1 AND id = ?2")?;
    let mut anywhere = connection.prepare(&format!(
        "SELECT 1 FROM ({SPACES}) s JOIN chat_messages m ON m.space_id = s.space_id AND m.id = ?1"
    ))?;
    let mut found = BTreeSet::new();
    for Sought { space, id } in sought {
        let is_there = match space {
            Some(space) => inside.exists((space.0, id.to_string()))?,
            None => anywhere.exists([id.to_string()])?,
        };
        if is_there {
            found.insert(*id);
        }
    }
    Ok(found)
}

/// The spaces that have messages, without a look at those.
const SPACES: &str = "SELECT space_id FROM hub_space_blocks WHERE id = ''";

fn highest_id(connection: &Connection, limit: Id) -> Result<Id, Error> {
    let mut spaces = connection.prepare(SPACES)?;
    let mut newest = connection.prepare(
        "SELECT id FROM chat_messages WHERE space_id = ?1 AND id <= ?2 ORDER BY id DESC",
    )?;
    let (mut spaces, mut highest) = (spaces.query([])?, Id::MIN);
    while let Some(space) = spaces.next()? {
        let mut rows = newest.query((space.get::<_, i64>(0)?, limit.to_string()))?;
        while let Some(row) = rows.next()? {
            // Rows of other origin may hold any text.
            if let Some(id) = row.get_ref(0)?.as_str().ok().and_then(Id::parse) {
                highest = highest.max(id);
                break;
            }
        }
    }
    Ok(highest)
}

/// Sorts SQLite's errors by what to do next. Its messages name tables and columns, not values.
fn sink_error(what: &str, error: &Error) -> SinkError {
    let reason = format!("{what}: {error}");
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::OutOfMemory
            | ErrorCode::OperationInterrupted
            | ErrorCode::SchemaChanged
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::CannotOpen,
        ) => SinkError::Retry(reason),
        _ if check::is_damage(error) => SinkError::Damaged(error.to_string()),
        _ => SinkError::Refused(reason),
    }
}

/// Whether an error that came while words were indexed may be of the index alone.
fn is_of_the_index(error: &Error) -> bool {
    !matches!(sink_error("", error), SinkError::Retry(_)) && !is_of_the_file(error)
}

/// Whether an error is of the database as a file, whatever was to be done with it.
fn is_of_the_file(error: &Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied))
}
