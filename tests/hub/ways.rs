//! A handshake by each of the ways that it can take into the hub: there as soon as its connection
//! is, or later, behind another request, or with more in it than the short way takes. What it is
//! answered, and what is counted, must be the same.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::support::{Answer, Hub, eventually, frame, rest, upgrade};

/// How a handshake comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// All of it at once.
    AtOnce,
    /// Its second half when the hub has had its first for a while.
    InPieces,
    /// Behind an answered request of the same connection.
    Behind,
    /// With more headers than the short way takes.
    Long,
}

const WAYS: [Way; 4] = [Way::AtOnce, Way::InPieces, Way::Behind, Way::Long];

impl Way {
    /// Sends a handshake, and what comes behind it.
    fn send(self, hub: &Hub, request: &str, behind: &[u8]) -> TcpStream {
        let lines: String = (0..40).map(|number| format!("X-{number}: x\r\n")).collect();
        let request = match self {
            Way::Long => request.replacen("\r\n\r\n", &format!("\r\n{lines}\r\n"), 1),
            _ => request.to_owned(),
        };
        let bytes = [request.as_bytes(), behind].concat();
        let mut stream = hub.connect();
        let (first, second) = bytes.split_at(if self == Way::InPieces { 40 } else { 0 });
        if self == Way::InPieces {
            stream.write_all(first).expect("the hub reads");
            // Connections are accepted in turn: this one has been once a later one is answered.
            hub.get("/livez");
        }
        if self == Way::Behind {
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("written");
            assert_eq!(Answer::read(&mut stream).status, 200);
        }
        stream.write_all(second).expect("the hub reads");
        stream
    }

    /// How many requests beside the handshake itself it takes.
    fn requests(self) -> f64 {
        if matches!(self, Way::InPieces | Way::Behind) { 1.0 } else { 0.0 }
    }
}

/// What is counted of handshakes: requests, accepted ones, refusals.
fn counted(hub: &Hub) -> [f64; 4] {
    ["http_requests", "handshakes_accepted", "rejects", "origins_refused"]
        .map(|name| hub.metric(&format!("hub_{name}_total")))
}

/// What is said until the hub closes, without the date and the request's id.
fn said(mut stream: TcpStream) -> String {
    let text = String::from_utf8(rest(&mut stream)).expect("text");
    let varies = |line: &str| ["Date: ", "X-Request-Id: "].iter().any(|it| line.starts_with(it));
    text.split_inclusive("\r\n").filter(|line| !varies(line)).collect()
}

#[test]
fn a_refused_handshake_is_answered_and_counted_the_same_whichever_way_it_takes() {
    let hub = Hub::start(&["--user-connections-max", "1"]);
    let _member = hub.join(1, 7, "Ana");
    let at = |path: &str, lines: &str| upgrade(path, lines);
    let (space, inbox) = ("/v1/ws/spaces/1?user_id=8", "/v1/ws/notifications?user_id=7");
    for (what, status, request, rejects, refused) in [
        ("no user", 400, at("/v1/ws/spaces/1", ""), 1.0, 0.0),
        ("no space", 400, at("/v1/ws/spaces/x?user_id=8", ""), 1.0, 0.0),
        ("no route", 404, at("/v1/ws/spaces/1/2?user_id=8", ""), 0.0, 0.0),
        ("no version", 400, at(space, "").replace("Version: 13", "Version: 8"), 1.0, 0.0),
        ("no host", 400, at(space, "").replace("Host: localhost\r\n", ""), 1.0, 0.0),
        ("a body", 400, at(space, "Content-Length: 1\r\n"), 1.0, 0.0),
        ("a page's", 403, at(space, "Origin: http://evil.example\r\n"), 0.0, 1.0),
        ("no name of ours", 403, at(space, "").replace("localhost", "evil.example"), 0.0, 1.0),
        ("too many", 503, at("/v1/ws/spaces/1?user_id=7", ""), 1.0, 0.0),
        ("a problem", 503, at(inbox, "Accept: application/problem+json\r\n"), 1.0, 0.0),
    ] {
        let answers = WAYS.map(|way| {
            let before = counted(&hub);
            let answer = said(way.send(&hub, &request, b""));
            let after = counted(&hub);
            let counts: Vec<f64> = after.iter().zip(before).map(|(it, was)| it - was).collect();
            // A look at the numbers is a request for each of them.
            let requests = 1.0 + 4.0 + way.requests();
            assert_eq!(counts, [requests, 0.0, rejects, refused], "{what}, {way:?}");
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{what}, {way:?}: {answer}"
            );
            answer
        });
        for (way, answer) in WAYS.iter().zip(&answers) {
            assert_eq!(answer, &answers[0], "{what}, {way:?}");
        }
    }
    assert_eq!(hub.metric("hub_members"), 1.0);
}

#[test]
fn an_accepted_handshake_is_answered_and_counted_the_same_whichever_way_it_takes() {
    let hub = Hub::unlimited();
    let chat = json!({"type": "chat", "data": {"content": "early"}}).to_string();
    let v1 = "Sec-WebSocket-Protocol: chat, cpi-hub.v1\r\n";
    let page = "Origin: http://localhost\r\n";
    let mut messages = 0;
    for (path, lines, says) in [
        ("/v1/ws/spaces/5?user_id=7&username=Ana+Paz", v1, true),
        ("/v1/ws/spaces/5?username=%41na&user_id=7&x", "", true),
        ("/v1/ws/spaces/-5?user_id=7", page, false),
        ("/v1/ws/user-connection?user_id=7", "", false),
        ("/v1/ws/notifications?user_id=7", v1, false),
    ] {
        let (request, first) = (upgrade(path, lines), frame(0x81, chat.as_bytes()));
        let heads = WAYS.map(|way| {
            let before = counted(&hub);
            let mut stream = way.send(&hub, &request, if says { &first } else { b"" });
            let head = head(&mut stream);
            messages += usize::from(says);
            if says {
                eventually("what came behind the handshake is heard", || {
                    (hub.contents(5) == vec!["early"; messages]).then_some(())
                });
            }
            let after = counted(&hub);
            assert_eq!(after[1] - before[1], 1.0, "{path}, {way:?}");
            assert_eq!((after[2], after[3]), (before[2], before[3]), "{path}, {way:?}");
            head
        });
        assert!(heads[0].starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{path}: {heads:?}");
        assert!(heads.iter().all(|head| *head == heads[0]), "{path}: {heads:?}");
    }
}

/// The head of an answer; what stands behind it stays in the socket.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("text")
}
