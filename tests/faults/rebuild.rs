//! An embedded database of an earlier version, whose messages are laid out anew at the first start:
//! killed in the middle, again and again, until it is done.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::support::{Hub, eventually};

const ROWS: i64 = 200_000;
const SCRIPTS: [(&str, &str); 2] = [
    ("chat_messages", include_str!("../../migrations/sqlite/0001_chat_messages.sql")),
    ("store", include_str!("../../migrations/sqlite/0002_store.sql")),
];

/// Makes a database as the earlier version left it.
fn make_earlier(database: &Path) {
    let connection = Connection::open(database).expect("a database");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; CREATE TABLE hub_migrations \
             (number INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL) STRICT",
        )
        .expect("a table");
    for (number, (name, sql)) in (1..).zip(SCRIPTS) {
        connection.execute_batch(sql).expect("a script");
        let checksum = format!("{:08x}", crc32c::crc32c(sql.as_bytes()));
        let note = "INSERT INTO hub_migrations VALUES (?1, ?2, ?3)";
        connection.execute(note, (number, name, checksum)).expect("a row");
    }
    // The triggers would count rows one by one; one block a space is as right.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).expect("an option");
    connection
        .execute_batch(&format!(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {ROWS}) \
             INSERT INTO chat_messages \
             SELECT '01JGB4N5ZW' || substr('0000000000000000' || n, -16), \
             'hola ' || n, n % 50, 'Ana', 1 + n % 7, \
             '2026-01-02 03:04:05.' || substr('000000' || n, -6) FROM n; \
             INSERT INTO hub_space_totals SELECT space_id, count(*) FROM chat_messages GROUP BY 1; \
             INSERT INTO hub_space_blocks SELECT space_id, ordering, '', '', total \
             FROM hub_space_totals, (SELECT 0 AS ordering UNION ALL SELECT 1)"
        ))
        .expect("rows");
}

fn begin_a_start(data_dir: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cpi-hub"));
    command.arg("migrate").arg("--data-dir").arg(data_dir).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the hub runs")
}

/// Rows that are laid out anew; `None`: that is over, or has not begun.
fn laid_out(connection: &Connection) -> Option<i64> {
    let sql = "SELECT max(rowid) FROM hub_chat_messages";
    connection.query_row(sql, [], |row| row.get::<_, Option<i64>>(0)).ok()?
}

pub fn an_earlier_database_is_laid_out_anew_through_kills_with_all_that_it_holds() {
    let dir = tempfile::tempdir().expect("a directory");
    let database = dir.path().join(cpi_hub::store::DATABASE_FILE);
    make_earlier(&database);
    let looking = Connection::open(&database).expect("a database");
    let rows = |connection: &Connection| -> (i64, i64, String) {
        let sql = "SELECT count(*), sum(user_id), group_concat(content, ',') FROM (SELECT * FROM \
                   chat_messages WHERE space_id = 3 ORDER BY id)";
        connection.query_row(sql, [], |row| row.try_into()).expect("it reads")
    };
    let before = rows(&looking);
    let mut kills = 0;
    let mut reached = 0;
    while kills < 4 {
        let mut child = begin_a_start(dir.path());
        eventually("it gets on", || {
            let is_over = child.try_wait().expect("a child").is_some();
            (is_over || laid_out(&looking).is_some_and(|rows| rows > reached)).then_some(())
        });
        if child.try_wait().expect("a child").is_some() {
            break;
        }
        child.kill().expect("it is killed");
        child.wait().expect("it ends");
        reached = laid_out(&looking).unwrap_or(reached);
        kills += 1;
    }
    assert!(kills > 0, "it was killed in the middle");
    assert!((1..ROWS).contains(&reached), "{reached} rows");
    let hub = Hub::start_in(dir, &[], &[]);
    assert_eq!(rows(&looking), before);
    let whole: String =
        looking.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it is checked");
    assert_eq!(whole, "ok");
    let all: i64 = looking
        .query_row("SELECT sum(total) FROM hub_space_blocks", [], |row| row.get(0))
        .expect("it reads");
    assert_eq!(all, ROWS);
    let page = hub.get("/v1/messages?space_id=3&page=7&page_size=100").json();
    assert_eq!(page["total"], before.0);
    hub.join(3, 1, "Ana").chat("nuevo");
    hub.history_of(3, usize::try_from(before.0).expect("a count") + 1);
}
