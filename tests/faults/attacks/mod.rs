//! Attacks on what the hub has a limited number of: descriptors, places among the connections,
//! memory; against the real binary, under limits of its own.

pub mod costs;
pub mod floods;
pub mod herd;
pub mod places;

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{Answer, Hub, upgrade};

const LIVEZ: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

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

/// Opens a socket; the answer's status.
fn join(hub: &Hub, path: &str) -> (Answer, TcpStream) {
    let mut stream = hub.connect();
    stream.write_all(upgrade(path, "").as_bytes()).expect("the hub reads");
    (Answer::read(&mut stream), stream)
}

fn post(hub: &Hub, space: i32, text: &str) -> u16 {
    let body = serde_json::json!({"user_id": 1, "username": "Ana", "message": text});
    hub.post(&format!("/v1/ws/spaces/{space}/chat"), &body.to_string()).status
}
