//! The order of what a connection is sent: the answer to its handshake, what is said in its space,
//! and what it is answered itself (`docs/WIRE.md` A1, A2).

use std::io::{Read, Write};

use serde_json::{Value, json};
use tungstenite::Message;

use crate::support::{Client, Hub, frame};

/// A handshake of a member of space 1, as its bytes.
fn handshake(hub: &Hub, user: i32) -> String {
    format!(
        "GET /v1/ws/spaces/1?user_id={user}&username=Ana HTTP/1.1\r\nHost: {}\r\n\
         Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        hub.address
    )
}

fn text(value: &Value) -> Vec<u8> {
    frame(0x81, value.to_string().as_bytes())
}

fn types(client: &mut Client, count: usize) -> Vec<String> {
    let kind = |message: Value| message["type"].as_str().expect("a type").to_owned();
    (0..count).map(|_| kind(client.next())).collect()
}

#[test]
fn what_a_member_is_answered_comes_behind_what_was_said_before() {
    let hub = Hub::unlimited();
    let mut ana = hub.join_v1(1, 1, "");
    ana.next_of("join");
    let chat = |content: &str| json!({"type": "chat", "data": {"content": content}});
    let acked = json!({"type": "chat", "data": {"content": "b", "nonce": "n", "ack": "accepted"}});
    for round in 0..20 {
        let mut acked = acked.clone();
        acked["data"]["nonce"] = json!(format!("n{round}"));
        let said = [chat("a"), json!({"type": "ping"}), acked, chat(""), json!({"type": "ping"})];
        let bytes: Vec<u8> = said.iter().flat_map(text).collect();
        ana.stream().write_all(&bytes).expect("written");
        let heard = types(&mut ana, 6);
        // Both chats come before the answers to what was said behind them, which keep their order.
        let place = |kind: &str, nth: usize| {
            let of_kind = heard.iter().enumerate().filter(|(_, it)| *it == kind);
            of_kind.map(|(at, _)| at).nth(nth).unwrap_or_else(|| panic!("{kind} in {heard:?}"))
        };
        assert!(place("chat", 0) < place("pong", 0), "{heard:?}");
        assert!(place("pong", 0) < place("ack", 0), "{heard:?}");
        assert!(place("chat", 1) < place("ack", 0), "{heard:?}");
        assert!(place("ack", 0) < place("error", 0), "{heard:?}");
        assert!(place("error", 0) < place("pong", 1), "{heard:?}");
    }
}

#[test]
fn a_ping_of_either_sort_is_a_barrier_for_what_others_said_too() {
    let hub = Hub::unlimited();
    let mut ana = hub.join(1, 1, "Ana");
    let mut beto = hub.join_v1(1, 2, "");
    beto.next_of("join");
    for round in 0..20 {
        let nonce = format!("n{round}");
        let data = json!({"content": nonce, "nonce": nonce, "ack": "accepted"});
        beto.send(&json!({"type": "chat", "data": data}).to_string());
        // What is acked is said.
        beto.next_of("ack");
        if round % 2 == 0 {
            ana.send(r#"{"type":"ping"}"#);
            loop {
                let message = ana.next_that(|kind| ["chat", "pong"].contains(&kind));
                assert_eq!(message["type"], "chat", "the pong comes behind it");
                if message["data"]["content"] == json!(nonce) {
                    break;
                }
            }
            assert_eq!(ana.next()["type"], "pong");
        } else {
            ana.send_message(Message::Ping(nonce.clone().into()));
            let mut heard = Vec::new();
            loop {
                match ana.message() {
                    Message::Text(text) => heard.push(text.to_string()),
                    Message::Pong(payload) => {
                        assert_eq!(payload, nonce.as_bytes());
                        break;
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert!(heard.iter().any(|text| text.contains(&nonce)), "{heard:?}");
        }
    }
}

#[test]
fn who_reads_the_101_is_in_the_space() {
    let hub = Hub::unlimited();
    for user in 1..=20 {
        let mut stream = hub.connect();
        stream.write_all(handshake(&hub, user).as_bytes()).expect("the hub reads");
        // One send has the answer and the first frame, so the first read has them too.
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).expect("an answer");
        let first = String::from_utf8_lossy(&bytes[..count]);
        assert!(first.starts_with("HTTP/1.1 101 "), "{first}");
        assert!(first.contains(r#"{"type":"join","#), "{first}");
        let present = hub.get("/v1/spaces/1/presence").json();
        let users = present["users"].as_array().expect("a list");
        assert!(users.iter().any(|it| it["user_id"] == user), "{present}");
    }
}

#[test]
fn a_user_who_changes_sockets_never_goes_offline() {
    let hub = Hub::unlimited();
    let open = |user: i32| hub.socket(&format!("/v1/ws/user-connection?user_id={user}"), None);
    let mut watcher = open(1);
    assert_eq!(watcher.next()["user_id"], 1);
    let mut socket = open(2);
    for _ in 0..40 {
        let next = open(2);
        socket.close();
        socket = next;
    }
    let _last = open(3);
    // Nothing lies between the two arrivals.
    for user in [2, 3] {
        let status = watcher.next();
        assert_eq!((&status["user_id"], &status["status"]), (&json!(user), &json!("online")));
    }
}
