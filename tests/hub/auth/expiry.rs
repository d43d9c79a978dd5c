//! Tokens that end while their connections live.

use std::io::Write;

use serde_json::{Value, json};

use super::{SECRET, hub, now, token, token_by};
use crate::operator::Process;
use crate::support::{Client, Closed};

fn path(token: &str) -> String {
    format!("/v1/ws/spaces/5?token={token}")
}

/// Shows a token over the socket.
fn show(client: &mut Client, token: &str) {
    client.send(&json!({"type": "auth", "data": {"token": token}}).to_string());
}

/// How a connection ends, and the messages before.
fn end(client: Client) -> (Vec<Value>, Closed) {
    let (texts, closed) = client.until_closed();
    (texts.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect(), closed)
}

#[test]
fn a_connection_ends_with_its_token_unless_another_one_is_shown() {
    let hub = hub(&[]);
    let short = token(json!({"exp": now() + 4}));
    let mut stays = hub.socket(&path(&short), Some("cpi-hub.v1"));
    let warned = stays.next_of("expiring");
    let left = warned["data"]["expires_in_ms"].as_u64().expect("a number");
    assert!(left <= 4_000, "{warned}");
    let goes = hub.socket(&path(&short), Some("cpi-hub.v1"));
    let seed = hub.socket(&path(&short), None);
    let lobby = hub.socket(&format!("/v1/ws/user-connection?token={short}"), None);
    show(&mut stays, &token(json!({})));
    let renewed = stays.next_of("auth");
    let left = renewed["data"]["expires_in_ms"].as_u64().expect("a number");
    assert!((3_500_000..=3_600_000).contains(&left), "{renewed}");
    let unauthorized = Closed::by(4001, "unauthorized");
    let (messages, closed) = end(goes);
    assert_eq!(closed, unauthorized);
    let last = messages.last().expect("it is told why");
    assert_eq!((&last["type"], &last["data"]["code"]), (&json!("closing"), &json!(4001)));
    let (messages, closed) = end(seed);
    assert_eq!(closed, unauthorized);
    let known = |message: &Value| ["join", "leave"].map(Value::from).contains(&message["type"]);
    assert!(messages.iter().all(known), "a seed client has no word for it: {messages:?}");
    assert_eq!(end(lobby).1, unauthorized);
    // It has outlived the token that it came by.
    stays.send(r#"{"type":"ping"}"#);
    stays.next_of("pong");
    stays.chat("still here");
    assert_eq!(stays.next_of("chat")["data"]["content"], "still here");
}

#[test]
fn a_token_that_is_none_or_of_another_renews_nothing() {
    let hub = hub(&[]);
    let mut client = hub.socket(&path(&token(json!({}))), Some("cpi-hub.v1"));
    for bad in [
        token(json!({"user_id": 8})),
        token(json!({"spaces": [6]})),
        token(json!({"exp": now() - 3_600})),
        token_by("canary-other-secret-that-is-long-enough", json!({})),
        "nonsense".into(),
        String::new(),
    ] {
        show(&mut client, &bad);
        let refused = client.next_of("error");
        assert_eq!(refused["data"]["code"], "unauthorized", "{bad}");
    }
    for junk in [r#"{"type":"auth"}"#, r#"{"type":"auth","data":{"token":7}}"#] {
        client.send(junk);
        assert_eq!(client.next_of("error")["data"]["code"], "unknown_message_type", "{junk}");
    }
    // It may do less from now on, and more again.
    show(&mut client, &token(json!({"spaces": {"read": [5]}})));
    client.next_of("auth");
    client.chat("no");
    assert_eq!(client.next_of("error")["data"]["code"], "forbidden");
    show(&mut client, &token_by(SECRET, json!({"spaces": [5]})));
    client.next_of("auth");
    client.chat("yes");
    assert_eq!(client.next_of("chat")["data"]["content"], "yes");
}

#[test]
fn where_nobody_is_asked_a_token_is_no_message() {
    let hub = crate::support::Hub::start(&[]);
    let mut client = hub.join_v1(5, 7, "");
    show(&mut client, &token(json!({})));
    let refused = client.next_of("error");
    assert_eq!(refused["data"]["code"], "unknown_message_type");
}

#[test]
fn who_chats_from_a_terminal_shows_the_token_of_a_file_and_the_next_one_in_time() {
    let hub = hub(&[]);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("token");
    let path = file.to_str().expect("a text path");
    std::fs::write(&file, token(json!({"exp": now() + 4})) + "\n").expect("a file");
    let url = format!("http://{}", hub.address);
    let args = ["chat", "--url", &url, "--space", "5", "--user-id", "7", "--token-file"];
    let chat = |path| Process::start(&[&args[..], &[path]].concat(), &[]);
    let mut ana = chat(path);
    ana.line("you are in space 5 as User7");
    // The first one is read again when the hub says that it ends; whoever has no other is closed.
    let left = format!("{path}.left");
    std::fs::copy(&file, &left).expect("a file");
    let beto = chat(&left);
    beto.line("you are in space 5 as User7");
    std::fs::write(&file, token(json!({}))).expect("a file");
    let closed = "cpi-hub: the hub closed the connection: 4001 unauthorized\n".to_owned();
    assert_eq!(beto.end(), (Some(1), closed));
    ana.stdin().write_all("sigo aquí\n".as_bytes()).expect("it reads");
    ana.line("User7: sigo aquí");
    for (content, problem) in [("", "one line with a token"), ("a b", "one line with a token")] {
        std::fs::write(&file, content).expect("a file");
        let (code, text) = chat(path).end();
        assert!(code == Some(78) && text.contains(problem), "{code:?} {text}");
    }
    let (code, text) = chat(&format!("{path}.none")).end();
    assert!(code == Some(78) && text.starts_with("cpi-hub: --token-file: "), "{code:?} {text}");
}
