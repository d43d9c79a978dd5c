//! The embedded store's files taken away, replaced or made older: under a running hub, and while
//! it is down.

use cpi_hub::conditions::Condition;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::health::{begun_anew, mended, mended_by, planted, planted_by, told};
use crate::support::{Hub, UNLIMITED, eventually, run_hub};

/// How long it may take until a missing file is noticed.
const NOTICE: Duration = Duration::from_secs(2);

fn post(hub: &Hub, text: &str) -> (u16, Value) {
    let body = json!({"space_id": 1, "user_id": 2, "username": "Ana", "message": text});
    let answer = hub.post("/v1/ws/spaces/1/chat", &body.to_string());
    (answer.status, answer.json())
}

/// A hub whose posts do not wait long for a store that is gone, with one message stored.
fn hub_with_one() -> Hub {
    let hub = Hub::unlimited_with(&["--durable-wait-max", "100ms"]);
    let (status, _) = post(&hub, "antes");
    assert!(status == 200 || status == 202);
    hub.history_of(1, 1);
    hub
}

/// Waits, not longer than allowed, until `/readyz` says no for this reason; then chat is refused
/// by every way in, and nobody sees it.
fn is_noticed(hub: &Hub, begun: Instant, name: &str) {
    let mut ana = hub.join_v1(1, 7, "&username=Ana");
    ana.next_of("join");
    eventually(name, || hub.has_condition(name).then_some(()));
    assert!(begun.elapsed() < NOTICE, "{name}: {:?}", begun.elapsed());
    assert_eq!(hub.get("/readyz").status, 503);
    eventually("posts are refused", || {
        let (status, answer) = post(hub, "perdido");
        (status == 503 && answer["code"] == "store_unavailable").then_some(())
    });
    assert!(begun.elapsed() < NOTICE, "{name}: {:?}", begun.elapsed());
    let say = |nonce: &str| json!({"type": "chat", "data": {"content": "no", "nonce": nonce}});
    ana.send(&say("n1").to_string());
    loop {
        let next = ana.next_that(|kind| kind == "error" || kind == "chat");
        assert_ne!(next["data"]["content"], "no", "nobody sees it");
        if next["type"] == "error" {
            assert_eq!(next["data"]["code"], "store_unavailable");
            return;
        }
    }
}

/// Is stopped, and does not say that all is well.
fn ends_with_a_word(hub: &mut Hub, word: &str, log: &Path) {
    let status = hub.stop("TERM");
    assert!(status.code().is_some_and(|code| code != 0), "{status:?}");
    let text = fs::read_to_string(log).unwrap_or_default();
    assert!(text.contains(word), "{word}: {text}");
}

fn database_files(hub: &Hub) -> Vec<PathBuf> {
    ["", "-wal", "-shm"].map(|it| hub.data_dir().join(format!("hub.sqlite3{it}"))).to_vec()
}

/// Puts a copy of the database in its place, as one restores a backup: without the log.
fn put_back(hub: &Hub, copy: &Path) {
    let [path, log @ ..] = &database_files(hub)[..] else { unreachable!("three files") };
    for file in log {
        _ = fs::remove_file(file);
    }
    fs::copy(copy, path).expect("it copies");
}

/// Where the test still finds the log, whatever becomes of the directory.
fn log_of(hub: &Hub) -> (tempfile::TempDir, PathBuf) {
    let aside = tempfile::tempdir().expect("a folder");
    let link = aside.path().join("log");
    fs::hard_link(hub.data_dir().join(crate::support::LOG_FILE), &link).expect("one file system");
    (aside, link)
}

