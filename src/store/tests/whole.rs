//! The store as the server has it: opened, written, read, stopped, opened again.

use std::time::Duration;

use super::super::journal::JournalOpenError;
use super::super::journal::tests::one;
use super::super::open::read_plan;
use super::super::sqlite::start_reader;
use super::super::{
    OpenError, Page, PageOrder, PageQuery, RangeQuery, ReadFault, Store, StoreConfig, StoreState,
    Unstored, open_sqlite,
};
use super::{block_on, config};
use crate::shares::{Part, Pool};
use crate::wire::nonce::{Nonce, NonceKey};
use crate::wire::record::Record;
use crate::wire::time::Micros;
use crate::wire::{Id, SpaceId, UserId};

const RECORD: Record<'static> = Record {
    id: Id(1),
    at: Micros(1),
    space: SpaceId(0),
    user: UserId(2),
    username: "Ana",
    content: "hola",
    nonce: None,
};

fn open(folder: &std::path::Path, shards: usize, ids: u128) -> Result<Store, OpenError> {
    open_sqlite(&config(folder, shards), ids + 1)
}

fn ids(page: &Page) -> Vec<u128> {
    page.rows.iter().map(|row| Id::parse(&row.id).expect("an id").0).collect()
}

/// As much as anybody wants.
fn room() -> Part {
    Pool::new(1 << 30, 1 << 30).take(1, 0).expect("room")
}

const NEWEST: PageQuery = PageQuery {
    space: SpaceId(0),
    page: 1,
    page_size: 100,
    order: PageOrder::Timestamp,
    ascending: false,
    images_bytes_max: 0,
};

#[test]
fn what_is_appended_is_stored_and_read_across_restarts_and_shard_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut expected = Vec::new();
    for (round, shards) in [3, 1, 2].into_iter().enumerate() {
        let mut store = open(folder.path(), shards, round as u128 * 100).expect("it opens");
        assert_eq!(store.highest.0, expected.last().copied().unwrap_or(0));
        for shard in 0..shards {
            let id = 300 * (round as u128 + 1) + 3 * shard as u128;
            let end = store.writers[shard].append(&one(id, 50), Id(id)).expect("there is room");
            assert_eq!(block_on(store.committed[shard].changed(Some(end - 1))), Some(end));
            expected.push(id);
        }
        let page = block_on(store.reader.page(NEWEST, room())).expect("it reads").0;
        assert_eq!(ids(&page), expected.iter().rev().copied().collect::<Vec<_>>());
        let reader = store.reader.clone();
        assert_eq!(block_on(store.handle.stop(Duration::from_secs(60))), Some(Unstored::default()));
        assert_eq!(block_on(reader.page(NEWEST, room())).err(), Some(ReadFault::Away));
    }
}

#[test]
fn a_crash_between_commit_and_trim_stores_nothing_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path(), 1, 0).expect("it opens");
    for id in 1..=30 {
        store.writers[0].append(&one(id * 3, 2000), Id(id * 3)).expect("there is room");
    }
    // The journal as it was, beside the database as it became.
    let journal = copy.path().join("journal");
    std::fs::create_dir_all(&journal).expect("a folder");
    for entry in std::fs::read_dir(folder.path().join("journal")).expect("the folder") {
        let entry = entry.expect("it");
        std::fs::copy(entry.path(), journal.join(entry.file_name())).expect("it copies");
    }
    assert_eq!(block_on(store.handle.stop(Duration::from_secs(60))), Some(Unstored::default()));
    let database = folder.path().join("hub.sqlite3");
    std::fs::copy(database, copy.path().join("hub.sqlite3")).expect("it copies");
    let store = open(copy.path(), 2, 100).expect("it opens");
    assert_eq!(store.highest, Id(90));
    assert_eq!(block_on(store.handle.stop(Duration::from_secs(60))), Some(Unstored::default()));
    let store = open(copy.path(), 1, 200).expect("it opens");
    let page = block_on(store.reader.page(NEWEST, room())).expect("it reads").0;
    assert_eq!((page.total, ids(&page).len()), (30, 30));
    block_on(store.handle.stop(Duration::ZERO));
}

