//! The SQLite sink and its history against plain models.

use rusqlite::Connection;

use super::super::batcher::batch::{Batch, BatchLimits, Origin};
use super::super::journal::JournalId;
use super::super::sink::{Gone, Past, Sink, SinkError};
use super::super::sqlite::SqliteSink;
use super::super::sqlite::history::History;
use super::super::sqlite::tally::BLOCK_ROWS;
use super::super::sqlite::wall::WallFormat;
use super::super::{PageOrder, PageQuery, RangeQuery, StoredMessage};
use super::{Dice, block_on};
use crate::wire::record::Record;
use crate::wire::time::{Micros, MonoMs};
use crate::wire::{Id, SpaceId, UserId};

const ALL: BatchLimits = BatchLimits { rows_max: usize::MAX, bytes_max: usize::MAX, wait: 0 };
const OFFSET: i32 = -10_800;
/// 2026-01-02 03:04:05.678901 in Buenos Aires.
const BEGIN: i64 = 1_767_333_845_678_901;

fn message(id: Id, at: i64, space: i32, content: &str) -> StoredMessage {
    StoredMessage {
        id: id.to_string(),
        content: content.into(),
        user: UserId(7),
        username: "Ana Paz".into(),
        space: SpaceId(space),
        at: Micros(at),
        image: "".into(),
    }
}

/// A batch of one journal, whose position it moves on.
fn batch(rows: &[StoredMessage], position: &mut u64) -> Batch {
    let mut bytes = Vec::new();
    for row in rows {
        let record = Record {
            id: Id::parse(&row.id).expect("an id"),
            at: row.at,
            space: row.space,
            user: row.user,
            username: &row.username,
            content: &row.content,
            nonce: None,
        };
        record.append_to(&mut bytes);
    }
    let mut batch = Batch::new();
    let origin = Origin { journal: JournalId(9), last: *position, offset: *position + 24 };
    batch.push(origin, &bytes, &ALL, MonoMs(0));
    *position = origin.offset + bytes.len() as u64;
    batch
}

struct Database {
    _folder: tempfile::TempDir,
    sink: SqliteSink,
    history: History,
    hand: Connection,
    position: u64,
    model: Vec<StoredMessage>,
}

impl Database {
    fn new() -> Database {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hub.sqlite3");
        let sink = SqliteSink::open(&path, OFFSET).expect("it opens");
        let open = || Connection::open(&path).expect("it opens");
        let (history, hand) = (History::new(open(), OFFSET), open());
        Database { _folder: folder, sink, history, hand, position: 0, model: Vec::new() }
    }

    fn append(&mut self, rows: Vec<StoredMessage>) {
        let batch = batch(&rows, &mut self.position);
        block_on(self.sink.append(&batch)).expect("it is stored");
        self.model.extend(rows);
    }

    fn import(&mut self, row: StoredMessage) {
        let at = WallFormat::new(OFFSET).text(row.at).to_owned();
        let sql = "INSERT INTO chat_messages (id, content, user_id, username, space_id, \
                   timestamp) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let values = (&row.id, &row.content, row.user.0, &row.username, row.space.0, at);
        self.hand.execute(sql, values).expect("it is imported");
        self.model.push(row);
    }

    fn delete(&mut self, index: usize) {
        let row = self.model.swap_remove(index);
        let sql = "DELETE FROM chat_messages WHERE id = ?1";
        self.hand.execute(sql, [row.id]).expect("it is deleted");
    }

    fn check_page(&mut self, query: PageQuery) {
        let mut rows: Vec<_> =
            self.model.iter().filter(|row| row.space == query.space).cloned().collect();
        // Either order is that of ids (docs/WIRE.md A4).
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        if !query.ascending {
            rows.reverse();
        }
        let total = rows.len() as u64;
        let skipped = usize::try_from((query.page - 1).saturating_mul(query.page_size.into()));
        let rows = rows.into_iter().skip(skipped.unwrap_or(usize::MAX));
        let rows: Vec<_> = rows.take(query.page_size as usize).collect();
        let page = self.history.page(&query).expect("it reads");
        assert_eq!(page.total, total);
        assert!(page.rows == rows, "{query:?}");
    }

