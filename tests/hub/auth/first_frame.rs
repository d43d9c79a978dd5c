//! Clients that show their token in their first message, so that it is in no address and no header.

use std::io::Write;

use serde_json::json;

use super::{SECRET, get, hub, new_key, now, shake, token, write_keys};
use crate::support::{Client, Closed, Hub, frame};

const PATH: &str = "/v1/ws/spaces/5?user_id=7&username=Ana";
const V1: Option<&str> = Some("cpi-hub.v1");

/// A hub that asks who is who, and a key for what it counts.
struct Counted {
    hub: Hub,
    key: String,
    _keys: tempfile::TempDir,
}

impl Counted {
    fn start(args: &[&str]) -> Counted {
        let keys = tempfile::tempdir().expect("a directory");
        let file = keys.path().join("keys");
        let (key, line) = new_key("reader", "read,metrics");
        write_keys(&file, &[&line]);
        let file = ["--api-keys-file", file.to_str().expect("a text path")];
        Counted { hub: hub(&[&file[..], args].concat()), key, _keys: keys }
    }

    fn number(&self, name: &str) -> f64 {
        let answer = get(&self.hub, "/metrics", &self.key);
        assert_eq!(answer.status, 200);
        let text = answer.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name}: {text}"))
    }
}

fn text(token: &str) -> String {
    json!({"type": "auth", "data": {"token": token}}).to_string()
}

/// Checks how the hub ends a connection that has come so far.
#[track_caller]
fn check_closed(client: Client, code: u16, reason: &str) {
    let (texts, closed) = client.until_closed();
    assert_eq!(closed, Closed::by(code, reason), "{texts:?}");
    let [closing] = &texts[..] else { panic!("nothing but why: {texts:?}") };
    let closing: serde_json::Value = serde_json::from_str(closing).expect("JSON");
    assert_eq!((&closing["type"], &closing["data"]["code"]), (&json!("closing"), &json!(code)));
}

#[test]
fn whoever_shows_a_token_in_the_first_message_is_a_member_from_then_on() {
    let counted = Counted::start(&[]);
    let hub = &counted.hub;
    let mut first = hub.socket(&format!("{PATH}&token={}", token(json!({}))), V1);
    first.next_of("join");
    let mut client = hub.socket(PATH, V1);
    // A ping on the way there is answered, and so is a token that comes in pieces.
    client.stream().write_all(&frame(0x89, b"hi")).expect("the hub reads");
    assert_eq!(client.message().into_data(), &b"hi"[..]);
    let shown = text(&token(json!({})));
    let (begin, end) = shown.as_bytes().split_at(9);
    client.stream().write_all(&frame(0x01, begin)).expect("the hub reads");
    assert_eq!(counted.number("hub_members"), 1.0, "nobody has joined yet");
    client.stream().write_all(&frame(0x80, end)).expect("the hub reads");
    assert_eq!(client.next()["type"], "welcome");
    client.chat("hola");
    let chat = client.next_of("chat");
    assert_eq!((&chat["data"]["content"], &chat["user_id"]), (&json!("hola"), &json!(7)));
    assert_eq!(first.next()["type"], "join");
    assert_eq!(first.next_of("chat")["data"]["content"], "hola");
    client.close();
    assert_eq!(first.next()["type"], "leave");
}

#[test]
fn what_comes_behind_the_token_is_heard_as_from_any_member() {
    let hub = hub(&[]);
    let mut client = hub.socket(PATH, V1);
    let chat = |n: u8| json!({"type": "chat", "data": {"content": format!("m{n}")}}).to_string();
    let mut all = frame(0x81, text(&token(json!({}))).as_bytes());
    (0..40).for_each(|n| all.extend_from_slice(&frame(0x81, chat(n).as_bytes())));
    client.stream().write_all(&all).expect("the hub reads");
    for n in 0..40 {
        assert_eq!(client.next_of("chat")["data"]["content"], format!("m{n}"));
    }
    // A token of the full length, which no later message may have.
    let long = token(json!({"pad": "x".repeat(5_000)}));
    let mut other = hub.socket("/v1/ws/notifications?user_id=7", V1);
    other.send(&text(&long));
    assert_eq!(other.next()["type"], "welcome");
}

