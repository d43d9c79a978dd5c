//! Crowds that go to extremes (rows 4, 51, 53 and 79 of the fault matrix): one that stops reading,
//! one that comes and goes as fast as it can, spaces that are touched once, talk at full rate.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::figures::{figure, is_long};
use crate::support::neighbours::Neighbours;
use crate::support::peers::{connect_from, memory};
use crate::support::{Answer, Hub, eventually, frame, upgrade};

const SPACES: [i32; 2] = [1, 77];
const MEBI: usize = 1 << 20;

fn path(space: i32, user: i32) -> String {
    format!("/v1/ws/spaces/{space}?user_id={user}")
}

fn come(mut stream: TcpStream, space: i32, user: i32) -> TcpStream {
    stream.write_all(upgrade(&path(space, user), "").as_bytes()).expect("the hub reads");
    let answer = Answer::read(&mut stream);
    assert_eq!(answer.status, 101, "{}", answer.text());
    stream
}

fn chat(content: &str) -> Vec<u8> {
    let text = json!({"type": "chat", "data": {"content": content}}).to_string();
    frame(0x81, text.as_bytes())
}

/// Reads all that comes until a text is in it, or the hub closes; whether the text came.
fn read_up_to(mut stream: TcpStream, last: &str) -> bool {
    let (mut bytes, mut kept) = (vec![0; 1 << 16], Vec::new());
    while let Ok(read @ 1..) = stream.read(&mut bytes) {
        kept.extend_from_slice(&bytes[..read]);
        if kept.windows(last.len()).any(|window| window == last.as_bytes()) {
            return true;
        }
        kept.drain(..kept.len().saturating_sub(last.len()));
    }
    false
}

/// Reads and forgets what comes, until the hub is gone.
fn read_on(stream: &TcpStream) {
    let mut stream = stream.try_clone().expect("a second handle");
    stream.set_read_timeout(None).expect("an option");
    std::thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
}

