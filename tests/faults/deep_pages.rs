//! A crowd that asks for pages deep in a long history, and what the others see meanwhile: a
//! member's echoes, a person's page of another space, and members that come back for what they
//! missed (P9). The hub may hold 512 MiB.
//!
//! With `HUB_SLOW_TESTS=1` the history has a million rows and the crowd 1,200 connections; without,
//! a tenth of both.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tungstenite::Message;

use crate::attacks::floods::{beside_busy_threads, stay_apart};
use crate::memory::MEMORY;
use crate::support::group::Group;
use crate::support::peers::{connect_from, get_from};
use crate::support::postgres::Cluster;
use crate::support::trials::{self, Outcome, Over, is_slow};
use crate::support::{Answer, Hub, UNLIMITED, eventually};

/// How many times slower an echo may be than before; below `ECHO_FREE` it does not matter.
const SLOWER_MAX: u32 = 3;
const ECHO_FREE: Duration = Duration::from_millis(100);
/// What a person waits for a page, half of the times at most: all do without turns.
const PAGE_WAIT: Duration = Duration::from_millis(500);
/// The others' address; the crowd has four of its own.
const OTHERS: u8 = 7;
const PAGES: usize = 60;
const FIRST: &str = "01JGB4N5ZW2000000000000001";

/// What was seen, each sort in ascending order.
#[derive(Default)]
struct Seen {
    echoes: Vec<Duration>,
    pages: Vec<Duration>,
    refused: Vec<String>,
    resumes: usize,
    incomplete: usize,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = |took: &[Duration], part: usize| took[(took.len() - 1) * part / 100];
        let both = |took: &[Duration]| format!("{:.1?} / {:.1?}", of(took, 50), of(took, 99));
        out.debug_struct("Seen")
            .field("echo p50 / p99", &both(&self.echoes))
            .field("page p50 / p99", &both(&self.pages))
            .field("refused", &self.refused)
            .field("resumes", &self.resumes)
            .field("incomplete", &self.incomplete)
            .finish()
    }
}

