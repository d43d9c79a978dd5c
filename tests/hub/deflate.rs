//! `permessage-deflate` (RFC 7692, docs/WIRE.md, J): agreed on with those who offer it, where it is
//! on.

use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::deflated::{Came, Deflated, deflated};
use crate::support::{Answer, Closed, Hub, frame, upgrade};

const V1: &str = "Sec-WebSocket-Protocol: cpi-hub.v1\r\n";
const ECHO: &str = "/v1/debug/echo";
const TEXT: &str = "hola que tal, hola que tal, hola que tal, hola que tal";

fn hub(args: &[&str]) -> Hub {
    Hub::start(&[&["--compression", "6"], args].concat())
}

fn join(hub: &Hub, space: i32, user: i32, query: &str) -> Deflated {
    let path = format!("/v1/ws/spaces/{space}?user_id={user}{query}");
    Deflated::open(hub.connect(), &path, V1).expect("an answer")
}

fn echo(hub: &Hub) -> Deflated {
    Deflated::open(hub.connect(), ECHO, "").expect("an answer")
}

fn chat(content: &str) -> String {
    json!({"type": "chat", "data": {"content": content}}).to_string()
}

fn answered(hub: &Hub, offers: &[&str]) -> Option<String> {
    use std::io::Write;
    let lines: String =
        offers.iter().map(|it| format!("Sec-WebSocket-Extensions: {it}\r\n")).collect();
    let mut stream: TcpStream = hub.connect();
    let request = upgrade("/v1/ws/spaces/1?user_id=1", &lines);
    stream.write_all(request.as_bytes()).expect("the hub reads");
    let answer = Answer::read(&mut stream);
    assert_eq!(answer.status, 101, "a bad offer keeps nobody out");
    answer.header("sec-websocket-extensions").map(str::to_owned)
}

#[test]
fn an_offer_is_taken_where_it_is_on_and_can_be_kept() {
    let plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let on = hub(&[]);
    let ways = [
        // The short way of a plain handshake, and the long one of many headers.
        vec!["permessage-deflate; client_max_window_bits"],
        [vec!["x-other"; 40], vec!["permessage-deflate"]].concat(),
        vec!["permessage-deflate; unknown, permessage-deflate"],
    ];
    for offers in ways {
        assert_eq!(answered(&on, &offers).as_deref(), Some(plain), "{offers:?}");
    }
    let window = answered(&on, &["permessage-deflate; server_max_window_bits=12"]);
    assert_eq!(window, Some(format!("{plain}; server_max_window_bits=9")));
    for bad in ["permessage-deflate; server_max_window_bits=8", "permessage-deflate; \"", "x"] {
        assert_eq!(answered(&on, &[bad]), None, "{bad}");
    }
    assert_eq!(on.metric("hub_handshakes_deflated_total"), 4.0);
    let off = Hub::start(&[]);
    assert_eq!(answered(&off, &["permessage-deflate"]), None);
}

#[test]
fn members_read_the_same_compressed_or_not_each_in_order() {
    let hub = Hub::unlimited_with(&["--compression", "6"]);
    let mut plain = hub.join_v1(1, 1, "");
    plain.next_of("join");
    let mut ana = join(&hub, 1, 2, "&username=Ana");
    let mut beto = join(&hub, 1, 3, "&username=Beto");
    ana.next_of("join");
    beto.next_of("join");
    plain.next_of("join");
    plain.next_of("join");
    ana.next_of("join");
    for number in 0..200 {
        let content = format!("{number}: {TEXT}");
        match number % 3 {
            0 => ana.send(&chat(&content)).expect("the hub reads"),
            1 => ana.write(&frame(0x81, chat(&content).as_bytes())).expect("the hub reads"),
            _ => plain.chat(&content),
        }
        let said = plain.next_of("chat");
        assert_eq!(said["data"]["content"], content.as_str());
        assert_eq!(ana.next_of("chat"), said);
        assert_eq!(beto.next_of("chat"), said);
    }
    assert_eq!(ana.texts.0, 200 + 2, "each chat and each join came compressed");
    let (from, to) = (ana.bytes.1, ana.bytes.0);
    assert!(to * 3 < from * 2, "a third less at least: {to} of {from}");
    let [input, output] =
        ["input", "output"].map(|it| hub.metric(&format!("hub_deflate_{it}_bytes_total")));
    assert!(output * 3.0 < input * 2.0 && input > 200.0 * 300.0, "{output} of {input}");
    assert!(input < 260.0 * 400.0, "once for both, not once for each: {input}");
}

