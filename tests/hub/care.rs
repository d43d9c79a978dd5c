//! What an operator has done to the store while the hub serves: dead letters tried again, copies
//! made.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::{Hub, UNLIMITED, eventually};

fn post(hub: &Hub, text: &str) -> u16 {
    let body = json!({"user_id": 7, "username": "Ana Paz", "message": text});
    hub.post("/v1/ws/spaces/1/chat", &body.to_string()).status
}

fn database(hub: &Hub) -> rusqlite::Connection {
    rusqlite::Connection::open(hub.data_dir().join("hub.sqlite3")).expect("a database")
}

fn letters(hub: &Hub, query: &str) -> Value {
    let answer = hub.get(&format!("/v1/hub/dead-letters?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn retry(hub: &Hub) -> Value {
    let answer = hub.post("/v1/hub/dead-letters/retry", "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[test]
fn dead_letters_are_shown_and_stored_once_their_cause_is_mended_while_others_chat() {
    let hub = Hub::start(&UNLIMITED);
    database(&hub)
        .execute_batch("CREATE UNIQUE INDEX once ON chat_messages (content)")
        .expect("an index");
    assert_eq!(["uno", "uno", "dos", "uno"].map(|text| post(&hub, text)), [200, 422, 200, 422]);
    let shown = eventually("both are counted", || {
        let shown = letters(&hub, "");
        (shown["total"] == 2).then_some(shown)
    });
    let data = shown["data"].as_array().expect("a list");
    assert_eq!((data.len(), &shown["has_more"]), (2, &json!(false)));
    assert!(data[0]["id"].as_str() > data[1]["id"].as_str(), "the newest first: {shown}");
    assert!(data[0]["reason"].as_str().expect("words").contains("UNIQUE"), "{shown}");
    assert_eq!((&data[0]["space_id"], &data[0]["user_id"]), (&json!(1), &json!(7)));
    assert!(!shown.to_string().contains("Ana Paz") && data[0].get("content").is_none(), "{shown}");
    let whole = letters(&hub, "content=1&limit=1");
    assert_eq!(whole["data"][0]["content"], "uno");
    assert_eq!((&whole["has_more"], &whole["total"]), (&json!(true), &json!(2)));
    // Nothing is mended yet.
    let none = json!({"stored": 0, "already_stored": 0, "refused": 2, "left": 0});
    assert_eq!(retry(&hub), none);
    database(&hub).execute_batch("DROP INDEX once").expect("it is dropped");
    assert_eq!(post(&hub, "tres"), 200);
    let both = json!({"stored": 2, "already_stored": 0, "refused": 0, "left": 0});
    assert_eq!(retry(&hub), both);
    assert_eq!(hub.contents(1), ["uno", "uno", "dos", "uno", "tres"], "each in its place, once");
    let none = json!({"stored": 0, "already_stored": 0, "refused": 0, "left": 0});
    assert_eq!(retry(&hub), none);
    eventually("none is left", || (letters(&hub, "")["total"] == 0).then_some(()));
    assert_eq!(post(&hub, "cuatro"), 200, "and on it goes");
}

#[test]
fn many_dead_letters_are_tried_again_a_stretch_at_a_time() {
    let hub = Hub::start(&UNLIMITED);
    database(&hub)
        .execute_batch("CREATE UNIQUE INDEX once ON chat_messages (content)")
        .expect("an index");
    assert_eq!(post(&hub, "uno"), 200);
    let mut ana = hub.join(1, 7, "Ana");
    for _ in 0..250 {
        ana.chat("uno");
        ana.next_of("chat");
    }
    eventually("all are counted", || (letters(&hub, "")["total"] == 250).then_some(()));
    database(&hub).execute_batch("DROP INDEX once").expect("it is dropped");
    let (mut stored, mut tries) = (0, 0);
    loop {
        let done = retry(&hub);
        let now = done["stored"].as_u64().expect("a number");
        assert!((1..=100).contains(&now), "{done}");
        (stored, tries) = (stored + now, tries + 1);
        assert_eq!(done["left"], 250 - stored, "{done}");
        if stored == 250 {
            break;
        }
    }
    assert!(tries >= 3, "{tries}");
    assert_eq!(hub.history_of(1, 251).len(), 251);
}

#[test]
fn a_store_that_is_away_keeps_its_letters_and_says_so() {
    let hub = Hub::start(&UNLIMITED);
    database(&hub)
        .execute_batch("CREATE UNIQUE INDEX once ON chat_messages (content)")
        .expect("an index");
    assert_eq!(post(&hub, "uno"), 200);
    assert_eq!(post(&hub, "uno"), 422);
    eventually("it is counted", || (letters(&hub, "")["total"] == 1).then_some(()));
    let lock = hub.lock_store();
    let answer = hub.post("/v1/hub/dead-letters/retry", "");
    let stopped = answer.status == 200 && answer.json()["stopped"].is_string();
    assert!(stopped || answer.status == 503, "{} {}", answer.status, answer.text());
    lock.execute_batch("ROLLBACK; DROP INDEX once").expect("the lock is given back");
    drop(lock);
    let done = eventually("it is stored", || {
        let answer = hub.post("/v1/hub/dead-letters/retry", "");
        let done = (answer.status == 200).then(|| answer.json())?;
        (done["left"] == 0 && done.get("stopped").is_none()).then_some(done)
    });
    // Whoever gave up may have had it stored.
    let stored = done["stored"].as_u64().expect("a number");
    assert!(stored <= 1, "{done}");
    assert_eq!(hub.contents(1), ["uno", "uno"]);
}

fn backups(hub: &Hub) -> Value {
    let answer = hub.get("/v1/hub/backups");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn made(hub: &Hub) -> Value {
    eventually("it is made", || {
        let last = backups(hub)["last"].take();
        last["file"].is_string().then_some(last)
    })
}

#[test]
fn a_copy_is_made_beside_the_hub_and_the_last_seven_stay() {
    let hub = Hub::start(&UNLIMITED);
    assert_eq!(["uno", "dos"].map(|text| post(&hub, text)), [200, 200]);
    let folder = hub.data_dir().join("backups");
    let none = backups(&hub);
    assert_eq!(none["folder"], folder.to_str().expect("a text path"));
    for (name, nothing) in [("data", json!([])), ("running", Value::Null), ("last", Value::Null)] {
        assert_eq!(none[name], nothing, "{none}");
    }
    // Seven of earlier days, and what is somebody else's.
    std::fs::create_dir(&folder).expect("a folder");
    for day in 1..=7 {
        let name = format!("hub-2026010{day}T030405Z.sqlite3");
        std::fs::write(folder.join(name), "").expect("a file");
    }
    std::fs::write(folder.join("mine.sqlite3"), "").expect("a file");
    let begun = hub.post("/v1/hub/backups", "");
    assert_eq!(begun.status, 202, "{}", begun.text());
    let last = made(&hub);
    assert_eq!(last["messages"], 2);
    let file = folder.join(last["file"].as_str().expect("a name"));
    let about = std::fs::metadata(&file).expect("it is there");
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
    assert_eq!(last["bytes"], about.len());
    let copy = rusqlite::Connection::open(&file).expect("a database");
    let count: u32 = copy
        .query_row("SELECT count(*) FROM chat_messages", [], |row| row.get(0))
        .expect("a count");
    assert_eq!(count, 2);
    let shown = backups(&hub);
    let data = shown["data"].as_array().expect("a list").iter();
    let kept: Vec<&str> = data.filter_map(|it| it["file"].as_str()).collect();
    assert_eq!((kept.len(), kept[0]), (7, last["file"].as_str().expect("a name")));
    assert!(!folder.join("hub-20260101T030405Z.sqlite3").exists(), "the oldest has gone");
    assert!(folder.join("mine.sqlite3").exists(), "what is not the hub's stays");
    assert_eq!(post(&hub, "tres"), 200);
}

#[test]
fn a_copy_that_can_not_be_made_says_why_and_costs_nothing() {
    let hub = Hub::start(&UNLIMITED);
    std::fs::write(hub.data_dir().join("backups"), "no folder").expect("a file");
    assert_eq!(hub.post("/v1/hub/backups", "").status, 202);
    let error = eventually("it says why", || {
        hub.get("/v1/hub/backups").json()["last"]["error"].as_str().map(str::to_owned)
    });
    assert!(error.contains("backups"), "{error}");
    std::fs::remove_file(hub.data_dir().join("backups")).expect("it was there");
    assert_eq!(post(&hub, "hola"), 200);
    // Whoever asks while one is made is shown that one.
    for _ in 0..20 {
        assert_eq!(hub.post("/v1/hub/backups", "").status, 202);
    }
    assert_eq!(made(&hub)["messages"], 1);
}
