//! Full disks: PostgreSQL's data, its log, and the hub's own journal.

use cpi_hub::conditions::Condition;
use serde_json::{Value, json};

use super::stored::{post, until_store_is};
use crate::support::disk::Disk;
use crate::support::health::{mended, planted};
use crate::support::postgres::{Cluster, Folders};
use crate::support::trials::Outcome;
use crate::support::{Client, Hub, UNLIMITED, eventually};

/// Texts of about 3 KiB each.
fn long(number: usize) -> String {
    format!("{number} {}", "ñandú ".repeat(160))
}

/// Says many long things; everyone sees each, stored or not.
fn say_much(hub: &Hub, said: &mut Vec<String>, times: usize) {
    let mut ana = hub.join(1, 1, "Ana Paz");
    for _ in 0..times {
        let text = long(said.len());
        ana.chat(&text);
        assert_eq!(ana.next_of("chat")["data"]["content"], text);
        said.push(text);
    }
}

fn assert_stored(cluster: &Cluster, said: &[String]) {
    let rows = "SELECT content FROM chat_messages WHERE space_id = 1 ORDER BY id COLLATE \"C\"";
    eventually("all is stored, in order", || {
        (cluster.try_sql("hub", rows).as_deref() == Ok(said)).then_some(())
    });
}

fn hub_with_long_messages(cluster: &Cluster) -> Hub {
    let url = cluster.url();
    let own = ["--database-url", &url, "--message-bytes-max", "8KiB"];
    Hub::start(&own.into_iter().chain(UNLIMITED).collect::<Vec<_>>())
}

/// A row may only be late.
fn assert_no_dead_letters(hub: &Hub) {
    assert_eq!(hub.metric("hub_rows_dead_lettered_total"), 0.0);
    assert!(!hub.data_dir().join("dead-letters.jsonl").exists());
}

pub fn a_full_data_disk_loses_nothing() -> Outcome {
    let disk = Disk::mount(128)?;
    let elsewhere = tempfile::tempdir().expect("a directory");
    open_to_all(elsewhere.path());
    let folders = Folders { data: Some(disk.path()), wal: Some(elsewhere.path()) };
    let cluster = Cluster::start_on(folders, &["fsync=on", "autovacuum=off"]);
    let hub = hub_with_long_messages(&cluster);
    let mut said = Vec::new();
    say_much(&hub, &mut said, 20);
    assert_stored(&cluster, &said);
    disk.fill();
    say_much(&hub, &mut said, 200);
    until_store_is(&hub, "behind");
    assert!(hub.log().contains("53100"), "{}", hub.log());
    assert_eq!(hub.log().matches("takes no messages").count(), 1, "{}", hub.log());
    say_much(&hub, &mut said, 20);
    disk.free();
    assert_stored(&cluster, &said);
    until_store_is(&hub, "ready");
    assert_no_dead_letters(&hub);
    Ok(())
}

pub fn a_full_log_disk_loses_nothing() -> Outcome {
    let disk = Disk::mount(64)?;
    let folders = Folders { data: None, wal: Some(disk.path()) };
    // No checkpoint frees a segment meanwhile.
    let kept = ["fsync=on", "max_wal_size=1GB", "checkpoint_timeout=1h"];
    let mut cluster = Cluster::start_on(folders, &kept);
    let hub = hub_with_long_messages(&cluster);
    let mut said = Vec::new();
    say_much(&hub, &mut said, 20);
    assert_stored(&cluster, &said);
    disk.fill();
    // Each look takes a segment of those that are there.
    eventually("it has no room left", || {
        say_much(&hub, &mut said, 20);
        _ = cluster.try_sql("hub", "SELECT pg_switch_wal()");
        (hub.get("/readyz").json()["store"] == "behind").then_some(())
    });
    say_much(&hub, &mut said, 20);
    assert!(cluster.log().contains("PANIC:  could not write to file"), "{}", cluster.log());
    assert!(hub.log().matches("takes no messages").count() <= 2, "{}", hub.log());
    disk.free();
    // The server may have given up by itself.
    if cluster.has_ended() {
        cluster.restart();
    }
    assert_stored(&cluster, &said);
    until_store_is(&hub, "ready");
    assert_no_dead_letters(&hub);
    Ok(())
}

/// PostgreSQL runs as another user.
fn open_to_all(folder: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    let all = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder, all).expect("a folder of ours");
}

/// Says long things until one is refused; the ids of those that were not.
pub fn say_until_refused(speaker: &mut Client, watcher: &mut Client) -> (Vec<Value>, Value) {
    let mut accepted = Vec::new();
    let refusal = say_on_until_refused(speaker, watcher, &mut accepted);
    (accepted, refusal)
}