#[test]
fn who_comes_back_finds_all_that_was_said_compressed_or_plain() {
    let hub = hub(&[]);
    let mut talker = hub.join_v1(1, 1, "");
    talker.next_of("join");
    let said: Vec<Value> = (0..60)
        .map(|number| {
            talker.chat(&format!("{number}: {TEXT}"));
            talker.next_of("chat")
        })
        .collect();
    let after = |at: usize| format!("&after={}", said[at]["data"]["id"].as_str().expect("an id"));
    // What was said before the first reader came is plain.
    let mut first = join(&hub, 1, 2, &after(9));
    for chat in &said[10..] {
        assert_eq!(first.next_of("chat"), *chat);
    }
    assert_eq!(first.texts.0, 0);
    assert_eq!(first.next_of("resumed")["data"]["count"], 50);
    talker.chat(&format!("60: {TEXT}"));
    let last = talker.next_of("chat");
    assert_eq!(first.next_of("chat"), last);
    let mut second = join(&hub, 1, 3, &after(58));
    assert_eq!(second.next_of("chat"), said[59]);
    assert_eq!(second.next_of("chat"), last);
    assert_eq!(second.next_of("resumed")["data"]["complete"], true);
    assert!(second.texts.0 >= 1, "the log of the first is that of the second");
}

#[test]
fn a_compressed_message_may_come_in_pieces_with_control_frames_between() {
    let hub = hub(&[]);
    let mut ana = join(&hub, 1, 1, "");
    ana.next_of("join");
    let payload = deflated(chat(TEXT).as_bytes());
    let (first, rest) = payload.split_at(5);
    let (second, third) = rest.split_at(1);
    let pieces = [frame(0x41, first), frame(0x89, b"x"), frame(0x00, second), frame(0x80, third)];
    for byte in pieces.concat() {
        ana.write(&[byte]).expect("the hub reads");
    }
    assert_eq!(ana.next_of("chat")["data"]["content"], TEXT);
    // Who is silent is asked, and answers: control frames are never compressed.
    ana.write(&frame(0xC9, b"x")).expect("the hub reads");
    assert_eq!(ana.until_closed(), Closed::by(1002, "protocol_error"));
}

#[test]
fn bits_that_nobody_agreed_on_are_errors() {
    let hub = hub(&[]);
    for bytes in [
        frame(0xA1, b"x"),
        frame(0x91, b"x"),
        [frame(0x41, b"x"), frame(0xC0, b"x")].concat(),
        [frame(0x01, b"x"), frame(0xC0, b"x")].concat(),
    ] {
        let mut ana = join(&hub, 1, 1, "");
        ana.write(&bytes).expect("the hub reads");
        assert_eq!(ana.until_closed(), Closed::by(1002, "protocol_error"), "{bytes:x?}");
    }
    let mut plain = hub.join(1, 2, "Beto");
    plain.next();
    {
        use std::io::Write;
        plain.stream().write_all(&frame(0xC1, &deflated(b"x"))).expect("the hub reads");
    }
    assert_eq!(plain.until_closed().1, Closed::by(1002, "protocol_error"));
}

