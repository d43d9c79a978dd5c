//! The examples of `/asyncapi.json`: the hub sends what they show, and takes what clients send.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{differing, document};
use crate::auth::{SECRET, now, token};
use crate::support::{Client, Hub};

/// One of each of the hub's messages, by type, in its forms.
type Heard = BTreeMap<String, Vec<Value>>;

fn keep(heard: &mut Heard, frame: Value) -> Value {
    let kind = frame["type"].as_str().expect("a type").to_owned();
    heard.entry(kind).or_default().push(frame.clone());
    frame
}

/// Keeps what comes up to the first frame of a type.
fn until(member: &mut Client, kind: &str, heard: &mut Heard) -> Value {
    loop {
        let frame = keep(heard, member.next());
        if frame["type"] == kind {
            return frame;
        }
    }
}

/// Has hubs say all that they say, in answer to what the document has clients say.
fn all_said(hub: &Hub, api: &Value) -> Heard {
    let mut heard = Heard::new();
    let sent = |name: &str| {
        let examples = api["components"]["messages"][name]["examples"].as_array();
        let examples = examples.expect("examples").iter();
        examples.map(|example| example["payload"].to_string()).collect::<Vec<_>>()
    };
    let mut ana = hub.join_v1(1, 2, "&username=Ana%20Paz");
    until(&mut ana, "join", &mut heard);
    for text in sent("say") {
        ana.send(&text);
        until(&mut ana, "chat", &mut heard);
    }
    let durable = until(&mut ana, "ack", &mut heard);
    let last = until(&mut ana, "ack", &mut heard);
    assert_eq!(
        (&durable["data"]["level"], &last["data"]["level"]),
        (&"accepted".into(), &"durable".into())
    );
    for text in sent("ping") {
        ana.send(&text);
        until(&mut ana, "pong", &mut heard);
    }
    for text in [r#"{"type":"no"}"#, r#"{"type":"chat","data":{"content":"","nonce":"a1"}}"#] {
        ana.send(text);
        until(&mut ana, "error", &mut heard);
    }
    ana.close();
    resumed(hub, &mut heard);
    let mut friend = hub.join_v1(1, 2, "&username=Ana%20Paz");
    until(&mut friend, "join", &mut heard);
    hub.request("DELETE", "/v1/spaces/1/members/2", &[], b"");
    until(&mut friend, "closing", &mut heard);
    elsewhere(hub, &mut heard);
    heard
}

/// Somebody leaves, and comes back to what was said meanwhile.
fn resumed(hub: &Hub, heard: &mut Heard) {
    let mut beto = hub.join_v1(1, 3, "&username=Beto");
    let position = beto.next_of("welcome")["data"]["position"].as_str().expect("an id").to_owned();
    let mut ana = hub.join_v1(1, 2, "&username=Ana%20Paz");
    ana.next_of("join");
    ana.close();
    until(&mut beto, "leave", heard);
    beto.close();
    hub.post("/v1/ws/spaces/1/chat", r#"{"message":"x","user_id":2,"username":"Ana Paz"}"#);
    let mut beto = hub.join_v1(1, 3, &format!("&username=Beto&after={position}"));
    until(&mut beto, "resumed", heard);
}

/// The other two sockets.
fn elsewhere(hub: &Hub, heard: &mut Heard) {
    let mut lobby = hub.socket("/v1/ws/user-connection?user_id=2", None);
    until(&mut lobby, "user_status", heard);
    let mut pushes = hub.socket("/v1/ws/notifications?user_id=2", None);
    for kind in ["notification", "event"] {
        hub.post(
            "/v1/users/2/notifications",
            &json!({"type": kind, "data": {"id": 5}}).to_string(),
        );
        until(&mut pushes, kind, heard);
    }
}

/// A member whose token ends within a minute, and who shows the next one as the document has it.
fn renewed(api: &Value, heard: &mut Heard) {
    let hub = Hub::start_with_env(&["--message-bytes-max", "4KiB"], &[("HUB_JWT_SECRET", SECRET)]);
    let short = token(json!({"exp": now() + 40}));
    let mut ana = hub.join_v1(1, 7, &format!("&token={short}"));
    until(&mut ana, "expiring", heard);
    let show = &api["components"]["messages"]["show"]["examples"][0]["payload"];
    ana.send(&show.to_string().replace("<jwt>", &token(json!({}))));
    until(&mut ana, "auth", heard);
}

/// A space that is too full for single joins.
fn crowded(heard: &mut Heard) {
    let hub = Hub::start(&["--announce-members-max", "1"]);
    let mut members: Vec<Client> = (1..=3).map(|user| hub.join_v1(1, user, "")).collect();
    until(&mut members[0], "presence", heard);
}

/// What is another number each time, or another name here than there.
pub fn alike(kind: &str, mut frame: Value) -> Value {
    let volatile = ["connection_id", "expires_in_ms", "count", "members", "retry_after_ms"];
    if let Some(data) = frame["data"].as_object_mut() {
        data.iter_mut().filter(|(key, _)| volatile.contains(&key.as_str())).for_each(
            |(_, value)| {
                *value = Value::Null;
            },
        );
    }
    if kind == "welcome" {
        frame["data"]["position"] = Value::Null;
    }
    frame
}

#[test]
fn every_message_of_the_hub_has_an_example_that_it_has_sent() {
    let hub = Hub::start(&[]);
    let api = document(&hub, "/asyncapi.json");
    let mut heard = all_said(&hub, &api);
    renewed(&api, &mut heard);
    crowded(&mut heard);
    let mut wrong = Vec::new();
    let messages = api["components"]["messages"].as_object().expect("messages");
    // Those that clients send, and those of streams, which `streams` replays.
    let others = |name: &str| {
        ["say", "ping", "show", "sample"].contains(&name) || name.starts_with("stream_")
    };
    for (name, message) in messages.iter().filter(|(name, _)| !others(name)) {
        let frames = heard.get(name).map(Vec::as_slice).unwrap_or_default();
        for example in message["examples"].as_array().expect("examples") {
            let example = alike(name, example["payload"].clone());
            let found: Vec<Option<String>> = frames
                .iter()
                .map(|frame| differing(&example, &alike(name, frame.clone()), name))
                .collect();
            if found.iter().all(Option::is_some) {
                wrong.push(format!("{example}: {found:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    let unknown: Vec<&String> = heard.keys().filter(|kind| !messages.contains_key(*kind)).collect();
    assert!(unknown.is_empty(), "the document lacks {unknown:?}");
}