/// Looks until enough pages have come.
fn look(hub: &Hub) -> Seen {
    let over = AtomicBool::new(false);
    let is_over = || over.load(Ordering::Relaxed);
    let mut seen = Seen::default();
    std::thread::scope(|scope| {
        let echoing = scope.spawn(|| {
            let (mut member, mut took) = (hub.join(9, 9, "Eco"), Vec::new());
            while !is_over() {
                let begun = Instant::now();
                let chat = r#"{"type":"chat","data":{"content":"eco"}}"#;
                member.try_send(Message::text(chat)).expect("the hub reads");
                member.next_of("chat");
                took.push(begun.elapsed());
                std::thread::sleep(Duration::from_millis(5));
            }
            took
        });
        let resuming = scope.spawn(|| {
            let (mut resumes, mut incomplete) = (0, 0);
            while !is_over() {
                let mut member = hub.join_v1(2, 2, &format!("&after={FIRST}"));
                let resumed = member.next_of("resumed");
                resumes += 1;
                incomplete += usize::from(resumed["data"]["complete"] != true);
                member.close();
            }
            (resumes, incomplete)
        });
        let ends = Over(&over);
        while seen.pages.len() + seen.refused.len() < PAGES {
            let begun = Instant::now();
            let path =
                "/v1/messages?space_id=2&page_size=25&order_by=timestamp&sort_direction=desc";
            let answer = get_from(hub, OTHERS, path);
            match answer.status {
                200 => seen.pages.push(begun.elapsed()),
                _ => seen.refused.push(format!("{}: {}", answer.status, answer.text())),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(ends);
        seen.echoes = echoing.join().expect("the member is not closed");
        (seen.resumes, seen.incomplete) = resuming.join().expect("members come back");
    });
    assert!(!seen.pages.is_empty(), "all are refused: {:?}", seen.refused);
    seen.pages.sort_unstable();
    seen.echoes.sort_unstable();
    seen
}

/// Asks for deep pages over these many connections until it is over.
fn ask_deep(hub: &Hub, connections: usize, rows: usize, over: &AtomicBool, asked: &AtomicUsize) {
    const THREADS: usize = 8;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                stay_apart();
                let connect = |n: usize| connect_from(hub, 2 + (n % 4) as u8, false);
                let mut crowd: Vec<_> = (0..connections / THREADS).map(connect).collect();
                let mut page = 7_919 * (thread + 1);
                while !over.load(Ordering::Relaxed) {
                    for stream in &mut crowd {
                        page = (page * 31 + 17) % (rows / 100);
                        let head = format!(
                            "GET /v1/messages?space_id=1&page_size=100&page={page} HTTP/1.1\r\n\
                             Host: localhost\r\n\r\n"
                        );
                        stream.write_all(head.as_bytes()).expect("the hub reads");
                    }
                    for stream in &mut crowd {
                        Answer::read(stream);
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

pub fn a_crowd_that_asks_deep_pages_delays_nobody_else() -> Outcome {
    trials::need_postgres()?;
    let (rows, connections) = if is_slow() { (1_000_000, 1_200) } else { (100_000, 120) };
    let cluster = Cluster::start(&[]);
    let url = cluster.url();
    let args: Vec<&str> = ["--database-url", &url].into_iter().chain(UNLIMITED).collect();
    // An existing server's messages, which the hub finds when it starts.
    cluster.sql(
        "hub",
        "CREATE TABLE chat_messages (id text PRIMARY KEY, content text NOT NULL, \
         user_id int NOT NULL, username text NOT NULL, space_id int NOT NULL, \
         timestamp timestamp NOT NULL DEFAULT now())",
    );
    for (space, rows) in [(1, rows), (2, 200)] {
        let sql = format!(
            "INSERT INTO chat_messages SELECT '01JGB4N5ZW{space}' || lpad(n::text, 15, '0'), \
             'hola ' || n, 1 + n % 50, 'Ana', {space}, \
             '2026-01-02'::timestamp + n * interval '1 ms' FROM generate_series(1, {rows}) n"
        );
        cluster.sql("hub", &sql);
    }
    cluster.sql("hub", "VACUUM ANALYZE chat_messages");
    let group = Group::make(MEMORY)?;
    let hub = group.within(|| Hub::start(&args));
    eventually("the store is there", || {
        (hub.get("/readyz").json()["store"] == "ready").then_some(())
    });
    let before = beside_busy_threads(|| look(&hub));
    let mut connections = connections;
    loop {
        let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (during, answers, took) = std::thread::scope(|scope| {
            scope.spawn(|| ask_deep(&hub, connections, rows, &over, &asked));
            let ends = Over(&over);
            eventually("the crowd is there", || {
                (asked.load(Ordering::Relaxed) >= connections / 2).then_some(())
            });
            let begun = Instant::now();
            let during = look(&hub);
            drop(ends);
            (during, asked.load(Ordering::Relaxed), begun.elapsed())
        });
        eprintln!("before {before:?}\n{connections}: {during:?}; {answers} answers, {took:.1?}");
        assert!(during.refused.is_empty(), "{during:?}");
        assert_eq!(during.incomplete, 0, "{during:?}");
        let page = during.pages[during.pages.len() / 2];
        assert!(page <= PAGE_WAIT, "{page:?}: {during:?}");
        let p99 = |seen: &Seen| seen.echoes[seen.echoes.len() * 99 / 100];
        let allowed = (p99(&before) * SLOWER_MAX).max(ECHO_FREE);
        assert!(p99(&during) <= allowed, "{during:?}, before {before:?}");
        let held = group.held_bytes();
        assert!(held < MEMORY / 5 * 4, "{held} bytes are held");
        if connections <= 64 {
            return Ok(());
        }
        connections = 64;
    }
}
