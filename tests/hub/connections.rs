//! What becomes of an HTTP connection around its answers: half-closed, with bodies that nobody
//! reads, kept for the next request; against the real binary.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use serde_json::json;

use super::operator::{Process, ask};
use crate::support::{Answer, GOOD, Hub, PATIENCE, eventually, rest, upgrade};

const HOST: &str = "Host: localhost\r\n";

/// A request with a body, if there is one.
fn request(method: &str, path: &str, body: &str) -> String {
    let length = match body {
        "" => String::new(),
        body => format!("Content-Length: {}\r\n", body.len()),
    };
    format!("{method} {path} HTTP/1.1\r\n{HOST}{length}\r\n{body}")
}

/// What comes to the end of a connection on which all is said.
fn said_all(hub: &Hub, bytes: &str) -> String {
    let mut stream = hub.connect();
    stream.write_all(bytes.as_bytes()).expect("the hub reads");
    stream.shutdown(Shutdown::Write).expect("half of it is open");
    String::from_utf8(rest(&mut stream)).expect("text")
}

fn answers(text: &str, status: u16) -> usize {
    text.matches(&format!("HTTP/1.1 {status} ")).count()
}

#[test]
fn a_sender_that_has_said_its_last_is_answered_on_every_route() {
    let hub = Hub::unlimited_with(&["--durable-wait-max", "300ms"]);
    let push = r#"{"data":{}}"#;
    for (method, path, body, status) in [
        ("GET", "/v1/spaces/1/presence", "", 200),
        ("GET", "/v1/spaces", "", 200),
        ("GET", "/v1/messages?space_id=1", "", 200),
        ("GET", "/v1/spaces/1/messages", "", 200),
        ("DELETE", "/v1/spaces/1/members/1", "", 200),
        ("POST", "/v1/users/1/notifications", push, 200),
        ("POST", "/v1/ws/spaces/1/chat", GOOD, 200),
        ("POST", "/v1/ws/spaces/1/broadcast", "{", 400),
        ("GET", "/readyz", "", 200),
        ("GET", "/metrics", "", 200),
        ("GET", "/client.js", "", 200),
        ("GET", "/nothing", "", 404),
        ("GET", "/v1/ws/spaces/1", "", 400),
    ] {
        for _ in 0..10 {
            let text = said_all(&hub, &request(method, path, body));
            assert_eq!(answers(&text, status), 1, "{method} {path}: {text}");
        }
    }
    let chunked = format!(
        "POST /v1/ws/spaces/1/chat HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{GOOD}\r\n0\r\n\r\n",
        GOOD.len()
    );
    assert_eq!(answers(&said_all(&hub, &chunked), 200), 1);
    // Requests that were sent together are answered together.
    let three = request("GET", "/v1/spaces/1/presence", "").repeat(3);
    assert_eq!(answers(&said_all(&hub, &three), 200), 3);
    // The answer comes long after the end of what was said.
    let _locked = hub.lock_store();
    let post = request("POST", "/v1/ws/spaces/1/chat", GOOD);
    for _ in 0..3 {
        assert_eq!(answers(&said_all(&hub, &post), 202), 1);
    }
    // What is not whole is nobody's request.
    let cut = format!("POST /v1/ws/spaces/1/chat HTTP/1.1\r\n{HOST}Content-Length: 99\r\n\r\n{{");
    let text = said_all(&hub, &cut);
    assert!(text.is_empty() || answers(&text, 400) == 1, "{text}");
    assert_eq!(said_all(&hub, "GET /v1/spaces/1/presence HTTP/1.1\r\nHos"), "");
}

/// Every route that answers before it has read its request's body, with its status.
const UNREAD: [(&str, &str, &str, u16); 10] = [
    ("DELETE", "/v1/spaces/1/members/1", "", 200),
    ("GET", "/v1/spaces/1/presence", "", 200),
    ("GET", "/livez", "", 200),
    ("GET", "/v1/ws/spaces/1", "", 400),
    ("GET", "/v1/messages", "", 400),
    ("POST", "/v1/users/x/notifications", "", 400),
    ("POST", "/nothing", "", 404),
    ("PUT", "/v1/messages", "", 404),
    ("POST", "/v1/ws/spaces/1/chat", "Origin: https://evil.example\r\n", 403),
    ("OPTIONS", "/v1/messages", "Origin: http://localhost:3000\r\n", 204),
];

fn head_of(method: &str, path: &str, lines: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\n{HOST}{lines}\r\n")
}

