//! A database that is not what it was: older, emptied in part, or another one altogether.

use cpi_hub::conditions::Condition;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::stored::{hub_on, hub_with, post, until_store_is};
use crate::support::health::{mended, mended_by, planted, planted_by};
use crate::support::postgres::Cluster;
use crate::support::{Hub, eventually, run_hub};

/// Keeps what the database holds now.
fn keep(cluster: &Cluster) {
    cluster.sql(
        "hub",
        "CREATE SCHEMA kept; CREATE TABLE kept.m AS SELECT * FROM chat_messages; \
         CREATE TABLE kept.p AS SELECT * FROM hub_positions",
    );
}

const END_SESSIONS: &str =
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cpi-hub'";

/// Makes it so again, as a restored backup or a lagging copy would be: nobody stays connected.
fn go_back(cluster: &Cluster) {
    let back = "TRUNCATE chat_messages, hub_positions; \
                INSERT INTO chat_messages SELECT * FROM kept.m; \
                INSERT INTO hub_positions SELECT * FROM kept.p";
    cluster.sql("hub", &format!("{END_SESSIONS}; {back}"));
}

/// What is stored, in order.
fn stored(cluster: &Cluster) -> Vec<String> {
    cluster.sql("hub", "SELECT content FROM chat_messages ORDER BY id COLLATE \"C\"")
}

fn until_stored(cluster: &Cluster, said: &[String]) {
    eventually("all is stored, once and in order", || (stored(cluster) == said).then_some(()));
}

/// Says `more` messages, and waits until each is stored; their ids.
fn say(hub: &Hub, said: &mut Vec<String>, more: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..more {
        let text = format!("m{}", said.len());
        let (status, message) = post(hub, (1, 2), &text);
        assert_eq!(status, 200);
        ids.push(message["id"].as_str().expect("an id").to_owned());
        said.push(text);
    }
    ids
}

/// A condition that `/readyz` tells of.
fn condition(hub: &Hub, name: &str) -> Option<Value> {
    hub.conditions().into_iter().find(|condition| condition["name"] == name)
}

pub fn an_older_database_is_given_again_what_the_journals_hold() {
    let cluster = Cluster::start(&[]);
    let hub = hub_on(&cluster);
    let mut said = Vec::new();
    say(&hub, &mut said, 20);
    keep(&cluster);
    say(&hub, &mut said, 5);
    go_back(&cluster);
    assert_eq!(stored(&cluster).len(), 20);
    // Nobody says anything: the lost connection alone has it looked at.
    until_stored(&cluster, &said);
    go_back(&cluster);
    let (status, message) = post(&hub, (1, 2), "m25");
    assert!(status == 200 || status == 202, "{status}");
    assert!(message["id"].is_string());
    said.push("m25".into());
    until_stored(&cluster, &said);
    say(&hub, &mut said, 3);
    until_stored(&cluster, &said);
    until_store_is(&hub, "ready");
    assert_eq!(hub.metric("hub_messages_missing"), 0.0);
    assert_eq!(hub.metric("hub_rows_dead_lettered_total"), 0.0);
    assert!(hub.log().contains("the store went back"), "{}", hub.log());
}

pub fn an_older_database_at_a_start_is_given_again_what_the_journals_hold() {
    let cluster = Cluster::start(&[]);
    let mut hub = hub_on(&cluster);
    let mut said = Vec::new();
    say(&hub, &mut said, 10);
    keep(&cluster);
    say(&hub, &mut said, 20);
    hub.kill();
    go_back(&cluster);
    hub.restart();
    until_stored(&cluster, &said);
    say(&hub, &mut said, 1);
    assert_eq!(hub.metric("hub_messages_missing"), 0.0);
}

