//! Chats that are accepted once PostgreSQL has them (`accept = stored`): nobody sees one that is
//! not in the table.

use std::collections::HashSet;

use serde_json::json;

use super::adopted::adopted;
use super::stored::{hub_with, post};
use crate::support::ledger::{Ledger, Load};
use crate::support::link::gate::{Fate, Gate, Point};
use crate::support::postgres::Cluster;
use crate::support::{Client, Hub, UNLIMITED, eventually};

const ARGS: [&str; 4] = ["--accept", "stored", "--durable-wait-max", "300ms"];

fn until_ready(hub: &Hub) {
    eventually("ready", || (hub.get("/readyz").status == 200).then_some(()));
}

fn say(client: &mut Client, text: &str) {
    let data = json!({"content": text, "nonce": text});
    client.send(&json!({"type": "chat", "data": data}).to_string());
}

pub fn nobody_sees_a_chat_while_the_server_is_frozen_and_then_it_is_refused() {
    let cluster = Cluster::start(&[]);
    let hub = hub_with(&cluster, &ARGS);
    until_ready(&hub);
    let mut watcher = hub.join(1, 1, "Ana Paz");
    watcher.next_of("join");
    let mut speaker = hub.join_v1(1, 2, "");
    speaker.next_of("join");
    say(&mut speaker, "before");
    assert_eq!(speaker.next_of("ack")["data"]["nonce"], "before");
    assert_eq!(watcher.next_of("chat")["data"]["content"], "before");
    let signal = cluster.everyone();
    signal("STOP");
    say(&mut speaker, "frozen");
    eventually("it is told", || hub.has_condition("store_awaited").then_some(()));
    say(&mut speaker, "refused");
    let refusal = speaker.next_of("error");
    assert_eq!(
        (&refusal["data"]["code"], &refusal["data"]["ref"]),
        (&json!("store_unavailable"), &json!("refused"))
    );
    assert_eq!(post(&hub, (1, 2), "refused").0, 503);
    watcher.send(r#"{"type":"ping"}"#);
    assert_eq!(watcher.next()["type"], "pong", "nothing else came");
    signal("CONT");
    assert_eq!(watcher.next()["data"]["content"], "frozen");
    assert_eq!(speaker.next_of("ack")["data"]["nonce"], "frozen");
    until_ready(&hub);
    assert_eq!(post(&hub, (1, 2), "after").0, 200);
    assert_eq!(watcher.next()["data"]["content"], "after");
    let stored = "SELECT content FROM chat_messages ORDER BY id COLLATE \"C\"";
    assert_eq!(cluster.sql("hub", stored), ["before", "frozen", "after"]);
}

pub fn a_hub_killed_around_its_commit_has_shown_nothing_that_is_not_stored() {
    let cluster = Cluster::start(&[]);
    let gate = Gate::start(&cluster.socket());
    let url = gate.url();
    let args = ["--database-url", &url].into_iter().chain(UNLIMITED).chain(ARGS);
    let mut hub = Hub::start(&args.collect::<Vec<&str>>());
    let mut ledger = Ledger::default();
    let points = [Point::InCopy, Point::BeforeCommit, Point::AfterCommit];
    for (round, point) in (0..).zip(points) {
        until_ready(&hub);
        let load = Load::start(&hub, round);
        load.reach(200);
        gate.stop_at(point);
        // All that can be seen is what was committed before.
        eventually("nothing more is taken", || hub.has_condition("store_awaited").then_some(()));
        hub.kill();
        ledger.add(load);
        gate.let_go(Fate::Lost);
        let ids = cluster.sql("hub", "SELECT id FROM chat_messages");
        let stored: HashSet<&str> = ids.iter().map(String::as_str).collect();
        let missing: Vec<&str> = ledger.shown().filter(|id| !stored.contains(id)).collect();
        assert!(missing.is_empty(), "{point:?}: shown, and not stored: {missing:?}");
        hub.restart();
        ledger.check(&hub);
    }
    eprintln!("{} kills around a commit, {}", points.len(), ledger.summary());
}

pub fn a_user_that_does_not_exist_is_heard_by_nobody() {
    let cluster = adopted();
    let hub = hub_with(&cluster, &ARGS);
    until_ready(&hub);
    let mut watcher = hub.join(1, 1, "Ana Paz");
    watcher.next_of("join");
    let mut nobody = hub.join_v1(1, 77, "");
    nobody.next_of("join");
    say(&mut nobody, "fantasma");
    let refusal = nobody.next_of("error");
    assert_eq!(
        (&refusal["data"]["code"], &refusal["data"]["ref"]),
        (&json!("unknown_user"), &json!("fantasma"))
    );
    let mut ana = hub.join_v1(1, 1, "");
    ana.next_of("join");
    say(&mut ana, "hola");
    ana.next_of("ack");
    assert_eq!(watcher.next_of("chat")["data"]["content"], "hola", "the first that is heard");
}