    /// Each block counts exactly the rows from its key to the next.
    fn check_blocks(&self) -> usize {
        let sql = "SELECT b.total, (SELECT count(*) FROM chat_messages m WHERE \
                     m.space_id = b.space_id AND \
                     m.id >= b.id AND (b.next_id IS NULL OR m.id < b.next_id)) \
                   FROM (SELECT *, lead(id) OVER w AS next_id FROM hub_space_blocks \
                         WINDOW w AS (PARTITION BY space_id ORDER BY id)) b";
        let mut statement = self.hand.prepare(sql).expect("it parses");
        let counts = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        let counts: Vec<(i64, i64)> =
            counts.expect("it runs").collect::<Result<_, _>>().expect("it reads");
        counts.iter().for_each(|(kept, counted)| assert_eq!(kept, counted));
        counts.len()
    }
}

/// Text that has broken databases, protocols and logs; NUL never comes so far.
const HOSTILE: [&str; 10] = [
    "'; DROP TABLE chat_messages; --",
    "\\. \\N \\x00 \\",
    "tab\there, line\r\nbreaks",
    "\u{202E}bidi\u{200B}\u{FEFF}",
    "a\u{301}\u{301}\u{301}",
    "\u{FFFE}\u{FFFF}\u{10FFFF}",
    "\u{1B}[31m",
    "😀👩\u{200D}👩\u{200D}👧",
    "%s%n?1:name@x$y",
    "  ",
];

#[test]
fn any_text_comes_back_as_it_was() {
    let mut database = Database::new();
    let row = |(n, text): (usize, &&str)| message(Id(n as u128 + 1), BEGIN + n as i64, 1, text);
    let mut rows: Vec<_> = HOSTILE.iter().enumerate().map(row).collect();
    rows.iter_mut().for_each(|row| row.username = row.content.clone());
    database.append(rows.clone());
    let query =
        RangeQuery { space: SpaceId(1), after: None, before: None, newest_max: None, limit: 50 };
    let range = database.history.range(&query).expect("it reads");
    assert!(!range.has_more);
    assert_eq!(range.rows, rows);
    let stored: String = database
        .hand
        .query_row("SELECT timestamp FROM chat_messages LIMIT 1", [], |row| row.get(0))
        .expect("it reads");
    assert_eq!(stored, "2026-01-02 03:04:05.678901");
}

#[test]
fn a_batch_is_stored_once_and_from_the_known_position_only() {
    let mut database = Database::new();
    let rows = [message(Id(1), BEGIN, 1, "a")];
    let mut position = 0;
    let first = batch(&rows, &mut position);
    block_on(database.sink.append(&first)).expect("it is stored");
    let again = block_on(database.sink.append(&first)).expect_err("it is stored already");
    assert!(matches!(again, SinkError::Unclear(_)), "{again:?}");
    let mut elsewhere = position + 5;
    let skipping = batch(&[message(Id(2), BEGIN, 1, "b")], &mut elsewhere);
    let skipped = block_on(database.sink.append(&skipping)).expect_err("it is not there");
    assert!(matches!(skipped, SinkError::Unclear(_)), "{skipped:?}");
    let positions = block_on(database.sink.positions(&[JournalId(9), JournalId(8)]));
    assert_eq!(positions, Ok(vec![position, 0]));
    let mut gone = Gone { journal: JournalId(9), stored: position - 1, highest: Id(7) };
    block_on(database.sink.forget(&gone)).expect("it is looked for");
    assert_eq!(block_on(database.sink.positions(&[JournalId(9)])), Ok(vec![position]));
    gone.stored = position;
    block_on(database.sink.forget(&gone)).expect("it is gone");
    assert_eq!(block_on(database.sink.positions(&[JournalId(9)])), Ok(vec![0]));
    let past = block_on(database.sink.past(&[JournalId(9), JournalId(7)], Id::MAX));
    assert_eq!(past, Ok(Past { positions: vec![Some(0), None], highest: Id(7) }));
    database.model.extend(rows);
    assert_eq!(database.check_blocks(), 1);
}

#[test]
fn a_row_that_is_refused_takes_its_batch_back_whole() {
    let mut database = Database::new();
    database.append(vec![message(Id(5), BEGIN, 1, "a")]);
    let mut position = database.position;
    let rows = [message(Id(6), BEGIN, 1, "b"), message(Id(5), BEGIN, 1, "doubled")];
    let refused = block_on(database.sink.append(&batch(&rows, &mut position)));
    assert!(matches!(refused, Err(SinkError::Data(_))), "{refused:?}");
    database.append(vec![message(Id(7), BEGIN, 1, "c")]);
    database.check_blocks();
    let (space, order) = (SpaceId(1), PageOrder::Id);
    database.check_page(PageQuery {
        space,
        page: 1,
        page_size: 9,
        order,
        ascending: true,
        images_bytes_max: 0,
    });
}

