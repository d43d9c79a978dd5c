//! Descriptors and places: one count of connections of every sort, and who gives way.

use cpi_hub::conditions::Condition;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;

use super::{LIVEZ, assert_alive, idle, join, open, post};
use crate::support::health::{mended_by, planted_by};
use crate::support::{Answer, Hub, UNLIMITED, eventually, run_hub};

const HALF_A_HEAD: &[u8] = b"GET /livez HTTP/1.1\r\nHost: local";
const HALF_A_POST: &str = "POST /v1/ws/spaces/1/chat HTTP/1.1\r\nHost: localhost\r\n\
     Content-Length: 47\r\n\r\n{\"user_id\":1,\"username\"";
const REST_OF_THE_POST: &[u8] = b":\"Ana\",\"message\":\"hola\"}";

/// A hub of one shard that may open this many files, without limits of rates.
fn small_hub(files: &str) -> Hub {
    let args: Vec<&str> = UNLIMITED.into_iter().chain(["--shards", "1"]).collect();
    Hub::start_under(&["prlimit", &format!("--nofile={files}:{files}")], &args)
}

fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).expect("an option");
    !matches!(stream.read(&mut [0; 1]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

pub fn connections_of_every_sort_leave_the_journal_its_descriptors() {
    let hub = Hub::start_under(&["prlimit", "--nofile=1024:1024"], &["--connection-rate", "off"]);
    let members: Vec<_> = (0..240)
        .map(|user| {
            let (answer, stream) = join(&hub, &format!("/v1/ws/spaces/1?user_id={user}"));
            assert_eq!(answer.status, 101);
            stream
        })
        .collect();
    let silent = open(&hub, 800, b"");
    assert_alive(&hub);
    assert_eq!(post(&hub, 1, "hola"), 200);
    assert_eq!(hub.history_of(1, 1)[0]["content"], "hola");
    assert_eq!(hub.metric("hub_members"), 240.0, "no member makes room");
    assert_eq!(hub.metric("hub_journal_faults_total"), 0.0);
    drop((members, silent));
}

pub fn who_waits_for_its_peer_makes_room_and_who_is_served_does_not() {
    let hub = small_hub("128");
    let mut served = open(&hub, 1, HALF_A_POST.as_bytes()).remove(0);
    for kind in [open(&hub, 100, b""), open(&hub, 100, HALF_A_HEAD), idle(&hub, 100)] {
        assert_alive(&hub);
        drop(kind);
    }
    // The oldest gives way, and the newest does not.
    let mut kept = idle(&hub, 100);
    eventually("the oldest is closed", || is_closed(&mut kept[0]).then_some(()));
    let newest = kept.last_mut().expect("100");
    newest.write_all(LIVEZ).expect("it is open");
    assert_eq!(Answer::read(newest).status, 200);
    assert!(hub.metric("hub_connections_displaced_total") > 200.0);
    served.write_all(REST_OF_THE_POST).expect("it is open");
    assert_eq!(Answer::read(&mut served).status, 200);
}

pub fn slow_bodies_do_not_keep_all_places() {
    let hub = small_hub("128");
    let bodies = open(&hub, 100, HALF_A_POST.as_bytes());
    assert_alive(&hub);
    let head = HALF_A_POST.replace("Content-Length: 47", "Transfer-Encoding: chunked");
    let chunked = head.replace("\r\n\r\n", "\r\n\r\n2f\r\n");
    let chunks = open(&hub, 100, chunked.as_bytes());
    assert_alive(&hub);
    drop((bodies, chunks));
}

pub fn members_leave_places_to_http() {
    let hub = small_hub("128");
    let mut members = Vec::new();
    let refused = loop {
        let (answer, stream) = join(&hub, &format!("/v1/ws/spaces/1?user_id={}", members.len()));
        if answer.status != 101 {
            break answer;
        }
        members.push(stream);
        assert!(members.len() < 128);
    };
    assert!(members.len() >= 30, "{} members", members.len());
    assert_eq!((refused.status, &refused.json()["code"]), (503, &"too_many_connections".into()));
    assert!(refused.header("retry-after").is_some());
    for _ in 0..3 {
        let silent = open(&hub, 100, b"");
        assert_alive(&hub);
        assert_eq!(post(&hub, 2, "hola"), 200);
        drop(silent);
    }
    assert_eq!(hub.metric("hub_members"), members.len() as f64);
    members.pop();
    eventually("the place is free", || {
        (join(&hub, "/v1/ws/spaces/1?user_id=1").0.status == 101).then_some(())
    });
    // Where many descriptors are allowed, members have as many places as were asked for.
    let hub = Hub::start(&["--connections-max", "3"]);
    let three: Vec<_> = (0..3).map(|user| hub.join(1, user, "Ana")).collect();
    assert_eq!(join(&hub, "/v1/ws/spaces/1?user_id=9").0.status, 503);
    drop(three);
}

pub fn a_shortage_of_descriptors_is_told_and_passes() {
    let hub = small_hub("128");
    let set = |files: usize| {
        let limit = format!("--nofile={files}:128");
        let pid = hub.pid().to_string();
        let status = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
        assert!(status.expect("prlimit runs").success());
    };
    let mut kept = idle(&hub, 1).remove(0);
    set(8);
    let mut late = open(&hub, 1, LIVEZ).remove(0);
    let mut ask = |path: &str| {
        let ask = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        kept.write_all(ask.as_bytes()).expect("it is open");
        Answer::read(&mut kept)
    };
    planted_by(&mut ask, || hub.log(), Condition::DescriptorsShort);
    set(128);
    assert_eq!(Answer::read(&mut late).status, 200);
    mended_by(&mut ask, || hub.log(), Condition::DescriptorsShort);
    // The journal tries its own files again in its own time.
    eventually("the hub is ready", || (ask("/readyz").json()["status"] == "ready").then_some(()));
}

pub fn the_limit_of_open_files_is_raised_as_far_as_it_may_be() {
    let hub = Hub::start_under(&["prlimit", "--nofile=100:2000"], &[]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", hub.pid())).expect("limits");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let numbers: Vec<&str> = files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers, ["2000", "2000"]);
}

pub fn too_few_descriptors_are_refused_in_one_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().to_str().expect("text");
    let serve = [env!("CARGO_BIN_EXE_cpi-hub"), "serve", "--shards", "1", "--data-dir", dir];
    let output = Command::new("prlimit").arg("--nofile=64:64").args(serve).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("cpi-hub: 64 open files are allowed (ulimit -n): "), "{text}");
    assert_eq!(run_hub(&["--version"], &[]).status.code(), Some(0));
}
