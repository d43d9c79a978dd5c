//! The chat socket as clients of the existing server know it (WIRE A1, A2, H 1-4, 8), against the
//! real binary.

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;

use serde_json::{Value, json};
use support::{Answer, Client, Closed, Hub, UNLIMITED, eventually, frame};
use tungstenite::Message;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn upgrade(path: &str, extra: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{extra}\r\n"
    )
}

fn ask(hub: &Hub, request: &str) -> Answer {
    let mut stream = hub.connect();
    stream.write_all(request.as_bytes()).expect("the hub reads");
    Answer::read(&mut stream)
}

fn closed(code: u16, reason: &str) -> Closed {
    Closed { code: Some(code), reason: reason.to_owned() }
}

/// Asserts the whole outside of a timestamp in form T.
fn assert_time(value: &Value) {
    let text = value.as_str().expect("a timestamp");
    assert_eq!(text.len(), 32, "{text}");
    assert!(text.ends_with("-03:00"), "{text}");
    assert_eq!(&text[10..11], "T");
}

#[test]
fn the_upgrade_is_answered_with_exactly_three_headers() {
    let hub = Hub::start(&[]);
    let mut stream = hub.connect();
    stream.write_all(upgrade("/v1/ws/spaces/1?user_id=7", "").as_bytes()).expect("written");
    let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).expect("the head");
    assert_eq!(String::from_utf8_lossy(&got), expected);

    let offered = "Sec-WebSocket-Protocol: chat, cpi-hub.v1\r\n\
                   Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let answer = ask(&hub, &upgrade("/v1/ws/spaces/1?user_id=7", offered));
    assert_eq!(answer.status, 101);
    let names: Vec<&str> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Upgrade", "Connection", "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol"]);
    assert_eq!(answer.header("sec-websocket-protocol"), Some("cpi-hub.v1"));

    let other =
        ask(&hub, &upgrade("/v1/ws/spaces/1?user_id=7", "Sec-WebSocket-Protocol: chat\r\n"));
    assert_eq!((other.status, other.header("sec-websocket-protocol")), (101, None));
}

#[test]
fn a_refused_handshake_says_the_first_thing_that_is_wrong() {
    let hub = Hub::start(&[]);
    let long = "x".repeat(257);
    let cases: Vec<(String, &str)> = vec![
        ("/v1/ws/spaces/1".into(), "user_id es requerido"),
        ("/v1/ws/spaces/1?user_id=".into(), "user_id es requerido"),
        ("/v1/ws/spaces/abc?user_id=&username=".into(), "user_id es requerido"),
        (format!("/v1/ws/spaces/abc?user_id=x&username={long}"), "username no es válido"),
        ("/v1/ws/spaces/1?user_id=1&username=a%00b".into(), "username no es válido"),
        ("/v1/ws/spaces/1?user_id=1&username=a%0Ab".into(), "username no es válido"),
        ("/v1/ws/spaces/abc?user_id=x".into(), "space_id debe ser un número"),
        ("/v1/ws/spaces/2147483648?user_id=1".into(), "space_id debe ser un número"),
        ("/v1/ws/spaces/1e3?user_id=1".into(), "space_id debe ser un número"),
        ("/v1/ws/spaces/1?user_id=x".into(), "user_id debe ser un número"),
        ("/v1/ws/spaces/1?user_id=9999999999".into(), "user_id debe ser un número"),
        ("/v1/ws/spaces/1?user_id=1&after=7".into(), "after no es una posición válida"),
        ("/v1/ws/user-connection".into(), "user_id is required"),
        ("/v1/ws/notifications?user_id=x".into(), "user_id must be a number"),
    ];
    for (path, message) in cases {
        let answer = ask(&hub, &upgrade(&path, ""));
        assert_eq!(answer.status, 400, "{path}");
        let body = json!({"status_code": 400, "message": message, "code": "invalid_parameter"});
        assert_eq!(answer.json(), body, "{path}");
    }
    for path in ["/v1/ws/spaces/", "/v1/ws/spaces", "/v1/ws", "/nothing"] {
        let answer = ask(&hub, &upgrade(path, ""));
        assert_eq!((answer.status, answer.text().as_str()), (404, "404 page not found"), "{path}");
    }
}

