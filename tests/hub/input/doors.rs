//! Bad input at the door, in raw bytes: slow, huge, ambiguous and foreign requests, and what goes
//! wrong around a socket's beginning and end, against the real binary. A test's rows are those of
//! `docs/BAD_INPUT.md`.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;
use tungstenite::Message;

use crate::support::{Answer, Closed, GOOD, Hub, eventually, frame, rest, upgrade};

const HOST: &str = "Host: localhost\r\n";
const NEXT: &str = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn upgrade_at(host: &str, path: &str, lines: &str) -> String {
    upgrade(path, lines).replacen("localhost", host, 1)
}

fn post(headers: &str, body: &str) -> String {
    format!("POST /v1/ws/spaces/1/chat HTTP/1.1\r\n{HOST}{headers}\r\n{body}")
}

/// Sends bytes, and reads what comes back until the hub closes.
fn exchange(hub: &Hub, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = hub.connect();
    // The hub may have answered and closed before it has all of it.
    _ = stream.write_all(bytes.as_ref());
    rest_of(&mut stream)
}

/// The text that comes back until the hub closes.
fn rest_of(stream: &mut TcpStream) -> String {
    String::from_utf8(rest(stream)).expect("text")
}

/// Sends a piece again and again, slowly, until the hub has said something or closed.
fn drip(stream: &mut TcpStream, first: &str, piece: &str) -> String {
    stream.write_all(first.as_bytes()).expect("the hub reads");
    stream.set_read_timeout(Some(Duration::from_millis(10))).expect("a timeout");
    let mut answer = [0; 1];
    loop {
        match stream.read(&mut answer) {
            Ok(0) => return String::new(),
            Ok(_) => {
                stream.set_read_timeout(Some(crate::support::PATIENCE)).expect("a timeout");
                return format!("{}{}", char::from(answer[0]), rest_of(stream));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return String::new(),
        }
        if stream.write_all(piece.as_bytes()).is_err() {
            return String::new();
        }
    }
}

#[track_caller]
fn assert_one_answer(answer: &str, status: u16, of: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{of}: {answer}");
    assert_eq!(answer.matches("HTTP/1.").count(), 1, "{of}: {answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{of}: {answer}");
}

#[test]
fn rows_10_to_12_who_is_slow_is_given_up_and_holds_nobody_up() {
    let waits =
        ["--handshake-wait", "500ms", "--keep-alive-wait", "500ms", "--close-wait", "100ms"];
    let hub = Hub::start(&waits);
    let mut silent: Vec<TcpStream> = (0..200).map(|_| hub.connect()).collect();
    assert_eq!(hub.get("/livez").status, 200);
    assert_eq!(rest_of(&mut silent[0]), "");
    for stream in &mut silent {
        assert_eq!(rest_of(stream), "");
    }
    let head = drip(&mut hub.connect(), "GET /livez HTTP/1.1\r\nX: ", "x");
    assert!(head.is_empty() || head.starts_with("HTTP/1.1 408 "), "{head}");
    for headers in ["Content-Length: 1000\r\n", "Transfer-Encoding: chunked\r\n"] {
        let piece = if headers.starts_with('C') { "x" } else { "1\r\nx\r\n" };
        let body = drip(&mut hub.connect(), &post(headers, ""), piece);
        assert_one_answer(&body, 408, headers);
        assert!(body.contains(r#""code":"request_timeout""#), "{body}");
    }
    // Between two requests too.
    let mut kept = hub.connect();
    kept.write_all(NEXT.as_bytes()).expect("the hub reads");
    assert_eq!(rest_of(&mut kept).matches("HTTP/1.1 200 OK").count(), 1);
}

#[test]
fn who_does_not_take_its_answer_is_given_up() {
    let hub = Hub::unlimited_with(&["--write-wait", "300ms"]);
    let message = "ñ".repeat(1000);
    let body = json!({"user_id": 1, "username": "Ana", "message": message}).to_string();
    for _ in 0..20 {
        assert_eq!(hub.post("/v1/ws/spaces/1/chat", &body).status, 200);
    }
    let mut stream = hub.connect();
    let ask = format!("GET /v1/messages?space_id=1 HTTP/1.1\r\n{HOST}\r\n");
    // More than both sides' buffers hold; the hub stops reading requests at some point too.
    stream.set_write_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    let is_full = |error: &std::io::Error| error.kind() == ErrorKind::WouldBlock;
    eventually("the connection ends", || {
        stream.write_all(ask.repeat(50).as_bytes()).err().filter(|error| !is_full(error))
    });
}

#[test]
fn row_28_heads_beyond_their_bounds_are_431() {
    let hub = Hub::start(&["--close-wait", "100ms"]);
    let long = "x".repeat(65_536);
    for (name, head) in [
        ("line", format!("GET / HTTP/1.1\r\n{HOST}X: {long}\r\n\r\n")),
        ("name", format!("GET / HTTP/1.1\r\n{HOST}{long}: x\r\n\r\n")),
        ("lines", format!("GET / HTTP/1.1\r\n{HOST}{}\r\n", "X: x\r\n".repeat(2_000))),
        ("65 lines", format!("GET / HTTP/1.1\r\n{HOST}{}\r\n", "X: x\r\n".repeat(64))),
        ("query", format!("GET /v1/messages?{long} HTTP/1.1\r\n{HOST}\r\n")),
        ("upgrade", upgrade_at("a", &format!("/v1/ws/spaces/1?user_id=1&username={long}"), "")),
        ("no end", format!("GET / HTTP/1.1\r\n{HOST}{}", "X: x\r\n".repeat(100_000))),
    ] {
        let answer = exchange(&hub, head);
        // The hub does not read all of this, so the kernel may lose the answer.
        if name != "no end" || !answer.is_empty() {
            assert_one_answer(&answer, 431, name);
        }
    }
    let many = format!("GET /livez HTTP/1.1\r\n{HOST}{}\r\n", "X: x\r\n".repeat(62));
    let mut stream = hub.connect();
    stream.write_all(many.as_bytes()).expect("the hub reads");
    assert_eq!(Answer::read(&mut stream).status, 200);
}

#[test]
fn row_30_a_request_that_can_be_read_in_two_ways_is_400_and_the_last() {
    let waits = ["--close-wait", "100ms", "--handshake-wait", "1s", "--keep-alive-wait", "1s"];
    let hub = Hub::start(&waits);
    let length = GOOD.len();
    let whole = format!("Content-Length: {length}\r\n");
    let chunked = format!("{length:x}\r\n{GOOD}\r\n0\r\n\r\n");
    let te = "Transfer-Encoding: chunked\r\n";
    let requests = [
        post(&format!("{whole}{te}"), &chunked),
        post(&format!("{te}{whole}"), &chunked),
        post(&format!("{te}Content-Length: x\r\n"), &chunked),
        post(&format!("{whole}{whole}"), GOOD),
        post(&format!("{whole}Content-Length: 1\r\n"), GOOD),
        post(&format!("Content-Length: {length}, {length}\r\n"), GOOD),
        post(&format!("Content-Length: +{length}\r\n"), GOOD),
        post("Content-Length: 0x2f\r\n", GOOD),
        post("Content-Length: 18446744073709551616\r\n", GOOD),
        post(&format!("Content-Length : {length}\r\n"), GOOD),
        post("Transfer-Encoding: xchunked\r\n", &chunked),
        post("Transfer-Encoding: \x0Bchunked\r\n", &chunked),
        post("Transfer-Encoding:\r\n chunked\r\n", &chunked),
        post("Transfer-Encoding: chunked, identity\r\n", &chunked),
        post("Transfer-Encoding: gzip, chunked\r\n", &chunked),
        post(&te.repeat(2), &chunked),
        post(te, "fffffffffffffffff\r\n"),
        post(te, "10000000000000000\r\n"),
        post(te, &format!("-{length:x}\r\n{GOOD}\r\n0\r\n\r\n")),
        post(te, &format!("0x{length:x}\r\n{GOOD}\r\n0\r\n\r\n")),
        post(te, &format!("{length:x}\n{GOOD}\r\n0\r\n\r\n")),
        post(te, &format!("{length:x};a=\n{GOOD}\r\n0\r\n\r\n")),
        post(te, &format!("{length:x}\r\n{GOOD}\n0\n\n")),
        post("X: a\nContent-Length: 5\r\n", ""),
        post(&format!("{whole}X: a\n"), GOOD),
        post(&whole, GOOD).replace("\r\n", "\n"),
        post(&whole, GOOD).replacen("\r\n", "\r", 1),
        post(&whole, GOOD).replacen("1.1\r\n", "1.1\n", 1),
        post(&format!("X: a\0b\r\n{whole}"), GOOD),
        post(&format!("X\0: a\r\n{whole}"), GOOD),
        post(&format!("X Y: a\r\n{whole}"), GOOD),
        post(&format!("X: a\r\n b: c\r\n{whole}"), GOOD),
        post(&format!("X: a\rContent-Length: 0\r\n{whole}"), GOOD),
        post(&format!("Content-Length:\r\n {length}\r\n"), GOOD),
        post(&format!("Transfer-Encoding: identity\r\n{whole}"), GOOD),
        post(te, &chunked).replacen("1.1", "1.0", 1),
    ];
    for request in requests {
        let answer = exchange(&hub, format!("{request}{NEXT}"));
        assert_one_answer(&answer, 400, &request);
    }
    assert_eq!(hub.metric("hub_chats_accepted_total"), 0.0);
    // What is sound goes on, but for a chunked body, which is its connection's last.
    let extended = format!("{length:x};a=\"b\"\r\n{GOOD}\r\n0\r\nContent-Length: 1\r\n\r\n");
    for chunked in [&chunked, &extended] {
        let answer = exchange(&hub, format!("{}{NEXT}", post(te, chunked)));
        assert_one_answer(&answer, 200, chunked);
    }
    for sound in [whole.clone(), format!("TE: chunked\r\n{whole}")] {
        let answer = exchange(&hub, format!("{}{NEXT}", post(&sound, GOOD)));
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    }
}

#[test]
fn row_31_what_follows_a_refused_upgrade_is_never_a_request() {
    let hub = Hub::start(&["--close-wait", "100ms"]);
    for (path, host, extra, status) in [
        ("/v1/ws/spaces/1", "localhost", "", 400),
        ("/v1/ws/spaces/x?user_id=1", "localhost", "", 400),
        ("/v1/ws/spaces/1?user_id=1", "localhost", "Sec-WebSocket-Version: 8\r\n", 400),
        ("/v1/ws/spaces/1?user_id=1", "localhost", "Content-Length: 5\r\n", 400),
        ("/v1/ws/spaces/1?user_id=1", "localhost", "Transfer-Encoding: chunked\r\n", 400),
        ("/v1/ws/spaces/1?user_id=1", "localhost", "Origin: null\r\n", 403),
        ("/v1/ws/spaces/1?user_id=1", "evil.example", "", 403),
        ("/v1/ws", "localhost", "", 404),
        ("/livez", "localhost", "", 200),
    ] {
        let answer = exchange(&hub, format!("{}{NEXT}", upgrade_at(host, path, extra)));
        assert_one_answer(&answer, status, path);
    }
    // Behind one that is taken there are frames, and no second handshake.
    let handshake = upgrade("/v1/ws/spaces/1?user_id=1", "");
    let mut stream = hub.connect();
    stream.write_all(handshake.repeat(2).as_bytes()).expect("the hub reads");
    let answer = String::from_utf8_lossy(&rest(&mut stream)).into_owned();
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("protocol_error"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
}

#[test]
fn row_32_bodies_are_refused_at_their_bound_and_not_read_on() {
    let hub = Hub::start(&[
        "--close-wait",
        "100ms",
        "--chat-body-bytes-max",
        "64KiB",
        "--bodies-bytes-max",
        "64KiB",
    ]);
    // Only announced.
    let announced = exchange(&hub, post("Content-Length: 1073741824\r\n", ""));
    assert_one_answer(&announced, 413, "announced");
    assert!(announced.contains(r#""code":"body_too_large""#), "{announced}");
    // Without an end.
    let mut stream = hub.connect();
    stream.write_all(post("Transfer-Encoding: chunked\r\n", "").as_bytes()).expect("written");
    let piece = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    let mut pieces = 0;
    while stream.write_all(piece.as_bytes()).is_ok() && pieces < 100_000 {
        pieces += 1;
    }
    assert!(pieces < 100_000, "1.6 GB and no end");
    // All together: what is there counts, not what is announced.
    let half = post("Content-Length: 60000\r\n", &"x".repeat(50_000));
    let other = post("Connection: close\r\nContent-Length: 50000\r\n", &" ".repeat(50_000));
    let (first, full) = eventually("the first body is in flight", || {
        // The test cannot say whose bytes come in first.
        let mut first = hub.connect();
        first.write_all(half.as_bytes()).expect("the hub reads");
        let answer = exchange(&hub, &other);
        answer.contains(r#""code":"overloaded""#).then_some((first, answer))
    });
    assert_one_answer(&full, 503, "in flight");
    assert!(full.contains("\r\nRetry-After: "), "{full}");
    drop(first);
    eventually("there is room again", || {
        let answer = exchange(&hub, &other);
        answer.contains("Invalid request data").then_some(())
    });
}

#[test]
fn row_33_no_path_or_query_leads_into_another_space() {
    let hub = Hub::start(&[]);
    let bad = |message: &'static str| (400, message);
    let space = bad("space_id debe ser un número");
    let user = bad("user_id debe ser un número");
    let missing = (404, "404 page not found");
    for (path, (status, text)) in [
        ("/v1/ws/spaces/1%00?user_id=1", space),
        ("/v1/ws/spaces/1%2f2?user_id=1", space),
        ("/v1/ws/spaces/1%20?user_id=1", space),
        ("/v1/ws/spaces/%D9%A1?user_id=1", space),
        ("/v1/ws/spaces/%FF?user_id=1", space),
        ("/v1/ws/spaces/1.0?user_id=1", space),
        ("/v1/ws/spaces/0x1?user_id=1", space),
        ("/v1/ws/spaces/--1?user_id=1", space),
        ("/v1/ws/spaces/9223372036854775808?user_id=1", space),
        ("/v1/ws/spaces/-2147483649?user_id=1", space),
        ("/v1/ws/spaces/1;2?user_id=1", space),
        ("/v1/ws/spaces/..?user_id=1", space),
        ("/v1/ws/spaces/../spaces/1?user_id=1", missing),
        ("/v1/ws/spaces/1/?user_id=1", missing),
        ("/v1/ws//spaces/1?user_id=1", missing),
        ("/V1/ws/spaces/1?user_id=1", missing),
        ("/v1/ws/spaces/1?user_id=1%00", user),
        ("/v1/ws/spaces/1?user_id=%D9%A1", user),
        ("/v1/ws/spaces/1?user_id=%zz", user),
        ("/v1/ws/spaces/1?user_id=1,2", user),
        ("/v1/ws/spaces/1?user_id=x&user_id=1", user),
        ("/v1/ws/spaces/1?USER_ID=1", bad("user_id es requerido")),
        ("/v1/ws/spaces/1?user_id[]=1", bad("user_id es requerido")),
    ] {
        let answer = exchange(&hub, upgrade(path, ""));
        assert_one_answer(&answer, status, path);
        assert!(answer.contains(text), "{path}: {answer}");
    }
    for path in
        ["/v1/spaces/1%2f2/messages", "/v1/spaces/%D9%A1/presence", "/v1/spaces/1%00/messages"]
    {
        assert_eq!(hub.get(path).json()["code"], "invalid_parameter", "{path}");
    }
    let first = hub.socket("/v1/ws/spaces/1?user_id=1&user_id=2", None).next();
    assert_eq!((&first["user_id"], &first["space_id"]), (&json!(1), &json!(1)));
    let long = format!("/v1/ws/spaces/1?{}user_id=1", "x&".repeat(7_000));
    assert_eq!(hub.socket(&long, None).next()["user_id"], 1);
}

#[test]
fn row_34_an_upgrade_of_a_foreign_page_is_403_and_empty() {
    let hub = Hub::start(&["--origins", "https://app.example,http://localhost:3000"]);
    let own = hub.address.to_string();
    let path = "/v1/ws/spaces/1?user_id=1";
    for (host, origins) in [
        ("localhost", &["null"][..]),
        ("localhost", &["https://evil.example"]),
        ("localhost", &["https://app.example.evil.example"]),
        ("localhost", &["https://sub.app.example"]),
        ("localhost", &["http://app.example"]),
        ("localhost", &["https://app.example:444"]),
        ("localhost", &["https://app.example/"]),
        ("localhost", &["https://app.example https://evil.example"]),
        ("localhost", &["https://app.example", "https://evil.example"]),
        ("localhost", &["https://app.example", "https://app.example"]),
        ("localhost", &[""]),
        ("evil.example", &["http://evil.example"]),
        ("evil.example", &[]),
        ("192.0.2.1", &[]),
        ("localhost.evil.example", &[]),
    ] {
        let lines: String = origins.iter().map(|origin| format!("Origin: {origin}\r\n")).collect();
        let answer = exchange(&hub, upgrade_at(host, path, &lines));
        assert_one_answer(&answer, 403, &format!("{host} {lines}"));
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }
    let own_page = format!("Origin: http://{own}\r\n");
    for (host, origin) in [
        ("localhost", ""),
        (own.as_str(), own_page.as_str()),
        ("localhost", "Origin: https://app.example\r\n"),
        ("app.example", "Origin: https://app.example\r\n"),
        ("localhost", "Origin: https://APP.example\r\n"),
    ] {
        let mut stream = hub.connect();
        stream.write_all(upgrade_at(host, path, origin).as_bytes()).expect("the hub reads");
        let answer = Answer::read(&mut stream);
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (101, None));
    }
    assert_eq!(hub.metric("hub_origins_refused_total"), 15.0);
}

#[test]
fn row_35_other_protocols_are_400_and_closed() {
    let hub = Hub::start(&["--close-wait", "100ms"]);
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0].repeat(100);
    let h2 = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings].concat();
    let tls = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03"[..], &[b'\n'; 506]].concat();
    for bytes in [&h2[..], &tls, b"GET /livez\r\n\r\n", b"\x00\x00\x00\x00\r\n\r\n"] {
        assert_one_answer(&exchange(&hub, bytes), 400, &String::from_utf8_lossy(bytes));
    }
    assert_eq!(hub.get("/livez").status, 200);
}

#[test]
fn row_23_each_ping_is_answered_in_order_and_a_long_flood_is_closed() {
    let hub = Hub::unlimited();
    let mut client = hub.join(1, 1, "Ana");
    client.next();
    let flood: Vec<u8> = (0..1000_u32).flat_map(|n| frame(0x89, &n.to_be_bytes())).collect();
    client.stream().write_all(&flood).expect("written");
    for number in 0..1000_u32 {
        let Message::Pong(payload) = client.message() else { panic!("nothing else is said") };
        assert_eq!(payload[..], number.to_be_bytes());
    }

    let hub = Hub::start(&["--control-rate", "5/5", "--flood-wait", "300ms"]);
    let mut watcher = hub.join(1, 1, "Ana");
    watcher.next();
    let mut rude = hub.join(1, 2, "Beto");
    while rude.try_send(Message::Ping("x".into())).is_ok() && hub.metric("hub_leaves_total") < 1.0 {
    }
    assert_eq!(rude.until_closed().1, Closed::by(4029, "too_fast"));
    assert_eq!(watcher.next()["user_id"], 2);
    assert_eq!(watcher.next()["type"], "leave");
}

#[test]
fn row_24_unsolicited_pongs_are_ignored_and_counted() {
    let hub = Hub::start(&["--control-rate", "1/20", "--flood-wait", "300ms"]);
    let mut client = hub.join(1, 1, "Ana");
    client.next();
    let pongs: Vec<u8> = (0..15).flat_map(|_| frame(0x8A, b"x")).collect();
    client.stream().write_all(&pongs).expect("written");
    client.send(r#"{"type":"ping"}"#);
    match client.message() {
        Message::Text(text) => assert!(text.contains(r#""type":"pong""#), "{text}"),
        other => panic!("{other:?}"),
    }
    while client.try_send(Message::Pong("x".into())).is_ok() && hub.metric("hub_leaves_total") < 1.0
    {
    }
    assert_eq!(client.until_closed().1, Closed::by(4029, "too_fast"));
}

#[test]
fn row_26_a_peer_that_answers_no_close_is_ended_all_the_same() {
    let hub = Hub::start(&["--close-wait", "200ms"]);
    let mut deaf = hub.join(1, 1, "Ana");
    deaf.next();
    let kicked = hub.request("DELETE", "/v1/spaces/1/members/1", &[], b"");
    assert_eq!(kicked.json(), json!({"closed": 1}));
    // The client goes on talking; the hub hears nothing of that.
    let mut rest = Vec::new();
    let chat = json!({"type": "chat", "data": {"content": "late"}}).to_string();
    while deaf.stream().write_all(&frame(0x81, chat.as_bytes())).is_ok() {}
    _ = deaf.stream().read_to_end(&mut rest);
    assert_eq!(hub.metric("hub_chats_accepted_total"), 0.0);
}

#[test]
fn row_27_compression_is_not_negotiated_and_its_bit_is_an_error() {
    let hub = Hub::start(&[]);
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let mut stream = hub.connect();
    let path = "/v1/ws/spaces/1?user_id=1";
    stream.write_all(upgrade(path, offer).as_bytes()).expect("the hub reads");
    let answer = Answer::read(&mut stream);
    assert_eq!((answer.status, answer.header("sec-websocket-extensions")), (101, None));
    stream.write_all(&frame(0xC1, &[0xAA; 100])).expect("the hub reads");
    let mut end = Vec::new();
    stream.read_to_end(&mut end).expect("the hub ends it");
    assert!(end.ends_with(b"\x03\xEAprotocol_error"), "{end:?}");
}

#[test]
fn row_74_a_forged_address_is_not_believed() {
    // Loopback is exempt from this bound; the address in the headers would not be.
    let hub = Hub::start(&["--address-connections-max", "1", "--address-connection-rate", "1/1"]);
    let forged =
        "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\n";
    let open: Vec<TcpStream> = (1..5)
        .map(|user| {
            let path = format!("/v1/ws/spaces/1?user_id={user}");
            let mut stream = hub.connect();
            stream.write_all(upgrade(&path, forged).as_bytes()).expect("written");
            assert_eq!(Answer::read(&mut stream).status, 101);
            stream
        })
        .collect();
    drop(open);
    let proxy = format!("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n{NEXT}");
    assert_one_answer(&exchange(&hub, proxy), 400, "PROXY");
}

#[test]
fn no_answer_shows_anything_of_the_inside() {
    let hub = Hub::start(&["--origins", "none"]);
    let bodies =
        ["", "{", "null", "[]", GOOD, r#"{"message":"' OR 1=1; --","user_id":"'"}"#, "\u{0}"];
    let hostile = ["1", "x", "'; DROP TABLE chat_messages; --", "%00", "..%2f..%2fetc%2fpasswd"];
    let mut answers = Vec::new();
    for text in hostile {
        let text = text.replace(' ', "%20");
        for path in [
            format!("/v1/messages?space_id={text}&page={text}&order_by={text}&page_size={text}"),
            format!("/v1/spaces/{text}/messages?after={text}&before={text}&limit={text}"),
            format!("/v1/spaces/{text}/messages?limit={text}"),
            format!("/v1/spaces/{text}/presence"),
            format!("/v1/spaces/{text}"),
            format!("/v1/spaces?limit={text}"),
            format!("/v1/ws/spaces/{text}?user_id={text}&after={text}"),
            format!("/v1/ws/user-connection?user_id={text}"),
            format!("/{text}"),
        ] {
            let problem = [("Accept", "application/problem+json")];
            answers.push(hub.request("GET", &path, &problem, b""));
            answers.push(hub.get(&path));
        }
        answers.push(hub.request("DELETE", &format!("/v1/spaces/{text}/members/{text}"), &[], b""));
        for body in bodies {
            for path in ["/v1/ws/spaces/{}/chat", "/v1/users/{}/notifications"] {
                let path = path.replace("{}", &text);
                answers.push(hub.post(&path, body));
                let key = [("Idempotency-Key", "a b"), ("Accept", "application/problem+json")];
                answers.push(hub.request("POST", &path, &key, body.as_bytes()));
            }
        }
    }
    for answer in &answers {
        assert!(answer.status < 500, "{answer:?}");
        let text = answer.text();
        for inside in
            [".go:", ".rs", "SELECT", "INSERT", "sqlite", "SQL", "panick", "/src/", "serde"]
        {
            assert!(!text.contains(inside), "{inside}: {text}");
        }
    }
}
