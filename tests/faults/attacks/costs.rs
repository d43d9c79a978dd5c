//! Memory: what connections cost that say nothing, and whose limit the hub keeps to.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::{answered, assert_alive, idle, join, open};
use crate::support::group::Group;
use crate::support::trials::Outcome;
use crate::support::{Hub, UNLIMITED, eventually, frame};

/// What one connection may cost in a build without optimisation; an optimised build needs less.
const BYTES_MAX: usize = 4 << 10;
/// The allocator takes and gives back 2 MiB at a time: among this many that is 262 bytes each.
const SILENT: usize = 8_000;
const HEADS: usize = 4_000;

fn resident_bytes(hub: &Hub) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", hub.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

pub fn a_connection_that_says_nothing_costs_next_to_nothing() {
    let args: Vec<&str> = UNLIMITED.into_iter().chain(["--handshake-wait", "1m"]).collect();
    type Connect = fn(&Hub) -> Vec<TcpStream>;
    let kinds: [(&str, Connect); 4] = [
        ("silent", |hub| open(hub, SILENT, b"")),
        ("half a head", |hub| open(hub, SILENT, b"GET / HTTP/1.1\r\nX: ")),
        ("between requests", |hub| idle(hub, SILENT)),
        ("answered and half a head", |hub| {
            let both = [super::LIVEZ, b"GET / HTTP/1.1\r\nX: "].concat();
            answered(hub, SILENT, &both)
        }),
    ];
    for (kind, connect) in kinds {
        let hub = Hub::start(&args);
        assert_alive(&hub);
        let before = resident_bytes(&hub);
        let held = connect(&hub);
        // The last of them is known to be there when a later one is answered.
        assert_alive(&hub);
        let each = resident_bytes(&hub).saturating_sub(before) / SILENT;
        eprintln!("{kind}: {each} bytes each");
        assert!(each < BYTES_MAX, "{kind}: {each} bytes each");
        drop(held);
    }
}

pub fn heads_that_are_still_coming_have_one_bound() {
    let hub = Hub::unlimited_with(&["--handshake-wait", "1m", "--heads-bytes-max", "1MiB"]);
    assert_alive(&hub);
    let before = resident_bytes(&hub);
    let head = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(15_000));
    let held = open(&hub, HEADS, head.as_bytes());
    assert_alive(&hub);
    let grown = resident_bytes(&hub).saturating_sub(before);
    assert!(grown < (4 << 20) + HEADS * BYTES_MAX, "{grown} bytes");
    assert!(hub.metric("hub_connections_displaced_total") > 1_000.0);
    drop(held);
}

/// Starts a hub in a group, and reads what it says when it is ready.
fn ready_in(group: &Group, data_dir: &str) -> (Child, Value) {
    let mut hub = Command::new(env!("CARGO_BIN_EXE_cpi-hub"));
    hub.args(["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir])
        .args(["--log", "info", "--log-format", "json"])
        .env_clear()
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = group.within(|| hub.spawn()).expect("the hub starts");
    let log = BufReader::new(child.stderr.take().expect("it is piped"));
    let lines = log.lines().map_while(Result::ok);
    let ready = lines
        .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
        .find(|line| line["message"] == "ready");
    (child, ready.expect("the hub gets ready"))
}

pub fn the_own_control_group_bounds_memory() -> Outcome {
    let group = Group::make(512 << 20)?;
    let dir = tempfile::tempdir().expect("a directory");
    let (mut child, ready) = ready_in(&group, dir.path().to_str().expect("text"));
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert_eq!(ready["logs_bytes_max"], 128 << 20, "{ready}");
    let connections = ready["connections_bytes_max"].as_u64().expect("a number");
    assert!(connections <= (128 + 32) << 20, "{ready}");
    Ok(())
}

/// A socket on which nothing is said, with a long message that never ends: nobody will read it, so
/// nobody keeps it.
pub fn messages_that_nobody_reads_are_not_kept() {
    const SOCKETS: i32 = 1_000;
    let hub = Hub::start(&["--message-rate", "off"]);
    let open = |user| {
        let (answer, stream) = join(&hub, &format!("/v1/ws/notifications?user_id={user}"));
        assert_eq!(answer.status, 101);
        stream
    };
    let mut sockets: Vec<TcpStream> = (1..=SOCKETS).map(open).collect();
    let before = resident_bytes(&hub);
    // A text frame of 65,535 bytes without FIN, masked with zeros; then a ping, whose answer shows
    // that all before it was read.
    let mut begun = vec![0x01, 0xFE, 0xFF, 0xFF, 0, 0, 0, 0];
    begun.resize(begun.len() + 0xFFFF, b'x');
    begun.extend(frame(0x89, b""));
    for socket in &mut sockets {
        socket.write_all(&begun).expect("the hub reads");
        let mut pong = [0; 2];
        socket.read_exact(&mut pong).expect("a pong");
        assert_eq!(pong, [0x8A, 0]);
    }
    let each = resident_bytes(&hub).saturating_sub(before) / SOCKETS as usize;
    assert!(each < 8 << 10, "{each} bytes held for each");
    // The end of the message counts it.
    sockets[0].write_all(&frame(0x80, b"y")).expect("the hub reads");
    let received = || hub.metric("hub_received_bytes_total") == 65_536.0;
    eventually("it is counted", || received().then_some(()));
}
