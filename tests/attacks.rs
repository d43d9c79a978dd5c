//! Attacks on what the hub has a limited number of: descriptors, places among the connections,
//! memory; against the real binary, under limits of its own.

#[path = "attacks/herd.rs"]
mod herd;
#[path = "attacks/memory.rs"]
mod memory;
#[path = "attacks/places.rs"]
mod places;
mod support;

use std::io::Write;
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Answer, Hub, trials};

const LIVEZ: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn main() -> ExitCode {
    // Attackers need descriptors too.
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the hard one");
    let tests = trials::named![
        places::connections_of_every_sort_leave_the_journal_its_descriptors,
        places::who_waits_for_its_peer_makes_room_and_who_is_served_does_not,
        places::slow_bodies_do_not_keep_all_places,
        places::members_leave_places_to_http,
        places::a_shortage_of_descriptors_is_told_and_passes,
        places::the_limit_of_open_files_is_raised_as_far_as_it_may_be,
        places::too_few_descriptors_are_refused_in_one_line,
        memory::a_connection_that_says_nothing_costs_next_to_nothing,
        memory::heads_that_are_still_coming_have_one_bound,
        memory::the_own_control_group_bounds_memory,
        herd::under_attack_everything_accepted_is_stored,
    ];
    trials::run(&tests, 1)
}

/// How long an answer may take under attack. A build without optimisation, beside whatever else
/// the machine does, still has to be faster than the time after which slow peers are given up.
const ANSWER_WAIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 });

/// Asks whether the hub lives; it has to say so in time, which comes back.
#[track_caller]
fn assert_alive(hub: &Hub) -> Duration {
    let begun = Instant::now();
    let mut stream = hub.connect();
    stream.write_all(LIVEZ).expect("the hub reads");
    assert_eq!(Answer::read(&mut stream).status, 200);
    let took = begun.elapsed();
    assert!(took < ANSWER_WAIT, "/livez took {took:?}");
    took
}

/// Connections that have sent this.
fn open(hub: &Hub, count: usize, first: &[u8]) -> Vec<TcpStream> {
    let connect = |_| {
        let mut stream = hub.connect();
        // What is over already is the hub's choice.
        _ = stream.write_all(first);
        stream
    };
    (0..count).map(connect).collect()
}

/// Connections whose first request was answered.
fn idle(hub: &Hub, count: usize) -> Vec<TcpStream> {
    answered(hub, count, LIVEZ)
}

/// Connections that have sent this and were answered, one after the other: what many answers need
/// at the same time is no part of what a connection holds afterwards.
fn answered(hub: &Hub, count: usize, first: &[u8]) -> Vec<TcpStream> {
    let ask = |mut stream: TcpStream| {
        assert_eq!(Answer::read(&mut stream).status, 200);
        stream
    };
    (0..count).flat_map(|_| open(hub, 1, first)).map(ask).collect()
}

fn upgrade(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// Opens a socket; the answer's status.
fn join(hub: &Hub, path: &str) -> (Answer, TcpStream) {
    let mut stream = hub.connect();
    stream.write_all(upgrade(path).as_bytes()).expect("the hub reads");
    (Answer::read(&mut stream), stream)
}

fn post(hub: &Hub, space: i32, text: &str) -> u16 {
    let body = serde_json::json!({"user_id": 1, "username": "Ana", "message": text});
    hub.post(&format!("/v1/ws/spaces/{space}/chat"), &body.to_string()).status
}
