//! Hostile text and forged fields, over sockets and posts: either refused at the door or exactly
//! what comes out again, against the real binary.

use std::io::Write;

use serde_json::{Value, json};

use crate::support::{Answer, Hub};

const TEXTS: [&str; 10] = [
    "'; DROP TABLE chat_messages; --",
    "\\",
    "\\. \\N \\x00 %s ${jndi:ldap://x} {{7*7}}",
    "tab\tcr\rlf\nff\u{c}bell\u{7}esc\u{1b}]0;x\u{7}del\u{7f}",
    "\u{202e}rtl \u{200b}\u{200d}\u{feff} \u{2028}\u{2029} \u{85}",
    "\u{fffe}\u{ffff}\u{10ffff}\u{e000}\u{fffd}",
    "</script><img src=x onerror=alert(1)>",
    "{\"type\":\"leave\"}",
    " ",
    "\n",
];

#[test]
fn rows_43_and_44_any_text_comes_back_as_it_was_said() {
    let hub = Hub::unlimited();
    let marks = format!("e{}", "\u{301}".repeat(999));
    let mut watcher = hub.join(1, 1, "Ana");
    watcher.next();
    let texts: Vec<&str> = TEXTS.into_iter().chain([marks.as_str()]).collect();
    for text in &texts {
        // Names are text like any other in a post; a socket's have no controls.
        let name = format!("n{text}").chars().take(256).collect::<String>();
        let body = json!({"user_id": 2, "username": name, "message": text});
        let answer = hub.post("/v1/ws/spaces/1/chat", &body.to_string());
        assert_eq!(answer.status, 200, "{text:?}");
        let data = answer.json()["chat_message"].clone();
        assert_eq!((&data["content"], &data["username"]), (&json!(text), &json!(name)));
        assert_eq!(watcher.next()["data"], data);
    }
    let history = hub.history_of(1, texts.len());
    let contents: Vec<&Value> = history.iter().map(|row| &row["content"]).collect();
    assert_eq!(contents, texts);
    let paged = hub.get("/v1/messages?space_id=1&order_by=id&sort_direction=asc").json();
    let rows = paged["data"].as_array().expect("rows").iter();
    assert_eq!(rows.map(|row| &row["content"]).collect::<Vec<_>>(), texts);
}

#[test]
fn row_41_a_nul_gets_in_nowhere() {
    let hub = Hub::unlimited();
    let mut watcher = hub.join(1, 1, "Ana");
    watcher.next();
    let body = |field: &str| {
        let mut body = json!({"user_id": 2, "username": "Beto", "message": "m", "image": "i"});
        body[field] = json!("a\0b");
        body.to_string()
    };
    for field in ["message", "username", "image", "user_id"] {
        let answer = hub.post("/v1/ws/spaces/1/chat", &body(field));
        assert_eq!(answer.status, 400, "{field}");
    }
    let raw = hub.request("POST", "/v1/ws/spaces/1/chat", &[], b"{\"message\":\"a\0b\"}");
    assert_eq!(raw.status, 400);
    for (data, code) in [
        (json!({"content": "a\0b"}), "validation_error"),
        (json!({"content": "m", "image": "a\0b"}), "validation_error"),
    ] {
        watcher.send(&json!({"type": "chat", "data": data}).to_string());
        let answer = watcher.next();
        assert_eq!((&answer["type"], &answer["data"]["code"]), (&json!("error"), &json!(code)));
    }
    watcher.send(r#"{"type":"ping"}"#);
    assert_eq!(watcher.next()["type"], "pong", "nothing of all that was said");
}

#[test]
fn row_45_what_a_post_says_of_id_and_time_is_not_read() {
    let hub = Hub::unlimited();
    let body = r#"{"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","timestamp":"1999-01-01T00:00:00Z",
        "created_at":7,"type":"leave","nonce":"n","user_id":2,"username":"Beto","message":"m"}"#;
    let data = hub.post("/v1/ws/spaces/3/chat", body).json()["chat_message"].clone();
    assert_ne!(data["id"], "01ARZ3NDEKTSV4RRFFQ69G5FAV");
    assert_eq!(data["space_id"], 3);
    let row = hub.history_of(3, 1)[0].clone();
    assert_eq!(row, data);
    assert!(!row["timestamp"].as_str().expect("a time").starts_with("1999"));
}

#[test]
fn row_29_an_upgrade_of_http_1_0_or_without_connection_is_no_upgrade() {
    let hub = Hub::unlimited_with(&["--close-wait", "100ms"]);
    let sound = "GET /v1/ws/spaces/1?user_id=1 HTTP/1.1\r\nHost: localhost\r\n\
         Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for (from, to) in [
        ("HTTP/1.1", "HTTP/1.0"),
        ("Connection: Upgrade\r\n", ""),
        ("Upgrade: websocket\r\n", ""),
        ("Sec-WebSocket-Version: 13\r\n", ""),
        ("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 8"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZ==="),
    ] {
        let mut stream = hub.connect();
        stream.write_all(sound.replacen(from, to, 1).as_bytes()).expect("the hub reads");
        let answer = Answer::read(&mut stream);
        assert_eq!((answer.status, answer.header("sec-websocket-version")), (400, Some("13")));
    }
    assert_eq!(hub.metric("hub_joins_total"), 0.0);
}
