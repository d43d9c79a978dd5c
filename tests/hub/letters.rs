//! Dead letters as an operator meets them: told, counted across restarts, bounded.

use std::fs;

use cpi_hub::conditions::Condition;
use serde_json::json;

use crate::support::health::{mended, planted};
use crate::support::{Hub, eventually};

/// A hub whose database takes each content once.
fn hub_with(args: &[&str]) -> Hub {
    let hub = Hub::unlimited_with(args);
    let database = rusqlite::Connection::open(hub.data_dir().join("hub.sqlite3"));
    let once = "CREATE UNIQUE INDEX once ON chat_messages (content)";
    database.expect("a database").execute_batch(once).expect("an index");
    hub
}

fn post(hub: &Hub, text: &str) -> u16 {
    let body = json!({"user_id": 7, "username": "Ana Paz", "message": text});
    hub.post("/v1/ws/spaces/1/chat", &body.to_string()).status
}

fn until_counted(hub: &Hub, letters: f64) {
    eventually("they are counted", || (hub.metric("hub_dead_letters") == letters).then_some(()));
}

#[test]
fn dead_letters_are_told_and_counted_from_the_file_also_right_after_a_restart() {
    let mut hub = hub_with(&[]);
    assert_eq!(["uno", "uno", "uno"].map(|text| post(&hub, text)), [200, 422, 422]);
    until_counted(&hub, 2.0);
    hub.kill();
    hub.restart();
    assert_eq!(hub.metric("hub_dead_letters"), 2.0);
    eventually("ready", || (hub.get("/readyz").json()["status"] == "ready").then_some(()));
    let detail = planted(&hub, Condition::DeadLetters);
    assert!(detail.starts_with("2 in ") && detail.ends_with(" of 67108864 bytes"), "{detail}");
    assert!(hub.log().contains("cpi-hub dead-letters"), "and what to do");

    let letters = hub.data_dir().join("dead-letters.jsonl");
    fs::rename(&letters, hub.data_dir().join("answered")).expect("it moves");
    until_counted(&hub, 0.0);
    mended(&hub, Condition::DeadLetters);
    assert_eq!(post(&hub, "uno"), 422);
    until_counted(&hub, 1.0);
    assert_eq!(fs::read_to_string(&letters).expect("a new file").lines().count(), 1);
}

#[test]
fn dead_letters_have_a_bound_and_what_is_not_kept_is_told() {
    let hub = hub_with(&["--dead-letters-bytes-max", "4KiB"]);
    let long = "x".repeat(300);
    assert_eq!(post(&hub, &long), 200);
    for _ in 0..20 {
        assert_eq!(post(&hub, &long), 422, "whoever says it is told");
    }
    let letters = hub.data_dir().join("dead-letters.jsonl");
    let kept = fs::read_to_string(&letters).expect("a file");
    assert!(kept.len() <= 4096);
    let kept = kept.lines().count();
    until_counted(&hub, kept as f64);
    assert_eq!(hub.metric("hub_rows_dead_lettered_total"), 20.0);
    assert_eq!(hub.metric("hub_dead_letters_unkept_total"), (20 - kept) as f64);
    let detail = planted(&hub, Condition::DeadLettersFull);
    assert!(detail.starts_with(&format!("{} were not kept", 20 - kept)), "{detail}");
    assert_eq!(hub.get("/readyz").json()["status"], "degraded");
    assert_eq!(post(&hub, "otra cosa"), 200, "others are stored");

    fs::rename(&letters, hub.data_dir().join("answered")).expect("it moves");
    mended(&hub, Condition::DeadLettersFull);
    assert_eq!(post(&hub, &long), 422);
    until_counted(&hub, 1.0);
}