#[test]
fn ids_are_read_as_the_existing_routes_read_them() {
    let hub = Hub::start(&[]);
    for (path, space, user) in [
        ("/v1/ws/spaces/+5?user_id=007", 5, 7),
        ("/v1/ws/spaces/-5?user_id=0", -5, 0),
        ("/v1/ws/spaces/0?user_id=-2147483648", 0, i32::MIN),
        ("/v1/ws/spaces/2147483647?user_id=%2B9", i32::MAX, 9),
    ] {
        let join = hub.socket(path, None).next();
        assert_eq!((&join["space_id"], &join["user_id"]), (&json!(space), &json!(user)), "{path}");
    }
}

#[test]
fn a_broken_upgrade_is_answered_with_the_version_that_is_spoken() {
    let hub = Hub::start(&[]);
    let good = upgrade("/v1/ws/spaces/1?user_id=7", "");
    for (from, to) in [
        ("Version: 13", "Version: 8"),
        ("Upgrade: websocket", "Upgrade: h2c"),
        ("Connection: Upgrade", "Connection: keep-alive"),
        (KEY, "c2hvcnQ="),
        ("Sec-WebSocket-Key", "X-Key"),
    ] {
        let answer = ask(&hub, &good.replace(from, to));
        assert_eq!(answer.status, 400, "{to}");
        assert_eq!(answer.header("sec-websocket-version"), Some("13"), "{to}");
        assert_eq!(answer.json()["message"], "Error upgrading WebSocket connection", "{to}");
    }
    let post = good.replacen("GET", "POST", 1);
    assert_eq!(ask(&hub, &post).status, 404);
}

#[test]
fn a_frame_in_the_requests_segment_is_not_lost() {
    let hub = Hub::unlimited();
    let mut request = upgrade("/v1/ws/spaces/1?user_id=7&username=Ana", "").into_bytes();
    for number in 0..3 {
        let chat = json!({"type": "chat", "data": {"content": format!("early {number}")}});
        request.extend(frame(0x81, chat.to_string().as_bytes()));
    }
    // The last one is cut: its rest comes later.
    let rest = request.split_off(request.len() - 5);
    let mut stream = hub.connect();
    stream.write_all(&request).expect("written");
    stream.write_all(&rest).expect("written");
    let history = hub.history_of(1, 3);
    let contents: Vec<&Value> = history.iter().map(|row| &row["content"]).collect();
    assert_eq!(contents, ["early 0", "early 1", "early 2"]);
}

