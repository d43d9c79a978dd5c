//! What the store costs: journal appends, rows into SQLite, numbered pages out of a big space.
//!
//! `cargo bench --bench store`; `HUB_BENCH_ROWS` (1,000,000) is the size of the space,
//! `HUB_BENCH_DIR` where the files go (the temporary directory: name one on the disk that
//! counts), `HUB_BENCH_ONLY` one of `journal`, `sink`, `pages`. Results are checked, not only
//! timed; beside the sink's figures stands what a bare `fdatasync` costs on the same disk.

// A bench talks to its terminal.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cpi_hub::clock::Clock;
use cpi_hub::conditions::Conditions;
use cpi_hub::faults::Faults;
use cpi_hub::metrics::Metrics;
use cpi_hub::store::{
    Batch, BatchLimits, DATABASE_FILE, JournalId, JournalLimits, NonceLimits, Origin, PageOrder,
    PageQuery, RangeQuery, RetryWait, Sink, SqliteSink, Store, StoreConfig, open_sqlite,
};
use cpi_hub::wire::record::Record;
use cpi_hub::wire::time::{Micros, MonoMs};
use cpi_hub::wire::{Id, SpaceId, UserId};

const BEGIN_US: i64 = 1_767_333_845_678_901;
const CONTENT: &str = "A message of 136 bytes, as the figures of the design have it: long enough \
to say something, short enough to be said a lot of times over.";
const ALL: BatchLimits = BatchLimits { rows_max: usize::MAX, bytes_max: usize::MAX, wait: 0 };

fn main() {
    let rows = std::env::var("HUB_BENCH_ROWS").ok().and_then(|rows| rows.parse().ok());
    let rows = rows.unwrap_or(1_000_000);
    let parent = std::env::var("HUB_BENCH_DIR").unwrap_or_else(|_| "/tmp".into());
    let folder = tempfile::tempdir_in(parent).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let only = std::env::var("HUB_BENCH_ONLY").ok();
    let wanted = |part| only.as_deref().is_none_or(|only| only == part);
    if wanted("journal") {
        println!("journal");
        for (name, sync) in [("never", None), ("50 ms", Some(50))] {
            for records in [1, 16, 256] {
                journal(&folder.path().join("journals"), name, sync, records);
            }
        }
    }
    if wanted("sink") {
        println!("sqlite, FULL");
        floor(folder.path());
        for (spaces, batch) in [
            (1, 100),
            (1, 1_000),
            (1, 10_000),
            (100, 100),
            (100, 1_000),
            (1_000, 100),
            (1_000, 1_000),
            (1_000, 10_000),
        ] {
            let total = (batch * 300).clamp(30_000, 200_000);
            runtime.block_on(sink(&folder.path().join("rows"), spaces, batch, total));
        }
    }
    if wanted("pages") {
        println!("pages of a space of {rows} messages");
        let big = folder.path().join("pages");
        runtime.block_on(fill(&big, rows));
        runtime.block_on(pages(&big, rows));
    }
}

/// What no commit can be faster than.
fn floor(folder: &Path) {
    let mut file = std::fs::File::create(folder.join("floor")).unwrap();
    let mut times = Vec::new();
    for _ in 0..200 {
        let begun = Instant::now();
        file.write_all(&[7; 8192]).unwrap();
        file.sync_data().unwrap();
        times.push(begun.elapsed());
    }
    let (p50, p99, max) = spread(&mut times);
    println!("  8 KiB and fdatasync alone: p50 {p50:?}, p99 {p99:?}, max {max:?}");
}

/// The `n`th of a sequence that ascends, one a millisecond.
fn row(n: u64) -> (Id, Micros) {
    let at = BEGIN_US + n as i64 * 1_000;
    (Id(Id::first_of_ms(at / 1000).0 | u128::from(n)), Micros(at))
}

fn records(from: u64, rows: u64, spaces: u64, out: &mut Vec<u8>) -> Id {
    let mut last = Id::MIN;
    for n in from..from + rows {
        let (id, at) = row(n);
        let space = SpaceId((n % spaces) as i32 + 1);
        let user = UserId((n % 1_000) as i32);
        Record { id, at, space, user, username: "Ana Paz", content: CONTENT, nonce: None }
            .append_to(out);
        last = id;
    }
    last
}

fn room() -> cpi_hub::shares::Part {
    cpi_hub::shares::Pool::new(1 << 30, 1 << 30).take(1, 0).unwrap()
}

fn config(data_dir: &Path, sync: Option<u64>) -> StoreConfig {
    let (metrics, conditions) = (Arc::new(Metrics::new(1)), Conditions::new(Clock::start()));
    StoreConfig {
        data_dir: data_dir.into(),
        shards: 1,
        journal: JournalLimits {
            bytes_max: 1 << 30,
            record_bytes_max: 8 << 10,
            flush_period: sync,
            nonces_max: 9,
        },
        batch: BatchLimits { rows_max: 10_000, bytes_max: 4 << 20, wait: 5 },
        batch_linger: 0,
        nonces: NonceLimits { max: 262_144, window: 120_000 },
        letters_bytes_max: 1 << 20,
        retry: RetryWait::default(),
        query_max: 5_000,
        image_bytes_max: 0,
        utc_offset: -10_800,
        clock: Clock::start(),
        faults: Faults::new(metrics, conditions),
        take_journals: false,
        search: false,
        traces: Default::default(),
    }
}