fn say_on_until_refused(
    speaker: &mut Client,
    watcher: &mut Client,
    accepted: &mut Vec<Value>,
) -> Value {
    loop {
        let nonce = format!("n{}", accepted.len());
        let data = json!({"content": long(accepted.len()), "nonce": nonce, "ack": "accepted"});
        speaker.send(&json!({"type": "chat", "data": data}).to_string());
        let answer = loop {
            let message = speaker.next();
            if message["type"] == "ack" || message["type"] == "error" {
                break message;
            }
        };
        if answer["type"] == "error" {
            return answer;
        }
        assert_eq!(watcher.next_of("chat")["data"]["id"], answer["data"]["id"]);
        accepted.push(answer["data"]["id"].clone());
        assert!(accepted.len() < 10_000, "the disk has no bound");
    }
}

pub fn a_full_journal_disk_refuses_unseen_and_loses_nothing() -> Outcome {
    let disk = Disk::mount(7)?;
    let mut cluster = Cluster::start(&[]);
    let url = cluster.url();
    let own = ["--database-url", &url, "--message-bytes-max", "8KiB", "--shards", "1"];
    // The disk is full long before the journal is by its own bound.
    let args: Vec<&str> =
        own.into_iter().chain(["--journal-bytes-max", "16MiB"]).chain(UNLIMITED).collect();
    let dir = tempfile::tempdir_in(disk.path()).expect("a directory");
    let mut hub = Hub::start_in(dir, &args, &[]);
    assert_eq!(post(&hub, (2, 2), "antes").0, 200);
    let (mut watcher, mut speaker) = (hub.join(1, 1, "Ana"), hub.join_v1(1, 2, ""));
    cluster.end("INT");
    let (mut accepted, refusal) = say_until_refused(&mut speaker, &mut watcher);
    assert_eq!(refusal["data"]["code"], "store_unavailable", "{refusal}");
    assert!(accepted.len() > 100, "only {} fit", accepted.len());
    assert_eq!(post(&hub, (1, 2), &long(0)).0, 503);
    watcher.send(r#"{"type":"ping"}"#);
    assert_eq!(watcher.next()["type"], "pong", "what was refused was seen by nobody");
    // What was accepted outlives a kill on the full disk.
    disk.fill();
    hub.kill();
    cluster.restart();
    hub.restart();
    let ids =
        |hub: &Hub| -> Vec<Value> { hub.history(1).iter().map(|row| row["id"].clone()).collect() };
    eventually("what was accepted is stored", || (ids(&hub) == accepted).then_some(()));
    let taken = eventually("chat is taken again", || {
        let (status, message) = post(&hub, (1, 2), "después");
        (status == 200).then_some(message)
    });
    accepted.push(taken["id"].clone());
    assert_eq!(ids(&hub), accepted);
    until_store_is(&hub, "ready");
    Ok(())
}

pub fn a_journal_that_fills_while_the_database_is_away_shows_in_readyz_and_metrics() {
    let mut cluster = Cluster::start(&[]);
    let url = cluster.url();
    let own = ["--database-url", &url, "--message-bytes-max", "8KiB", "--shards", "1"];
    let args: Vec<&str> =
        own.into_iter().chain(["--journal-bytes-max", "4MiB"]).chain(UNLIMITED).collect();
    let hub = Hub::start(&args);
    assert_eq!(post(&hub, (2, 2), "antes").0, 200);
    let (mut watcher, mut speaker) = (hub.join(1, 1, "Ana"), hub.join_v1(1, 2, ""));
    cluster.end("INT");
    let (mut accepted, refusal) = say_until_refused(&mut speaker, &mut watcher);
    assert_eq!(refusal["data"]["code"], "store_unavailable", "{refusal}");
    eventually("what waits is counted", || {
        (hub.metric("hub_journal_bytes") > 2_000_000.0).then_some(())
    });
    planted(&hub, Condition::JournalFilling);
    eventually("it says what chat meets", || {
        // A burst may also have run ahead of the next segment's making.
        say_on_until_refused(&mut speaker, &mut watcher, &mut accepted);
        let answer = hub.get("/readyz");
        (answer.status == 503 && answer.json()["status"] == "refusing").then_some(())
    });
    cluster.restart();
    until_store_is(&hub, "ready");
    eventually("all is stored", || (hub.history(1).len() == accepted.len()).then_some(()));
    until_store_is(&hub, "ready");
    mended(&hub, Condition::JournalFilling);
    assert_eq!(hub.get("/readyz").json()["status"], "ready");
    assert_eq!(post(&hub, (1, 2), "después").0, 200);
}
