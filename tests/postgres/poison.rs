//! Rows that the database refuses for what they are: each alone is left out, and kept.

use serde_json::json;

use super::stored::{hub_on, post, until_store_is};
use crate::support::postgres::Cluster;
use crate::support::{Hub, eventually};

/// Says many things in one breath, `bad` in their midst; those and nothing else end in the dead
/// letters, for a reason that names `code`.
fn check(cluster: &Cluster, hub: &Hub, bad: &[&str], code: &str) {
    let mut said: Vec<String> = (0..300).map(|number| format!("m{number}")).collect();
    for (number, text) in bad.iter().enumerate() {
        said.insert(40 + number * 77, (*text).to_owned());
    }
    let mut ana = hub.join(1, 1, "Ana Paz");
    for text in &said {
        ana.chat(text);
    }
    let stored = "SELECT content FROM chat_messages WHERE content LIKE 'm%' \
                  ORDER BY id COLLATE \"C\"";
    let good: Vec<String> =
        said.iter().filter(|text| !bad.contains(&text.as_str())).cloned().collect();
    eventually("the others are stored, in order", || {
        (cluster.sql("hub", stored) == good).then_some(())
    });
    let letters = eventually("the bad ones are kept", || {
        (hub.metric("hub_rows_dead_lettered_total") == bad.len() as f64).then_some(())?;
        std::fs::read_to_string(hub.data_dir().join("dead-letters.jsonl")).ok()
    });
    let mut kept = Vec::new();
    for line in letters.lines() {
        let letter: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let reason = letter["reason"].as_str().expect("a reason");
        assert!(reason.contains(code), "{reason}");
        assert!(!reason.contains("veneno"), "no content in a reason: {reason}");
        kept.push(letter["content"].as_str().expect("a text").to_owned());
    }
    assert_eq!(kept, bad);
    until_store_is(hub, "ready");
    assert_eq!(hub.metric("hub_rows_stored_total"), good.len() as f64, "the books balance");
}

pub fn a_row_that_a_trigger_refuses_is_alone_in_the_dead_letters() {
    let cluster = Cluster::start(&[]);
    let hub = hub_on(&cluster);
    cluster.sql(
        "hub",
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'not here'; END $$; \
         CREATE TRIGGER no BEFORE INSERT ON chat_messages FOR EACH ROW \
         WHEN (NEW.content LIKE 'veneno%') EXECUTE FUNCTION no()",
    );
    check(&cluster, &hub, &["veneno 1", "veneno 2", "veneno 3"], "P0001");
    // Whoever waits for the commit learns of it (P4).
    let (status, _) = post(&hub, (1, 1), "veneno por HTTP");
    assert_eq!(status, 422);
    let mut leo = hub.join_v1(1, 2, "");
    let data = json!({"content": "veneno", "nonce": "a", "ack": "durable"});
    leo.send(&json!({"type": "chat", "data": data}).to_string());
    assert_eq!(leo.next_of("ack")["data"]["level"], "accepted");
    let refusal = leo.next_of("error");
    assert_eq!(
        (&refusal["data"]["ref"], &refusal["data"]["code"]),
        (&json!("a"), &json!("store_refused"))
    );
}

pub fn a_row_that_is_there_already_is_alone_in_the_dead_letters() {
    let cluster = Cluster::start(&[]);
    let hub = hub_on(&cluster);
    cluster.sql(
        "hub",
        "CREATE UNIQUE INDEX once ON chat_messages (content); \
         INSERT INTO chat_messages (id, content, user_id, username, space_id) \
         VALUES ('01ARZ3NDEKTSV4RRFFQ0000010', 'veneno 1', 1, '', 2), \
                ('01ARZ3NDEKTSV4RRFFQ0000011', 'veneno 2', 1, '', 2)",
    );
    check(&cluster, &hub, &["veneno 1", "veneno 2"], "23505");
}
