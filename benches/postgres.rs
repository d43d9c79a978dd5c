//! What PostgreSQL costs: the sink's transactions by COPY beside single INSERTs, UNNEST and a bare
//! COPY loop of the same rows; and what each index, the foreign keys and the position row add. The
//! table is as the hub makes it, with one index.
//!
//! `HUB_BENCH_DATABASE_URL=postgresql://… cargo bench --bench postgres`, on a database made for it:
//! its `chat_messages` is emptied before each figure. `HUB_BENCH_FOREIGN_KEYS=1` measures all of it
//! on the existing server's table, with its key, its foreign keys and the two indexes that the hub
//! adds, `HUB_BENCH_ROUNDS` is how often (3). Results are
//! checked, not only timed. Without the variable nothing is measured. `perf/storage` runs it on a
//! cluster of its own.

// A bench talks to its terminal.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cpi_hub::store::{Batch, BatchLimits, DatabaseUrl, JournalId, Origin, PostgresSink, Sink};
use cpi_hub::wire::record::Record;
use cpi_hub::wire::time::{Micros, MonoMs};
use cpi_hub::wire::{Id, SpaceId, UserId};
use futures_util::{SinkExt, TryStreamExt};
use tokio_postgres::{Client, NoTls};

const BEGIN_US: i64 = 1_767_333_845_678_901;
const CONTENT: &str = "A message of 136 bytes, as the figures of the design have it: long enough \
to say something, short enough to be said a lot of times over.";
const ALL: BatchLimits = BatchLimits { rows_max: usize::MAX, bytes_max: usize::MAX, wait: 0 };
const USERS: u64 = 1_000;
const SPACES: u64 = 100;
const BARE_ROWS: u64 = 10_000;

fn main() {
    let Ok(url) = std::env::var("HUB_BENCH_DATABASE_URL") else {
        println!("HUB_BENCH_DATABASE_URL names no database: nothing is measured");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure(&url));
}

async fn measure(url: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut sink = PostgresSink::new(DatabaseUrl::parse(url).unwrap(), -10_800);
    sink.positions(&[JournalId(7)]).await.unwrap();
    let others = std::env::var_os("HUB_BENCH_FOREIGN_KEYS").is_some_and(|value| value == "1");
    if others {
        as_others_have_it(&client).await;
    }
    let rounds = std::env::var("HUB_BENCH_ROUNDS").map_or(3, |rounds| rounds.parse().unwrap());
    for _ in 0..rounds {
        empty(&client).await;
        let single = singles(&client, 3_000).await;
        empty(&client).await;
        let unnest = unnested(&client, 1_000).await;
        println!("    UNNEST of 1000: {}", unnest.beside(&single));
        for batch_rows in [100, 1_000, 10_000] {
            empty(&client).await;
            let copy = copies(&client, &mut sink, batch_rows).await;
            println!("    COPY of {batch_rows}: {}", copy.beside(&single));
        }
        bare_copies(&client, if others { &OTHERS } else { &HUBS }).await;
    }
    drop(client);
    driver.await.unwrap().unwrap();
}

/// Makes it the table that a hub finds in the existing server's database.
async fn as_others_have_it(client: &Client) {
    empty(client).await;
    let sql = format!(
        "ALTER TABLE chat_messages DROP CONSTRAINT IF EXISTS hub_messages_key, \
         DROP CONSTRAINT IF EXISTS chat_messages_pkey, \
         ALTER COLUMN id TYPE TEXT COLLATE \"default\"; \
         ALTER TABLE chat_messages ADD CONSTRAINT chat_messages_pkey PRIMARY KEY (id); \
         DROP INDEX IF EXISTS chat_messages_space_id_id, chat_messages_space_id_timestamp_id; \
         {}; {}; CREATE TABLE IF NOT EXISTS users (id INT PRIMARY KEY, image TEXT); \
         CREATE TABLE IF NOT EXISTS spaces (id INT PRIMARY KEY); \
         INSERT INTO users SELECT n FROM generate_series(0, {USERS}) n ON CONFLICT DO NOTHING; \
         INSERT INTO spaces SELECT n FROM generate_series(0, {SPACES}) n ON CONFLICT DO NOTHING; \
         ALTER TABLE chat_messages \
         DROP CONSTRAINT IF EXISTS of_user, DROP CONSTRAINT IF EXISTS of_space, \
         ADD CONSTRAINT of_user FOREIGN KEY (user_id) REFERENCES users, \
         ADD CONSTRAINT of_space FOREIGN KEY (space_id) REFERENCES spaces",
        BY_ID.1, BY_TIME.1
    );
    client.batch_execute(&sql).await.unwrap();
    println!("with the existing server's keys");
}

