//! The commands for operators beside `serve`: `migrate`, on the embedded database.

mod support;

use std::path::Path;

use rusqlite::Connection;
use support::{Hub, run_hub};

/// Runs a command over a data directory; exit code, standard output, standard error.
fn tool(data_dir: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let data_dir = data_dir.to_str().expect("a text path");
    let out = run_hub(&[args, &["--data-dir", data_dir]].concat(), &[]);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (out.status.code(), text(out.stdout), text(out.stderr))
}

/// What it prints when all is well.
#[track_caller]
fn well(data_dir: &Path, args: &[&str]) -> String {
    let (code, out, err) = tool(data_dir, args);
    assert_eq!(code, Some(0), "{args:?}: {out}{err}");
    out
}

/// The one line that it fails with.
#[track_caller]
fn fails(data_dir: &Path, args: &[&str], expected: i32) -> String {
    let (code, out, err) = tool(data_dir, args);
    assert_eq!(code, Some(expected), "{args:?}: {out}{err}");
    let line = err.strip_suffix('\n').and_then(|line| line.strip_prefix("cpi-hub: "));
    let line = line.unwrap_or_else(|| panic!("one line: {err}"));
    assert!(!line.contains(char::is_control), "{line:?}");
    line.to_owned()
}

/// All files below a folder, with what they hold.
fn files(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push((path.clone(), std::fs::read(&path).expect("a file"))),
        }
    }
    found.sort();
    found
}

#[test]
fn a_dry_run_prints_a_script_that_works_and_makes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("not/there");
    let script = well(&data, &["migrate", "--dry-run"]);
    assert!(script.contains("-- migration 1 (chat_messages)"), "{script}");
    assert!(files(folder.path()).is_empty() && !folder.path().join("not").exists());
    let database = Connection::open_in_memory().expect("a database");
    database.execute_batch(&script).expect("it is SQL");
    database.execute_batch("SELECT id FROM chat_messages").expect("the table is there");

    let done = well(&data, &["migrate"]);
    assert!(done.ends_with("was brought up to date:\n  migration 1 (chat_messages)\n"), "{done}");
    assert_eq!(files(&data).len(), 1, "no journal");
    let before = files(&data);
    assert!(well(&data, &["migrate", "--dry-run"]).ends_with("is up to date\n"));
    assert_eq!(files(&data), before);
    let again = well(&data, &["migrate"]);
    assert!(again.ends_with("is up to date; nothing was changed\n"), "{again}");
}

#[test]
fn a_database_is_migrated_beside_a_hub_and_a_newer_one_is_refused() {
    let hub = Hub::start(&[]);
    for args in [&["migrate", "--dry-run"][..], &["migrate"]] {
        assert!(well(hub.data_dir(), args).contains("is up to date"));
    }
    let path = hub.data_dir().join("hub.sqlite3");
    let database = Connection::open(&path).expect("a database");
    let newer = "INSERT INTO hub_migrations VALUES (2, 'later', '0')";
    database.execute_batch(newer).expect("a row");
    for args in [&["migrate", "--dry-run"][..], &["migrate"]] {
        let line = fails(hub.data_dir(), args, 1);
        assert!(line.ends_with("the database has schema version 2, this program knows 1 at most"));
    }
}

#[test]
fn a_bad_setting_of_a_tool_is_one_line_and_78() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "x").expect("it writes");
    assert!(fails(&file, &["migrate"], 78).starts_with("data_dir: "));
    let url = "postgresql://ana:s3cret@localhost/hub?sslmode=always";
    let line = fails(folder.path(), &["migrate", "--database-url", url], 78);
    let expected = "--database-url: sslmode=always is none of disable, allow, prefer, require, \
                    verify-ca and verify-full";
    assert_eq!(line, expected);
    let url = "postgresql://ana:s3cret@localhost/hub";
    for (variable, value, expected) in [
        ("PGSSLMODE", "verify-ca", "DATABASE_URL: sslmode=verify-ca needs sslrootcert"),
        ("PGSSLROOTCERT", "/no/ca.pem", "DATABASE_URL: sslrootcert=/no/ca.pem: can't be read"),
    ] {
        let out = run_hub(&["migrate"], &[("DATABASE_URL", url), (variable, value)]);
        assert_eq!(out.status.code(), Some(78));
        let text = String::from_utf8(out.stderr).expect("text");
        assert!(text.contains(expected) && !text.contains("s3cret"), "{text}");
    }
    // Nobody listens there.
    let url = "postgresql://ana:s3cret@127.0.0.1:1/hub";
    let line = fails(folder.path(), &["migrate", "--database-url", url], 1);
    assert!(line.starts_with("ana@127.0.0.1:1/hub: connect: "), "{line}");
}