fn says_close(answer: &Answer) -> bool {
    answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

/// Reads an answer, and what comes when it is said to be the last.
fn answer_and_end(stream: &mut TcpStream) -> Answer {
    let answer = Answer::read(stream);
    if says_close(&answer) {
        stream.shutdown(Shutdown::Write).expect("it was not reset");
        assert_eq!(stream.read(&mut [0; 9]).expect("a clean end"), 0);
    }
    answer
}

#[test]
fn a_small_body_that_no_route_reads_is_thrown_away_and_the_connection_goes_on() {
    let hub = Hub::unlimited_with(&["--close-wait", "10s", "--stop-wait", "60s"]);
    for (method, path, lines, status) in UNREAD {
        let mut stream = hub.connect();
        let head = head_of(method, path, &format!("{lines}Content-Length: 10\r\n"));
        for _ in 0..2 {
            stream.write_all(head.as_bytes()).expect("the hub reads");
            // The hub has the head before it is sent any of the body.
            stream.write_all(b"01234").expect("the hub reads");
            stream.write_all(b"56789").expect("the hub reads");
            let answer = Answer::read_of(&mut stream, method);
            assert_eq!((answer.status, says_close(&answer)), (status, false), "{method} {path}");
        }
        stream.write_all(request("GET", "/livez", "").as_bytes()).expect("it is open");
        assert_eq!(Answer::read(&mut stream).text(), "ok", "{method} {path}");
    }
}

#[test]
fn a_body_in_a_later_segment_is_waited_for() {
    let hub = Hub::unlimited_with(&["--close-wait", "30s", "--stop-wait", "2m"]);
    for (method, path, lines, status) in UNREAD {
        let mut stream = hub.connect();
        let asked = hub.metric("hub_http_requests_total");
        let head = head_of(method, path, &format!("{lines}Content-Length: 10\r\n"));
        stream.write_all(head.as_bytes()).expect("the hub reads");
        eventually("the hub has the head", || {
            // The questions for the number are requests too.
            (hub.metric("hub_http_requests_total") >= asked + 2.0).then_some(())
        });
        stream.write_all(b"0123456789").expect("the hub reads");
        let answer = Answer::read_of(&mut stream, method);
        assert_eq!((answer.status, says_close(&answer)), (status, false), "{method} {path}");
        stream.write_all(request("GET", "/livez", "").as_bytes()).expect("it is open");
        assert_eq!(Answer::read(&mut stream).text(), "ok", "{method} {path}");
    }
}

#[test]
fn a_large_or_late_body_that_no_route_reads_ends_its_connection_and_the_answer_says_so() {
    let hub = Hub::unlimited_with(&["--close-wait", "200ms"]);
    for (method, path, lines, status) in UNREAD {
        // A late body, one that is announced too large, and one that waits to be asked for.
        for length in ["10\r\n", "99999999\r\n", "10\r\nExpect: 100-continue\r\n"] {
            let mut stream = hub.connect();
            let head = head_of(method, path, &format!("{lines}Content-Length: {length}"));
            stream.write_all(head.as_bytes()).expect("the hub reads");
            let answer = answer_and_end(&mut stream);
            assert_eq!((answer.status, says_close(&answer)), (status, true), "{method} {path}");
        }
        // Its sender reads nothing before it has sent all, and gets its answer all the same.
        let body = vec![b'x'; 4 << 20];
        let head = head_of(method, path, &format!("{lines}Content-Length: {}\r\n", body.len()));
        let mut stream = hub.connect();
        stream.write_all(head.as_bytes()).expect("the hub reads");
        _ = stream.write_all(&body);
        let answer = Answer::read_of(&mut stream, method);
        assert_eq!((answer.status, says_close(&answer)), (status, true), "{method} {path}");
    }
}

#[test]
fn a_kept_connection_has_a_time_of_its_own() {
    let hub = Hub::start(&["--handshake-wait", "300ms", "--keep-alive-wait", "20s"]);
    let (mut kept, mut silent) = (hub.connect(), hub.connect());
    let ask = request("GET", "/livez", "");
    for _ in 0..2 {
        kept.write_all(ask.as_bytes()).expect("the hub reads");
        let answer = Answer::read(&mut kept);
        assert_eq!(answer.header("keep-alive"), Some("timeout=20"));
        // Whoever has asked nothing yet is closed after `handshake_wait`.
        assert_eq!(silent.read(&mut [0; 9]).expect("a clean end"), 0);
        silent = hub.connect();
    }
    // A head that has begun is to end in its own time.
    kept.write_all(b"GET /livez HTTP/1.1\r\n").expect("it is open");
    let begun = Instant::now();
    rest(&mut kept);
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());

    let hub = Hub::start(&["--handshake-wait", "10m", "--keep-alive-wait", "200ms"]);
    let mut kept = hub.connect();
    kept.write_all(ask.as_bytes()).expect("the hub reads");
    assert_eq!(Answer::read(&mut kept).header("keep-alive"), None, "no whole second");
    assert_eq!(kept.read(&mut [0; 9]).expect("a clean end"), 0);
}

#[test]
fn an_idle_kept_connection_gives_way_when_places_are_short() {
    let hub = Hub::start(&["--connections-max", "1", "--keep-alive-wait", "10m"]);
    // One place for members and one for HTTP.
    let mut kept = hub.connect();
    kept.write_all(request("GET", "/livez", "").as_bytes()).expect("the hub reads");
    Answer::read(&mut kept);
    let others: Vec<Answer> = (0..4).map(|_| hub.get("/livez")).collect();
    assert!(others.iter().all(|answer| answer.status == 200));
    let held = [hub.connect(), hub.connect(), hub.connect()];
    assert_eq!(kept.read(&mut [0; 9]).expect("a clean end"), 0);
    drop(held);
}

#[test]
fn whoever_kicks_again_and_again_is_told_of_in_few_lines() {
    let dir = tempfile::tempdir().expect("a directory");
    let hub = Process::serve(dir.path(), &["--drain-window", "0"]);
    let address = hub.address();
    let kick = "DELETE /v1/spaces/1/members/7 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let (_, mut stream) = ask(address, kick);
    for _ in 0..500 {
        stream.write_all(kick.as_bytes()).expect("the hub reads");
        assert_eq!(Answer::read(&mut stream).json(), json!({"closed": 0}));
    }
    let (answer, _member) = ask(address, upgrade("/v1/ws/spaces/1?user_id=7", ""));
    assert_eq!(answer.status, 101);
    let (answer, _) = ask(address, kick);
    assert!(matches!(answer.json()["closed"].as_u64(), Some(0 | 1)));
    hub.signal("TERM");
    let (code, log) = hub.end();
    assert_eq!(code, Some(0));
    let told: Vec<&str> =
        log.lines().filter(|line| line.contains("is closed by request")).collect();
    assert!((1..=2).contains(&told.len()), "{told:?}");
    assert!(told.iter().all(|line| line.contains("127.0.0.1")), "{told:?}");
}
