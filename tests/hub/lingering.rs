//! Rows that nobody waits for linger (`batch_linger`); nobody who waits for one notices.

use serde_json::{Value, json};

use crate::support::{Hub, eventually};

/// Rows linger for longer than any client is patient.
fn lingering(flags: &[&str]) -> Hub {
    Hub::unlimited_with(&[&["--batch-linger", "1m"], flags].concat())
}

fn newest(page: &Value) -> &Value {
    &page["data"][0]["id"]
}

#[test]
fn a_page_has_all_that_was_accepted_before_it_was_asked_for() {
    let hub = lingering(&["--search", "--shards", "2"]);
    for space in [1, 2, 3] {
        let mut client = hub.join(space, 7, "Ana");
        for number in 0..10 {
            client.chat(&format!("number{number} of {space}"));
            let id = client.next_of("chat")["data"]["id"].clone();
            let path = match number % 3 {
                0 => {
                    format!("/v1/messages?space_id={space}&order_by=timestamp&sort_direction=desc")
                }
                1 => format!("/v1/spaces/{space}/messages?limit=1"),
                _ => format!("/v1/spaces/{space}/search?q=number{number}"),
            };
            assert_eq!(newest(&hub.get(&path).json()), &id, "{path}");
        }
    }
}

#[test]
fn whoever_waits_for_a_message_to_be_stored_waits_no_longer_for_others() {
    let hub = lingering(&["--resume-bytes-max", "4KiB"]);
    let mut client = hub.join_v1(5, 7, "");
    // Nobody waits for these, which are taken along.
    (0..300).for_each(|number| client.chat(&format!("{number} {}", "x".repeat(100))));
    let chat = json!({"content": "hola", "nonce": "a1", "ack": "durable"});
    client.send(&json!({"type": "chat", "data": chat}).to_string());
    for level in ["accepted", "durable"] {
        assert_eq!(client.next_of("ack")["data"]["level"], level);
    }
    assert_eq!(hub.metric("hub_rows_stored_total"), 301.0);

    // 202 would say that it was not stored within five seconds.
    let body = json!({"message": "hola", "user_id": 8, "username": "Ana Paz"}).to_string();
    assert_eq!(hub.post("/v1/ws/spaces/6/broadcast", &body).status, 200);

    // What memory no longer holds is read from the store, which has to have it first.
    let mut client = hub.join(5, 8, "Beto");
    client.chat("the first");
    let first = client.next_of("chat")["data"]["id"].clone();
    let first = first.as_str().expect("an id");
    for number in 0..100 {
        client.chat(&format!("{number} {}", "y".repeat(100)));
        client.next_of("chat");
    }
    let mut back = hub.join_v1(5, 9, &format!("&after={first}"));
    let resumed = back.next_of("resumed");
    assert_eq!(
        (&resumed["data"]["count"], &resumed["data"]["complete"]),
        (&json!(100), &json!(true))
    );
}

#[test]
fn what_lingers_is_stored_in_the_end_and_when_the_hub_stops() {
    let hub = Hub::unlimited_with(&["--batch-linger", "300ms"]);
    let mut client = hub.join(5, 7, "Ana");
    for number in 1..=3 {
        client.chat("hola");
        let stored = || hub.metric("hub_rows_stored_total") == f64::from(number);
        eventually("it is stored", || stored().then_some(()));
    }

    let mut hub = lingering(&[]);
    let mut client = hub.join(5, 7, "Ana");
    for number in 0..50 {
        client.chat(&format!("{number}"));
        client.next_of("chat");
    }
    assert_eq!(hub.metric("hub_rows_stored_total"), 0.0);
    assert_eq!(hub.stop("TERM").code(), Some(0));
    let file = hub.data_dir().join("hub.sqlite3");
    let database = rusqlite::Connection::open(file).expect("it opens");
    let rows: i64 = database
        .query_row("SELECT count(*) FROM chat_messages", [], |row| row.get(0))
        .expect("it counts");
    assert_eq!(rows, 50);
}