#[test]
fn a_table_of_positions_that_refuses_blames_no_row() {
    let mut database = Database::new();
    let harm = "DROP TABLE hub_positions; CREATE TABLE hub_positions (journal TEXT NOT NULL \
                PRIMARY KEY, position INTEGER CHECK (position < 60)) STRICT, WITHOUT ROWID; \
                INSERT INTO hub_positions VALUES ('00000000000000000000000000000009', 50)";
    database.hand.execute_batch(harm).expect("it is changed");
    let batch = batch(&[message(Id(1), BEGIN, 1, "a")], &mut 50);
    let refused = block_on(database.sink.append(&batch));
    assert!(matches!(refused, Err(SinkError::Refused(_))), "{refused:?}");
}

#[test]
fn the_highest_id_leaves_out_the_future_and_what_is_no_id() {
    let mut database = Database::new();
    let limit = Id::first_of_ms(BEGIN / 1000 + 86_400_000);
    assert_eq!(database.sink.highest(limit), Ok(Id::MIN));
    let stored = Id(Id::first_of_ms(BEGIN / 1000).0 | 77);
    database.append(vec![message(stored, BEGIN, 1, "a")]);
    database.append(vec![message(Id(limit.0 + 1), BEGIN, 1, "of the future")]);
    for id in ["0", "01K", "zz-imported", "0zzzzzzzzzzzzzzzzzzzzzzzzz"] {
        database.import(StoredMessage { id: id.into(), ..message(Id(1), BEGIN, 1, "x") });
    }
    assert_eq!(database.sink.highest(limit), Ok(stored));
}

/// Batches of the hub's and rows by hand, so many that pages are reached by blocks.
fn grown(seed: u64, rows: usize) -> Database {
    let (mut database, mut dice) = (Database::new(), Dice::new(seed));
    let (mut now, mut made) = (BEGIN, 0);
    while made < rows {
        let mut batch = Vec::new();
        for _ in 0..1 + dice.below(5_000) {
            now += dice.below(2_000) as i64;
            let id = Id(Id::first_of_ms(now / 1000).0 | (made as u128 + batch.len() as u128));
            let space = if dice.below(10) == 0 { 2 } else { 1 };
            batch.push(message(id, now, space, "x"));
        }
        made += batch.len();
        database.append(batch);
        for _ in 0..dice.below(40) {
            // Rows of any time, ties included, and with ids of any order.
            let at = BEGIN + dice.below((now - BEGIN) as u64 / 1000 + 10_000) as i64 * 1000;
            let id = format!("{:06x}-by-hand-{made}", dice.below(1 << 24));
            made += 1;
            database.import(StoredMessage { id, ..message(Id(1), at, 1, "x") });
        }
        for _ in 0..dice.below(40) {
            let index = dice.below(database.model.len() as u64) as usize;
            database.delete(index);
        }
    }
    database
}

#[test]
fn pages_are_those_of_a_plain_model_at_any_depth() {
    let mut database = grown(3, 16_000);
    assert!(database.check_blocks() > 3, "more than one block of {BLOCK_ROWS} rows a space");
    let mut dice = Dice::new(4);
    for n in 0..160 {
        let page_size = [1, 7, 25, 100][dice.below(4) as usize];
        let pages = database.model.len() as u64 / u64::from(page_size) + 2;
        let page = match n {
            0 => u64::MAX,
            _ => 1 + dice.below(pages),
        };
        database.check_page(PageQuery {
            space: SpaceId(if dice.below(8) == 0 { 2 } else { 1 }),
            page,
            page_size,
            order: if dice.below(2) == 0 { PageOrder::Timestamp } else { PageOrder::Id },
            ascending: dice.below(2) == 0,
            images_bytes_max: 0,
        });
    }
    let (space, order) = (SpaceId(404), PageOrder::Timestamp);
    database.check_page(PageQuery {
        space,
        page: 1,
        page_size: 25,
        order,
        ascending: false,
        images_bytes_max: 0,
    });
}

