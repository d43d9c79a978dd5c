//! The thread that brings into the index what is not in it: what was stored before it, and what
//! was changed by hand.
//!
//! By short steps, each in a transaction of its own, and as long at rest as a step took: the
//! connection that writes messages waits for one step at most. A step that is cut short leaves
//! nothing behind; the next start goes on where the last one was.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Result, Transaction, TransactionBehavior};

use super::{SPACE_WORD, is_there, make_anew};
use crate::clock::Clock;
use crate::faults::{Faults, Lives, panic_place};
use crate::metrics::Part;
use crate::store::sqlite::{BUSY_WAIT, check};

/// Rows of one step: a few milliseconds.
const STEP_ROWS: i64 = 256;
/// Between two looks whether something was changed by hand.
const LOOK: Duration = Duration::from_secs(1);
/// Until the next try, where one has failed.
const AGAIN: Duration = Duration::from_secs(5);

/// The thread; it ends with this.
#[derive(Debug)]
pub(super) struct Filling {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Filling {
    pub(super) fn start(database: &Path, faults: &Faults) -> io::Result<Filling> {
        let (stop, stopped) = mpsc::sync_channel(1);
        let (database, part) = (database.to_owned(), faults.watch("hub-search"));
        let lives = Lives::new(Part::Search, "hub-search", faults);
        let clock = faults.conditions().clock().clone();
        let thread = Builder::new().name("hub-search".into()).spawn(move || {
            lives.live(|| {
                let (database, clock) = (database.clone(), clock.clone());
                Filler { database, clock, connection: None }.run(&stopped);
            });
            part.ended();
        })?;
        Ok(Filling { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic was told when it happened.
            _ = thread.join();
        }
    }
}

/// What a step has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Some rows are in, and others may be missing.
    Filled,
    /// All of them are in.
    Complete,
}

struct Filler {
    database: PathBuf,
    clock: Clock,
    connection: Option<Connection>,
}

impl Filler {
    fn run(mut self, stopped: &Receiver<()>) {
        let (mut told, mut is_complete) = (false, true);
        loop {
            panic_place("hub-search");
            let begun = self.clock.now();
            let pause = match self.step() {
                Ok(Step::Filled) => {
                    is_complete = false;
                    Duration::from_micros(self.clock.now().micros_since(begun))
                }
                Ok(Step::Complete) => {
                    if !std::mem::replace(&mut is_complete, true) {
                        tracing::info!("the index of words is complete");
                    }
                    told = false;
                    LOOK
                }
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "the index of words could not be filled; later");
                    }
                    self.connection = None;
                    AGAIN
                }
            };
            match stopped.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn step(&mut self) -> Result<Step> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(open(&self.database)?),
        };
        match step(connection, STEP_ROWS) {
            Err(error) if check::is_damage(&error) => {
                tracing::warn!(%error, "the index of words is damaged, and is made anew");
                let transaction = begin(connection)?;
                make_anew(&transaction)?;
                transaction.commit()?;
                Ok(Step::Filled)
            }
            done => done,
        }
    }
}

fn open(database: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    // What a power cut takes of the index is filled in again: no step waits for the disk.
    connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 4096")?;
    Ok(connection)
}

fn begin(connection: &mut Connection) -> Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// Brings in some rows: of those that came before the index the highest, then what was changed.
pub(super) fn step(connection: &mut Connection, rows_max: i64) -> Result<Step> {
    // Most looks find nothing, and hold nobody up.
    let is_known = is_there(connection)?;
    if is_known && is_complete(connection)? {
        return Ok(Step::Complete);
    }
    let transaction = begin(connection)?;
    if !is_known {
        make_anew(&transaction)?;
    } else if !fill(&transaction, rows_max)? {
        look_again(&transaction, rows_max)?;
    }
    transaction.commit()?;
    Ok(Step::Filled)
}

/// Whether the index holds all that is stored.
pub(super) fn is_complete(connection: &Connection) -> Result<bool> {
    let sql = "SELECT fill_to <= fill_above AND version = ?1 \
               AND NOT EXISTS (SELECT 1 FROM hub_search_changed) FROM hub_search_state";
    connection.query_row(sql, [super::VERSION], |row| row.get(0))
}

/// Fills in some rows; whether there were any to be filled in.
fn fill(transaction: &Transaction<'_>, rows_max: i64) -> Result<bool> {
    let lowest = "SELECT min(rowid) FROM (SELECT rowid FROM chat_messages \
                  WHERE rowid > (SELECT fill_above FROM hub_search_state) \
                  AND rowid <= (SELECT fill_to FROM hub_search_state) \
                  ORDER BY rowid DESC LIMIT ?1)";
    let lowest: Option<i64> = transaction.query_row(lowest, [rows_max], |row| row.get(0))?;
    let rest = match lowest {
        Some(lowest) => {
            // Words that are there already, of a range that is filled in again, are replaced.
            let sql = format!(
                "INSERT OR REPLACE INTO hub_search (rowid, space, content) \
                 SELECT rowid, {SPACE_WORD}, content FROM chat_messages \
                 WHERE rowid >= ?1 AND rowid <= (SELECT fill_to FROM hub_search_state) \
                 ORDER BY rowid"
            );
            transaction.prepare_cached(&sql)?.execute([lowest])?;
            lowest - 1
        }
        None => 0,
    };
    let sql = "UPDATE hub_search_state SET fill_to = max(fill_above, ?1) \
               WHERE fill_to > fill_above";
    Ok(transaction.execute(sql, [rest])? == 1)
}

/// Looks again at some rows that were changed by hand: they are gone, new, or say something else.
fn look_again(transaction: &Transaction<'_>, rows_max: i64) -> Result<()> {
    let some = "(SELECT row FROM hub_search_changed ORDER BY row LIMIT ?1)";
    let add = format!(
        "INSERT INTO hub_search (rowid, space, content) SELECT rowid, {SPACE_WORD}, content \
         FROM chat_messages WHERE rowid IN {some}"
    );
    for sql in [
        &format!("DELETE FROM hub_search WHERE rowid IN {some}"),
        &add,
        &format!("DELETE FROM hub_search_changed WHERE row IN {some}"),
    ] {
        transaction.prepare_cached(sql)?.execute([rows_max])?;
    }
    Ok(())
}
