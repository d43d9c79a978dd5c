//! What others have put into the table: history opens, whatever it is.

use super::stored::{hub_on, post, until_store_is};
use crate::support::postgres::Cluster;
use crate::support::{Hub, UNLIMITED, eventually};

const TABLE: &str = "CREATE TABLE chat_messages (id TEXT NOT NULL, content TEXT, user_id INT, \
    username TEXT, space_id INT, timestamp TIMESTAMP)";

/// The rows of a page, by a column.
fn page(hub: &Hub, order: &str, column: &str) -> Vec<String> {
    let path = format!("/v1/messages?space_id=1&page_size=50&order_by={order}&sort_direction=asc");
    let answer = hub.get(&path);
    assert_eq!(answer.status, 200, "{:?}", answer.json());
    let rows = answer.json()["data"].as_array().expect("rows").clone();
    rows.iter().map(|row| row[column].as_str().unwrap_or("?").to_owned()).collect()
}

pub fn rows_with_times_that_nobody_can_show_and_without_values_are_shown() {
    let cluster = Cluster::start(&[]);
    cluster.sql("hub", TABLE);
    cluster.sql(
        "hub",
        "INSERT INTO chat_messages VALUES
            ('01JGB4N5ZW0000000000000001', 'a', 1, 'Ana', 1, 'infinity'),
            ('01JGB4N5ZW0000000000000002', 'b', 1, 'Ana', 1, '-infinity'),
            ('01JGB4N5ZW0000000000000003', 'c', 1, 'Ana', 1, '4713-01-01 00:00:00 BC'),
            ('01JGB4N5ZW0000000000000004', 'd', 1, 'Ana', 1, '294276-12-31 23:59:59.999999'),
            ('01JGB4N5ZW0000000000000005', 'e', 1, 'Ana', 1, '9999-12-31 23:59:59.999999'),
            ('01JGB4N5ZW0000000000000006', 'f', 1, 'Ana', 1, '0001-01-01'),
            ('01JGB4N5ZW0000000000000007', NULL, NULL, NULL, 1, NULL),
            ('01JGB4N5ZW0000000000000008', 'h', 1, 'Ana', NULL, NULL)",
    );
    let hub = hub_on(&cluster);
    until_store_is(&hub, "ready");
    assert_eq!(page(&hub, "id", "content"), ["a", "b", "c", "d", "e", "f", ""]);
    let at = page(&hub, "id", "created_at");
    let last = "9999-12-31T23:59:59.999999-03:00";
    let first = "0001-01-01T00:00:00.000000-03:00";
    assert_eq!(at[..6], [last, first, first, last, last, first]);
    // What has no time has its id's.
    assert!(at[6].starts_with("2024-12-") || at[6].starts_with("2025-"), "{}", at[6]);
    assert_eq!(page(&hub, "timestamp", "content").len(), 7);
    assert_eq!(hub.contents(1).len(), 7);
    assert_eq!(post(&hub, (1, 1), "nuevo").0, 200);
    assert_eq!(hub.contents(1).len(), 8);
    assert_eq!(hub.metric("hub_store_read_faults_total"), 0.0);
}

pub fn texts_that_are_no_text_are_shown_as_far_as_they_are() {
    let cluster = Cluster::start(&[]);
    cluster.sql(
        "postgres",
        "CREATE DATABASE odd ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE_PROVIDER libc \
         LC_COLLATE 'C' LC_CTYPE 'C'",
    );
    cluster.sql("odd", TABLE);
    cluster.sql(
        "odd",
        r"INSERT INTO chat_messages VALUES
            ('01JGB4N5ZW0000000000000001', E'hol\xff', 1, E'An\xe1', 1, '2026-01-02 03:04:05'),
            (E'odd\xfe', 'b', 1, 'Ana', 1, '2026-01-02 03:04:05')",
    );
    let url = cluster.url_of("postgres", "odd");
    let hub = Hub::start(&[&["--database-url", &url][..], &UNLIMITED].concat());
    until_store_is(&hub, "ready");
    assert_eq!(post(&hub, (1, 1), "señal").0, 200);
    assert_eq!(page(&hub, "id", "content"), ["hol\u{fffd}", "señal", "b"]);
    assert_eq!(page(&hub, "timestamp", "username")[0], "An\u{fffd}");
    assert_eq!(hub.contents(1).len(), 3);
}

pub fn history_that_can_not_be_read_is_told_until_it_can() {
    let cluster = Cluster::start(&[]);
    let hub = hub_on(&cluster);
    assert_eq!(post(&hub, (1, 1), "hola").0, 200);
    assert_eq!(hub.get("/v1/messages?space_id=1").status, 200);
    assert!(!hub.has_condition("history_unreadable"));
    cluster.sql("hub", "ALTER TABLE chat_messages RENAME COLUMN username TO named");
    assert_eq!(hub.get("/v1/messages?space_id=1").status, 503);
    assert!(hub.has_condition("history_unreadable"));
    assert_eq!(hub.metric("hub_condition{name=\"history_unreadable\",effect=\"degraded\"}"), 1.0);
    assert_eq!(hub.get("/readyz").status, 200, "chat goes on");
    cluster.sql("hub", "ALTER TABLE chat_messages RENAME COLUMN named TO username");
    eventually("it is over", || {
        assert_eq!(hub.get("/v1/messages?space_id=1").status, 200);
        (!hub.has_condition("history_unreadable")).then_some(())
    });
}