#[test]
fn everyone_sees_joins_chats_and_leaves_in_one_order() {
    let hub = Hub::unlimited();
    let mut ana = hub.join(1, 1, "Ana Paz");
    let own = ana.next();
    assert_time(&own["timestamp"]);
    assert_eq!(
        own,
        json!({"type": "join", "data": {"space_id": 1, "user_id": 1, "username": ""},
               "timestamp": own["timestamp"], "user_id": 1, "space_id": 1, "username": "Ana Paz"})
    );
    let mut beto = hub.join(1, 2, "Beto Rey");
    let mut other_space = hub.join(2, 3, "Zoe");
    assert_eq!(beto.next(), ana.next());
    other_space.next();

    beto.send(r#"{"type":"chat","data":{"content":"hola","image":"https://x/y.png"}}"#);
    let seen = ana.next();
    assert_eq!(seen, beto.next());
    assert_time(&seen["timestamp"]);
    assert_eq!(seen["timestamp"], seen["data"]["timestamp"]);
    let id = seen["data"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(id.len(), 26);
    assert_eq!(
        seen,
        json!({"type": "chat",
               "data": {"id": id, "content": "hola", "user_id": 2, "username": "Beto Rey",
                        "space_id": 1, "timestamp": seen["timestamp"], "image": "https://x/y.png"},
               "timestamp": seen["timestamp"], "user_id": 2, "space_id": 1,
               "image": "https://x/y.png"})
    );
    beto.close();
    let leave = ana.next();
    assert_eq!(
        leave,
        json!({"type": "leave", "data": {"space_id": 1, "user_id": 2, "username": ""},
               "timestamp": leave["timestamp"], "user_id": 2, "space_id": 1})
    );
    other_space.send(r#"{"type":"ping"}"#);
    assert_eq!(other_space.next()["type"], "pong", "nothing of the other space came before");
}

#[test]
fn a_member_without_a_name_is_called_by_its_number() {
    let hub = Hub::start(&[]);
    let mut client = hub.socket("/v1/ws/spaces/1?user_id=7", None);
    assert_eq!(client.next()["username"], "User7");
    let mut client = hub.socket("/v1/ws/spaces/1?user_id=8&username=", None);
    assert_eq!(client.next()["username"], "User8");
    let name = "a".repeat(256);
    let mut client = hub.socket(&format!("/v1/ws/spaces/1?user_id=9&username={name}"), None);
    assert_eq!(client.next()["username"], name);
}

#[test]
fn each_way_to_leave_is_announced_once() {
    let hub = Hub::unlimited();
    let mut watcher = hub.join(1, 1, "Ana");
    watcher.next();
    let mut leaves = |who: i32| {
        assert_eq!(watcher.next()["user_id"], who);
        let leave = watcher.next();
        assert_eq!((&leave["type"], &leave["user_id"]), (&json!("leave"), &json!(who)));
    };
    hub.join(1, 2, "closes").close();
    leaves(2);
    drop(hub.join(1, 3, "drops"));
    leaves(3);
    let mut half = hub.join(1, 4, "half-closes");
    half.stream().shutdown(Shutdown::Write).expect("shut");
    leaves(4);
    let kicked = hub.join(1, 5, "is kicked");
    eventually("the member is there", || (hub.metric("hub_members") == 2.0).then_some(()));
    let answer = hub.request("DELETE", "/v1/spaces/1/members/5", &[], b"");
    assert_eq!((answer.status, answer.json()), (200, json!({"closed": 1})));
    leaves(5);
    assert_eq!(kicked.until_closed().1, closed(4009, "kicked"));
    let mut rude = hub.join(1, 6, "is rude");
    rude.stream().write_all(&[0x81, 0x01, b'x']).expect("written");
    leaves(6);
    assert_eq!(rude.until_closed().1, closed(1002, "protocol_error"));
    watcher.send(r#"{"type":"ping"}"#);
    assert_eq!(watcher.next()["type"], "pong", "nobody left twice");
    let again = hub.request("DELETE", "/v1/spaces/1/members/5", &[], b"");
    assert_eq!(again.json(), json!({"closed": 0}));
}

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
        (r#"{"type":"chat"}"#, ["validation_error", "el mensaje no puede estar vacío"]),
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
    assert_eq!(how, closed(1008, "too_many_errors"));
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
    assert_eq!(whole.until_closed().1, closed(1009, "message_too_big"));
    assert_eq!(watcher.next()["type"], "leave");

    let mut parts = hub.join(1, 3, "Caro");
    let text = text_of(513).into_bytes();
    let mut bytes = frame(0x01, &text[..300]);
    bytes.extend(frame(0x80, &text[300..]));
    parts.stream().write_all(&bytes).expect("written");
    assert_eq!(parts.until_closed().1, closed(1009, "message_too_big"));

    let mut declared = hub.join(1, 4, "Dani");
    let head = [0x81, 0xFF, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4];
    declared.stream().write_all(&head).expect("written");
    assert_eq!(declared.until_closed().1, closed(1009, "message_too_big"));
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
fn forty_chats_in_one_write_are_forty_frames_in_one_order_for_all() {
    let hub = Hub::unlimited();
    let mut ana = hub.join(1, 1, "Ana");
    let mut beto = hub.join(1, 2, "Beto");
    let mut bytes = Vec::new();
    for number in 0..40 {
        let chat = json!({"type": "chat", "data": {"content": number.to_string()}});
        bytes.extend(frame(0x81, chat.to_string().as_bytes()));
    }
    ana.stream().write_all(&bytes).expect("written");
    let read =
        |client: &mut Client| -> Vec<Value> { (0..40).map(|_| client.next_of("chat")).collect() };
    let (seen, same) = (read(&mut ana), read(&mut beto));
    assert_eq!(seen, same);
    let contents: Vec<Value> = seen.iter().map(|chat| chat["data"]["content"].clone()).collect();
    let expected: Vec<Value> = (0..40).map(|number| json!(number.to_string())).collect();
    assert_eq!(contents, expected);
    assert!(seen.is_sorted_by(|a, b| a["data"]["id"].as_str() < b["data"]["id"].as_str()));
    assert!(seen.is_sorted_by(|a, b| a["timestamp"].as_str() <= b["timestamp"].as_str()));
}

#[test]
fn hostile_text_comes_back_as_it_was_said_and_stays_so_in_history() {
    let hub = Hub::unlimited();
    let mut client = hub.join(1, 1, "Ana \"Paz\"");
    let texts = [
        "'; DROP TABLE chat_messages; --",
        "tab\tline\nreturn\rback\\slash \\N \\. \"quoted\"",
        "\u{202E}bidi \u{200B}zero \u{FFFE} \u{2028} \u{1b}[31m",
        "e\u{301}\u{301}\u{301} 👩‍👩‍👧‍👦 ñ",
        " spaces ",
        "<img src=x onerror=alert(1)>",
    ];
    for text in texts {
        client.chat(text);
        let seen = client.next_of("chat");
        assert_eq!(seen["data"]["content"], text);
        assert_eq!(seen["data"]["username"], "Ana \"Paz\"");
    }
    let history = hub.history_of(1, texts.len());
    let stored: Vec<&Value> = history.iter().map(|row| &row["content"]).collect();
    assert_eq!(stored, texts);
}

#[test]
fn the_second_dialect_is_welcomed_and_acked_and_seed_sockets_never_see_it() {
    let hub = Hub::unlimited();
    let mut seed = hub.join(1, 1, "Ana");
    seed.next();
    let mut v1 = hub.join_v1(1, 2, "&username=Beto");
    let welcome = v1.next();
    assert_eq!(welcome["type"], "welcome");
    let data = &welcome["data"];
    assert_eq!((&data["space_id"], &data["user_id"]), (&json!(1), &json!(2)));
    assert_eq!((&data["username"], &data["members"]), (&json!("Beto"), &json!(2)));
    assert_eq!(
        (&data["message_bytes_max"], &data["content_chars_max"]),
        (&json!(512), &json!(1000))
    );
    assert_eq!(data["ping_period_ms"], 54_000);
    assert_eq!(data["position"].as_str().expect("never null").len(), 26);
    assert_eq!(v1.next()["type"], "join");

    v1.send(r#"{"type":"chat","data":{"content":"hola","nonce":"a1","ack":"durable"}}"#);
    let mut answers: Vec<Value> = (0..3).map(|_| v1.next()).collect();
    answers.sort_by_key(|answer| answer["data"]["level"].as_str().unwrap_or("").to_owned());
    let id = answers[0]["data"]["id"].clone();
    assert_eq!(answers[0]["type"], "chat");
    for (answer, level) in answers[1..].iter().zip(["accepted", "durable"]) {
        let data = json!({"nonce": "a1", "id": id, "level": level, "duplicate": false});
        assert_eq!((&answer["type"], &answer["data"]), (&json!("ack"), &data));
    }
    assert_eq!(hub.history(1).len(), 1, "durable means stored");

    v1.send(r#"{"type":"chat","data":{"content":"hola","nonce":"a1"}}"#);
    let repeat = v1.next();
    assert_eq!(
        repeat["data"],
        json!({"nonce": "a1", "id": id, "level": "accepted", "duplicate": true})
    );
    v1.send(r#"{"type":"chat","data":{"content":"other","nonce":"a1"}}"#);
    let reused = v1.next();
    assert_eq!(reused["data"]["code"], "nonce_reused");
    assert_eq!(reused["data"]["ref"], "a1");
    v1.send(r#"{"type":"chat","data":{"content":"","nonce":"a2"}}"#);
    let empty = v1.next();
    assert_eq!(
        (&empty["data"]["code"], &empty["data"]["ref"]),
        (&json!("content_empty"), &json!("a2"))
    );

    assert_eq!(seed.next()["type"], "join");
    assert_eq!(seed.next()["data"]["content"], "hola");
    seed.send(r#"{"type":"ping"}"#);
    assert_eq!(seed.next()["type"], "pong", "nothing else came");
}

#[test]
fn a_client_that_comes_back_gets_what_it_missed_then_its_own_join() {
    let hub = Hub::unlimited();
    let mut ana = hub.join(1, 1, "Ana");
    ana.next();
    let mut ids = Vec::new();
    for number in 0..5 {
        ana.chat(&number.to_string());
        ids.push(ana.next_of("chat")["data"]["id"].as_str().expect("an id").to_owned());
    }
    let mut back = hub.join_v1(1, 2, &format!("&after={}", ids[2]));
    assert_eq!(back.next()["type"], "welcome");
    assert_eq!(back.next()["data"]["content"], "3");
    assert_eq!(back.next()["data"]["content"], "4");
    let resumed = back.next();
    let data = json!({"from": ids[2], "to": ids[4], "count": 2, "complete": true});
    assert_eq!((&resumed["type"], &resumed["data"]), (&json!("resumed"), &data));
    assert_eq!(back.next()["type"], "join");
    ana.chat("live");
    assert_eq!(back.next()["data"]["content"], "live");

    let mut seed = hub.socket(&format!("/v1/ws/spaces/1?user_id=3&after={}", ids[4]), None);
    let first = seed.next();
    assert_eq!((&first["type"], &first["user_id"]), (&json!("join"), &json!(2)));
    assert_eq!(seed.next()["data"]["content"], "live");
    assert_eq!(seed.next()["user_id"], 3);

    let ahead = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ";
    let mut ahead = hub.join_v1(1, 4, &format!("&after={ahead}"));
    ahead.next();
    let resumed = ahead.next();
    assert_eq!(
        (&resumed["data"]["complete"], &resumed["data"]["reason"]),
        (&json!(false), &json!("ahead"))
    );
}

#[test]
fn a_big_space_counts_instead_of_announcing() {
    let args: Vec<&str> = UNLIMITED.into_iter().chain(["--announce-members-max", "2"]).collect();
    let hub = Hub::start(&args);
    let mut seed = hub.join(1, 1, "Ana");
    seed.next();
    let mut v1 = hub.join_v1(1, 2, "");
    v1.next_of("join");
    assert_eq!(seed.next()["user_id"], 2);
    let mut third = hub.join(1, 3, "Caro");
    assert_eq!(third.next()["user_id"], 3, "its own join comes to each joiner");
    assert_eq!(v1.next_of("presence")["data"], json!({"space_id": 1, "members": 3}));
    third.chat("hola");
    assert_eq!(seed.next()["type"], "chat", "a seed socket is told nothing instead");
}

#[test]
fn silence_is_pinged_and_then_closed() {
    let hub = Hub::start(&["--ping-period", "300ms", "--pong-wait", "2s", "--close-wait", "200ms"]);
    let mut watcher = hub.join(1, 1, "Ana");
    // The client library answers pings whenever it reads.
    let mut silent = hub.join(1, 2, "Beto");
    let mut pinged = false;
    loop {
        match watcher.message() {
            Message::Ping(payload) => {
                assert!(payload.is_empty());
                pinged = true;
            }
            Message::Text(text) if text.contains("leave") => break,
            _ => {}
        }
    }
    assert!(pinged);
    let mut rest = Vec::new();
    silent.stream().read_to_end(&mut rest).expect("the hub ends it");
    assert!(rest.ends_with(b"\x0F\xA8pong_timeout"));
}

#[test]
fn a_reader_that_stalls_is_evicted_and_the_others_are_not() {
    let args: Vec<&str> = UNLIMITED
        .into_iter()
        .chain(["--write-wait", "1s", "--send-buffer-bytes", "4KiB", "--close-wait", "100ms"])
        .collect();
    let hub = Hub::start(&args);
    let stalled = hub.join(1, 2, "stalls");
    let mut healthy = hub.join(1, 1, "Ana");
    healthy.next();
    let content = "x".repeat(400);
    let mut left = false;
    let mut sent = 0u32;
    let mut echoed = 0u32;
    while !left {
        healthy.chat(&content);
        sent += 1;
        loop {
            let message = healthy.next();
            left |= message["type"] == "leave";
            if message["type"] == "chat" {
                echoed += 1;
                break;
            }
        }
        assert!(sent < 2_000_000, "it is never evicted");
    }
    assert_eq!(sent, echoed);
    assert_eq!(hub.metric("hub_closes_total{reason=\"too_slow\"}"), 1.0);
    drop(stalled);
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
    assert_eq!(how, closed(4029, "too_fast"));
}