pub fn a_database_that_is_removed_under_the_hub_is_noticed_and_nothing_more_is_taken() {
    let mut hub = hub_with_one();
    let (_aside, log) = log_of(&hub);
    let begun = Instant::now();
    for file in database_files(&hub) {
        fs::remove_file(file).expect("it goes");
    }
    assert_ne!(post(&hub, "entre").0, 200, "a file that is gone makes nothing durable");
    is_noticed(&hub, begun, "database_file");
    ends_with_a_word(&mut hub, "records are not stored; they stay in the journals", &log);
    // Another database in its place is another store: what waits is not for it.
    let dir = hub.data_dir().to_str().expect("a text path");
    let out = run_hub(&["--listen", "127.0.0.1:0", "--data-dir", dir, "--log", "error"], &[]);
    let line = String::from_utf8(out.stderr).expect("a text");
    assert_eq!(out.status.code(), Some(78), "{line}");
    let expected = " for the embedded database (hub.sqlite3), not for the one in its place: put \
                    that one back, or say --take-journals";
    assert!(line.contains(expected), "{line}");
    let args = [&UNLIMITED[..], &["--take-journals"]].concat();
    hub.restart_with(&args);
    eventually("what waited is stored", || {
        hub.contents(1).contains(&"entre".to_owned()).then_some(())
    });
}

pub fn a_log_of_the_database_that_is_removed_under_the_hub_is_noticed() {
    let hub = hub_with_one();
    let begun = Instant::now();
    fs::remove_file(&database_files(&hub)[1]).expect("it goes");
    assert_ne!(post(&hub, "entre").0, 200);
    is_noticed(&hub, begun, "database_file");
}

pub fn a_directory_that_is_moved_away_is_noticed_and_heals_when_it_is_back() {
    let hub = hub_with_one();
    let (_aside, log) = log_of(&hub);
    let read = || fs::read_to_string(&log).expect("the log");
    let aside = hub.data_dir().with_extension("aside");
    let begun = Instant::now();
    fs::rename(hub.data_dir(), &aside).expect("it moves");
    is_noticed(&hub, begun, "data_directory");
    planted_by(|path| hub.get(path), read, Condition::DataDirectory);
    planted_by(|path| hub.get(path), read, Condition::DatabaseFile);
    fs::rename(&aside, hub.data_dir()).expect("it moves back");
    eventually("it is ready again", || {
        (hub.get("/readyz").json()["status"] == "ready").then_some(())
    });
    mended_by(|path| hub.get(path), read, Condition::DataDirectory);
    mended_by(|path| hub.get(path), read, Condition::DatabaseFile);
    eventually("it takes chat again", || (post(&hub, "después").0 == 200).then_some(()));
    let said = hub.contents(1);
    assert_eq!((said[0].as_str(), said.last().map(String::as_str)), ("antes", Some("después")));
}

pub fn a_directory_that_is_removed_ends_in_no_silence() {
    let mut hub = hub_with_one();
    let (_aside, log) = log_of(&hub);
    let begun = Instant::now();
    fs::remove_dir_all(hub.data_dir()).expect("it goes");
    is_noticed(&hub, begun, "data_directory");
    ends_with_a_word(&mut hub, "is gone: ", &log);
}

pub fn a_missing_journal_folder_lock_or_journal_is_noticed() {
    for what in ["journal", "journal/lock", "segments"] {
        let hub = hub_with_one();
        // Once they have been seen there.
        std::thread::sleep(Duration::from_millis(700));
        let begun = Instant::now();
        let journal = hub.data_dir().join("journal");
        match what {
            "journal" => fs::remove_dir_all(&journal).expect("it goes"),
            "segments" => {
                for entry in fs::read_dir(&journal).expect("a folder").flatten() {
                    if entry.path().extension().is_some_and(|it| it == "segment") {
                        fs::remove_file(entry.path()).expect("it goes");
                    }
                }
            }
            _ => fs::remove_file(journal.join("lock")).expect("it goes"),
        }
        is_noticed(&hub, begun, "data_directory");
    }
}

pub fn a_database_that_is_replaced_under_the_hub_is_noticed() {
    let hub = hub_with_one();
    let path = &database_files(&hub)[0];
    let copy = path.with_extension("copy");
    fs::copy(path, &copy).expect("it copies");
    let begun = Instant::now();
    fs::rename(&copy, path).expect("it is replaced");
    assert_ne!(post(&hub, "entre").0, 200);
    is_noticed(&hub, begun, "database_file");
}