pub fn one_that_stops_reading_is_closed_alone_and_its_neighbours_notice_nothing() {
    const READERS: i32 = 60;
    let limits = ["--write-wait", "1500ms", "--send-buffer-bytes", "4KiB", "--shards", "2"];
    let hub = Hub::unlimited_with(&limits);
    let readers: Vec<TcpStream> = (1..=READERS).map(|user| come(hub.connect(), 1, user)).collect();
    readers.iter().for_each(read_on);
    let mut talker = come(hub.connect(), 1, 1_000);
    read_on(&talker);
    let text = chat(&"x".repeat(400));
    std::thread::spawn(move || {
        while talker.write_all(&text).is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let neighbours = Neighbours::of(&hub, SPACES);
    std::thread::sleep(Duration::from_secs(4));
    let before = neighbours.settle(&[]);
    let neighbours = Neighbours::of(&hub, SPACES);
    let stalled = come(connect_from(&hub, 2, true), 1, 2_000);
    let closed = || hub.metric("hub_closes_total{reason=\"too_slow\"}");
    // Asked now and then: without a pause the questions would be what neighbours notice.
    let until = |is_so: &dyn Fn() -> bool| {
        eventually("it is blocked, then closed", || {
            std::thread::sleep(Duration::from_millis(50));
            is_so().then_some(())
        });
    };
    until(&|| hub.metric("hub_members_blocked") + closed() >= 1.0);
    let begun = Instant::now();
    until(&|| closed() >= 1.0);
    let took = begun.elapsed();
    std::thread::sleep(Duration::from_secs(2));
    let during = neighbours.settle(&[3, 4]);
    assert_eq!(closed(), 1.0, "it alone");
    drop(stalled);
    let ratio = during.p99.as_secs_f64() / before.p99.as_secs_f64();
    figure(3, "s_to_close", format!("{:.1}", took.as_secs_f64()), 4);
    assert!(took < Duration::from_secs(4), "write_wait, a tick and a little: {took:?}");
    figure(4, "p99_ratio", format!("{ratio:.2}"), "");
}

pub fn who_comes_and_goes_without_end_leaves_nothing_behind() {
    let time = Duration::from_secs(if is_long() { 60 } else { 6 });
    let hub = Hub::unlimited_with(&["--shards", "2", "--resume-window", "1s"]);
    let neighbours = Neighbours::of(&hub, SPACES);
    let (next, come_and_gone) = (AtomicI32::new(1_000), AtomicUsize::new(0));
    let churn = |time: Duration| {
        let until = Instant::now() + time;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while Instant::now() < until {
                        // Each in a space that nobody has been in before.
                        let user = next.fetch_add(1, Ordering::Relaxed);
                        drop(come(hub.connect(), user, user));
                        come_and_gone.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
    };
    churn(time / 3);
    let (before, begun) = (memory(&hub, "VmRSS"), Instant::now());
    churn(time / 3 * 2);
    let rate = come_and_gone.load(Ordering::Relaxed) as f64 * 2.0 / 3.0;
    let rate = rate / begun.elapsed().as_secs_f64();
    let grown = memory(&hub, "VmRSS").saturating_sub(before);
    neighbours.settle(&[51]);
    eventually("their spaces are gone", || {
        let left = hub.metric("hub_spaces") + hub.metric("hub_members");
        (left == 0.0).then_some(())
    });
    figure(51, "joins_s", format!("{rate:.0}"), "");
    figure(51, "rss_grown_bytes", grown, 8 * MEBI);
    assert_eq!(hub.metric("hub_joins_total"), hub.metric("hub_leaves_total"));
    assert!(grown < 8 * MEBI, "{grown} bytes");
}

pub fn spaces_that_are_touched_once_are_freed_after_their_window() {
    const CALLERS: i32 = 4;
    let spaces = if is_long() { 200_000 } else { 3_000 };
    let hub = Hub::unlimited_with(&["--shards", "2", "--resume-window", "2s"]);
    let neighbours = Neighbours::of(&hub, SPACES);
    let before = memory(&hub, "VmRSS");
    let most = AtomicUsize::new(0);
    let touch = |caller: i32| {
        let mut stream = hub.connect();
        for space in (1_000..1_000 + spaces).filter(|space| space % CALLERS == caller) {
            let body = json!({"user_id": 7, "username": "Ana", "message": "una vez"}).to_string();
            let head = format!(
                "POST /v1/ws/spaces/{space}/chat HTTP/1.1\r\nHost: localhost\r\n\
                 Prefer: respond-async\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).expect("the hub reads");
            let answer = Answer::read(&mut stream);
            assert_eq!(answer.status, 202, "{}", answer.text());
            if space % 400 == 0 {
                let held = memory(&hub, "VmRSS").saturating_sub(before);
                most.fetch_max(held, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            scope.spawn(move || touch(caller));
        }
    });
    let there = hub.metric("hub_spaces");
    neighbours.settle(&[53]);
    eventually("they are freed", || (hub.metric("hub_spaces") == 0.0).then_some(()));
    assert_eq!(hub.metric("hub_log_bytes"), 0.0);
    figure(53, "spaces", spaces, "");
    figure(53, "spaces_at_once", there, "");
    figure(53, "rss_grown_bytes_max", most.load(Ordering::Relaxed), "");
    // Stored all the same.
    assert_eq!(hub.history_of(1_000, 1).len(), 1);
    assert_eq!(hub.history_of(999 + spaces, 1).len(), 1);
}

pub fn at_default_rates_no_healthy_member_falls_out_of_the_log() {
    const READERS: i32 = 100;
    const TALKERS: i32 = 4;
    const MESSAGES: usize = 300;
    // A message's length and its buffers are the matrix's; the rates are the defaults.
    let sizes = ["--message-bytes-max", "2KiB", "--send-buffer-bytes", "64KiB", "--shards", "2"];
    let hub = Hub::start(&[&sizes[..], &["--connection-rate", "off"]].concat());
    let neighbours = Neighbours::of(&hub, SPACES);
    let readers: Vec<TcpStream> = (1..=READERS).map(|user| come(hub.connect(), 1, user)).collect();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let readers: Vec<_> = readers
            .into_iter()
            .map(|reader| scope.spawn(move || read_up_to(reader, "el fin de todos")))
            .collect();
        let talk = |user: i32| {
            let mut talker = hub.join_v1(1, user, "");
            let text = format!("{user} {}", "x".repeat(890));
            let mut accepted = 0;
            // As fast as the hub takes it: a burst, then the rate.
            while accepted < MESSAGES {
                let data = json!({"content": text, "nonce": accepted.to_string()});
                talker.send(&json!({"type": "chat", "data": data}).to_string());
                let answer = talker.next_that(|kind| kind == "ack" || kind == "error");
                match answer["type"] == "ack" {
                    true => accepted += 1,
                    false => {
                        let wait = answer["data"]["retry_after_ms"].as_u64().expect("a hint");
                        // And more, so that a refusal stays rare: many of them would be a flood.
                        std::thread::sleep(Duration::from_millis(wait + 1_000));
                    }
                }
            }
        };
        let talkers: Vec<_> =
            (0..TALKERS).map(|it| scope.spawn(move || talk(10_000 + it))).collect();
        talkers.into_iter().for_each(|it| it.join().expect("it is never closed"));
        let mut last = hub.join(1, 20_000, "Fin");
        last.chat("el fin de todos");
        let all = readers.into_iter().map(|it| it.join().expect("it reads"));
        assert_eq!(all.filter(|seen| *seen).count(), READERS as usize, "all to the end");
    });
    let messages = TALKERS as usize * MESSAGES;
    let rate = messages as f64 / begun.elapsed().as_secs_f64();
    let evicted = hub.metric("hub_closes_total{reason=\"too_slow\"}");
    figure(79, "messages_s", format!("{rate:.0}"), "");
    figure(79, "evicted", evicted, 0);
    neighbours.settle(&[79]);
    assert_eq!(evicted, 0.0);
}
