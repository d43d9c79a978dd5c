//! What runs cost that nobody says much to, again and again, with the database away.

use std::fs;
use std::path::PathBuf;

use super::stored::{hub_on, post, until_store_is};
use crate::support::postgres::Cluster;
use crate::support::trials::is_slow;
use crate::support::{Hub, eventually};

fn segments(hub: &Hub) -> Vec<PathBuf> {
    let folder = fs::read_dir(hub.data_dir().join("journal")).expect("journals");
    let paths = folder.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|it| it == "segment")).collect()
}

/// Bytes of all segments; those of a hub that runs come and go meanwhile.
fn bytes(hub: &Hub) -> u64 {
    let lengths = segments(hub).into_iter().flat_map(|path| path.metadata());
    lengths.map(|file| file.len()).sum()
}

/// Bytes of all segments once each shard has its spare, and the metric says the same.
fn bytes_at_rest(hub: &Hub, files: usize) -> u64 {
    eventually("each shard has its spare", || {
        let there = bytes(hub);
        let told = hub.metric("hub_journal_disk_bytes") as u64;
        // A file that is being made is there before its bytes are, and is not told yet.
        let whole = segments(hub).iter().all(|it| it.metadata().is_ok_and(|file| file.len() > 0));
        let same = told == there && bytes(hub) == there;
        (segments(hub).len() == files && whole && same).then_some(there)
    })
}

/// A hub whose database went away after one message was stored.
fn without_its_database(shards: &str) -> (Cluster, Hub) {
    let mut cluster = Cluster::start(&[]);
    let url = cluster.url();
    // So that segments are small and restarts fast; at this bound the twelfth was full before.
    let args = ["--database-url", &url, "--shards", shards, "--journal-bytes-max", "64MiB"];
    let mut hub = Hub::start(&args);
    assert_eq!(post(&hub, (1, 2), "antes").0, 200);
    eventually("it is stored to its end", || {
        (hub.metric("hub_journal_bytes") == 0.0).then_some(())
    });
    cluster.end("INT");
    hub.kill();
    hub.restart();
    (cluster, hub)
}

pub fn restarts_that_nobody_says_a_word_to_cost_nothing() {
    let times = if is_slow() { 100 } else { 14 };
    for shards in [1, 15] {
        let (mut cluster, mut hub) = without_its_database(&shards.to_string());
        // The one message's journal, until the database says that it is stored, and the new ones.
        let first = bytes_at_rest(&hub, 1 + 2 * shards);
        for _ in 0..times {
            hub.kill();
            hub.restart();
        }
        assert_eq!(bytes_at_rest(&hub, 1 + 2 * shards), first, "{shards} shards");
        assert_eq!(hub.get("/readyz").json()["status"], "degraded");
        let status = post(&hub, (1, 2), "después").0;
        assert_eq!(status, 202, "chat is taken");
        cluster.restart();
        until_store_is(&hub, "ready");
        assert_eq!(hub.history_of(1, 2).len(), 2);
        let rows = "SELECT count(*) FROM hub_positions WHERE journal <> 'adopted'";
        for _ in 0..3 {
            hub.kill();
            hub.restart();
            until_store_is(&hub, "ready");
        }
        eventually("rows of runs without a word are gone", || {
            let rows = cluster.sql("hub", rows)[0].parse::<usize>().expect("a number");
            (rows == shards).then_some(())
        });
    }
}

pub fn restarts_with_one_message_each_cost_what_the_messages_take() {
    let times = if is_slow() { 100 } else { 14 };
    let (mut cluster, mut hub) = without_its_database("4");
    let first = bytes_at_rest(&hub, 1 + 2 * 4);
    let mut said = vec!["antes".to_owned()];
    for number in 0..times {
        let text = format!("m{number}");
        let mut ana = hub.join(1, 1, "Ana");
        ana.chat(&text);
        ana.next_of("chat");
        said.push(text);
        hub.kill();
        hub.restart();
    }
    let grown = bytes_at_rest(&hub, 1 + times + 2 * 4) - first;
    // Two headers and a record of some fifty bytes.
    assert!(grown < times as u64 * 256, "{grown} bytes for {times} messages");
    cluster.restart();
    until_store_is(&hub, "ready");
    let stored = "SELECT content FROM chat_messages ORDER BY id COLLATE \"C\"";
    eventually("all is stored", || (cluster.sql("hub", stored) == said).then_some(()));
    bytes_at_rest(&hub, 2 * 4);
}

pub fn a_hub_that_is_killed_while_it_waits_for_a_new_database_leaves_nothing() {
    let mut cluster = Cluster::start(&[]);
    let hub = hub_on(&cluster);
    cluster.end("INT");
    drop(hub);
    let folder = tempfile::tempdir().expect("a folder");
    let said = folder.path().join("said");
    for _ in 0..3 {
        let mut waiting = std::process::Command::new(env!("CARGO_BIN_EXE_cpi-hub"));
        waiting.args(["--listen", "127.0.0.1:0", "--pinned", "false"]);
        waiting.arg("--data-dir").arg(folder.path()).env_clear();
        let log = fs::File::create(&said).expect("a file");
        waiting.env("DATABASE_URL", cluster.url()).stderr(log);
        let mut waiting = waiting.stdout(std::process::Stdio::null()).spawn().expect("it starts");
        eventually("it waits", || {
            let log = fs::read_to_string(&said).ok()?;
            log.contains("has to reach it first").then_some(())
        });
        waiting.kill().expect("it waits");
        waiting.wait().expect("it ends");
        let left = fs::read_dir(folder.path().join("journal")).expect("a folder");
        let left: Vec<_> = left.map(|entry| entry.expect("an entry").file_name()).collect();
        assert_eq!(left, ["lock"]);
    }
}