pub fn an_older_database_at_a_start_is_given_again_what_the_journals_hold() {
    let mut hub = Hub::unlimited();
    let mut said = Vec::new();
    let say = |hub: &Hub, said: &mut Vec<String>, more: usize| {
        for _ in 0..more {
            let text = format!("m{}", said.len());
            assert_eq!(post(hub, &text).0, 200);
            said.push(text);
        }
    };
    say(&hub, &mut said, 10);
    hub.stop("TERM");
    let path = database_files(&hub).remove(0);
    let copy = path.with_extension("copy");
    fs::copy(&path, &copy).expect("it copies");
    hub.restart();
    say(&hub, &mut said, 5);
    hub.kill();
    put_back(&hub, &copy);
    hub.restart();
    hub.history_of(1, 15);
    assert_eq!(hub.contents(1), said);
    assert_eq!(hub.metric("hub_messages_missing"), 0.0);
    // Once more, when the journal with those five is gone: they are named.
    hub.stop("TERM");
    hub.restart();
    eventually("the journals are finished", || {
        let noted = fs::read_to_string(hub.data_dir().join("stored-and-trimmed")).ok()?;
        (noted.lines().count() == 15).then_some(())
    });
    let lost: Vec<Value> = hub.history(1)[10..].iter().map(|row| row["id"].clone()).collect();
    hub.stop("TERM");
    put_back(&hub, &copy);
    hub.restart();
    eventually("it is told", || hub.has_condition("messages_missing").then_some(()));
    assert_eq!(hub.metric("hub_messages_missing"), 5.0);
    let (first, last) = (lost[0].as_str().expect("an id"), lost[4].as_str().expect("an id"));
    let named = format!("5 messages, ids {first} to {last}");
    assert!(hub.get("/readyz").text().contains(&named), "{}", hub.get("/readyz").text());
    let (status, answer) = post(&hub, "luego");
    assert_eq!(status, 200);
    assert!(answer["chat_message"]["id"].as_str() > Some(last), "no lost id is given again");
}

pub fn messages_that_wait_for_the_embedded_database_go_to_no_other() {
    let mut hub = hub_with_one();
    let lock = hub.lock_store();
    for text in ["a", "b"] {
        assert_eq!(post(&hub, text).0, 202);
    }
    hub.kill();
    drop(lock);
    let dir = hub.data_dir().to_str().expect("a text path");
    let args = ["--listen", "127.0.0.1:0", "--data-dir", dir, "--log", "error"];
    // Nobody listens there, and nobody has to: it is another store.
    let out = run_hub(&args, &[("DATABASE_URL", "postgresql://hub@127.0.0.1:1/hub")]);
    let line = String::from_utf8(out.stderr).expect("a text");
    assert_eq!((out.status.code(), line.lines().count()), (Some(78), 1), "{line}");
    let expected = ": 2 messages wait for the embedded database (hub.sqlite3), not for \
                    127.0.0.1:1/hub: leave DATABASE_URL out, or say --take-journals ";
    assert!(line.contains(expected), "{line}");
    hub.restart();
    hub.history_of(1, 3);
    assert_eq!(hub.contents(1), ["antes", "a", "b"]);
}

/// What a start that is refused says in its one line.
fn refused_start(hub: &Hub) -> String {
    let dir = hub.data_dir().to_str().expect("a text path");
    let out = run_hub(&["--listen", "127.0.0.1:0", "--data-dir", dir, "--log", "error"], &[]);
    let line = String::from_utf8(out.stderr).expect("a text");
    assert_eq!(out.status.code(), Some(78), "{line}");
    line
}

/// Has this many long messages stored.
fn say_much(hub: &Hub, messages: usize) {
    (0..messages).for_each(|n| assert_eq!(post(hub, &format!("{n} {}", "x".repeat(400))).0, 200));
}

