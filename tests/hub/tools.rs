//! The commands for operators beside `serve`, on the embedded database: `migrate`, `journal` and
//! `dead-letters`.

use std::path::Path;

use rusqlite::Connection;
use serde_json::json;

use crate::support::{Hub, eventually, run_hub};

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
    assert!(
        done.ends_with(
            "was brought up to date:\n  migration 1 (chat_messages)\n  migration 2 (store)\n  \
             migration 3 (one_index)\n"
        ),
        "{done}"
    );
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
    let newer = "INSERT INTO hub_migrations VALUES (4, 'later', '0')";
    database.execute_batch(newer).expect("a row");
    for args in [&["migrate", "--dry-run"][..], &["migrate"]] {
        let line = fails(hub.data_dir(), args, 1);
        assert!(line.ends_with("the database has schema version 4, this program knows 3 at most"));
    }
}

#[test]
fn a_bad_setting_of_a_tool_is_one_line_and_78() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "x").expect("it writes");
    assert!(fails(&file, &["migrate"], 78).starts_with("data_dir: "));
    let url = "postgresql://ana@localhost/hub?sslmode=always";
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
    let out = run_hub(&["migrate"], &[("DATABASE_URL", url)]);
    let text = String::from_utf8(out.stderr).expect("text");
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(text.starts_with("cpi-hub: ana@127.0.0.1:1/hub: connect: "), "{text}");
}

/// Says something in space 1; the status of the answer, and the message's id.
fn post(hub: &Hub, text: &str) -> (u16, String) {
    let body = json!({"user_id": 7, "username": "Ana Paz", "message": text}).to_string();
    let answer = hub.post("/v1/ws/spaces/1/broadcast", &body);
    let id = answer.json()["chat_message"]["id"].as_str().unwrap_or_default().to_owned();
    (answer.status, id)
}

/// The cells of a table's rows, by heading; the state stands last, with its blanks.
fn rows(shown: &str) -> Vec<Vec<String>> {
    let lines = shown.lines().skip(1).take_while(|line| !line.is_empty());
    let cells = |line: &str| line.split("  ").map(str::trim).map(str::to_owned).collect();
    let full = |cells: Vec<String>| cells.into_iter().filter(|cell| !cell.is_empty()).collect();
    lines.map(cells).map(full).collect()
}

/// A hub that was killed with this many messages in one journal.
fn killed_with(messages: usize) -> (Hub, String) {
    let mut hub = Hub::start(&["--shards", "1", "--sync-period", "1ms", "--message-rate", "off"]);
    let mut last = String::new();
    for number in 0..messages {
        let (status, id) = post(&hub, &format!("m{number}"));
        assert_eq!(status, 200);
        last = id;
    }
    hub.kill();
    (hub, last)
}

/// The only segment with records, and the offset in it where its records end.
fn segment(hub: &Hub) -> (std::path::PathBuf, u64) {
    let shown = well(hub.data_dir(), &["journal"]);
    let [row] = &rows(&shown)[..] else { panic!("{shown}") };
    let end: u64 = row[4].parse().expect("a number");
    let first = files(&hub.data_dir().join("journal"))
        .into_iter()
        .find(|(path, _)| path.to_string_lossy().ends_with(".00000000.segment"));
    (first.expect("a segment").0, 80 + end)
}