#[test]
fn bombs_and_broken_streams_are_closed_and_hurt_nobody_else() {
    let hub = hub(&[]);
    let mut other = join(&hub, 1, 9, "");
    other.next_of("join");
    let bomb = deflated(&vec![b'a'; 512 << 10]);
    assert!(bomb.len() < 640, "a thousandth: {}", bomb.len());
    let one_more = deflated(&[b'a'; 513]);
    for (payload, code, reason) in [
        (&bomb[..], 1009, "message_too_big"),
        (&one_more, 1009, "message_too_big"),
        (&[0xAA; 641], 1009, "message_too_big"),
        (&[0xFF; 100], 1007, "invalid_deflate"),
        (&deflated(TEXT.as_bytes())[..9], 1007, "invalid_deflate"),
        (&deflated(b"\xC3\x28"), 1007, "invalid_utf8"),
    ] {
        let mut ana = join(&hub, 2, 1, "");
        ana.write(&frame(0xC1, payload)).expect("the hub reads");
        assert_eq!(ana.until_closed(), Closed::by(code, reason), "{} bytes", payload.len());
    }
    let longest = format!("{{\"type\":\"ping\",\"pad\":\"{}\"}}", "a".repeat(512 - 24));
    assert_eq!(longest.len(), 512);
    other.send(&longest).expect("the hub reads");
    assert_eq!(other.next_of("pong")["type"], "pong");
}

#[test]
fn the_first_message_may_show_its_token_compressed() {
    use jsonwebtoken::{EncodingKey, Header, encode};
    let secret = "a secret of thirty-two bytes or more";
    let key = EncodingKey::from_secret(secret.as_bytes()).expect("a secret");
    let claims = json!({"user_id": 7, "exp": 4_000_000_000_u64});
    let token = encode(&Header::default(), &claims, &key).expect("a token");
    let hub = Hub::start_with_env(&["--compression", "6"], &[("HUB_JWT_SECRET", secret)]);
    let mut ana = join(&hub, 1, 7, "");
    ana.send(&json!({"type": "auth", "data": {"token": token}}).to_string()).expect("read");
    assert_eq!(ana.next_of("welcome")["data"]["user_id"], 7);
    ana.next_of("join");
    ana.send(&chat(TEXT)).expect("the hub reads");
    assert_eq!(ana.next_of("chat")["data"]["content"], TEXT);
    assert!(ana.texts.0 > 0, "and then all is as with others");
    let mut bomb = join(&hub, 1, 7, "");
    bomb.write(&frame(0xC1, &deflated(&vec![b'a'; 1 << 20]))).expect("the hub reads");
    assert_eq!(bomb.until_closed(), Closed::by(1009, "message_too_big"));
}

#[test]
fn sockets_that_only_listen_are_pushed_to_compressed_and_what_they_say_is_dropped() {
    let hub = hub(&[]);
    let path = "/v1/ws/notifications?user_id=7";
    let mut inbox = Deflated::open(hub.connect(), path, "").expect("an answer");
    inbox.write(&frame(0xC2, &[0xFF; 60_000])).expect("the hub reads");
    let body = json!({"type": "event", "data": {"text": TEXT.repeat(3)}}).to_string();
    assert_eq!(hub.post("/v1/users/7/notifications", &body).status, 200);
    assert_eq!(inbox.next()["data"]["text"], TEXT.repeat(3));
    assert_eq!(inbox.texts, (1, 0));
    inbox.write(&frame(0xC1, &[0xFF; 80_000])).expect("the hub reads");
    assert_eq!(inbox.until_closed(), Closed::by(1009, "message_too_big"));
}

#[test]
fn what_testers_send_comes_back_compressed() {
    let hub = hub(&["--debug-endpoints"]);
    let mut tester = echo(&hub);
    let bytes = |length: usize| (0..length).map(|at| (at % 251) as u8).collect::<Vec<u8>>();
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 300_000] {
        tester.write(&frame(0xC2, &deflated(&bytes(length)))).expect("the hub reads");
        assert!(tester.came() == Came::Binary(bytes(length)), "{length}");
        let text = "ñandú ".chars().cycle().take(length / 2).collect::<String>();
        tester.send(&text).expect("the hub reads");
        assert!(tester.came() == Came::Text(text), "{length}");
    }
    let (to, from) = tester.bytes;
    assert!(to * 20 < from, "{to} of {from}");
    let mut bomb = echo(&hub);
    bomb.write(&frame(0xC2, &deflated(&vec![0; (16 << 20) + 1]))).expect("the hub reads");
    assert_eq!(bomb.until_closed(), Closed::by(1009, "message_too_big"));
}
