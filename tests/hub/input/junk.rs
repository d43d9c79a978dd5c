//! What a member may not say: junk, limits and broken frames, each with its answer and nobody else
//! hurt (`docs/WIRE.md` A2, C, D).

use std::io::{Read, Write};

use serde_json::json;
use tungstenite::Message;

use crate::support::{Closed, Hub, frame};

#[test]
fn junk_is_answered_and_the_socket_lives_on() {
    let hub =
        Hub::start(&["--message-rate", "off", "--user-message-rate", "off", "--junk-max", "1000"]);
    let mut client = hub.join(1, 7, "Ana");
    client.next();
    let deep = format!("{}1{}", "[".repeat(33), "]".repeat(33));
    let format = ["invalid_message_format", "Invalid message format"];
    let unknown = ["unknown_message_type", "Unknown message type"];
    let chat = ["invalid_chat_message", "Invalid chat message"];
    let cases: Vec<(String, [&str; 2])> = [
        ("", format),
        ("hola", format),
        ("[]", format),
        ("7", format),
        (r#"{"type":7}"#, format),
        (r#"{"type":"ping"} x"#, format),
        (r#"{"type":"ping","type":"ping"}"#, format),
        (r#"{"type":"chat","data":{"content":"\ud800"}}"#, format),
        (r#"{"type":"ping","x":DEEP}"#, format),
        ("{}", unknown),
        ("null", unknown),
        (r#"{"type":"join"}"#, unknown),
        (r#"{"type":"leave"}"#, unknown),
        (r#"{"type":"pong"}"#, unknown),
        (r#"{"type":"error"}"#, unknown),
        (r#"{"type":"auth","data":{"token":"x"}}"#, unknown),
        (r#"{"type":"Chat"}"#, unknown),
        (r#"{"type":"chat","data":[]}"#, chat),
        (r#"{"type":"chat","data":{"content":7}}"#, chat),
        (r#"{"type":"chat","data":{"content":"x","image":7}}"#, chat),
        (r#"{"type":"chat"}"#, chat),
        (r#"{"type":"chat","data":{}}"#, ["validation_error", "el mensaje no puede estar vacío"]),
        (
            r#"{"type":"chat","data":{"content":null}}"#,
            ["validation_error", "el mensaje no puede estar vacío"],
        ),
        (
            r#"{"type":"chat","data":{"content":""}}"#,
            ["validation_error", "el mensaje no puede estar vacío"],
        ),
        (
            r#"{"type":"chat","data":{"content":"a\u0000b"}}"#,
            ["validation_error", "el mensaje contiene caracteres no permitidos"],
        ),
    ]
    .map(|(text, expected)| (text.replace("DEEP", &deep), expected))
    .to_vec();
    for (text, [code, message]) in cases {
        client.send(&text);
        let answer = client.next();
        let expected = json!({"type": "error", "data": {"code": code, "message": message},
            "timestamp": answer["timestamp"], "user_id": 7, "space_id": 1});
        assert_eq!(answer, expected, "{text}");
    }
    client.chat("still here");
    assert_eq!(client.next()["data"]["content"], "still here");
}

#[test]
fn what_is_not_read_of_a_message_may_be_anything() {
    let hub = Hub::unlimited();
    let mut client = hub.join(1, 7, "Ana");
    client.next();
    client.send(
        r#"{"timestamp":"x","user_id":99,"space_id":"2","username":"Eve","n":1e400,"type":"chat",
            "data":{"id":"1","user_id":99,"username":"Eve","space_id":2,"content":" \u00f1 ","x":null}}"#,
    );
    let data = client.next()["data"].clone();
    assert_eq!(data["content"], " ñ ");
    assert_eq!((&data["user_id"], &data["username"]), (&json!(7), &json!("Ana")));
    assert_eq!(data["space_id"], 1);
    assert_ne!(data["id"], "1");
}

#[test]
fn too_much_junk_ends_the_connection() {
    let hub = Hub::unlimited();
    let mut client = hub.join(1, 7, "Ana");
    for _ in 0..21 {
        client.send("junk");
    }
    let (texts, how) = client.until_closed();
    assert_eq!(texts.len(), 1 + 20);
    assert_eq!(how, Closed::by(1008, "too_many_errors"));
}

#[test]
fn binary_messages_and_fragments_are_messages_and_pings_between_them_are_answered() {
    let hub = Hub::unlimited();
    let mut client = hub.join(1, 7, "Ana");
    client.next();
    let chat = |content: &str| json!({"type": "chat", "data": {"content": content}}).to_string();
    client.send_message(Message::binary(chat("binary").into_bytes()));
    assert_eq!(client.next()["data"]["content"], "binary");
    let text = chat("in three parts: ñandú").into_bytes();
    let cut = text.len() - 6;
    let mut bytes = frame(0x01, &text[..5]);
    bytes.extend(frame(0x89, b"between"));
    bytes.extend(frame(0x00, &text[5..cut]));
    bytes.extend(frame(0x80, &text[cut..]));
    client.stream().write_all(&bytes).expect("written");
    let mut pongs = 0;
    loop {
        match client.message() {
            Message::Pong(payload) => {
                assert_eq!(&payload[..], b"between");
                pongs += 1;
            }
            Message::Text(text) => {
                assert!(text.contains("in three parts: ñandú"));
                break;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    if pongs == 0 {
        assert!(matches!(client.message(), Message::Pong(_)));
    }
}

#[test]
fn a_message_of_512_bytes_passes_and_513_close_also_in_fragments() {
    let hub = Hub::unlimited();
    let text_of = |bytes: usize| {
        let frame = json!({"type": "chat", "data": {"content": ""}}).to_string();
        let content = "x".repeat(bytes - frame.len());
        json!({"type": "chat", "data": {"content": content}}).to_string()
    };
    let mut watcher = hub.join(1, 1, "Ana");
    watcher.next();
    let mut whole = hub.join(1, 2, "Beto");
    assert_eq!(text_of(512).len(), 512);
    whole.send(&text_of(512));
    assert_eq!(watcher.next_of("chat")["user_id"], 2);
    whole.send(&text_of(513));
    assert_eq!(whole.until_closed().1, Closed::by(1009, "message_too_big"));
    assert_eq!(watcher.next()["type"], "leave");

    let mut parts = hub.join(1, 3, "Caro");
    let text = text_of(513).into_bytes();
    let mut bytes = frame(0x01, &text[..300]);
    bytes.extend(frame(0x80, &text[300..]));
    parts.stream().write_all(&bytes).expect("written");
    assert_eq!(parts.until_closed().1, Closed::by(1009, "message_too_big"));

    let mut declared = hub.join(1, 4, "Dani");
    let head = [0x81, 0xFF, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4];
    declared.stream().write_all(&head).expect("written");
    assert_eq!(declared.until_closed().1, Closed::by(1009, "message_too_big"));
}

#[test]
fn broken_frames_close_with_their_code_and_hurt_nobody_else() {
    let hub = Hub::unlimited();
    let mut watcher = hub.join(1, 1, "Ana");
    watcher.next();
    let masked = |bytes: &[u8]| {
        let mut frame = bytes.to_vec();
        frame.extend([0, 0, 0, 0]);
        frame
    };
    let mut many = frame(0x01, b"");
    for _ in 0..16 {
        many.extend(frame(0x00, b""));
    }
    let close_of = |payload: &[u8]| frame(0x88, payload);
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("unmasked", vec![0x81, 1, b'x'], 1002),
        ("RSV1", frame(0xC1, b"{}"), 1002),
        ("RSV2", frame(0xA1, b"{}"), 1002),
        ("RSV3", frame(0x91, b"{}"), 1002),
        ("opcode 3", frame(0x83, b"{}"), 1002),
        ("opcode 7", frame(0x87, b"{}"), 1002),
        ("opcode 11", frame(0x8B, b""), 1002),
        ("opcode 15", frame(0x8F, b""), 1002),
        ("length 2^63", masked(&[0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0]), 1002),
        ("length 2^63-1", masked(&[0x81, 0xFF, 0x7F, 255, 255, 255, 255, 255, 255, 255]), 1009),
        ("length 5 in 16 bits", masked(&[0x81, 0xFE, 0, 5]), 1002),
        ("length 5 in 64 bits", masked(&[0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0, 5]), 1002),
        ("17 fragments", many, 1009),
        ("lone continuation", frame(0x80, b"x"), 1002),
        ("interleaved", [frame(0x01, b"x"), frame(0x81, b"{}")].concat(), 1002),
        ("fragmented ping", frame(0x09, b"x"), 1002),
        ("ping of 126", frame(0x89, &[b'x'; 126]), 1002),
        ("bad UTF-8", frame(0x81, b"\xFF"), 1007),
        ("overlong UTF-8", frame(0x81, b"\xC0\xAF"), 1007),
        ("surrogate UTF-8", frame(0x81, b"\xED\xA0\x80"), 1007),
        ("bad UTF-8 in an open fragment", frame(0x01, b"\xF4\x90"), 1007),
        ("bad UTF-8 in a binary", frame(0x82, b"\xFF"), 1007),
        ("close of 1 byte", close_of(b"x"), 1002),
        ("close 1005", close_of(&1005u16.to_be_bytes()), 1002),
        ("close 999", close_of(&999u16.to_be_bytes()), 1002),
        ("close with bad UTF-8", close_of(b"\x03\xE8\xFF"), 1007),
    ];
    for (name, bytes, code) in cases {
        let mut client = hub.join(1, 2, "rude");
        client.stream().write_all(&bytes).expect("written");
        let (_, how) = client.until_closed();
        assert_eq!(how.code, Some(code), "{name}");
    }
    watcher.chat("unharmed");
    assert_eq!(watcher.next_of("chat")["data"]["content"], "unharmed");
}

#[test]
fn a_peers_close_is_echoed_without_a_reason() {
    let hub = Hub::unlimited();
    let raw_close = |payload: &[u8]| {
        let mut client = hub.join(1, 2, "polite");
        client.next();
        // What follows a close frame is ignored.
        let bytes = [frame(0x88, payload), frame(0x81, b"late")].concat();
        client.stream().write_all(&bytes).expect("written");
        let mut answer = Vec::new();
        client.stream().read_to_end(&mut answer).expect("the hub ends it");
        answer
    };
    assert_eq!(raw_close(b""), [0x88, 0]);
    assert_eq!(raw_close(b"\x03\xE8bye"), [0x88, 2, 0x03, 0xE8]);
    assert_eq!(raw_close(&4001u16.to_be_bytes()), [0x88, 2, 0x0F, 0xA1]);
}

#[test]
fn a_flood_is_refused_with_a_hint_and_then_closed() {
    let hub =
        Hub::start(&["--message-rate", "5/5", "--flood-wait", "500ms", "--junk-max", "100000"]);
    let mut client = hub.join_v1(1, 1, "");
    client.next_of("join");
    let mut hinted = false;
    let how = loop {
        // The hub may close in the middle of the flood.
        let text = Message::text(r#"{"type":"ping"}"#);
        if client.try_send(text).is_err() {
            break client.until_closed().1;
        }
        match client.try_next() {
            Ok(message) => {
                let data = &message["data"];
                hinted |= data["code"] == "rate_limited" && data["retry_after_ms"].is_u64();
            }
            Err(how) => break how,
        }
    };
    assert!(hinted);
    assert_eq!(how, Closed::by(4029, "too_fast"));
}