#[test]
fn journals_are_shown_and_verified_beside_a_hub_and_after_it() {
    let mut hub = Hub::start(&["--shards", "2"]);
    let mut highest = (0..9).map(|number| post(&hub, &number.to_string()).1).max();
    let highest = highest.take().expect("nine");
    eventually("each journal has its segment and the next one", || {
        let files = files(&hub.data_dir().join("journal"));
        let segments = files.iter().filter(|(path, _)| path.extension().is_some());
        (segments.count() == 4).then_some(())
    });
    for (when, open) in [("beside", "a hub has them open"), ("after", "no hub has them open")] {
        let before = files(hub.data_dir());
        for action in [&["journal"][..], &["journal", "inspect"], &["journal", "verify"]] {
            let shown = well(hub.data_dir(), action);
            let rows = rows(&shown);
            assert_eq!(rows.len(), 2, "{when}: {shown}");
            let records: u64 = rows.iter().map(|row| row[6].parse::<u64>().expect("a sum")).sum();
            assert_eq!(records, 9, "{when}: {shown}");
            assert!(rows.iter().any(|row| row[8] == highest), "{when}: {shown}");
            // What was answered is stored.
            assert!(rows.iter().all(|row| row[4] == row[5] && row[9] == "sound"), "{shown}");
            assert!(shown.contains("2 journals, 9 records, ") && shown.contains(open), "{shown}");
        }
        let mark = |files: &[(std::path::PathBuf, Vec<u8>)]| {
            let journal = |(path, _): &&(std::path::PathBuf, _)| path.extension().is_some();
            files.iter().filter(journal).map(|(path, _)| path.clone()).collect::<Vec<_>>()
        };
        assert_eq!(mark(&files(hub.data_dir())), mark(&before), "{when}: no file came or went");
        if open.starts_with('a') {
            hub.kill();
        }
    }
    hub.restart();
    assert_eq!(post(&hub, "later").0, 200, "looking locks nobody out");
}

#[test]
fn a_hub_under_load_is_never_called_damaged() {
    let hub = Hub::unlimited_with(&["--shards", "1", "--journal-bytes-max", "4MiB"]);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut ana = hub.join(1, 1, "Ana Paz");
            // Over several segments, each of which is begun while somebody looks.
            let mut said = 0;
            while said < 8_000 {
                ana.chat(&format!("{said:0400}"));
                // A journal as small as this is full where the store is slow: said again then.
                let answer = ana.next_that(|kind| kind == "chat" || kind == "error");
                said += usize::from(answer["type"] == "chat");
            }
        });
        let mut looks = 0;
        while !writing.is_finished() || looks < 3 {
            let shown = well(hub.data_dir(), &["journal", "verify"]);
            assert!(shown.contains("1 journal, "), "{shown}");
            looks += 1;
        }
    });
}

#[test]
fn a_torn_tail_is_sound_and_damage_is_named_as_a_start_names_it() {
    let (mut hub, last) = killed_with(40);
    let (path, end) = segment(&hub);
    let sound = std::fs::read(&path).expect("a segment");
    let mut torn = sound.clone();
    torn[end as usize..end as usize + 100].fill(7);
    std::fs::write(&path, &torn).expect("it writes");
    let shown = well(hub.data_dir(), &["journal", "verify"]);
    assert_eq!(rows(&shown)[0][9], "sound, torn tail of 100 bytes");
    assert_eq!(rows(&shown)[0][8], last);

    let mut damaged = sound.clone();
    damaged[80 + 40] ^= 1;
    std::fs::write(&path, &damaged).expect("it writes");
    let line = fails(hub.data_dir(), &["journal", "verify"], 1);
    let expected =
        format!("{} is damaged at byte 80: accepted messages would be lost", path.display());
    assert_eq!(line, expected);
    let shown = well(hub.data_dir(), &["journal", "inspect"]);
    assert_eq!(rows(&shown)[0][9], "DAMAGED");
    let start = ["serve", "--listen", "127.0.0.1:0", "--shards", "1"];
    assert_eq!(fails(hub.data_dir(), &start, 78), format!("data_dir: {expected}"));

    std::fs::write(&path, &sound).expect("it writes");
    hub.restart();
    assert_eq!(hub.history(1).len(), 40);
}

#[test]
fn a_folder_without_journals_is_no_fault_and_one_that_is_not_there_is() {
    let folder = tempfile::tempdir().expect("a folder");
    for action in ["inspect", "verify"] {
        let shown = well(folder.path(), &["journal", action]);
        assert!(shown.ends_with("\n0 journals, 0 records, 0 bytes; no hub has them open\n"));
    }
    assert!(files(folder.path()).is_empty());
    for args in [&["journal"][..], &["dead-letters"], &["dead-letters", "retry"]] {
        let line = fails(&folder.path().join("none"), args, 78);
        assert!(line.starts_with("data_dir: ") && line.contains("No such file"), "{line}");
    }
    let line = fails(folder.path(), &["journal", "mend"], 78);
    assert_eq!(line, "`mend` is none of inspect, verify, acknowledge");
    let line = fails(folder.path(), &["dead-letters", "retry", "--json"], 78);
    assert_eq!(line, "--json: belongs to dead-letters list, not to retry");
}