#[test]
fn a_nonce_outlives_its_stretch_of_the_journal() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path(), 1, 0).expect("it opens");
    let key = NonceKey::new(UserId(2), SpaceId(0), "a1");
    let (nonce, at) = (Nonce { key, content: 7 }, super::clock().now().unix);
    let first = Record { nonce: Some(nonce), at, ..RECORD };
    let mut bytes = Vec::new();
    first.append_to(&mut bytes);
    // Far more than what was not yet stored may take.
    for id in 2..=100 {
        while store.writers[0].room() < bytes.len() as u64 {
            std::thread::yield_now();
        }
        let end = store.writers[0].append(&bytes, Id(id)).expect("there is room");
        let mut stored = None;
        while stored.is_none_or(|at| at < end) {
            stored = block_on(store.committed[0].changed(stored));
        }
        bytes = one(id * 3, 7_000);
    }
    block_on(store.handle.stop(Duration::from_secs(60)));
    let store = open(folder.path(), 1, 10).expect("it opens");
    assert_eq!(store.published, [first.first().expect("it has a nonce")]);
    block_on(store.handle.stop(Duration::ZERO));
}

#[test]
fn a_second_hub_on_the_directory_gets_one_clear_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path(), 1, 0).expect("it opens");
    let error = open(folder.path(), 1, 10).expect_err("it is taken");
    assert!(matches!(error, OpenError::Journal(JournalOpenError::Locked { .. })));
    assert!(error.to_string().ends_with("is in use by another hub"), "{error}");
    block_on(store.handle.stop(Duration::ZERO));
    drop(open(folder.path(), 1, 20).expect("it is free"));
}

#[test]
fn a_database_that_is_none_refuses_the_start_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("hub.sqlite3"), "no database, just text".repeat(100))
        .expect("it writes");
    let error = open(folder.path(), 1, 0).expect_err("it is no database");
    assert!(error.to_string().contains("hub.sqlite3: "), "{error}");
    assert_eq!(error.to_string().lines().count(), 1);
    let journal = std::fs::read_dir(folder.path().join("journal")).expect("a folder");
    let left: Vec<_> = journal.map(|entry| entry.expect("it").file_name()).collect();
    assert_eq!(left, ["lock"], "a start that fails leaves no segment");
}

#[test]
fn a_database_that_goes_away_is_a_fault_until_it_is_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("hub.sqlite3");
    drop(rusqlite::Connection::open(&database).map(|c| c.execute_batch("CREATE TABLE x (y)")));
    let elsewhere = folder.path().join("elsewhere");
    let plan = read_plan(&config(folder.path(), 1));
    let readers = start_reader(&elsewhere, &plan, 1).expect("it starts");
    let reader = readers.reader.clone();
    let range =
        RangeQuery { space: SpaceId(0), after: None, before: None, newest_max: None, limit: 5 };
    assert_eq!(block_on(reader.range(range, room())).err(), Some(ReadFault::Away));
    assert!(!elsewhere.exists(), "a reader makes no database");
    drop(super::super::sqlite::SqliteSink::open(&elsewhere, 0).expect("it is made"));
    assert_eq!(block_on(reader.range(range, room())).expect("it reads").0.rows, []);
    block_on(readers.stop());
    assert_eq!(plan.faults.first(), None);
}

#[test]
fn the_state_becomes_ready_without_a_message() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path(), 1, 0).expect("it opens");
    let ready = store.state.wait_for(|state| *state == StoreState::Ready);
    block_on(ready).expect("it becomes ready");
    block_on(store.handle.stop(Duration::ZERO));
}

#[test]
fn the_longest_record_that_the_limits_let_in_fits_the_journal() {
    let limits = crate::limits::Limits::default();
    let config = config(std::path::Path::new("x"), 1);
    let config = StoreConfig::new("x".into(), 1, &limits, config.clock, config.faults);
    let (content, username) = ("😀".repeat(1_000), "😀".repeat(256));
    let key = NonceKey::new(UserId(2), SpaceId(0), "a1");
    let nonce = Some(Nonce { key, content: 7 });
    let record = Record { username: &username, content: &content, nonce, ..RECORD };
    assert!(record.encoded_bytes() <= config.journal.record_bytes_max);
}