#[test]
fn whoever_shows_nothing_good_is_told_so_and_has_never_been_there() {
    let counted = Counted::start(&["--handshake-wait", "1s", "--failed-logins-max", "0"]);
    let hub = &counted.hub;
    let mut watching = hub.socket(&format!("{PATH}&token={}", token(json!({}))), V1);
    watching.next_of("join");
    for (shown, code, reason) in [
        (text("a.b.c"), 4001, "unauthorized"),
        (text(""), 4001, "unauthorized"),
        (text(&token(json!({"exp": now() - 3_600}))), 4001, "unauthorized"),
        (text(&token(json!({"user_id": 8}))), 4003, "forbidden"),
        (text(&token(json!({"spaces": [6]}))), 4003, "forbidden"),
        (json!({"type": "chat", "data": {"content": "x"}}).to_string(), 4001, "unauthorized"),
        ("junk".into(), 4001, "unauthorized"),
        ("x".repeat(9_000), 1009, "message_too_big"),
    ] {
        let mut client = hub.socket(PATH, V1);
        client.send(&shown);
        check_closed(client, code, reason);
    }
    let mut broken = hub.socket(PATH, V1);
    broken.stream().write_all(b"\x81\x02hi").expect("the hub reads");
    check_closed(broken, 1002, "protocol_error");
    // Whoever says nothing, and whoever says it byte by byte.
    let silent = hub.socket(PATH, V1);
    let mut slow = hub.socket(PATH, V1);
    slow.stream().write_all(&frame(0x81, text("a.b.c").as_bytes())[..9]).expect("it reads");
    check_closed(silent, 4001, "unauthorized");
    check_closed(slow, 4001, "unauthorized");
    hub.socket(PATH, V1).close();
    assert_eq!(counted.number("hub_members"), 1.0);
    watching.send(r#"{"type":"ping"}"#);
    assert_eq!(watching.next()["type"], "pong", "nobody came or went");
}

#[test]
fn guesses_in_first_messages_count_as_all_others_and_wrong_requests_wait_for_nothing() {
    let args = ["--trusted-proxies", "127.0.0.1", "--failed-logins-max", "2"];
    let hub = Hub::start_with_env(&args, &[("HUB_JWT_SECRET", SECRET)]);
    let come = |client: &str| hub.socket_with(PATH, V1, &[("X-Forwarded-For", client)]);
    for (shown, code, reason) in [
        ("a.b.c".to_owned(), 4001, "unauthorized"),
        ("a.b.d".to_owned(), 4001, "unauthorized"),
        (token(json!({})), 4029, "too_fast"),
    ] {
        let mut client = come("192.0.2.1");
        client.send(&text(&shown));
        check_closed(client, code, reason);
    }
    let mut other = come("192.0.2.2");
    other.send(&text(&token(json!({}))));
    assert_eq!(other.next()["type"], "welcome");
    // The other dialect has no words for it, and a token that is wrong is wrong at once.
    assert_eq!(shake(&hub, PATH, "").status, 401);
    let v1 = "Sec-WebSocket-Protocol: cpi-hub.v1\r\n";
    assert_eq!(shake(&hub, &format!("{PATH}&token=a.b.c"), v1).status, 401);
    assert_eq!(shake(&hub, "/v1/ws/spaces/x?user_id=7", v1).status, 400);
    assert_eq!(shake(&hub, "/v1/ws/spaces/5", v1).status, 400);
    let posted = hub.request("GET", PATH, &[("Sec-WebSocket-Protocol", "cpi-hub.v1")], b"");
    assert_eq!(posted.status, 401, "no handshake");
}

#[test]
fn a_key_may_be_shown_so_and_those_who_wait_make_room() {
    let counted = Counted::start(&["--connections-max", "40", "--handshake-wait", "10m"]);
    let hub = &counted.hub;
    let mut member = hub.socket(PATH, V1);
    member.send(&text(&counted.key));
    assert_eq!(member.next()["type"], "welcome");
    let waiting: Vec<_> = (0..100).map(|_| hub.socket(PATH, V1)).collect();
    assert!(counted.number("hub_connections_displaced_total") >= 20.0);
    member.send(r#"{"type":"ping"}"#);
    member.next_of("pong");
    drop(waiting);
}

#[test]
fn a_hub_that_ends_keeps_nobody_waiting_for_a_token() {
    let mut hub = hub(&["--handshake-wait", "10m", "--drain-window", "0"]);
    let waiting = hub.socket(PATH, V1);
    assert!(hub.stop("TERM").success());
    check_closed(waiting, 1012, "restart");
}
