//! The events of `/asyncapi.json`: streams send what its examples show, with the same beside the
//! data.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};

use serde_json::{Value, json};

use super::sockets::alike;
use super::{differing, document};
use crate::auth::{SECRET, now, token};
use crate::support::Hub;
use crate::support::events::{Came, Events};

/// The events that came, by name: each with what stood beside its data.
type Heard = BTreeMap<String, Vec<Value>>;

fn open(hub: &Hub, path: &str, lines: &str) -> Events {
    Events::open(hub.connect(), path, lines).expect("a stream")
}

/// Keeps what comes up to the first event of a name, or the stream's end.
fn until(stream: &mut Events, name: &str, heard: &mut Heard) {
    loop {
        match stream.came() {
            Came::Event(kind, data) => {
                let event = json!({"headers": stream.fields, "payload": data});
                heard.entry(kind.clone()).or_default().push(event);
                if kind == name {
                    return;
                }
            }
            Came::Comment(_) => {}
            other => panic!("no event {name}: {other:?}"),
        }
    }
}

/// All that a reader of a space is told: who comes, goes and speaks, what it missed, and why it is
/// closed.
fn all_told(heard: &mut Heard) {
    let hub = Hub::start(&["--user-connections-max", "1"]);
    let path = "/v1/spaces/1/events?user_id=3&username=Eva";
    let mut eva = open(&hub, path, "");
    until(&mut eva, "join", heard);
    let mut ana = hub.join_v1(1, 2, "&username=Ana%20Paz");
    until(&mut eva, "join", heard);
    ana.send(r#"{"type":"chat","data":{"content":"hola"}}"#);
    until(&mut eva, "chat", heard);
    ana.close();
    until(&mut eva, "leave", heard);
    let position = eva.last_id.clone();
    // Whoever is put off is told so in an event, and nothing else.
    let mut put_off = open(&hub, path, "Accept: text/event-stream\r\n");
    until(&mut put_off, "closing", heard);
    assert_eq!(put_off.came(), Came::End);
    let mut nobody = open(&hub, "/v1/spaces/1/events", "");
    until(&mut nobody, "welcome", heard);
    drop(eva);
    until(&mut nobody, "leave", heard);
    hub.post("/v1/ws/spaces/1/chat", r#"{"message":"x","user_id":2,"username":"Ana Paz"}"#);
    let mut eva = open(&hub, path, &format!("Last-Event-ID: {position}\r\n"));
    until(&mut eva, "resumed", heard);
    until(&mut eva, "join", heard);
    hub.request("DELETE", "/v1/spaces/1/members/3", &[], b"");
    until(&mut eva, "closing", heard);
    assert_eq!(eva.came(), Came::End);
}

/// What only some hubs tell: of a crowd, and of a token that ends.
fn elsewhere(heard: &mut Heard) {
    let hub = Hub::start(&["--announce-members-max", "1"]);
    let mut first = open(&hub, "/v1/spaces/1/events?user_id=1", "");
    let _others: Vec<_> = (2..=3).map(|user| hub.join(1, user, "")).collect();
    until(&mut first, "presence", heard);
    let hub = Hub::start_with_env(&[], &[("HUB_JWT_SECRET", SECRET)]);
    let short = token(json!({"exp": now() + 40}));
    let mut reader = open(&hub, &format!("/v1/spaces/1/events?token={short}"), "");
    until(&mut reader, "expiring", heard);
}

/// The first event of the operators' feed, which never ends.
fn first_sample(hub: &Hub) -> Value {
    let mut stream = hub.connect();
    let head = format!("GET /v1/hub/feed HTTP/1.1\r\nHost: {}\r\n\r\n", hub.address);
    stream.write_all(head.as_bytes()).expect("it reads");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    let mut field = |name: &str| {
        let line = lines.find_map(|line| line.strip_prefix(name).map(str::to_owned));
        line.unwrap_or_else(|| panic!("no {name}"))
    };
    let event = field("event: ");
    let payload: Value = serde_json::from_str(&field("data: ")).expect("JSON");
    json!({"headers": {"event": event}, "payload": payload})
}

/// What is another each time is left out; that a position and a hint are there is held to.
fn comparable(kind: &str, mut event: Value) -> Value {
    let payload = alike(kind, event["payload"].take());
    if let Some(retry) = event["headers"].get_mut("retry") {
        // An hour is no hint: it says that nobody is to come back.
        let wait = retry.as_str().map_or(retry.as_u64(), |text| text.parse().ok());
        *retry = if wait == Some(3_600_000) { json!("never") } else { json!("soon") };
    }
    event["payload"] = payload;
    if kind == "sample" {
        for volatile in ["at", "numbers", "shards"] {
            event["payload"][volatile] = Value::Null;
        }
    }
    event
}

#[test]
fn every_event_of_a_stream_has_an_example_that_the_hub_has_sent() {
    let hub = Hub::start(&[]);
    let api = document(&hub, "/asyncapi.json");
    let mut heard = Heard::new();
    heard.insert("sample".into(), vec![first_sample(&hub)]);
    all_told(&mut heard);
    elsewhere(&mut heard);
    let messages = &api["components"]["messages"];
    let mut wrong = Vec::new();
    let mut documented = Vec::new();
    for channel in ["events", "feed"] {
        for name in api["channels"][channel]["messages"].as_object().expect("messages").keys() {
            let message = &messages[name];
            let kind = message["name"].as_str().expect("a name");
            documented.push(kind.to_owned());
            let events = heard.get(kind).map(Vec::as_slice).unwrap_or_default();
            for example in message["examples"].as_array().expect("examples") {
                let example = comparable(kind, example.clone());
                let found = events
                    .iter()
                    .map(|event| differing(&example, &comparable(kind, event.clone()), name));
                let found: Vec<Option<String>> = found.collect();
                if found.iter().all(Option::is_some) {
                    wrong.push(format!("{example}: {found:?}"));
                }
            }
            // Beside the data stands what the document says, no less and no more.
            let known = &message["headers"];
            for event in events {
                let fields = event["headers"].as_object().expect("fields");
                let unknown = fields.keys().find(|field| known["properties"][*field].is_null());
                let required = known["required"].as_array().expect("a list").iter();
                let missing =
                    required.filter_map(Value::as_str).find(|it| !fields.contains_key(*it));
                if unknown.is_some() || missing.is_some() {
                    wrong.push(format!("{name}: {unknown:?} is unknown, {missing:?} is missing"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    let unknown: Vec<&String> = heard.keys().filter(|kind| !documented.contains(kind)).collect();
    assert!(unknown.is_empty(), "the document lacks {unknown:?}");
}
