//! The index of words beside the SQLite sink: what a sink stores, and what befalls the index.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::super::batcher::batch::{Batch, BatchLimits, Origin};
use super::super::journal::JournalId;
use super::super::search::{Found, SearchQuery, Terms};
use super::super::sink::Sink;
use super::super::sqlite::SqliteSink;
use super::super::sqlite::history::History;
use super::{block_on, config};
use crate::wire::record::Record;
use crate::wire::time::{Micros, MonoMs};
use crate::wire::{Id, SpaceId, UserId};

const ALL: BatchLimits = BatchLimits { rows_max: usize::MAX, bytes_max: usize::MAX, wait: 0 };
const PATIENCE: Duration = Duration::from_secs(30);

struct Database {
    folder: tempfile::TempDir,
    sink: SqliteSink,
    position: u64,
    said: u128,
}

impl Database {
    fn new() -> Database {
        let folder = tempfile::tempdir().expect("a folder");
        let sink = SqliteSink::open(&folder.path().join("hub.sqlite3"), 0).expect("it opens");
        Database { folder, sink, position: 0, said: 0 }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("hub.sqlite3")
    }

    fn index(&mut self) {
        let (path, config) = (self.path(), config(self.folder.path(), 1));
        self.sink.index_words(&path, &config.faults).expect("it is indexed");
    }

    fn say(&mut self, texts: &[&str]) {
        let mut bytes = Vec::new();
        for content in texts {
            self.said += 1;
            let (id, at) = (Id(self.said), Micros(0));
            let (space, user, username) = (SpaceId(1), UserId(7), "Ana");
            Record { id, at, space, user, username, content, nonce: None }.append_to(&mut bytes);
        }
        let next = self.position + 24 + bytes.len() as u64;
        let origin =
            Origin { journal: JournalId(9), last: self.position, offset: self.position + 24 };
        let mut batch = Batch::new();
        batch.push(origin, &bytes, &ALL, MonoMs(0));
        self.position = next;
        block_on(self.sink.append(&batch)).expect("it is stored");
    }

    fn find(&self, text: &str) -> Found {
        self.try_find(text).expect("it is found")
    }

    fn try_find(&self, text: &str) -> rusqlite::Result<Found> {
        let connection = Connection::open(self.path()).expect("it opens");
        let terms = Terms::parse(text).expect("words");
        let query = SearchQuery { space: SpaceId(1), terms, before: None, limit: 50 };
        History::new(connection, 0).search(&query)
    }

    /// Waits until the index is complete, and finds.
    fn find_at_last(&self, text: &str) -> Vec<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            // A damaged index may be found damaged until it is made anew.
            if let Some(found) = self.try_find(text).ok().filter(|found| found.is_complete) {
                return found.rows.into_iter().map(|row| row.content).collect();
            }
            assert!(Instant::now() < until, "the index is not complete");
            std::thread::yield_now();
        }
    }
}

#[test]
fn what_a_sink_stores_is_found_at_once_and_what_was_there_soon() {
    let mut database = Database::new();
    database.say(&["antes uno", "antes dos"]);
    database.index();
    database.say(&["ahora uno"]);
    assert_eq!(database.find("ahora").rows.len(), 1, "in the transaction of the row");
    assert_eq!(database.find_at_last("uno"), ["ahora uno", "antes uno"]);
    // An end, and a hub whose setting is off; then one whose setting is on.
    database.sink = SqliteSink::open(&database.path(), 0).expect("it opens");
    database.say(&["sin uno"]);
    database.index();
    assert_eq!(database.find_at_last("uno"), ["sin uno", "ahora uno", "antes uno"]);
}

#[test]
fn an_index_of_words_that_is_damaged_keeps_no_message_and_is_made_anew() {
    let mut database = Database::new();
    database.index();
    database.say(&["uno", "dos"]);
    assert_eq!(database.find_at_last("dos"), ["dos"]);
    let hand = Connection::open(database.path()).expect("it opens");
    hand.execute_batch("DELETE FROM hub_search_data").expect("it is damaged");
    database.say(&["tres uno"]);
    database.say(&["cuatro uno"]);
    assert_eq!(database.find_at_last("uno"), ["cuatro uno", "tres uno", "uno"]);
    database.say(&["cinco uno"]);
    assert_eq!(database.find("cinco").rows.len(), 1);
    let rows: i64 = hand
        .query_row("SELECT count(*) FROM chat_messages", [], |row| row.get(0))
        .expect("it is read");
    assert_eq!(rows, 5, "none is missing and none is there twice");
}
