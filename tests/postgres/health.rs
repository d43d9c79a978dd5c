//! Conditions that no other test makes: each is planted by the system's refusals of single calls,
//! seen in `/readyz`, metric and log, and gone there once it is mended.

use cpi_hub::conditions::Condition;
use serde_json::json;

use super::disks::say_until_refused;
use super::failing::Failing;
use super::stored::{hub_on, post, until_store_is};
use crate::support::health::{mended, planted};
use crate::support::postgres::Cluster;
use crate::support::trials::Outcome;
use crate::support::{Hub, UNLIMITED, eventually};

const SESSIONS_END: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                            WHERE application_name = 'cpi-hub'";

pub fn a_database_that_lacks_a_column_is_unusable_until_it_has_it() {
    let cluster = Cluster::start(&[]);
    let hub = hub_on(&cluster);
    until_store_is(&hub, "ready");
    let rename = "ALTER TABLE chat_messages RENAME COLUMN";
    cluster.sql("hub", &format!("{rename} content TO text; {SESSIONS_END}"));
    assert_eq!(post(&hub, (1, 2), "espera").0, 202);
    let detail = planted(&hub, Condition::DatabaseUnusable);
    assert!(detail.contains("content"), "{detail}");
    cluster.sql("hub", &format!("{rename} text TO content"));
    mended(&hub, Condition::DatabaseUnusable);
    assert_eq!(hub.history_of(1, 1)[0]["content"], "espera");
}

pub fn a_journal_that_can_not_be_opened_is_read_later() -> Outcome {
    let cluster = Cluster::start(&[]);
    let url = cluster.url();
    let own = ["--database-url", &url, "--message-bytes-max", "8KiB", "--shards", "1"];
    let args = [&own[..], &["--journal-bytes-max", "4MiB"], &UNLIMITED].concat();
    let hub = Hub::start(&args);
    assert_eq!(post(&hub, (2, 2), "antes").0, 200);
    let (mut watcher, mut speaker) = (hub.join(1, 1, "Ana"), hub.join_v1(1, 2, ""));
    let failing = Failing::start_in_thread(&hub, "hub-store", "openat", "EMFILE")?;
    let (accepted, _) = say_until_refused(&mut speaker, &mut watcher);
    planted(&hub, Condition::JournalUnread);
    drop(failing);
    mended(&hub, Condition::JournalUnread);
    let ids = |hub: &Hub| hub.history(1).iter().map(|row| row["id"].clone()).collect::<Vec<_>>();
    eventually("all is stored", || (ids(&hub) == accepted).then_some(()));
    Ok(())
}

pub fn a_journal_that_can_not_be_removed_is_removed_later() -> Outcome {
    let mut cluster = Cluster::start(&[]);
    let mut hub = hub_on(&cluster);
    assert_eq!(post(&hub, (1, 2), "uno").0, 200);
    cluster.end("INT");
    assert_eq!(post(&hub, (1, 2), "dos").0, 202);
    // What this run has left is stored by the next one, which then removes its journal.
    hub.kill();
    hub.restart();
    let failing = Failing::start(&hub, "unlink,unlinkat", None)?;
    cluster.restart();
    until_store_is(&hub, "ready");
    planted(&hub, Condition::JournalKept);
    assert_eq!(hub.contents(1), ["uno", "dos"]);
    drop(failing);
    eventually("the next batch tries again", || {
        assert_eq!(post(&hub, (1, 2), "tres").0, 200);
        (!hub.has_condition("journal_kept")).then_some(())
    });
    mended(&hub, Condition::JournalKept);
    Ok(())
}

pub fn nonces_that_can_not_be_kept_are_kept_later() -> Outcome {
    let cluster = Cluster::start(&[]);
    let hub = hub_on(&cluster);
    let folder = std::fs::read_dir(hub.data_dir()).expect("the data directory");
    let mut files = folder.map(|entry| entry.expect("an entry").path());
    let file = files.find(|path| path.to_string_lossy().contains("nonces")).expect("nonces");
    let say = |nonce: &str| {
        let body = json!({"user_id": 2, "username": "Ana", "message": nonce}).to_string();
        let headers = [("Content-Type", "application/json"), ("Idempotency-Key", nonce)];
        hub.request("POST", "/v1/ws/spaces/1/chat", &headers, body.as_bytes()).status
    };
    let failing = Failing::start(&hub, "write", Some(&file))?;
    assert_eq!(say("uno"), 200);
    planted(&hub, Condition::NoncesLost);
    drop(failing);
    assert_eq!(say("dos"), 200);
    mended(&hub, Condition::NoncesLost);
    Ok(())
}
