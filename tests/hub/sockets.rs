//! The chat socket as clients of the existing server know it (`docs/WIRE.md` A1, A2, H 1-4, 8),
//! against the real binary.

use std::io::{Read, Write};
use std::net::Shutdown;

use serde_json::{Value, json};

use crate::support::{Answer, Closed, Hub, KEY, eventually, frame, upgrade};

fn ask(hub: &Hub, request: &str) -> Answer {
    let mut stream = hub.connect();
    stream.write_all(request.as_bytes()).expect("the hub reads");
    Answer::read(&mut stream)
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
    assert_eq!(kicked.until_closed().1, Closed::by(4009, "kicked"));
    let mut rude = hub.join(1, 6, "is rude");
    rude.stream().write_all(&[0x81, 0x01, b'x']).expect("written");
    leaves(6);
    assert_eq!(rude.until_closed().1, Closed::by(1002, "protocol_error"));
    watcher.send(r#"{"type":"ping"}"#);
    assert_eq!(watcher.next()["type"], "pong", "nobody left twice");
    let again = hub.request("DELETE", "/v1/spaces/1/members/5", &[], b"");
    assert_eq!(again.json(), json!({"closed": 0}));
}