#[test]
fn blocks_stay_exact_when_all_rows_come_by_hand() {
    let mut database = Database::new();
    database.hand.execute_batch("BEGIN").expect("it begins");
    for n in 0..BLOCK_ROWS * 3 + 10 {
        let id = Id(Id::first_of_ms(BEGIN / 1000 + n).0);
        database.import(message(id, BEGIN + n * 1000, 1, "x"));
    }
    database.hand.execute_batch("COMMIT").expect("it commits");
    assert_eq!(database.check_blocks(), 3);
    let (space, order) = (SpaceId(1), PageOrder::Timestamp);
    database.check_page(PageQuery {
        space,
        page: 200,
        page_size: 25,
        order,
        ascending: true,
        images_bytes_max: 0,
    });
    let moved = database.hand.execute("UPDATE chat_messages SET space_id = 2", []);
    assert!(moved.is_err(), "what places a row is final");
    database.hand.execute("DELETE FROM chat_messages", []).expect("it deletes");
    database.check_blocks();
}

#[test]
fn ranges_are_those_of_a_plain_model() {
    let (mut database, mut dice) = (Database::new(), Dice::new(5));
    let rows = (1..=120u128).map(|n| message(Id(n * 10), BEGIN, (n % 2) as i32, "x"));
    database.append(rows.collect());
    let mut ids: Vec<u128> = (1..=120).filter(|n| n % 2 == 1).map(|n| n * 10).collect();
    ids.sort_unstable();
    for _ in 0..400 {
        let mut bound = || match dice.below(3) {
            0 => None,
            _ => Some(u128::from(dice.below(1300))),
        };
        let (after, before) = (bound(), bound());
        let limit = 1 + dice.below(40) as usize;
        let fits = |id: &&u128| after.is_none_or(|a| **id > a) && before.is_none_or(|b| **id < b);
        let all: Vec<u128> = ids.iter().filter(fits).copied().collect();
        let expected = match after {
            Some(_) => &all[..limit.min(all.len())],
            None => &all[all.len().saturating_sub(limit)..],
        };
        let range = database.history.range(&RangeQuery {
            space: SpaceId(1),
            after: after.map(Id),
            before: before.map(Id),
            limit: limit as u32,
            newest_max: None,
        });
        let range = range.expect("it reads");
        let got = range.rows.iter().map(|row| Id::parse(&row.id).expect("an id").0);
        assert!(got.eq(expected.iter().copied()), "{after:?} {before:?} {limit}");
        assert_eq!(range.has_more, all.len() > limit);
    }
}

#[test]
fn what_was_missed_is_that_of_a_plain_model() {
    let (mut database, mut dice) = (Database::new(), Dice::new(6));
    let rows = (1..=120u128).map(|n| message(Id(n * 10), BEGIN, (n % 2) as i32, "x"));
    database.append(rows.collect());
    let ids: Vec<u128> = (1..=120).filter(|n| n % 2 == 1).map(|n| n * 10).collect();
    for _ in 0..600 {
        let after = u128::from(dice.below(1_300));
        let up_to = after + u128::from(dice.below(1_300));
        let newest_max = [0, 1, 7, 30, 59, usize::MAX][dice.below(6) as usize];
        let limit = 1 + dice.below(40) as usize;
        let missed: Vec<u128> =
            ids.iter().filter(|id| after < **id && **id <= up_to).copied().collect();
        let left_out = missed.len().saturating_sub(newest_max);
        let from = left_out.checked_sub(1).map_or(after, |last| missed[last]);
        let newest = &missed[left_out..];
        let query = RangeQuery {
            space: SpaceId(1),
            after: Some(Id(after)),
            before: Some(Id(up_to + 1)),
            newest_max: Some(newest_max).filter(|newest| *newest != usize::MAX),
            limit: limit as u32,
        };
        let answer = database.history.range(&query).expect("it reads");
        let got = answer.rows.iter().map(|row| Id::parse(&row.id).expect("an id").0);
        assert!(got.eq(newest.iter().take(limit).copied()), "{query:?}");
        assert_eq!((answer.after, answer.has_more), (Some(Id(from)), newest.len() > limit));
    }
}

#[test]
fn rows_wait_longer_for_others_when_each_is_of_another_space() {
    let mut database = Database::new();
    let mut next = 0;
    let mut wait_after = |rows: u128, spaces: u128| {
        let row = |n: u128| message(Id(n + 1), BEGIN + n as i64, (n % spaces) as i32 + 1, "hola");
        database.append((next..next + rows).map(row).collect());
        next += rows;
        database.sink.wait()
    };
    assert_eq!(wait_after(100, 1), 0);
    assert_eq!(wait_after(100, 10), 5);
    assert_eq!(wait_after(1_000, 100), 20);
    assert_eq!(wait_after(1, 1), 0);
}
