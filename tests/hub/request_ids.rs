//! A request's id: in its answer, in the lines of the log about it, and in a proxy's log too.

use std::io::Write;

use serde_json::Value;

use crate::support::{GOOD, Hub, eventually, upgrade};

const ID: &str = "7f3c-01.b_Z";

fn id_of(hub: &Hub, method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let answer = hub.request(method, path, headers, b"");
    let ids: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("x-request-id"))
        .collect();
    assert_eq!(ids.len(), 1, "{method} {path}: {:?}", answer.headers);
    ids[0].1.clone()
}

#[test]
fn each_answer_has_the_id_that_its_request_came_with_or_one_of_its_own() {
    let hub = Hub::start(&[]);
    let evil = ("Origin", "http://evil.example");
    let mut made = Vec::new();
    for (method, path, headers) in [
        ("GET", "/livez", &[][..]),
        ("GET", "/readyz", &[]),
        ("GET", "/metrics", &[]),
        ("GET", "/", &[]),
        ("GET", "/nothing", &[]),
        ("GET", "/livez", &[evil]),
        ("OPTIONS", "/livez", &[("Origin", "http://localhost:3000")]),
        ("GET", "/v1/messages", &[]),
        ("GET", "/v1/ws/spaces/1?user_id=x", &[]),
        ("POST", "/v1/ws/spaces/1/chat", &[("Accept", "application/problem+json")]),
    ] {
        let with = |id| [headers, &[("X-Request-Id", id)]].concat();
        assert_eq!(id_of(&hub, method, path, &with(ID)), ID, "{method} {path}");
        made.push(id_of(&hub, method, path, headers));
    }
    let long = "x".repeat(65);
    for bad in ["a b", "<script>", "a,b", "ñ", long.as_str()] {
        made.push(id_of(&hub, "GET", "/livez", &[("X-Request-Id", bad)]));
    }
    made.push(id_of(&hub, "GET", "/livez", &[("X-Request-Id", "a"), ("X-Request-Id", "a")]));
    let is_made = |id: &String| id.len() == 32 && id.bytes().all(|it| it.is_ascii_hexdigit());
    assert!(made.iter().all(is_made), "{made:?}");
    made.sort();
    assert!(made.is_sorted_by(|one, next| one != next), "none is another's: {made:?}");
    let posted =
        hub.request("POST", "/v1/ws/spaces/1/chat", &[("X-Request-Id", ID)], GOOD.as_bytes());
    assert_eq!((posted.status, posted.header("x-request-id")), (200, Some(ID)));
}

/// The head of the answer to an upgrade with these header lines.
fn handshake(hub: &Hub, lines: &str) -> String {
    let mut stream = hub.connect();
    let path = "/v1/ws/spaces/1?user_id=1&username=Ana";
    stream.write_all(upgrade(path, lines).as_bytes()).expect("it reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut stream, &mut byte).expect("an answer");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("a text")
}

#[test]
fn a_handshake_is_answered_with_the_id_that_it_came_with_and_none_else() {
    let hub = Hub::start(&["--log", "debug", "--log-format", "json"]);
    let plain = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    let protocol = "Sec-WebSocket-Protocol: cpi-hub.v1\r\n";
    let with_id = format!("X-Request-Id: {ID}\r\n");
    assert_eq!(handshake(&hub, ""), format!("{plain}\r\n"));
    assert_eq!(handshake(&hub, &with_id), format!("{plain}{with_id}\r\n"));
    assert_eq!(handshake(&hub, "X-Request-Id: a b\r\n"), format!("{plain}\r\n"));
    // Forty headers take the long way, which answers the same.
    let many: String = (0..40).map(|number| format!("X-{number}: x\r\n")).collect();
    let all = handshake(&hub, &format!("{many}{protocol}{with_id}"));
    assert_eq!(all, format!("{plain}{protocol}{with_id}\r\n"));
    let told = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["message"] == "connection joined" && line["request"] == ID
    };
    eventually("both are told", || {
        (hub.log().lines().filter(|line| told(line)).count() == 2).then_some(())
    });
}

#[test]
fn lines_of_the_log_about_a_request_have_its_id() {
    let refuse = |hub: &Hub| {
        let headers = [("Origin", "http://evil.example"), ("X-Request-Id", ID)];
        assert_eq!(hub.request("GET", "/livez", &headers, b"").status, 403);
        eventually("it is told", || {
            let log = hub.log();
            log.lines().find(|line| line.contains("refused (403)")).map(str::to_owned)
        })
    };
    let line = refuse(&Hub::start(&["--log-format", "json"]));
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["span"], serde_json::json!({"name": "request", "id": ID}), "{line}");
    let line = refuse(&Hub::start(&["--log-format", "text"]));
    assert!(line.contains(&format!("request{{id=\"{ID}\"}}: ")), "{line}");
}
