//! `cpi-hub backup`: what the copy holds, beside a hub and without one, and what it refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use serde_json::json;

use crate::support::{Hub, UNLIMITED, run_hub};

fn backup(data_dir: &Path, args: &[&str]) -> Output {
    let data_dir = data_dir.to_str().expect("a text path");
    run_hub(&[&["backup", "--data-dir", data_dir], args].concat(), &[])
}

/// The one line that it fails with.
#[track_caller]
fn refused(out: &Output, code: i32) -> String {
    let line = String::from_utf8(out.stderr.clone()).expect("text");
    assert_eq!(out.status.code(), Some(code), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a text path")
}

fn post(hub: &Hub, number: usize) {
    let message = json!({"user_id": 7, "username": "Ana Paz", "message": format!("m{number}")});
    let answer = hub.post("/v1/ws/spaces/1/broadcast", &message.to_string());
    assert_eq!(answer.status, 200);
}

/// The contents of a copy, in the order of their ids.
fn contents(copy: &Path) -> Vec<String> {
    let copy = Connection::open(copy).expect("a database");
    let whole: String =
        copy.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("an answer");
    assert_eq!(whole, "ok");
    let mut rows = copy.prepare("SELECT content FROM chat_messages ORDER BY id").expect("a table");
    let rows = rows.query_map([], |row| row.get(0)).expect("rows");
    rows.collect::<Result<_, _>>().expect("texts")
}

#[test]
fn a_backup_beside_a_busy_hub_is_of_one_moment_and_can_be_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Hub::unlimited();
    (0..20).for_each(|number| post(&hub, number));
    let done = AtomicBool::new(false);
    let copy = folder.path().join("copy.sqlite3");
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut number = 20;
            while !done.load(Ordering::Acquire) {
                post(&hub, number);
                number += 1;
            }
            number
        });
        for round in 0..5 {
            let before = hub.history(1).len().min(20);
            let force: &[&str] = if round == 0 { &[] } else { &["--force"] };
            let out = backup(hub.data_dir(), &[&[text(&copy)], force].concat());
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            let held = contents(&copy);
            let expected: Vec<String> = (0..held.len()).map(|n| format!("m{n}")).collect();
            assert!(held.len() >= before && held == expected, "a hole: {held:?}");
            let told = String::from_utf8(out.stdout).expect("text");
            assert!(told.contains(&format!(": {} messages, ", held.len())), "{told}");
        }
        done.store(true, Ordering::Release);
        assert!(writing.join().expect("it ends") > 20, "the hub took messages meanwhile");
    });
    let mode = fs::metadata(&copy).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for its owner alone");
    let names = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(names, 1, "nothing beside it");

    let held = contents(&copy);
    let restored = tempfile::tempdir().expect("a folder");
    fs::copy(&copy, restored.path().join("hub.sqlite3")).expect("it copies");
    let again = Hub::start_in(restored, &UNLIMITED, &[]);
    assert_eq!(again.history(1).len(), held.len().min(100));
    post(&again, 0);
}

#[test]
fn a_backup_after_a_kill_has_what_is_in_the_log_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hub = Hub::start(&[]);
    post(&hub, 0);
    hub.kill();
    let log = hub.data_dir().join("hub.sqlite3-wal");
    let before = fs::read(&log).expect("a log");
    assert!(!before.is_empty());
    let copy = folder.path().join("copy");
    let out = backup(hub.data_dir(), &[text(&copy)]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(contents(&copy), ["m0"]);
    assert_eq!(fs::read(&log).expect("a log"), before);
    hub.restart();
    assert!(hub.stop("TERM").success());
    let out = backup(hub.data_dir(), &[text(&copy), "--force"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(contents(&copy), ["m0"]);
    assert!(!log.exists(), "nothing is left beside the database");
}

#[test]
fn a_backup_replaces_nothing_unless_asked_and_never_the_database() {
    let folder = tempfile::tempdir().expect("a folder");
    let hub = Hub::start(&[]);
    post(&hub, 0);
    let copy = folder.path().join("copy");
    fs::write(&copy, "dear").expect("it writes");
    let line = refused(&backup(hub.data_dir(), &[text(&copy)]), 1);
    assert!(line.contains("is there already; --force replaces it"), "{line}");
    assert_eq!(fs::read(&copy).expect("a file"), b"dear");
    // A backup that was killed has left this.
    fs::write(folder.path().join("copy.part"), "torn").expect("it writes");
    let out = backup(hub.data_dir(), &[text(&copy), "--force"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(contents(&copy), ["m0"]);

    for name in ["hub.sqlite3", "hub.sqlite3-wal", "hub.sqlite3-copy"] {
        let own = hub.data_dir().join(name);
        let line = refused(&backup(hub.data_dir(), &[text(&own), "--force"]), 1);
        assert!(line.contains("is the hub's own name for a file"), "{line}");
    }
    assert_eq!(hub.contents(1), ["m0"]);

    let empty = tempfile::tempdir().expect("a folder");
    let line = refused(&backup(empty.path(), &[text(&folder.path().join("x"))]), 78);
    assert!(line.contains("there is no embedded database"), "{line}");
    assert_eq!(fs::read_dir(empty.path()).expect("a folder").count(), 0);
    let nowhere = folder.path().join("no/copy");
    let line = refused(&backup(hub.data_dir(), &[text(&nowhere)]), 1);
    assert!(line.contains("No such file or directory"), "{line}");
}

#[test]
fn a_damaged_database_gives_no_backup() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hub = Hub::start(&[]);
    (0..50).for_each(|number| post(&hub, number));
    assert!(hub.stop("TERM").success());
    let path = hub.data_dir().join("hub.sqlite3");
    let mut bytes = fs::read(&path).expect("a file");
    let end = bytes.len();
    bytes[4096..end].fill(0xA5);
    fs::write(&path, bytes).expect("it writes");
    let line = refused(&backup(hub.data_dir(), &[text(&folder.path().join("copy"))]), 1);
    assert!(line.contains("hub.sqlite3: is damaged"), "{line}");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn a_backup_of_postgresql_is_pg_dumps() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = "postgresql://ana:s3cret@localhost/hub";
    let data_dir = folder.path().to_str().expect("a text path");
    let args = ["backup", "--data-dir", data_dir, "copy"];
    let line = refused(&run_hub(&args, &[("DATABASE_URL", url)]), 78);
    assert!(line.contains("pg_dump") && !line.contains("s3cret"), "{line}");
}