async fn empty(client: &Client) {
    let sql = "TRUNCATE chat_messages; UPDATE hub_positions SET position = 0; CHECKPOINT";
    client.batch_execute(sql).await.unwrap();
}

async fn stored(client: &Client) -> u64 {
    let row = client.query_one("SELECT count(*) FROM chat_messages", &[]).await.unwrap();
    row.get::<_, i64>(0) as u64
}

fn record(n: u64) -> Record<'static> {
    let at = BEGIN_US + n as i64 * 1_000;
    Record {
        id: Id(Id::first_of_ms(at / 1000).0 | u128::from(n)),
        at: Micros(at),
        space: SpaceId((n % SPACES) as i32 + 1),
        user: UserId((n % USERS) as i32),
        username: "Ana Paz",
        content: CONTENT,
        nonce: None,
    }
}

/// As the server that this one replaces stores.
async fn singles(client: &Client, rows: u64) -> Cost {
    let sql = "INSERT INTO chat_messages (id, content, user_id, username, space_id, timestamp) \
               VALUES ($1, $2, $3, $4, $5, now())";
    let insert = client.prepare(sql).await.unwrap();
    let (mut times, begun, cpu) = (Vec::new(), Instant::now(), server_cpu());
    for n in 0..rows {
        let Record { id, content, user, username, space, .. } = record(n);
        let begun = Instant::now();
        let id = id.to_string();
        client.execute(&insert, &[&id, &content, &user.0, &username, &space.0]).await.unwrap();
        times.push(begun.elapsed());
    }
    let cost = report("single INSERTs", rows, (begun.elapsed(), cpu), &mut times);
    assert_eq!(stored(client).await, rows);
    cost
}

/// Many rows a statement, as one would without COPY.
async fn unnested(client: &Client, batch_rows: u64) -> Cost {
    let sql = "INSERT INTO chat_messages (id, content, user_id, username, space_id, timestamp) \
               SELECT id, content, user_id, username, space_id, now() FROM \
               unnest($1::text[], $2::text[], $3::int4[], $4::text[], $5::int4[]) \
               AS rows (id, content, user_id, username, space_id)";
    let insert = client.prepare(sql).await.unwrap();
    let (mut times, begun, cpu) = (Vec::new(), Instant::now(), server_cpu());
    let batches = 100;
    for n in 0..batches {
        let all: Vec<Record<'_>> = (n * batch_rows..(n + 1) * batch_rows).map(record).collect();
        let ids: Vec<String> = all.iter().map(|record| record.id.to_string()).collect();
        let contents: Vec<&str> = all.iter().map(|record| record.content).collect();
        let users: Vec<i32> = all.iter().map(|record| record.user.0).collect();
        let names: Vec<&str> = all.iter().map(|record| record.username).collect();
        let spaces: Vec<i32> = all.iter().map(|record| record.space.0).collect();
        let begun = Instant::now();
        client.execute(&insert, &[&ids, &contents, &users, &names, &spaces]).await.unwrap();
        times.push(begun.elapsed());
    }
    let rows = batches * batch_rows;
    let cost = report("UNNEST of 1000", rows, (begun.elapsed(), cpu), &mut times);
    assert_eq!(stored(client).await, rows);
    cost
}

async fn copies(client: &Client, sink: &mut PostgresSink, batch_rows: u64) -> Cost {
    let batches = (300_000 / batch_rows).clamp(20, 300);
    let (mut position, mut times) = (0, Vec::new());
    let (begun, cpu) = (Instant::now(), server_cpu());
    for n in 0..batches {
        let (mut bytes, mut batch) = (Vec::new(), Batch::new());
        (n * batch_rows..(n + 1) * batch_rows).for_each(|n| record(n).append_to(&mut bytes));
        let origin = Origin { journal: JournalId(7), last: position, offset: position + 24 };
        batch.push(origin, &bytes, &ALL, MonoMs(0));
        position = origin.offset + bytes.len() as u64;
        let begun = Instant::now();
        sink.append(&batch).await.unwrap();
        times.push(begun.elapsed());
    }
    let rows = batches * batch_rows;
    let name = format!("COPY of {batch_rows}");
    let cost = report(&name, rows, (begun.elapsed(), cpu), &mut times);
    assert_eq!(stored(client).await, rows);
    cost
}

