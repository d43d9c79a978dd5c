//! The index of words of an embedded database, killed while it is made, again and again.

use std::collections::BTreeSet;

use rusqlite::Connection;

use crate::support::{Hub, UNLIMITED, eventually};

const ROWS: i64 = 30_000;

/// Rows that wait to be filled in.
fn left(database: &Connection) -> i64 {
    let sql = "SELECT fill_to - fill_above FROM hub_search_state";
    database.query_row(sql, [], |row| row.get(0)).unwrap_or(ROWS)
}

fn ids_by(hub: &Hub, word: &str) -> BTreeSet<String> {
    let (mut ids, mut before) = (BTreeSet::new(), String::new());
    loop {
        let page = hub.get(&format!("/v1/spaces/1/search?q={word}&limit=100{before}")).json();
        assert_eq!(page["complete"], true);
        let rows = page["data"].as_array().expect("rows");
        ids.extend(rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()));
        match rows.last() {
            Some(last) if page["has_more"] == true => {
                before = format!("&before={}", last["id"].as_str().expect("an id"));
            }
            _ => return ids,
        }
    }
}

pub fn an_index_of_words_that_is_killed_while_it_is_made_goes_on_and_misses_nothing() {
    let mut hub = Hub::unlimited();
    hub.stop("TERM");
    let path = hub.data_dir().join("hub.sqlite3");
    let database = Connection::open(&path).expect("the hub's database");
    database
        .execute_batch(&format!(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {ROWS}) \
             INSERT INTO chat_messages \
             SELECT '01JGB4N5ZW' || substr('0000000000000000' || n, -16), \
             'palabra' || (n % 211) || ' común ' || n, n % 50, 'Ana', 1 + n % 3, \
             '2026-01-02 03:04:05.' || substr('000000' || n, -6) FROM n"
        ))
        .expect("rows");
    let on = [&UNLIMITED[..], &["--search"]].concat();
    let (mut kills, mut said) = (0, 0);
    for share in 1..6 {
        hub.restart_with(&on);
        let until = ROWS * (6 - share) / 6;
        let body = r#"{"message":"palabra7 nueva","user_id":7,"username":"Ana"}"#;
        // Storing goes on meanwhile; what is stored now is found at once.
        assert_eq!(hub.post("/v1/ws/spaces/1/chat", body).status, 200);
        said += 1;
        let found = hub.get("/v1/spaces/1/search?q=nueva&limit=100").json();
        assert_eq!(found["data"].as_array().expect("rows").len(), said);
        eventually("some rows are filled in", || (left(&database) <= until).then_some(()));
        kills += i32::from(left(&database) > 0);
        hub.kill();
    }
    assert!(kills >= 3, "it was killed {kills} times while there was something to do");
    hub.restart_with(&on);
    eventually("the index is complete", || {
        (hub.get("/v1/spaces/1/search?q=x").json()["complete"] == true).then_some(())
    });
    for word in ["palabra7", "comun", "29997"] {
        let sql = "SELECT id FROM chat_messages WHERE space_id = 1 \
                   AND instr(' ' || replace(content, 'ú', 'u') || ' ', ' ' || ?1 || ' ') > 0";
        let mut scan = database.prepare(sql).expect("it parses");
        let there = scan.query_map([word], |row| row.get::<_, String>(0)).expect("it runs");
        let there: BTreeSet<String> = there.collect::<Result<_, _>>().expect("it reads");
        assert!(!there.is_empty(), "{word}");
        assert_eq!(ids_by(&hub, word), there, "{word}");
    }
    assert!(!hub.has_condition("database_damaged"));
    assert_eq!(hub.stop("TERM").code(), Some(0));
    let whole: String =
        database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it is checked");
    assert_eq!(whole, "ok");
}