pub fn positions_that_are_gone_cost_nothing_and_double_nothing() {
    let cluster = Cluster::start(&[]);
    let mut hub = hub_on(&cluster);
    let mut said = Vec::new();
    say(&hub, &mut said, 10);
    for all in ["DELETE FROM hub_positions WHERE journal <> 'adopted'", "TRUNCATE hub_positions"] {
        cluster.sql("hub", &format!("{END_SESSIONS}; {all}"));
        until_store_is(&hub, "ready");
        say(&hub, &mut said, 2);
        until_stored(&cluster, &said);
        hub.kill();
        cluster.sql("hub", all);
        hub.restart();
        until_store_is(&hub, "ready");
        let last = say(&hub, &mut said, 2);
        until_stored(&cluster, &said);
        let highest = "SELECT max(id COLLATE \"C\") FROM chat_messages";
        assert_eq!(cluster.sql("hub", highest), last[1..], "ids ascend");
    }
    assert_eq!(hub.metric("hub_rows_dead_lettered_total"), 0.0);
    assert_eq!(hub.metric("hub_messages_missing"), 0.0);
}

pub fn what_no_journal_holds_is_named_until_it_is_acknowledged() {
    let cluster = Cluster::start(&[]);
    let args = ["--journal-bytes-max", "4MiB", "--shards", "1"];
    let mut hub = hub_with(&cluster, &args);
    let long = "x".repeat(990);
    let mut ids = Vec::new();
    for number in 0..750 {
        if number == 50 {
            keep(&cluster);
        }
        let (status, message) = post(&hub, (1, 2), &format!("{long}{number}"));
        assert_eq!(status, 200);
        ids.push(message["id"].as_str().expect("an id").to_owned());
    }
    go_back(&cluster);
    let rows = "SELECT id FROM chat_messages ORDER BY id COLLATE \"C\"";
    let left = eventually("the journal's rest is stored", || {
        let left = cluster.sql("hub", rows);
        (left.last() == ids.last()).then_some(left)
    });
    let lost: Vec<&String> = ids.iter().filter(|id| !left.contains(id)).collect();
    assert!(lost.len() > 200 && left.len() > 50, "{} lost", lost.len());
    assert_eq!((lost[0], lost.len() + left.len()), (&ids[50], 750));
    let named = format!("{} messages, ids {} to {}", lost.len(), lost[0], lost[lost.len() - 1]);
    let told = condition(&hub, "messages_missing").expect("it is told");
    assert_eq!(told["detail"], named);
    planted(&hub, Condition::MessagesMissing);
    assert_eq!(hub.metric("hub_messages_missing"), lost.len() as f64);
    let answer = hub.get("/readyz");
    assert_eq!((answer.status, &answer.json()["status"]), (200, &"degraded".into()));
    assert_eq!(hub.log().matches(&named).count(), 1, "{}", hub.log());
    // Again older: what was lost before is no news, and the rest is stored again.
    go_back(&cluster);
    eventually("the rest is back", || (cluster.sql("hub", rows) == left).then_some(()));
    hub.stop("TERM");
    hub.restart();
    let told = eventually("a restart tells it too", || condition(&hub, "messages_missing"));
    assert_eq!(told["detail"], named);
    let dir = hub.data_dir().to_str().expect("a text path").to_owned();
    let tool = |action: &str| {
        let out = run_hub(&["journal", action, "--data-dir", &dir], &[]);
        assert_eq!(out.status.code(), Some(0));
        String::from_utf8(out.stdout).expect("a text")
    };
    assert!(tool("inspect").contains(&named));
    assert_eq!(tool("acknowledge"), format!("acknowledged: {named}\n"));
    eventually("it is ready again", || {
        (hub.get("/readyz").json()["status"] == "ready").then_some(())
    });
    mended(&hub, Condition::MessagesMissing);
    assert_eq!(hub.metric("hub_messages_missing"), 0.0);
    assert_eq!(tool("acknowledge"), "nothing is missing that was not acknowledged\n");
    let (_, message) = post(&hub, (1, 2), "luego");
    assert!(message["id"].as_str() > ids.last().map(String::as_str), "ids go on ascending");
}