fn open(data_dir: &Path, sync: Option<u64>) -> Store {
    open_sqlite(&config(data_dir, sync), 1).unwrap()
}

/// What a turn's append costs its shard, with nobody reading the journal.
fn journal(folder: &Path, name: &str, sync: Option<u64>, records_a_turn: u64) {
    let _ = std::fs::remove_dir_all(folder);
    let mut store = open(folder, sync);
    let mut turn = Vec::new();
    let highest = records(0, records_a_turn, 1, &mut turn);
    let turns = (20_000 / records_a_turn).clamp(200, 4_000);
    let mut times = Vec::new();
    for _ in 0..turns {
        while store.writers[0].room() < turn.len() as u64 {
            std::thread::yield_now();
        }
        let begun = Instant::now();
        store.writers[0].append(&turn, highest).unwrap();
        times.push(begun.elapsed());
    }
    let (p50, p99, max) = spread(&mut times);
    let bytes = turn.len();
    println!(
        "  sync {name:>6}, {records_a_turn:>4} records ({bytes:>6} B) a turn: p50 {p50:?}, \
         p99 {p99:?}, max {max:?}; {:?} a record",
        p50 / records_a_turn as u32
    );
    drop(store.handle);
}

async fn sink(folder: &Path, spaces: u64, batch_rows: u64, total: u64) {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).unwrap();
    let mut sink = SqliteSink::open(&folder.join(DATABASE_FILE), -10_800).unwrap();
    let (mut position, mut times) = (0, Vec::new());
    let (begun, cpu) = (Instant::now(), cpu());
    for n in 0..total / batch_rows {
        let batch = batch(n * batch_rows, batch_rows, spaces, &mut position);
        let begun = Instant::now();
        sink.append(&batch).await.unwrap();
        times.push(begun.elapsed());
    }
    let rows = total / batch_rows * batch_rows;
    let rate = rows as f64 / begun.elapsed().as_secs_f64();
    let cpu = (self::cpu() - cpu).as_secs_f64() * 1e6 / rows as f64;
    let bytes = std::fs::metadata(folder.join(DATABASE_FILE)).unwrap().len() / rows;
    let (p50, p99, max) = spread(&mut times);
    println!(
        "  {spaces:>5} spaces, batches of {batch_rows:>5}: {cpu:>5.2} us of CPU a row, {bytes} B; \
         {rate:>7.0} rows/s, a batch p50 {p50:?}, p99 {p99:?}, max {max:?}"
    );
}

/// What this process has used of the processors.
fn cpu() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

fn batch(from: u64, rows: u64, spaces: u64, position: &mut u64) -> Batch {
    let (mut bytes, mut batch) = (Vec::new(), Batch::new());
    records(from, rows, spaces, &mut bytes);
    let origin = Origin { journal: JournalId(7), last: *position, offset: *position + 24 };
    batch.push(origin, &bytes, &ALL, MonoMs(0));
    *position = origin.offset + bytes.len() as u64;
    batch
}

async fn fill(folder: &Path, rows: u64) {
    std::fs::create_dir_all(folder).unwrap();
    let mut sink = SqliteSink::open(&folder.join(DATABASE_FILE), -10_800).unwrap();
    let (mut position, mut from) = (0, 0);
    while from < rows {
        let next = (rows - from).min(10_000);
        sink.append(&batch(from, next, 1, &mut position)).await.unwrap();
        from += next;
    }
}

async fn pages(folder: &Path, rows: u64) {
    let store = open(folder, None);
    let pages = rows.div_ceil(25);
    for (order, by) in [(PageOrder::Timestamp, "timestamp"), (PageOrder::Id, "id")] {
        for ascending in [false, true] {
            for (name, page) in
                [("first", 1), ("middle", pages / 2), ("deep", pages / 4), ("last", pages)]
            {
                let query = PageQuery {
                    space: SpaceId(1),
                    page,
                    page_size: 25,
                    order,
                    ascending,
                    images_bytes_max: 0,
                };
                let mut times = Vec::new();
                for _ in 0..40 {
                    let begun = Instant::now();
                    let (answer, _) = store.reader.page(query, room()).await.unwrap();
                    times.push(begun.elapsed());
                    assert_eq!(answer.total, rows);
                    let first = (page - 1) * 25;
                    let n = if ascending { first } else { rows - 1 - first };
                    assert_eq!(answer.rows[0].id, row(n).0.to_string());
                }
                let first = times[0];
                let (p50, p99, max) = spread(&mut times);
                let way = if ascending { "asc" } else { "desc" };
                println!(
                    "  by {by:>9} {way:>4}, {name:>6} page: first {first:?}, p50 {p50:?}, p99 \
                     {p99:?}, max {max:?}"
                );
            }
        }
    }
    let mut times = Vec::new();
    for n in 0..200 {
        let after = Some(row(rows / 200 * n).0);
        let query =
            RangeQuery { space: SpaceId(1), after, before: None, newest_max: None, limit: 50 };
        let begun = Instant::now();
        let (answer, _) = store.reader.range(query, room()).await.unwrap();
        times.push(begun.elapsed());
        assert!(answer.rows.len() == 50 || rows < 50);
    }
    let (p50, p99, max) = spread(&mut times);
    println!("  50 after a position, anywhere: p50 {p50:?}, p99 {p99:?}, max {max:?}");
    store.handle.stop(Duration::ZERO).await;
}

fn spread(times: &mut [Duration]) -> (Duration, Duration, Duration) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    (at(50), at(99), at(100))
}
