//! What search costs: rows into SQLite with the index of words and without it, filling in the words
//! of rows that are there, and queries over a big space.
//!
//! `cargo bench --bench search`; `HUB_BENCH_ROWS` (1,000,000) is the size of the space,
//! `HUB_BENCH_DIR` where the files go (the temporary directory), `HUB_BENCH_ONLY` one of `rows`,
//! `find`. Messages have 12 words of 50,000, the n-th as often as Zipf has it, and one of their
//! own. Results are checked, not only timed.

// A bench talks to its terminal.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cpi_hub::clock::Clock;
use cpi_hub::conditions::Conditions;
use cpi_hub::faults::Faults;
use cpi_hub::limits::Limits;
use cpi_hub::metrics::Metrics;
use cpi_hub::store::{
    Batch, BatchLimits, DATABASE_FILE, Found, JournalId, Origin, SearchQuery, Sink, SqliteSink,
    Store, StoreConfig, Terms, open_sqlite,
};
use cpi_hub::wire::record::Record;
use cpi_hub::wire::time::{Micros, MonoMs};
use cpi_hub::wire::{Id, SpaceId, UserId};

const BEGIN_US: i64 = 1_767_333_845_678_901;
const ALL: BatchLimits = BatchLimits { rows_max: usize::MAX, bytes_max: usize::MAX, wait: 0 };
const WORDS: f64 = 50_000.0;

fn main() {
    let rows = std::env::var("HUB_BENCH_ROWS").ok().and_then(|rows| rows.parse().ok());
    let rows = rows.unwrap_or(1_000_000);
    let parent = std::env::var("HUB_BENCH_DIR").unwrap_or_else(|_| "/tmp".into());
    let folder = tempfile::tempdir_in(parent).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let only = std::env::var("HUB_BENCH_ONLY").ok();
    let wanted = |part| only.as_deref().is_none_or(|only| only == part);
    if wanted("rows") {
        println!("rows into sqlite, FULL");
        for batch in [1, 10, 100, 1_000, 10_000] {
            for search in [false, true, false, true] {
                let total = (batch * 300).clamp(3_000, 200_000);
                runtime.block_on(sink(&folder.path().join("rows"), batch, total, search));
            }
        }
    }
    if wanted("find") {
        let big = folder.path().join("find");
        std::fs::create_dir_all(&big).unwrap();
        let mut sink = SqliteSink::open(&big.join(DATABASE_FILE), -10_800).unwrap();
        runtime.block_on(append(&mut sink, rows, 10_000, &mut Vec::new()));
        drop(sink);
        runtime.block_on(find(&big, rows));
    }
}

fn faults() -> Faults {
    Faults::new(Arc::new(Metrics::new(1)), Conditions::new(Clock::start()))
}

/// Texts: numbers of words by a generator of its own, so that each run has the same.
struct Texts(u64);

impl Texts {
    fn next(&mut self, n: u64) -> String {
        let mut text = String::new();
        for _ in 0..12 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            let share = (self.0 >> 11) as f64 / (1u64 << 53) as f64;
            let word = WORDS.powf(share) as u64;
            text.push_str(&format!(
                "{}{word} ",
                if word.is_multiple_of(7) { "ñandú" } else { "pal" }
            ));
        }
        text + &format!("unica{n}")
    }
}

fn batch(texts: &mut Texts, from: u64, rows: u64, position: &mut u64) -> Batch {
    let (mut bytes, mut batch) = (Vec::new(), Batch::new());
    for n in from..from + rows {
        let at = BEGIN_US + n as i64 * 1_000;
        let id = Id(Id::first_of_ms(at / 1000).0 | u128::from(n));
        let (at, space, user) = (Micros(at), SpaceId(1), UserId((n % 1_000) as i32));
        let content = &texts.next(n);
        Record { id, at, space, user, username: "Ana Paz", content, nonce: None }
            .append_to(&mut bytes);
    }
    let origin = Origin { journal: JournalId(7), last: *position, offset: *position + 24 };
    batch.push(origin, &bytes, &ALL, MonoMs(0));
    *position = origin.offset + bytes.len() as u64;
    batch
}

async fn append(sink: &mut SqliteSink, total: u64, batch_rows: u64, times: &mut Vec<Duration>) {
    let (mut position, mut texts, mut from) = (0, Texts(0x9E37_79B9_7F4A_7C15), 0);
    while from < total {
        let rows = batch_rows.min(total - from);
        let batch = batch(&mut texts, from, rows, &mut position);
        let begun = Instant::now();
        sink.append(&batch).await.unwrap();
        times.push(begun.elapsed());
        from += rows;
    }
}

