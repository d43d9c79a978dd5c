//! Chats that are accepted once they are stored (`accept = stored`): nobody sees one that the table
//! does not have, whatever becomes of hub and store.

use std::collections::HashSet;

use cpi_hub::conditions::Condition;
use serde_json::{Value, json};

use crate::support::health::{mended, planted};
use crate::support::ledger::{Ledger, Load, random};
use crate::support::trials::is_slow;
use crate::support::{Answer, Client, Hub, eventually};

const ARGS: [&str; 4] = ["--accept", "stored", "--durable-wait-max", "300ms"];

fn hub() -> Hub {
    let hub = Hub::unlimited_with(&ARGS);
    until_ready(&hub);
    hub
}

/// Nothing is taken before what earlier runs have left is stored.
fn until_ready(hub: &Hub) {
    eventually("ready", || (hub.get("/readyz").status == 200).then_some(()));
}

fn say(client: &mut Client, nonce: &str) {
    let data = json!({"content": nonce, "nonce": nonce, "ack": "durable"});
    client.send(&json!({"type": "chat", "data": data}).to_string());
}

fn post(hub: &Hub, text: &str, lines: &[(&str, &str)]) -> Answer {
    let body = json!({"user_id": 7, "username": "Eva", "message": text}).to_string();
    hub.request("POST", "/v1/ws/spaces/1/chat", lines, body.as_bytes())
}

pub fn nobody_sees_a_chat_that_the_store_does_not_take_and_then_it_is_refused() {
    let hub = hub();
    let mut watcher = hub.join(1, 1, "Ana");
    watcher.next_of("join");
    let mut speaker = hub.join_v1(1, 2, "&username=Beto");
    speaker.next_of("join");
    watcher.next_of("join");
    let lock = hub.lock_store();

    say(&mut speaker, "waits");
    let lines = [("Idempotency-Key", "k1"), ("Prefer", "respond-async")];
    let unsure = post(&hub, "posted", &lines);
    assert_eq!((unsure.status, &unsure.json()["code"]), (504, &json!("not_yet_stored")));
    assert!(unsure.header("retry-after").is_some());
    assert!(unsure.header("preference-applied").is_none());
    planted(&hub, Condition::StoreAwaited);
    assert_eq!(hub.get("/readyz").status, 503);
    assert_eq!(hub.metric("hub_chats_unsecured"), 2.0);

    // From then on what is said is refused at once, and all else goes on.
    say(&mut speaker, "refused");
    let refusal = speaker.next();
    let data = &refusal["data"];
    assert_eq!((&data["code"], &data["ref"]), (&json!("store_unavailable"), &json!("refused")));
    assert!(data["retry_after_ms"].is_u64(), "{refusal}");
    let refused = post(&hub, "refused too", &[]);
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("store_unavailable")));
    assert!(refused.header("retry-after").is_some());
    watcher.send(r#"{"type":"ping"}"#);
    assert_eq!(watcher.next()["type"], "pong", "nothing else came");
    let mut late = hub.join_v1(1, 3, "");
    assert_eq!(late.next()["type"], "welcome");

    drop(lock);
    let texts = |client: &mut Client| -> Vec<Value> {
        (0..2).map(|_| client.next_of("chat")["data"]["content"].clone()).collect()
    };
    assert_eq!(texts(&mut watcher), ["waits", "posted"]);
    assert_eq!(texts(&mut late), ["waits", "posted"], "it came before they were seen");
    assert_eq!(late.next()["user_id"], 3, "its own join");
    assert_eq!(speaker.next()["data"]["content"], "waits");
    let mut acks = [speaker.next_of("ack"), speaker.next_of("ack")];
    acks.sort_by_key(|ack| ack["data"]["level"].to_string());
    assert_eq!(acks.map(|ack| ack["data"]["level"].clone()), ["accepted", "durable"]);
    mended(&hub, Condition::StoreAwaited);
    assert_eq!(hub.contents(1), ["waits", "posted"]);

    let again = post(&hub, "posted", &[("Idempotency-Key", "k1")]);
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, Some("true")));
    say(&mut speaker, "goes-on");
    assert_eq!(speaker.next_of("ack")["data"]["level"], "accepted");
    assert_eq!(hub.contents(1), ["waits", "posted", "goes-on"], "accepted means stored");
}

pub fn what_a_killed_hub_had_shown_is_in_its_table() {
    let kills = if is_slow() { 20 } else { 3 };
    let (mut hub, mut ledger, mut state) = (hub(), Ledger::default(), 20_261_130);
    for round in 0..kills {
        let load = Load::start(&hub, round);
        load.reach(50 + (random(&mut state) % 2_000) as usize);
        hub.kill();
        ledger.add(load);
        // Before the journal is stored.
        let database = rusqlite::Connection::open(hub.data_dir().join("hub.sqlite3"));
        let database = database.expect("the hub's database");
        let mut ids = database.prepare("SELECT id FROM chat_messages").expect("a table");
        let rows = ids.query_map([], |row| row.get::<_, String>(0)).expect("rows");
        let stored: HashSet<String> = rows.map(|id| id.expect("an id")).collect();
        let missing: Vec<&str> = ledger.shown().filter(|id| !stored.contains(*id)).collect();
        assert!(missing.is_empty(), "shown or acked, and not stored: {missing:?}");
        drop(ids);
        drop(database);
        hub.restart();
        until_ready(&hub);
        ledger.check(&hub);
    }
    eprintln!("{kills} kills, {}, none shown before it was stored", ledger.summary());
}

pub fn a_chat_that_the_store_refuses_is_seen_by_nobody() {
    let hub = hub();
    let database = rusqlite::Connection::open(hub.data_dir().join("hub.sqlite3"));
    let database = database.expect("the hub's database");
    database.busy_timeout(crate::support::PATIENCE).expect("an option");
    let index = "CREATE UNIQUE INDEX once ON chat_messages (content)";
    database.execute_batch(index).expect("it is made");
    let mut watcher = hub.join(1, 1, "Ana");
    watcher.next_of("join");
    let mut events = hub.join_v1(1, 2, "");
    events.next_of("join");
    let said = ["uno", "dos", "uno", "tres", "uno", "cuatro"];
    for (number, text) in said.iter().enumerate() {
        let data = json!({"content": text, "nonce": format!("n{number}")});
        events.send(&json!({"type": "chat", "data": data}).to_string());
    }
    let seen = |client: &mut Client| -> Vec<Value> {
        (0..4).map(|_| client.next_of("chat")["data"]["content"].clone()).collect()
    };
    assert_eq!(seen(&mut watcher), ["uno", "dos", "tres", "cuatro"]);
    let mut answers = Vec::new();
    while answers.len() < said.len() {
        let message = events.next_that(|kind| matches!(kind, "ack" | "error"));
        let data = &message["data"];
        let about = if message["type"] == "ack" { &data["nonce"] } else { &data["ref"] };
        answers.push((about.clone(), message["type"].clone()));
    }
    let kinds = ["ack", "ack", "error", "ack", "error", "ack"];
    let expected: Vec<(Value, Value)> =
        (0..).zip(kinds).map(|(n, kind)| (json!(format!("n{n}")), json!(kind))).collect();
    assert_eq!(answers, expected, "in the order of the messages");
    assert_eq!(post(&hub, "dos", &[]).status, 422);
    watcher.send(r#"{"type":"ping"}"#);
    assert_eq!(watcher.next_that(|kind| kind != "join")["type"], "pong", "nothing else came");
}