pub fn what_finished_journals_held_is_named_too() {
    let cluster = Cluster::start(&[]);
    let mut hub = hub_on(&cluster);
    let mut said = Vec::new();
    say(&hub, &mut said, 10);
    keep(&cluster);
    let lost = say(&hub, &mut said, 10);
    // The next run stores nothing, and finishes the journal of the one before.
    hub.stop("TERM");
    hub.restart();
    until_store_is(&hub, "ready");
    eventually("the first run's journal is finished", || {
        let noted = std::fs::read_to_string(hub.data_dir().join("stored-and-trimmed")).ok()?;
        (noted.lines().count() == 20).then_some(())
    });
    go_back(&cluster);
    let told = eventually("a quiet hub tells it", || condition(&hub, "messages_missing"));
    let named = format!("10 messages, ids {} to {}", lost[0], lost[9]);
    assert_eq!(told["detail"], named);
    said.truncate(10);
    let (status, message) = post(&hub, (1, 2), "m10");
    assert_eq!(status, 200);
    assert!(message["id"].as_str() > Some(&lost[9]), "nobody is given an id that is lost");
    said.push("m10".into());
    until_stored(&cluster, &said);
}

/// A hub that was killed with three messages that its database does not have.
fn killed_with_three(cluster: &mut Cluster) -> Hub {
    let mut hub = hub_with(cluster, &["--durable-wait-max", "50ms"]);
    until_store_is(&hub, "ready");
    cluster.end("INT");
    for number in 0..3 {
        assert_eq!(post(&hub, (1, 2), &format!("m{number}")).0, 202);
    }
    hub.kill();
    hub
}

/// Starts a hub on this directory, which must be refused; the one line that says why.
fn refused(hub: &Hub, url: &str) -> String {
    let dir = hub.data_dir().to_str().expect("a text path");
    let args = ["--listen", "127.0.0.1:0", "--pinned", "false", "--data-dir", dir];
    let out = run_hub(&[&args[..], &["--log", "error"]].concat(), &[("DATABASE_URL", url)]);
    let text = String::from_utf8(out.stderr).expect("a text");
    assert_eq!((out.status.code(), text.lines().count()), (Some(78), 1), "{text}");
    text
}

pub fn journals_wait_for_the_store_that_they_were_made_for() {
    let mut cluster = Cluster::start(&[]);
    cluster.sql("postgres", "CREATE DATABASE other");
    let mut hub = killed_with_three(&mut cluster);
    let line = refused(&hub, "");
    let dir = hub.data_dir().display().to_string();
    for part in [&*dir, "3 messages wait for", "/hub, not for the embedded", "--take-journals"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!hub.data_dir().join("hub.sqlite3").exists(), "nothing was made");
    cluster.restart();
    let other = cluster.url_of("postgres", "other");
    let line = refused(&hub, &other);
    assert!(line.contains("3 messages wait for") && line.contains("/other"), "{line}");
    let tables = "SELECT count(*) FROM pg_class WHERE relname = 'chat_messages'";
    assert_eq!(cluster.sql("other", tables), ["0"], "nothing was written");
    // That database at another address.
    cluster.sql("postgres", "ALTER DATABASE hub RENAME TO moved");
    let moved = cluster.url_of("postgres", "moved");
    hub.restart_with(&["--database-url", &moved]);
    let rows = "SELECT content FROM chat_messages ORDER BY id COLLATE \"C\"";
    eventually("all is stored there", || {
        (cluster.sql("moved", rows) == ["m0", "m1", "m2"]).then_some(())
    });
    // What was stored in order leaves nothing behind: any store may follow.
    assert_eq!(hub.stop("TERM").code(), Some(0));
    hub.restart_with(&["--database-url", &other]);
    until_store_is(&hub, "ready");
    assert_eq!(post(&hub, (1, 2), "m3").0, 200);
    assert_eq!(cluster.sql("other", rows), ["m3"]);
    assert_eq!(hub.metric("hub_messages_missing"), 0.0);
}

