//! A hub that comes near the memory it may use: members that take nothing make room, then nobody
//! else is let in, and those who are there and read notice nothing (P8).

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cpi_hub::conditions::Condition;
use serde_json::json;

use super::watched::{Seen, watch};
use super::{MEMORY, crowd};
use crate::attacks::floods::stay_apart;
use crate::support::group::Group;
use crate::support::health::{mended, planted};
use crate::support::peers::connect_from;
use crate::support::trials::{Outcome, Over};
use crate::support::{Answer, Hub, UNLIMITED, eventually, upgrade};

/// What a hub may use that is soon short of memory.
const LITTLE: usize = 96 << 20;
/// Four bytes a character, as many as a message may have: 4 KB a frame.
const LONG: usize = 1_000;

fn path(space: usize, user: usize) -> String {
    format!("/v1/ws/spaces/{space}?user_id={user}&username=Ana")
}

/// One that joins, and what it was answered. A slow one has the smallest buffer that there is.
fn come(hub: &Hub, path: &str, slow: bool) -> (Answer, TcpStream) {
    let mut stream = connect_from(hub, 2, slow);
    stream.write_all(upgrade(path, "").as_bytes()).expect("the hub reads");
    (Answer::read(&mut stream), stream)
}

/// The same, let in.
fn member(hub: &Hub, path: &str, slow: bool) -> TcpStream {
    let (answer, stream) = come(hub, path, slow);
    assert_eq!(answer.status, 101, "{}", answer.text());
    stream
}

fn say_something_long(hub: &Hub, space: usize) -> u16 {
    let body = json!({"user_id": 1, "username": "Ana", "message": "\u{1F600}".repeat(LONG)});
    hub.post(&format!("/v1/ws/spaces/{space}/broadcast"), &body.to_string()).status
}

pub fn members_that_take_nothing_make_room() -> Outcome {
    const SPACES: usize = 25;
    let group = Group::make(LITTLE)?;
    // Nobody is called too slow meanwhile.
    let settings = ["--write-wait", "60s"];
    let hub = group.within(|| Hub::start(&[&UNLIMITED[..], &settings].concat()));
    let come = |user| member(&hub, &path(1 + user % SPACES, user), true);
    let silent: Vec<TcpStream> = (1_000..2_800).map(come).collect();
    let seen: Seen = watch(&hub, &group, |_| {
        for space in (1..=SPACES).cycle().take(40 * SPACES) {
            assert_eq!(say_something_long(&hub, space), 200);
            if hub.has_condition("memory_full") {
                break;
            }
        }
        planted(&hub, Condition::MemoryFull);
        // Who takes nothing is known by what it is sent.
        let mut spaces = (1..=SPACES).cycle();
        eventually("there is room", || {
            say_something_long(&hub, spaces.next().expect("there are some"));
            std::thread::sleep(Duration::from_millis(20));
            (!hub.has_condition("memory_full")).then_some(())
        });
        mended(&hub, Condition::MemoryFull);
    });
    let closed = hub.metric("hub_closes_total{reason=\"overloaded\"}");
    eprintln!("{closed} of {} are closed; {seen:?}", silent.len());
    assert!(closed >= 1.0 && hub.metric("hub_closes_total{reason=\"too_slow\"}") == 0.0);
    assert!(seen.held_bytes_max < LITTLE / 5 * 4, "{seen:?}");
    assert!(seen.refused.is_empty() && seen.echoes > 0, "{seen:?}");
    Ok(())
}

/// Somebody else in the group, who takes this much memory for as long as it is there.
fn neighbour(group: &Group, bytes: usize) -> Child {
    let script = format!("(head -c {bytes} /dev/zero; exec sleep 600) | tail -n 1");
    group.within(|| {
        let mut shell = Command::new("setsid");
        shell.args(["sh", "-c", &script]).stdout(Stdio::null());
        shell.spawn().expect("a shell")
    })
}

pub fn nobody_is_let_in_while_others_use_the_memory_up() -> Outcome {
    let group = Group::make(LITTLE)?;
    let hub = group.within(|| Hub::start(&UNLIMITED));
    let mut ana = hub.join(1, 1, "Ana");
    ana.next_of("join");
    let mut neighbour = neighbour(&group, LITTLE / 100 * 76 - group.held_bytes());
    let detail = planted(&hub, Condition::MemoryFull);
    assert!(detail.contains(" of 96 MiB are used"), "{detail}");
    eventually("nobody else is let in", || {
        let (answer, _) = come(&hub, &path(1, 2), false);
        let is_refused = answer.status == 503;
        if is_refused {
            assert_eq!(answer.json()["code"], "overloaded");
            assert!(answer.header("retry-after").is_some());
        }
        is_refused.then_some(())
    });
    // Who is there is served as before.
    ana.chat("still here");
    assert_eq!(ana.next_of("chat")["data"]["content"], "still here");
    assert_eq!(hub.get("/livez").status, 200);
    let all = format!("-{}", neighbour.id());
    Command::new("kill").args(["-9", "--", &all]).status().expect("kill");
    neighbour.wait().expect("it ends");
    mended(&hub, Condition::MemoryFull);
    hub.join(1, 3, "Caro").next_of("join");
    Ok(())
}

