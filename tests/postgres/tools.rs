//! `cpi-hub migrate` and `dead-letters` on a real database: the existing server's.

use std::path::Path;

use serde_json::json;

use super::adopted::adopted;
use super::stored::{hub_with, post};
use crate::support::postgres::Cluster;
use crate::support::{eventually, run_hub};

/// Runs a command; exit code, and what it said.
fn tool(cluster: &Cluster, args: &[&str], data_dir: &Path) -> (Option<i32>, String) {
    let data_dir = data_dir.to_str().expect("a text path");
    let args = [args, &["--data-dir", data_dir]].concat();
    let out = run_hub(&args, &[("DATABASE_URL", &cluster.url())]);
    let text = String::from_utf8([out.stdout, out.stderr].concat()).expect("text");
    (out.status.code(), text)
}

pub fn a_dry_run_prints_what_migrate_does_and_changes_nothing() {
    let cluster = adopted();
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("none");
    let tables = "SELECT relname FROM pg_class WHERE relname ~ '^(hub|chat)_' ORDER BY 1";
    let before = cluster.sql("hub", tables);
    let (code, script) = tool(&cluster, &["migrate", "--dry-run"], &data);
    assert_eq!(code, Some(0), "{script}");
    assert_eq!(cluster.sql("hub", tables), before);
    let steps: Vec<&str> = script.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
    for step in ["table of migrations", "migration 1 (tables)", "index chat_messages_space_id_id"] {
        assert!(steps.contains(&step), "{script}");
    }
    // An administrator runs a script statement by statement: indexes are built outside of
    // transactions.
    let path = cluster.data().join("script.sql");
    std::fs::write(&path, &script).expect("it writes");
    let psql = Cluster::programs().expect("psql").join("psql");
    let mut psql = std::process::Command::new(psql);
    psql.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-d", &cluster.url(), "-f"]).arg(&path);
    let out = psql.output().expect("psql runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let (code, text) = tool(&cluster, &["migrate"], &data);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("is up to date; nothing was changed"), "{text}");
    assert!(!data.exists(), "no data directory");
}

pub fn migrate_says_what_it_did_and_what_it_can_not_do() {
    let cluster = adopted();
    let folder = tempfile::tempdir().expect("a folder");
    // Several at once: each step is done by one of them.
    std::thread::scope(|scope| {
        let runs: Vec<_> =
            (0..3).map(|_| scope.spawn(|| tool(&cluster, &["migrate"], folder.path()))).collect();
        let said: Vec<_> = runs.into_iter().map(|run| run.join().expect("it ends")).collect();
        assert!(said.iter().all(|(code, _)| *code == Some(0)), "{said:?}");
        let did = |text: &str| said.iter().filter(|(_, said)| said.contains(text)).count();
        assert!(did("  migration 1 (tables)\n") == 1, "{said:?}");
    });
    let known = cluster.sql("hub", "SELECT max(number) FROM hub_migrations")[0].clone();
    let later = known.parse::<u32>().expect("a number") + 1;
    cluster.sql("hub", &format!("INSERT INTO hub_migrations VALUES ({later}, 'later', '0')"));
    for args in [&["migrate", "--dry-run"][..], &["migrate"]] {
        let (code, text) = tool(&cluster, args, folder.path());
        assert_eq!((code, text.lines().count()), (Some(1), 1), "{text}");
        let told = format!("schema version {later}, this program knows {known} at most");
        assert!(text.contains(&told), "{text}");
    }
    cluster.sql("hub", &format!("DELETE FROM hub_migrations WHERE number = {later}"));
    cluster.sql("hub", "ALTER TABLE chat_messages ALTER COLUMN user_id TYPE bigint");
    let (code, text) = tool(&cluster, &["migrate"], folder.path());
    assert_eq!(code, Some(1));
    assert!(text.contains("chat_messages.user_id is int8, not int4"), "{text}");
}

pub fn dead_letters_are_stored_once_their_users_are_there() {
    let mut cluster = adopted();
    // Posts of nobody are refused at the door.
    let mut hub = hub_with(&cluster, &["--absent-window", "0s"]);
    let mut ids = Vec::new();
    for (space, user) in [(1, 98), (1, 1), (77, 1), (1, 99), (1, 98)] {
        let mut speaker = hub.join(space, user, "Ana Paz");
        speaker.chat("dicho");
        let message = speaker.next_of("chat");
        ids.push(message["data"]["id"].as_str().unwrap_or_default().to_owned());
    }
    eventually("the four are dead", || {
        (hub.metric("hub_rows_dead_lettered_total") >= 4.0).then_some(())
    });
    hub.stop("TERM");
    let data = hub.data_dir().to_owned();
    cluster.end("INT");
    let (code, text) = tool(&cluster, &["dead-letters", "retry"], &data);
    assert_eq!((code, text.lines().count()), (Some(1), 1), "{text}");
    assert!(text.contains("0 stored, 0 were stored already, 0 refused again, 4 left: "), "{text}");
    cluster.restart();
    cluster.sql(
        "hub",
        "INSERT INTO users (id, name, last_name, email, password) VALUES (98, 'c', 'd', 'c@x', 'x')",
    );
    let (code, text) = tool(&cluster, &["dead-letters", "retry"], &data);
    assert_eq!(code, Some(1));
    assert!(text.contains("2 stored, 0 were stored already, 2 refused again"), "{text}");
    let (_, list) = tool(&cluster, &["dead-letters"], &data);
    assert!(list.contains("chat_messages_space_id_fkey"), "{list}");
    assert!(list.contains("\n2 dead letters\n") && !list.contains("dicho"), "{list}");
    let rows = "SELECT count(*), count(DISTINCT id) FROM chat_messages WHERE content = 'dicho'";
    assert_eq!(cluster.sql("hub", rows), ["3|3"]);
    cluster.sql(
        "hub",
        "INSERT INTO users (id, name, last_name, email, password) VALUES (99, 'e', 'f', 'e@x', 'x'); \
         INSERT INTO spaces (id, name, description, created_by, updated_by) VALUES (77, 'a', 'b', 1, 1)",
    );
    let (code, text) = tool(&cluster, &["dead-letters", "retry"], &data);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("2 stored, 0 were stored already, 0 refused again"), "{text}");
    assert_eq!(cluster.sql("hub", rows), ["5|5"]);
    hub.restart();
    let stored: Vec<_> = hub.history(1).into_iter().map(|row| row["content"].clone()).collect();
    assert_eq!(stored.iter().filter(|text| *text == "dicho").count(), 4);
    let (_, message) = post(&hub, (1, 1), "luego");
    assert!(message["id"].as_str() > ids.last().map(String::as_str), "ids go on ascending");
}