async fn sink(folder: &Path, batch_rows: u64, total: u64, search: bool) {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).unwrap();
    let database = folder.join(DATABASE_FILE);
    let mut sink = SqliteSink::open(&database, -10_800).unwrap();
    if search {
        sink.index_words(&database, &faults()).unwrap();
    }
    // What the texts cost is not the sink's.
    let begun = cpu();
    let mut texts = Texts(0x9E37_79B9_7F4A_7C15);
    let mut position = 0;
    for n in 0..total / batch_rows {
        drop(batch(&mut texts, n * batch_rows, batch_rows, &mut position));
    }
    let texts = cpu() - begun;
    let (mut times, begun) = (Vec::new(), cpu());
    append(&mut sink, total, batch_rows, &mut times).await;
    let cpu = (cpu() - begun).saturating_sub(texts).as_secs_f64() * 1e6 / total as f64;
    drop(sink);
    let bytes = std::fs::metadata(&database).unwrap().len() / total;
    let (p50, p99, max) = spread(&mut times);
    let with = if search { "with" } else { "without" };
    println!(
        "  batches of {batch_rows:>5}, {with:>7} words: {cpu:>6.2} us of CPU a row, {bytes} B; \
         a batch p50 {p50:?}, p99 {p99:?}, max {max:?}"
    );
}

fn open(data_dir: &Path) -> Store {
    let (limits, clock) = (Limits::default(), Clock::start());
    let mut config = StoreConfig::new(data_dir.into(), 1, &limits, clock, faults());
    config.search = true;
    config.query_max = 60_000;
    open_sqlite(&config, 1).unwrap()
}

async fn ask(store: &Store, text: &str, before: Option<Id>) -> Found {
    let room = cpi_hub::shares::Pool::new(1 << 30, 1 << 30).take(1, 0).unwrap();
    let terms = Terms::parse(text).unwrap();
    let query = SearchQuery { space: SpaceId(1), terms, before, limit: 20 };
    store.reader.search(query, room).await.unwrap().0
}

async fn find(folder: &Path, rows: u64) {
    let (begun, used, store) = (Instant::now(), cpu(), open(folder));
    while !ask(&store, "unica0", None).await.is_complete {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (took, used) = (begun.elapsed(), cpu() - used);
    println!("{rows} rows filled in: {took:?}, {used:?} of CPU, beside a writer that rests");
    println!("20 of a space of {rows} messages");
    let own = |n: u64| format!("unica{}", n * 7_919 % rows);
    let pair = |n: u64| format!("pal{} pal{}", 1 + n % 6, 100 + n);
    type Text<'a> = &'a dyn Fn(u64) -> String;
    let wholes: [(&str, Text<'_>, Option<usize>); 9] = [
        ("a word of one message", &own, Some(1)),
        ("a word of few messages", &|n| format!("pal{}", 20_000 + 7 * n + 1), None),
        ("a word of many messages", &|n| format!("pal{}", 10 + 7 * n), None),
        ("the commonest word", &|_| "pal1".into(), Some(20)),
        ("a common and a rare word", &pair, None),
        ("two common words in a row", &|n| format!("\"pal1 pal{}\"", 2 + n % 4), Some(20)),
        ("a beginning that many words have", &|_| "pal*".into(), Some(20)),
        ("a beginning of ten words", &|n| format!("pal{}*", 1_001 + n), None),
        ("a word of none", &|n| format!("nada{n}"), Some(0)),
    ];
    for (name, text, expected) in wholes {
        let mut times = Vec::new();
        for n in 0..60 {
            let text = text(n);
            let begun = Instant::now();
            let found = ask(&store, &text, None).await;
            times.push(begun.elapsed());
            assert!(expected.is_none_or(|rows| rows == found.rows.len()), "{text}");
        }
        told(name, &mut times);
    }
    let (mut times, mut before) = (Vec::new(), None);
    for _ in 0..200 {
        let begun = Instant::now();
        let found = ask(&store, "pal1", before).await;
        times.push(begun.elapsed());
        before = found.rows.last().and_then(|row| Id::parse(&row.id));
    }
    told("page after page of the commonest", &mut times);
    store.handle.stop(Duration::ZERO).await;
}

fn told(name: &str, times: &mut [Duration]) {
    let (p50, p99, max) = spread(times);
    println!("  {name:>34}: p50 {p50:?}, p99 {p99:?}, max {max:?}");
}

/// What this process has used of the processors.
fn cpu() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

fn spread(times: &mut [Duration]) -> (Duration, Duration, Duration) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    (at(50), at(99), at(100))
}