pub fn a_copy_with_the_log_of_another_state_beside_it_is_refused_at_the_start() {
    let aside = tempfile::tempdir().expect("a folder");
    let copy = aside.path().join("copy");
    let mut hub = Hub::unlimited();
    say_much(&hub, 30);
    hub.history_of(1, 30);
    assert!(hub.stop("TERM").success());
    let [path, log, _] = &database_files(&hub)[..] else { unreachable!("three files") };
    assert!(!log.exists(), "a hub that ends in order leaves no log");
    fs::copy(path, &copy).expect("it copies");
    hub.restart();
    say_much(&hub, 60);
    // What is in the log now goes to the database, and the log begins anew.
    let other = rusqlite::Connection::open(path).expect("a database");
    let moved = other.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get::<_, i64>(0));
    assert_eq!(moved, Ok(0));
    drop(other);
    say_much(&hub, 2);
    hub.kill();
    fs::copy(&copy, path).expect("it copies");
    let before = fs::read(log).expect("a log");
    for _ in 0..2 {
        let line = refused_start(&hub);
        assert!(line.contains("hub.sqlite3: is damaged: "), "{line}");
        assert!(line.contains("no -wal file beside it"), "{line}");
    }
    assert_eq!(fs::read(log).expect("a log"), before, "it stays as it was");
    fs::remove_file(log).expect("it goes");
    hub.restart();
    assert!(hub.contents(1).len() >= 30, "without the log the copy is sound");
}

pub fn a_database_that_is_damaged_under_the_hub_is_told_and_takes_no_more() {
    let mut hub = hub_with_one();
    say_much(&hub, 30);
    assert!(hub.stop("TERM").success());
    hub.restart();
    let path = &database_files(&hub)[0];
    let bytes = fs::read(path).expect("a file");
    overwrite(path, 4096, &vec![0xA5; bytes.len() - 4096]);
    assert_eq!(hub.get("/v1/spaces/1/messages").status, 503);
    planted(&hub, Condition::DatabaseDamaged);
    planted(&hub, Condition::HistoryUnreadable);
    assert_eq!(hub.get("/readyz").status, 503);
    assert_eq!(post(&hub, "espera").0, 202, "it waits in the journal");
    assert!(hub.log().contains("docs/BACKUP.md"));
    hub.stop("TERM");
    let line = refused_start(&hub);
    assert!(line.contains("hub.sqlite3: is damaged: "), "{line}");
    // A copy in its place gets what the journals hold.
    put_back_bytes(&hub, &bytes);
    hub.restart();
    eventually("what waited is stored", || {
        hub.contents(1).contains(&"espera".to_owned()).then_some(())
    });
    begun_anew(&hub, Condition::DatabaseDamaged);
    begun_anew(&hub, Condition::HistoryUnreadable);
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let file = fs::File::options().write(true).open(path).expect("a file");
    file.write_all_at(bytes, at).expect("it writes");
}

fn put_back_bytes(hub: &Hub, bytes: &[u8]) {
    let [path, log @ ..] = &database_files(hub)[..] else { unreachable!("three files") };
    for file in log {
        _ = fs::remove_file(file);
    }
    fs::write(path, bytes).expect("it writes");
}

pub fn a_large_database_is_checked_beside_the_hub() {
    let mut hub = hub_with_one();
    say_much(&hub, 30);
    let path = &database_files(&hub)[0];
    let other = rusqlite::Connection::open(path).expect("a database");
    other.busy_timeout(Duration::from_secs(30)).expect("an option");
    let large = "CREATE TABLE large (bytes BLOB); INSERT INTO large VALUES (zeroblob(80000000))";
    other.execute_batch(large).expect("a table");
    drop(other);
    hub.kill();
    hub.restart();
    assert!(told(&hub.log(), Condition::DatabaseChecking), "it is told");
    mended(&hub, Condition::DatabaseChecking);
    assert!(!hub.has_condition("database_damaged"));
    hub.history_of(1, 31);
    // Now the large value is in the database itself.
    assert!(hub.stop("TERM").success());
    hub.restart();
    hub.kill();
    // A page in the middle of the large value.
    let middle = fs::metadata(path).expect("a file").len() / 2 / 4096 * 4096;
    overwrite(path, middle, &[0xFF; 4]);
    hub.restart();
    eventually("it is damaged", || hub.has_condition("database_damaged").then_some(()));
    assert_eq!(hub.get("/readyz").status, 503);
}
