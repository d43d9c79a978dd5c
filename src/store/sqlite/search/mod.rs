//! The index of words in the embedded database, where the setting `search` asks for it.
//!
//! The connection that writes puts a batch's words in with its rows, in one transaction. What was
//! stored before, or without the setting, or by hand, is filled in by a thread ([`fill`]); [`find`]
//! reads. The rules of what is in it stand in `index.sql`. It holds nothing that `chat_messages`
//! does not: where it is damaged it is thrown away and made anew, and no message waits for it.

use std::io;
use std::path::Path;

use rusqlite::{Connection, Result, Transaction, TransactionBehavior};

use crate::faults::Faults;
use crate::store::query::signed;
use fill::Filling;

mod fill;
mod find;
#[cfg(test)]
mod tests;

const INDEX: &str = include_str!("index.sql");

/// The index's version: one of another version is made anew.
const VERSION: i64 = 1;

/// How a space's word is made of its number: the same words as a query has.
const SPACE_WORD: &str = "'s' || replace(space_id, '-', 'n')";

/// The index, as the connection that writes has it.
#[derive(Debug)]
pub(super) struct Index {
    /// The last row that it knows of.
    last: i64,
    _filling: Filling,
}

impl Index {
    /// Makes the index where there is none, notes what is missing from it, and has a thread of its
    /// own fill that in.
    pub(super) fn keep(
        writer: &mut Connection,
        database: &Path,
        faults: &Faults,
    ) -> io::Result<Index> {
        let last = begin(writer).map_err(io::Error::other)?;
        Ok(Index { last, _filling: Filling::start(database, faults)? })
    }

    /// Puts in the words of rows that a transaction has inserted last; the last one's number, for
    /// [`kept`](Index::kept).
    pub(super) fn add(&self, transaction: &Transaction<'_>, rows: usize) -> Result<i64> {
        let last = transaction.last_insert_rowid();
        let first = last - signed(rows as u64) + 1;
        add(transaction, self.last, (first, last))?;
        Ok(last)
    }

    /// The transaction with these rows is committed.
    pub(super) fn kept(&mut self, last: i64) {
        self.last = last;
    }
}

/// Puts in the words of rows that have just been inserted. `before` is the last row that was known:
/// those in between came by another way, and are left to the thread.
fn add(transaction: &Transaction<'_>, before: i64, (first, last): (i64, i64)) -> Result<()> {
    if first > before + 1 {
        let sql = "INSERT OR IGNORE INTO hub_search_changed (row) \
                   SELECT rowid FROM chat_messages WHERE rowid > ?1 AND rowid < ?2";
        transaction.execute(sql, (before, first))?;
    }
    // Numbers of rows that were deleted by hand are used again, and their words may be there still.
    let sql = format!(
        "INSERT OR REPLACE INTO hub_search (rowid, space, content) \
         SELECT rowid, {SPACE_WORD}, content FROM chat_messages WHERE rowid BETWEEN ?1 AND ?2"
    );
    transaction.prepare_cached(&sql)?.execute((first, last))?;
    Ok(())
}

/// Has the thread make the index anew: it can't be written to.
pub(super) fn give_up(transaction: &Transaction<'_>) -> Result<()> {
    transaction.execute("UPDATE hub_search_state SET version = 0", []).map(|_| ())
}

/// Notes what is to be filled in, and makes the index where there is none; the last row.
fn begin(connection: &mut Connection) -> Result<i64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if !is_there(&transaction)? {
        make_anew(&transaction)?;
    }
    let last = last_row(&transaction, "rowid", "chat_messages")?;
    let known = last_row(&transaction, "id", "hub_search_docsize")?;
    let (above, to): (i64, i64) =
        transaction.query_row("SELECT fill_above, fill_to FROM hub_search_state", [], |row| {
            row.try_into()
        })?;
    let (above, to) = match to <= above {
        // It was complete; rows may have come without it.
        true => (known.min(last), last),
        // They may have come while it was filled: then all up to them is filled in again.
        false if known < last => (above.min(last), last),
        false => (above, to),
    };
    transaction
        .execute("UPDATE hub_search_state SET fill_above = ?1, fill_to = ?2", (above, to))?;
    transaction.commit()?;
    Ok(last)
}

/// Whether the index is there, in this version.
fn is_there(connection: &Connection) -> Result<bool> {
    if !connection.table_exists(None, "hub_search_state")? {
        return Ok(false);
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM hub_search_state WHERE version = ?1)";
    connection.query_row(sql, [VERSION], |row| row.get(0))
}

/// Makes the index, in place of one that is there: all rows are to be filled in.
fn make_anew(transaction: &Transaction<'_>) -> Result<()> {
    transaction.execute_batch(
        "DROP TRIGGER IF EXISTS hub_search_insert; DROP TRIGGER IF EXISTS hub_search_delete; \
         DROP TRIGGER IF EXISTS hub_search_update; DROP TABLE IF EXISTS hub_search; \
         DROP TABLE IF EXISTS hub_search_state; DROP TABLE IF EXISTS hub_search_changed",
    )?;
    transaction.execute_batch(INDEX)?;
    let last = last_row(transaction, "rowid", "chat_messages")?;
    let sql = "INSERT INTO hub_search_state (one, version, fill_above, fill_to) \
               VALUES (1, ?1, 0, ?2)";
    transaction.execute(sql, (VERSION, last)).map(|_| ())
}

/// The highest number of a table's rows; 0: it has none.
fn last_row(connection: &Connection, number: &str, table: &str) -> Result<i64> {
    let sql = format!("SELECT coalesce(max({number}), 0) FROM {table}");
    connection.query_row(&sql, [], |row| row.get(0))
}