pub fn journals_are_taken_to_another_store_if_it_is_said() {
    let mut cluster = Cluster::start(&[]);
    cluster.sql("postgres", "CREATE DATABASE other");
    let mut hub = killed_with_three(&mut cluster);
    cluster.restart();
    let other = cluster.url_of("postgres", "other");
    hub.restart_with(&["--database-url", &other, "--take-journals"]);
    let rows = "SELECT content FROM chat_messages ORDER BY id COLLATE \"C\"";
    eventually("all is stored there", || {
        (cluster.sql("other", rows) == ["m0", "m1", "m2"]).then_some(())
    });
    hub.kill();
    hub.restart_with(&["--database-url", &other]);
    until_store_is(&hub, "ready");
    assert_eq!(post(&hub, (1, 2), "m3").0, 200);
    assert_eq!(cluster.sql("other", rows), ["m0", "m1", "m2", "m3"]);
    assert_eq!(hub.metric("hub_messages_missing"), 0.0);
    assert_eq!(cluster.sql("hub", "SELECT count(*) FROM chat_messages"), ["0"]);
}

pub fn a_new_address_that_is_away_is_waited_for_and_told() {
    let mut cluster = Cluster::start(&[]);
    let mut hub = killed_with_three(&mut cluster);
    let moved = cluster.url_of("postgres", "moved");
    let log = hub.data_dir().join("log");
    let mut waiting = std::process::Command::new(env!("CARGO_BIN_EXE_cpi-hub"));
    waiting.args(["--listen", "127.0.0.1:0", "--pinned", "false", "--log-format", "text"]);
    waiting.arg("--data-dir").arg(hub.data_dir()).env_clear().env("DATABASE_URL", &moved);
    waiting.stderr(std::fs::File::create(&log).expect("a file"));
    let mut waiting = waiting.spawn().expect("it starts");
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually("it says why", || read().contains("only it can say; trying again").then_some(()));
    let port = eventually("it says where", || {
        let log = read();
        let (_, address) = log.split_once("address=127.0.0.1:")?;
        address.split(|letter: char| !letter.is_ascii_digit()).next()?.parse::<u16>().ok()
    });
    hub.address.set_port(port);
    let answer = hub.get("/readyz");
    assert_eq!((answer.status, &answer.json()["status"]), (503, &"starting".into()));
    planted_by(|path| hub.get(path), read, Condition::AnotherStore);
    cluster.restart();
    cluster.sql("postgres", "ALTER DATABASE hub RENAME TO moved");
    let count = "SELECT count(*) FROM chat_messages";
    eventually("it is the same store", || (cluster.sql("moved", count) == ["3"]).then_some(()));
    mended_by(|path| hub.get(path), read, Condition::AnotherStore);
    waiting.kill().expect("it runs");
    waiting.wait().expect("it ends");
}

pub fn another_store_at_the_same_address_ends_the_hub_before_a_row_is_written() {
    let cluster = Cluster::start(&[]);
    let mut hub = hub_on(&cluster);
    let mut said = Vec::new();
    say(&hub, &mut said, 3);
    // Nobody's rows: as if the address led elsewhere from now on.
    let other = "UPDATE hub_store SET id = 'another'; TRUNCATE chat_messages, hub_positions";
    cluster.sql("hub", &format!("{END_SESSIONS}; {other}"));
    let begun = Instant::now();
    let status = hub.wait();
    assert!(status.code().is_some_and(|code| code != 0), "{status:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(hub.log().contains("another_store"), "{}", hub.log());
    assert_eq!(stored(&cluster).len(), 0);
    // All that was said is in the store before: this one may begin.
    hub.restart();
    until_store_is(&hub, "ready");
    assert_eq!(post(&hub, (1, 2), "m3").0, 200);
    assert_eq!(stored(&cluster), ["m3"]);
}