#[test]
fn dead_letters_are_listed_and_stored_once_when_the_cause_is_mended() {
    let mut hub = Hub::start(&[]);
    assert_eq!(well(hub.data_dir(), &["dead-letters"]), "no dead letters\n");
    assert_eq!(well(hub.data_dir(), &["dead-letters", "--json"]), "");
    let database = Connection::open(hub.data_dir().join("hub.sqlite3")).expect("a database");
    let once = "CREATE UNIQUE INDEX once ON chat_messages (content)";
    database.execute_batch(once).expect("an index");
    let mut watcher = hub.join(1, 9, "Ana Paz");
    let ids = ["uno", "dos", "uno", "tres", "dos"].map(|text| {
        post(&hub, text);
        let chat = watcher.next_of("chat");
        chat["data"]["id"].as_str().expect("an id").to_owned()
    });
    drop(watcher);
    eventually("all are stored or refused", || {
        (hub.metric("hub_rows_dead_lettered_total") >= 2.0 && hub.history(1).len() == 3)
            .then_some(())
    });
    let shown = well(hub.data_dir(), &["dead-letters", "list"]);
    let listed: Vec<String> = rows(&shown).into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(listed, [ids[2].clone(), ids[4].clone()]);
    assert!(shown.contains("UNIQUE") && shown.ends_with("\n2 dead letters\n"), "{shown}");
    let lines = well(hub.data_dir(), &["dead-letters", "--json"]);
    for text in [&shown, &lines] {
        assert!(!text.contains("uno") && !text.contains("Ana Paz"), "{text}");
    }
    assert_eq!(lines.lines().count(), 2);
    for args in [&["dead-letters", "--content"][..], &["dead-letters", "--json", "--content"]] {
        let shown = well(hub.data_dir(), args);
        assert!(shown.contains("uno") && shown.contains("Ana Paz"), "{shown}");
    }
    let line = fails(hub.data_dir(), &["dead-letters", "retry"], 1);
    assert!(line.ends_with("is in use by a hub; stop it first"), "{line}");

    hub.stop("TERM");
    let line = fails(hub.data_dir(), &["dead-letters", "retry"], 1);
    assert_eq!(line, "0 stored, 0 were stored already, 2 refused again");
    assert_eq!(rows(&well(hub.data_dir(), &["dead-letters"])).len(), 2, "they stay");
    // As if killed before the file was replaced: one of them twice, and stored by hand.
    database.execute_batch("DROP INDEX once").expect("it is mended");
    let letters = hub.data_dir().join("dead-letters.jsonl");
    let text = std::fs::read_to_string(&letters).expect("the letters");
    let done = well(hub.data_dir(), &["dead-letters", "retry"]);
    assert_eq!(done, "2 stored, 0 were stored already, 0 refused again\n");
    assert_eq!(well(hub.data_dir(), &["dead-letters"]), "no dead letters\n");
    std::fs::write(&letters, text.repeat(2)).expect("it writes");
    let done = well(hub.data_dir(), &["dead-letters", "retry"]);
    assert_eq!(done, "0 stored, 2 were stored already, 0 refused again\n");
    let positions = "SELECT count(*) FROM hub_positions WHERE position BETWEEN 1 AND 299";
    let left: i64 = database.query_row(positions, [], |row| row.get(0)).expect("a count");
    assert_eq!(left, 0, "no step of a letter's stays");
    let served = r#"{"database":"db:5432/hub","highest":"00000000000000000000000000"}"#;
    std::fs::write(&letters, text).expect("it writes");
    let path = hub.data_dir().join("served-database.json");
    let own = std::fs::read(&path).expect("the hub's own");
    std::fs::write(&path, served).expect("it writes");
    let line = fails(hub.data_dir(), &["dead-letters", "retry"], 1);
    assert!(line.contains("has stored in db:5432/hub: say --database-url"), "{line}");
    std::fs::write(&path, own).expect("it writes");
    hub.restart();
    let history = hub.history(1);
    let stored: Vec<&str> = history.iter().filter_map(|row| row["id"].as_str()).collect();
    assert_eq!(stored, ids, "each once, in its place");
    assert_eq!(hub.get("/v1/messages?space_id=1").json()["total"], 5);
}
