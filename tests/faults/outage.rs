//! The store away or refusing, and the journal full (P5; `docs/WIRE.md` H 14): chat goes on, then
//! is refused before anybody sees it, and everything accepted is stored when the store is back.

use cpi_hub::conditions::Condition;
use serde_json::{Value, json};

use crate::support::health::{mended, planted};
use crate::support::{Hub, eventually};

const ARGS: [&str; 6] =
    ["--journal-bytes-max", "4MiB", "--message-bytes-max", "8KiB", "--durable-wait-max", "300ms"];

pub fn a_full_journal_refuses_chat_unseen_and_nothing_accepted_is_lost() {
    let hub = Hub::unlimited_with(&ARGS);
    let mut watcher = hub.join(1, 1, "Ana");
    watcher.next();
    let lock = hub.lock_store();

    let body = r#"{"user_id":7,"username":"Ana","message":"while the store is away"}"#;
    let post = hub.post("/v1/ws/spaces/1/chat", body);
    assert_eq!(post.status, 202, "accepted, not yet stored");
    assert_eq!(post.json()["chat_message"], watcher.next()["data"]);

    // Each about 4 KB: the journal is full after some hundred.
    let mut speaker = hub.join_v1(1, 2, "");
    speaker.next_of("join");
    watcher.next();
    let text = "😀".repeat(990);
    let mut accepted: Vec<Value> = Vec::new();
    let refusal = loop {
        let content = format!("{} {text}", accepted.len());
        let data = json!({"content": content, "nonce": format!("n{}", accepted.len())});
        speaker.send(&json!({"type": "chat", "data": data}).to_string());
        // An acceptance is a chat and an ack, in either order.
        let (first, mut seen) = (speaker.next(), None);
        if first["type"] == "error" {
            break first;
        }
        for message in [first, speaker.next()] {
            if message["type"] == "chat" {
                seen = Some(message["data"].clone());
            }
        }
        let seen = seen.expect("what is acked is seen");
        assert_eq!(watcher.next()["data"], seen);
        accepted.push(seen["id"].clone());
        assert!(accepted.len() < 5_000, "the journal has no bound");
    };
    assert!(accepted.len() > 100, "only {} fit", accepted.len());
    assert_eq!(refusal["data"]["code"], "store_unavailable");
    assert!(refusal["data"]["retry_after_ms"].is_u64());
    let long = json!({"user_id": 7, "username": "Ana", "message": text}).to_string();
    let post = hub.post("/v1/ws/spaces/1/chat", &long);
    assert_eq!((post.status, post.json()["code"].clone()), (503, json!("store_unavailable")));
    assert!(post.header("retry-after").is_some());
    // All else goes on, and what was refused was seen by nobody.
    watcher.send(r#"{"type":"ping"}"#);
    assert_eq!(watcher.next()["type"], "pong");

    drop(lock);
    let stored = hub.history_of(1, 1 + accepted.len());
    let ids: Vec<&Value> = stored.iter().skip(1).map(|row| &row["id"]).collect();
    assert_eq!(ids, accepted.iter().collect::<Vec<_>>());
    eventually("chat is taken again", || {
        (hub.post("/v1/ws/spaces/1/chat", &long).status == 200).then_some(())
    });
    assert_eq!(watcher.next()["type"], "chat");
}

/// Rows that SQLite refuses, for what they are and all of them, by an operator's hand.
pub fn sqlite_refuses_single_rows_alone_and_gets_all_rows_once_it_is_mended() {
    let hub = Hub::unlimited();
    let path = hub.data_dir().join("hub.sqlite3");
    let database = rusqlite::Connection::open(path).expect("the hub's database");
    database.busy_timeout(crate::support::PATIENCE).expect("an option");
    let post = |text: &str| {
        let body = json!({"user_id": 7, "username": "Ana", "message": text});
        hub.post("/v1/ws/spaces/1/chat", &body.to_string()).status
    };
    // What is no JSON is no constraint's word, but a function's.
    let index = "CREATE UNIQUE INDEX once ON chat_messages (content); \
                 CREATE INDEX parts ON chat_messages (json_extract(content, '$.a')) \
                 WHERE content GLOB '{*'";
    database.execute_batch(index).expect("it is made");
    assert_eq!([post("uno"), post("uno"), post("{roto"), post("dos")], [200, 422, 422, 200]);

    let rename = "ALTER TABLE chat_messages RENAME COLUMN username TO named";
    database.execute_batch(rename).expect("it is renamed");
    assert_eq!(post("tres"), 202);
    let health = hub.get("/readyz");
    assert_eq!(health.status, 503);
    let refuses = |it: &Value| it["name"] == "database_refuses";
    let condition = hub.conditions().into_iter().find(refuses).expect("it is told");
    planted(&hub, Condition::DatabaseRefuses);
    let detail = condition["detail"].as_str().expect("its words");
    assert!(detail.contains("no column named username"), "{detail}");
    let rename = "ALTER TABLE chat_messages RENAME COLUMN named TO username";
    database.execute_batch(rename).expect("it is renamed");
    eventually("ready", || (hub.get("/readyz").json()["status"] == "ready").then_some(()));
    mended(&hub, Condition::DatabaseRefuses);
    let texts = hub.history(1).into_iter().map(|row| row["content"].clone());
    assert_eq!(texts.collect::<Vec<_>>(), ["uno", "dos", "tres"]);
    assert_eq!(hub.metric("hub_rows_dead_lettered_total"), 2.0);
}