/// What a member that reads has been sent, by all who read.
fn read_all(readers: &mut [TcpStream], bytes: &AtomicUsize) {
    let mut some = vec![0; 1 << 16];
    for reader in readers {
        loop {
            match reader.read(&mut some) {
                Ok(0) => panic!("who reads is not closed"),
                Ok(count) => _ = bytes.fetch_add(count, Ordering::Relaxed),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("who reads is not closed: {error}"),
            }
        }
    }
}

/// Members of each space, and those of them that read nothing.
const OF_SPACE: usize = 100;
const SILENT: usize = 10;

/// Members that read, a half of all, for as long as they are to.
fn read_on(hub: &Hub, (half, spaces): (usize, usize), bytes: &AtomicUsize, over: &AtomicBool) {
    stay_apart();
    let all = spaces * (OF_SPACE - SILENT);
    let mut readers: Vec<TcpStream> = Vec::new();
    for user in half * all / 2..(half + 1) * all / 2 {
        let stream = member(hub, &path(1 + user % spaces, 1_000 + user), false);
        stream.set_nonblocking(true).expect("an option");
        readers.push(stream);
        if user % 64 == 0 {
            read_all(&mut readers, bytes);
        }
    }
    while !over.load(Ordering::Relaxed) {
        read_all(&mut readers, bytes);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Members that read nothing, and come back for as long as they are let in.
fn read_nothing(hub: &Hub, spaces: usize, over: &AtomicBool) {
    stay_apart();
    let mut silent: Vec<(usize, TcpStream)> = Vec::new();
    while !over.load(Ordering::Relaxed) {
        silent.retain(|(_, stream)| stream.take_error().expect("an option").is_none());
        for user in 0..spaces * SILENT {
            if silent.iter().any(|(one, _)| *one == user) {
                continue;
            }
            let (answer, stream) = come(hub, &path(1 + user % spaces, 1_000_000 + user), true);
            assert!([101, 429].contains(&answer.status), "{}: {}", answer.status, answer.text());
            if answer.status == 101 {
                silent.push((user, stream));
            }
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// A long chat each second in each space, of whose members a tenth takes nothing and comes back.
pub fn thousands_chat_while_a_tenth_of_them_reads_nothing() -> Outcome {
    let group = Group::make(MEMORY)?;
    // Who only reads is asked nothing.
    let settings = ["--ping-period", "20m", "--pong-wait", "21m"];
    let hub = &group.within(|| Hub::start(&[&UNLIMITED[..], &settings].concat()));
    let spaces = crowd(10_000) / OF_SPACE;
    let seconds = std::env::var("HUB_MEMORY_SECONDS").map(|text| text.parse().expect("a number"));
    let last = Duration::from_secs(seconds.unwrap_or(30));
    let (over, bytes) = (&AtomicBool::new(false), &AtomicUsize::new(0));
    let seen = std::thread::scope(|scope| {
        let ends = Over(over);
        let read = |half| scope.spawn(move || read_on(hub, (half, spaces), bytes, over));
        let threads = [read(0), read(1), scope.spawn(|| read_nothing(hub, spaces, over))];
        let seen = watch(hub, &group, |_| {
            let until = Instant::now() + last;
            for space in (1..=spaces).cycle() {
                if Instant::now() >= until {
                    return;
                }
                assert_eq!(say_something_long(hub, space), 200);
                std::thread::sleep(Duration::from_secs(1) / spaces as u32);
            }
        });
        drop(ends);
        threads.into_iter().for_each(|it| it.join().expect("nobody who reads is closed"));
        seen
    });
    let slow = hub.metric("hub_closes_total{reason=\"too_slow\"}");
    eprintln!("{} members, {slow} evictions, {bytes:?} bytes; {seen:?}", crowd(10_000));
    assert!(slow > 0.0 && seen.held_bytes_max < MEMORY / 5 * 4, "{seen:?}");
    assert!(seen.refused.is_empty() && seen.echoes > 0 && seen.posts > 0, "{seen:?}");
    assert!(bytes.load(Ordering::Relaxed) > 0);
    Ok(())
}