/// What is done to the table before a measurement, and after it.
type Change = (&'static str, &'static str, &'static str);

/// What the hub's table has, and more: the second index was that of earlier builds.
const HUBS: [Change; 3] = [
    ("bare COPY", "SELECT 1", "SELECT 1"),
    ("an index by time", BY_TIME.1, BY_TIME.0),
    (
        "a key on the id",
        "CREATE UNIQUE INDEX of_bench ON chat_messages (id COLLATE \"default\")",
        "DROP INDEX of_bench",
    ),
];
/// What tables of others have, and less.
const OTHERS: [Change; 3] = [
    ("bare COPY", "SELECT 1", "SELECT 1"),
    ("no index by time", BY_TIME.0, BY_TIME.1),
    ("no index by id", BY_ID.0, BY_ID.1),
];

/// The rows that the sink has stored last, by COPY alone: ready bytes, no position row; with what
/// the sink's table has, and with more or less.
async fn bare_copies(client: &Client, changes: &[Change]) {
    let batches = dump(client).await;
    for (what, before, after) in changes {
        client.batch_execute(before).await.unwrap();
        empty(client).await;
        let (mut times, begun, cpu) = (Vec::new(), Instant::now(), server_cpu());
        for rows in &batches {
            let begun = Instant::now();
            let mut sink = pin!(client.copy_in::<_, Bytes>(COPY_IN).await.unwrap());
            sink.send(rows.clone()).await.unwrap();
            assert_eq!(sink.finish().await.unwrap(), BARE_ROWS);
            times.push(begun.elapsed());
        }
        let rows = batches.len() as u64 * BARE_ROWS;
        report(what, rows, (begun.elapsed(), cpu), &mut times);
        assert_eq!(stored(client).await, rows);
        client.batch_execute(after).await.unwrap();
    }
}

const COPY_IN: &str = "COPY chat_messages FROM STDIN (FORMAT binary)";
const BY_TIME: (&str, &str) = (
    "DROP INDEX chat_messages_space_id_timestamp_id",
    "CREATE INDEX chat_messages_space_id_timestamp_id \
     ON chat_messages (space_id, timestamp, id COLLATE \"C\")",
);
const BY_ID: (&str, &str) = (
    "DROP INDEX chat_messages_space_id_id",
    "CREATE INDEX chat_messages_space_id_id ON chat_messages (space_id, id COLLATE \"C\")",
);

/// The whole table, as a number of COPYs of as many rows.
async fn dump(client: &Client) -> Vec<Bytes> {
    let mut batches = Vec::new();
    for from in (0..stored(client).await).step_by(BARE_ROWS as usize) {
        let sql = format!(
            "COPY (SELECT * FROM chat_messages ORDER BY id OFFSET {from} LIMIT {BARE_ROWS}) \
             TO STDOUT (FORMAT binary)"
        );
        let parts = client.copy_out(&sql).await.unwrap().try_collect::<Vec<Bytes>>().await.unwrap();
        batches.push(parts.concat().into());
    }
    batches
}

/// What rows cost.
struct Cost {
    rows_a_second: f64,
    cpu_a_row: f64,
}

impl Cost {
    fn beside(&self, other: &Cost) -> String {
        let rate = self.rows_a_second / other.rows_a_second;
        let cpu = self.cpu_a_row / other.cpu_a_row;
        format!("{rate:.1} times the rows a second, {cpu:.3} of the CPU a row")
    }
}

/// Seconds of CPU that all postgres processes of this machine have used, in ticks of 10 ms.
fn server_cpu() -> f64 {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|it| std::fs::read_to_string(it.path().join("stat")).ok());
    let postgres = stats.filter(|stat| stat.contains("(postgres)"));
    let ticks = postgres.map(|stat| {
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        // utime and stime; the name ended the first two fields.
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    });
    ticks.sum::<u64>() as f64 / 100.0
}

fn report(
    what: &str,
    rows: u64,
    (took, cpu_before): (Duration, f64),
    times: &mut [Duration],
) -> Cost {
    times.sort_unstable();
    let rows_a_second = rows as f64 / took.as_secs_f64();
    let cpu_a_row = (server_cpu() - cpu_before) / rows as f64;
    let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!(
        "  {what:>15}: {rows_a_second:>7.0} rows/s, {:.1} us of server CPU a row, a transaction \
         p50 {p50:?}, p99 {p99:?}",
        cpu_a_row * 1e6
    );
    Cost { rows_a_second, cpu_a_row }
}