pub fn dead_letters_are_tried_again_while_the_hub_serves_and_no_copies_are_made() {
    let cluster = adopted();
    let hub = hub_with(&cluster, &["--absent-window", "0s"]);
    for (space, user) in [(1, 98), (77, 1)] {
        let mut speaker = hub.join(space, user, "Ana Paz");
        speaker.chat("dicho");
        speaker.next_of("chat");
    }
    eventually("both are dead", || {
        (hub.metric("hub_rows_dead_lettered_total") == 2.0).then_some(())
    });
    let retried = |stored: u32, refused: u32| {
        let answer = hub.post("/v1/hub/dead-letters/retry", "");
        let all = json!({"stored": stored, "already_stored": 0, "refused": refused, "left": 0});
        assert_eq!((answer.status, answer.json()), (200, all));
    };
    retried(0, 2);
    cluster.sql(
        "hub",
        "INSERT INTO users (id, name, last_name, email, password) VALUES (98, 'c', 'd', 'c@x', 'x')",
    );
    retried(1, 1);
    let rows = "SELECT count(*), count(DISTINCT id) FROM chat_messages WHERE content = 'dicho'";
    assert_eq!(cluster.sql("hub", rows), ["1|1"]);
    let left = hub.get("/v1/hub/dead-letters").json();
    let reason = left["data"][0]["reason"].as_str().expect("words");
    assert!(reason.contains("chat_messages_space_id_fkey"), "{left}");
    assert_eq!(left["data"].as_array().map(Vec::len), Some(1), "{left}");
    let (status, _) = post(&hub, (1, 1), "luego");
    assert_eq!(status, 200, "and on it goes");
    // PostgreSQL has tools of its own for copies.
    let backups = hub.get("/v1/hub/backups").json();
    assert_eq!(backups, json!({"folder": null, "data": [], "running": null, "last": null}));
    assert_eq!(hub.post("/v1/hub/backups", "").status, 404);
}
