//! Nobody but a hub's user can read its files, whatever the umask, an earlier version or a hasty
//! hand left of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cpi_hub::conditions::Condition;
use serde_json::json;

use crate::auth::{SECRET, bearer, new_key, token, write_keys};
use crate::support::Hub;
use crate::support::health::{mended, planted};

/// Runs what follows under a umask that keeps nothing from anybody, with the secret of tokens.
fn openly() -> [String; 3] {
    let script = format!("umask 000; HUB_JWT_SECRET={SECRET} exec \"$0\" \"$@\"");
    ["/bin/sh".into(), "-c".into(), script]
}

/// Runs a tool of the binary so.
fn tool(args: &[&str]) -> Output {
    let [shell, flag, script] = openly();
    let mut command = Command::new(shell);
    command.args([&flag, &script, env!("CARGO_BIN_EXE_cpi-hub")]).args(args);
    let output = command.env_clear().output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a text path")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

/// A folder and all that is in it, however deep.
fn all_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        found.extend(if path.is_dir() { all_in(&path) } else { vec![path] });
    }
    found
}

/// Checks that nobody but their owner can do anything with a folder and its files, and that those
/// of these names are among them.
#[track_caller]
fn check_private(folder: &Path, names: &[&str]) {
    let all = all_in(folder);
    for path in &all {
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(path), expected, "{}: {:o}", path.display(), mode(path));
    }
    for name in names {
        let is_there = all.iter().any(|path| text(path).ends_with(name));
        assert!(is_there, "{name} of {all:?}");
    }
}

#[test]
fn whatever_the_umask_all_that_is_written_is_for_the_hubs_user_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys");
    let (key, line) = new_key("all", "operate,say");
    write_keys(&keys, &[&line]);
    let mut hub = Hub::start_under(
        &openly().each_ref().map(|it| &**it),
        &["--shards", "2", "--api-keys-file", text(&keys)],
    );
    let database = rusqlite::Connection::open(hub.data_dir().join("hub.sqlite3"));
    let once = "CREATE UNIQUE INDEX once ON chat_messages (content)";
    database.expect("a database").execute_batch(once).expect("an index");

    let shown = bearer(&token(json!({})));
    let post = |hub: &Hub, nonce: &str| {
        let headers = [("Authorization", &*shown), ("Idempotency-Key", nonce)];
        let body = json!({"user_id": 7, "username": "Ana Paz", "message": "hola"}).to_string();
        hub.request("POST", "/v1/ws/spaces/1/chat", &headers, body.as_bytes()).status
    };
    assert_eq!([post(&hub, "a"), post(&hub, "b")], [200, 422]);
    let called_back = json!({"user_id": 8}).to_string();
    let headers = [("Authorization", &*bearer(&key))];
    let answer = hub.request("POST", "/v1/auth/revocations", &headers, called_back.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let running = ["/lock", "hub.sqlite3-wal", "hub.sqlite3-shm", "dead-letters.jsonl"];
    check_private(hub.data_dir(), &running);

    let (data_dir, copy) = (text(hub.data_dir()).to_owned(), folder.path().join("copy"));
    tool(&["backup", "--data-dir", &data_dir, text(&copy)]);
    assert_eq!(mode(&copy), 0o600);
    tool(&["journal", "verify", "--data-dir", &data_dir]);
    assert!(hub.stop("TERM").success());
    tool(&["dead-letters", "list", "--data-dir", &data_dir]);
    check_private(Path::new(&data_dir), &["hub.sqlite3", "revocations.json"]);

    let new = folder.path().join("new/data");
    tool(&["migrate", "--data-dir", text(&new)]);
    check_private(&new, &["hub.sqlite3"]);
}

#[test]
fn a_directory_that_others_can_read_is_closed_to_them_at_the_start_and_told_once() {
    let mut hub = Hub::start(&[]);
    assert_eq!(hub.post("/v1/ws/spaces/1/chat", crate::support::GOOD).status, 200);
    let told = |hub: &Hub| hub.log().matches("could be read by others").count();
    // The test's own folder may have been open.
    let before = told(&hub);
    hub.kill();
    for path in all_in(hub.data_dir()) {
        set_mode(&path, if path.is_dir() { 0o755 } else { 0o644 });
    }
    hub.restart();
    check_private(hub.data_dir(), &["hub.sqlite3", "hub.sqlite3-wal", "/lock"]);
    assert_eq!(told(&hub), before + 1);
    assert_eq!(hub.history_of(1, 1)[0]["content"], "hola");
    hub.kill();
    hub.restart();
    assert_eq!(told(&hub), before + 1, "there was nothing to be done");
}

#[test]
fn what_leads_out_of_the_directory_is_left_as_it_is() {
    let mut hub = Hub::start(&[]);
    hub.kill();
    let outside = tempfile::tempdir().expect("a folder");
    let (file, folder) = (outside.path().join("file"), outside.path().join("folder"));
    fs::write(&file, "").expect("a file");
    fs::create_dir(&folder).expect("a folder");
    set_mode(&file, 0o644);
    set_mode(&folder, 0o755);
    for path in [&file, &folder] {
        let link = hub.data_dir().join(path.file_name().expect("a name"));
        std::os::unix::fs::symlink(path, link).expect("a link");
    }
    set_mode(hub.data_dir(), 0o755);
    hub.restart();
    assert_eq!([mode(hub.data_dir()), mode(&file), mode(&folder)], [0o700, 0o644, 0o755]);
}

#[test]
fn a_directory_that_is_opened_to_others_under_the_hub_is_told_until_it_is_closed() {
    let hub = Hub::start(&[]);
    for open in [0o755, 0o710, 0o777] {
        set_mode(hub.data_dir(), open);
        let detail = planted(&hub, Condition::DataDirectoryOpen);
        assert!(detail.contains(&format!("{open:o}")), "{detail}");
        set_mode(hub.data_dir(), 0o700);
        mended(&hub, Condition::DataDirectoryOpen);
    }
}
