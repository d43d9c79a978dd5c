//! The existing server's database (`docs/WIRE.md` F), taken over with its rows, keys and users.

use serde_json::json;

use super::stored::{hub_on, hub_with, post};
use crate::support::eventually;
use crate::support::postgres::Cluster;

pub const SCHEMA: &str = "
CREATE TABLE users (id SERIAL PRIMARY KEY, name TEXT NOT NULL, last_name TEXT NOT NULL,
    email TEXT UNIQUE NOT NULL, password TEXT NOT NULL, created_at TIMESTAMP NOT NULL DEFAULT now(),
    updated_at TIMESTAMP NOT NULL DEFAULT now(), image TEXT);
CREATE TABLE spaces (id SERIAL PRIMARY KEY, name TEXT NOT NULL, description TEXT NOT NULL,
    created_by INT NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at TIMESTAMP NOT NULL DEFAULT now(),
    updated_by INT NOT NULL REFERENCES users ON DELETE CASCADE,
    updated_at TIMESTAMP NOT NULL DEFAULT now());
CREATE TABLE user_spaces (user_id INT NOT NULL REFERENCES users ON DELETE CASCADE,
    space_id INT NOT NULL REFERENCES spaces ON DELETE CASCADE, PRIMARY KEY (user_id, space_id));
CREATE TABLE chat_messages (id TEXT PRIMARY KEY, content TEXT NOT NULL,
    user_id INT NOT NULL REFERENCES users ON DELETE CASCADE, username TEXT NOT NULL,
    space_id INT NOT NULL REFERENCES spaces ON DELETE CASCADE,
    timestamp TIMESTAMP NOT NULL DEFAULT now());
INSERT INTO users (name, last_name, email, password, image) VALUES
    ('Ana', 'Paz', 'a@x', 'x', 'https://x/ana.png'), ('Beto', 'Rey', 'b@x', 'x', NULL);
INSERT INTO spaces (name, description, created_by, updated_by) VALUES ('a', 'b', 1, 1),
    ('c', 'd', 1, 1);
INSERT INTO chat_messages VALUES
    ('01JGB4N5ZW0000000000000002', 'dos', 2, 'Beto Rey', 1, '2026-01-02 03:04:05.678901'),
    ('01JGB4N5ZW0000000000000001', 'uno', 1, 'Ana Paz', 1, '2026-01-02 03:04:05.678901'),
    ('legacy-ñ-1', 'tres', 1, 'Ana', 1, '2026-01-02 03:04:06'),
    ('01JGB4N5ZW0000000000000009', 'otro', 1, 'Ana Paz', 2, '2026-01-02 03:04:05.1'),
    ('7ZZZZZZZZZZZZZZZZZZZZZZZZZ', 'futuro', 1, 'Ana Paz', 2, '2026-01-02 03:04:05.2');";

/// The existing server's database, with a few rows.
pub fn adopted() -> Cluster {
    let cluster = Cluster::start(&[]);
    cluster.sql("hub", SCHEMA);
    cluster
}

pub fn the_existing_servers_rows_are_read_and_not_rewritten() {
    let cluster = adopted();
    let rows = "SELECT xmin, ctid, c.* FROM chat_messages c WHERE user_id < 9 ORDER BY ctid";
    let file = "SELECT pg_relation_filenode('chat_messages')";
    let before = (cluster.sql("hub", rows), cluster.sql("hub", file));
    let hub = hub_on(&cluster);
    let page = "/v1/messages?space_id=1&page=1&page_size=25&order_by=timestamp&sort_direction=desc";
    let row = |id: &str, content: &str, user: i32, name: &str, at: &str| {
        let image = if user == 1 { "https://x/ana.png" } else { "" };
        json!({"id": id, "content": content, "user_id": user, "username": name, "space_id": 1,
               "created_at": at, "image": image})
    };
    let at = "2026-01-02T03:04:05.678901-03:00";
    assert_eq!(
        hub.get(page).json(),
        json!({"data": [
            row("legacy-ñ-1", "tres", 1, "Ana", "2026-01-02T03:04:06.000000-03:00"),
            row("01JGB4N5ZW0000000000000002", "dos", 2, "Beto Rey", at),
            row("01JGB4N5ZW0000000000000001", "uno", 1, "Ana Paz", at),
        ], "page": 1, "page_size": 25, "total": 3})
    );
    assert_eq!((cluster.sql("hub", rows), cluster.sql("hub", file)), before);
    let (status, message) = post(&hub, (1, 2), "nuevo");
    assert_eq!(status, 200);
    let id = message["id"].as_str().expect("an id");
    assert!("01JGB4N5ZW0000000000000009" < id && id < "7ZZ", "the future is left out: {id}");
    let answer = hub.get(page).json();
    assert_eq!((&answer["total"], &answer["data"][0]["content"]), (&json!(4), &json!("nuevo")));
    assert_eq!(answer["data"][0]["created_at"], message["timestamp"]);
    let keys = "SELECT conname FROM pg_constraint WHERE contype = 'f' AND conrelid = \
                'chat_messages'::regclass ORDER BY 1";
    let expected = ["chat_messages_space_id_fkey", "chat_messages_user_id_fkey"];
    assert_eq!(cluster.sql("hub", keys), expected);
    // Whoever the existing server deletes goes, with all that they said.
    cluster.sql("hub", "DELETE FROM users WHERE id = 2");
    let answer = hub.get(page).json();
    assert_eq!(answer["data"].as_array().expect("rows").len(), 2);
}

pub fn the_way_back_to_the_existing_server_leaves_its_database_as_it_was() {
    let cluster = adopted();
    let shape = "SELECT relkind::text || relname || coalesce(pg_get_indexdef(indexrelid), '') \
                 FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid \
                 WHERE relnamespace = 'public'::regnamespace ORDER BY 1";
    let before = cluster.sql("hub", shape);
    let mut hub = hub_on(&cluster);
    assert_eq!(post(&hub, (1, 2), "nuevo").0, 200);
    assert_ne!(cluster.sql("hub", shape), before, "the hub adds something");
    assert_eq!(hub.stop("TERM").code(), Some(0), "{}", hub.log());
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/MIGRATION.md");
    let page = std::fs::read_to_string(page).expect("a page");
    let statements: Vec<&str> =
        page.lines().map(str::trim).filter(|line| line.starts_with("DROP ")).collect();
    assert_eq!(statements.len(), 3, "{statements:?}");
    for statement in statements {
        cluster.sql("hub", statement);
    }
    assert_eq!(cluster.sql("hub", shape), before);
    let rows = "SELECT content FROM chat_messages WHERE user_id = 2 ORDER BY timestamp";
    assert_eq!(cluster.sql("hub", rows), ["dos", "nuevo"]);
    // And over to the hub again, with a data directory that knows nothing of the first time.
    let hub = hub_on(&cluster);
    assert_eq!(post(&hub, (1, 2), "otra vez").0, 200);
}

pub fn a_user_that_does_not_exist_costs_its_own_rows_only() {
    let cluster = adopted();
    let hub = hub_with(&cluster, &["--absent-window", "0s"]);
    let (mut ana, mut nobody) = (hub.join(1, 1, "Ana Paz"), hub.join(1, 99, "Nadie"));
    let mut lost = hub.join(77, 1, "Ana Paz");
    for number in 0..50 {
        ana.chat(&format!("a{number}"));
        if number % 10 == 0 {
            nobody.chat(&format!("n{number}"));
            lost.chat(&format!("l{number}"));
        }
    }
    let said = "SELECT content FROM chat_messages WHERE content LIKE 'a%' AND space_id = 1 \
                ORDER BY id";
    let expected: Vec<String> = (0..50).map(|number| format!("a{number}")).collect();
    eventually("the others' are stored", || (cluster.sql("hub", said) == expected).then_some(()));
    eventually("ten are refused", || {
        (hub.metric("hub_rows_dead_lettered_total") == 10.0).then_some(())
    });
    let letters = std::fs::read_to_string(hub.data_dir().join("dead-letters.jsonl"));
    let letters = letters.expect("dead letters");
    let mut found: Vec<(String, bool)> = letters
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let reason = line["reason"].as_str().expect("a reason");
            let key = if line["user_id"] == 99 { "user_id" } else { "space_id" };
            let named =
                reason.contains("23503") && reason.contains(&format!("chat_messages_{key}_fkey"));
            (line["content"].as_str().expect("a text").to_owned(), named)
        })
        .collect();
    found.sort();
    let expected = ["l0", "l10", "l20", "l30", "l40", "n0", "n10", "n20", "n30", "n40"];
    assert_eq!(found, expected.map(|text| (text.to_owned(), true)));
    assert_eq!(hub.get("/readyz").json()["store"], "ready");
}

pub fn a_post_of_nobody_is_seen_by_nobody() {
    let cluster = adopted();
    let hub = hub_on(&cluster);
    let mut ana = hub.join(1, 1, "Ana Paz");
    for _ in 0..2 {
        assert_eq!(post(&hub, (1, 99), "nadie").0, 422);
        assert_eq!(post(&hub, (77, 1), "en ninguna parte").0, 422);
    }
    // Whoever registers is there soon.
    cluster.sql(
        "hub",
        "INSERT INTO users (id, name, last_name, email, password) VALUES (99, 'N', 'N', 'n', 'p')",
    );
    eventually("the new user is known", || (post(&hub, (1, 99), "aquí").0 == 200).then_some(()));
    assert_eq!(ana.next_of("chat")["data"]["content"], "aquí", "and nothing before it");
    assert_eq!(hub.metric("hub_rows_dead_lettered_total"), 0.0);
}

pub fn who_does_not_exist_is_told_so_and_then_refused_at_the_door() {
    let cluster = adopted();
    let hub = hub_on(&cluster);
    let mut ana = hub.join(1, 1, "Ana Paz");
    ana.next_of("join");
    let mut nobody = hub.join_v1(1, 99, "");
    nobody.next_of("join");
    let say = |nonce: &str| {
        let data = json!({"content": nonce, "nonce": nonce, "ack": "durable"});
        json!({"type": "chat", "data": data}).to_string()
    };
    nobody.send(&say("n1"));
    let id = nobody.next_of("ack")["data"]["id"].clone();
    assert_eq!(ana.next_of("chat")["data"]["id"], id, "nobody knew it yet");
    let told = nobody.next_of("error")["data"].clone();
    assert_eq!(
        (&told["code"], &told["ref"], &told["id"]),
        (&json!("unknown_user"), &json!("n1"), &id)
    );
    // From now on nobody sees it: over the socket, and by HTTP on any shard.
    nobody.send(&say("n2"));
    let told = nobody.next_of("error")["data"].clone();
    assert_eq!((&told["code"], told.get("id")), (&json!("unknown_user"), None));
    let (status, _) = post(&hub, (1, 99), "n3");
    assert_eq!(status, 422);
    let lost = r#"{"space_id":77,"user_id":1,"username":"Ana","message":"hola"}"#;
    for _ in 0..2 {
        let answer = hub.post("/v1/ws/spaces/77/chat", lost);
        assert_eq!((answer.status, &answer.json()["code"]), (422, &json!("unknown_space")));
        assert_eq!(answer.json()["message"], "el espacio no existe");
    }
    ana.chat("la siguiente");
    assert_eq!(ana.next_of("chat")["data"]["content"], "la siguiente");
    assert_eq!(hub.metric("hub_rows_dead_lettered_total"), 1.0, "the others went no farther");
}

pub fn users_without_pictures_are_no_fault() {
    let cluster = adopted();
    cluster.sql("hub", "ALTER TABLE users DROP COLUMN image");
    let hub = hub_on(&cluster);
    let answer = hub.get("/v1/messages?space_id=1").json();
    assert_eq!((&answer["total"], &answer["data"][0]["image"]), (&json!(3), &json!("")));
}

pub fn spaces_are_called_as_the_database_calls_them() {
    let cluster = adopted();
    let long = "ñ".repeat(300);
    cluster.sql("hub", &format!("UPDATE spaces SET name = '{long}' WHERE id = 2"));
    let hub = hub_on(&cluster);
    let name = |space: &str| {
        let answer = hub.get(&format!("/v1/spaces/{space}"));
        (answer.status, answer.json()["name"].as_str().map(str::to_owned))
    };
    assert_eq!(name("1"), (200, Some("a".into())));
    assert_eq!(name("2"), (200, Some("ñ".repeat(256))), "as much as a name may have");
    assert_eq!(name("77"), (200, Some(String::new())), "a space that is not there has none");
    assert_eq!(name("x").0, 400);
    cluster.sql("hub", "UPDATE spaces SET name = 'Física \"II\"' WHERE id = 1");
    assert_eq!(name("1"), (200, Some("Física \"II\"".into())), "as it is called now");
    drop(hub);
    cluster.sql("hub", "ALTER TABLE spaces RENAME COLUMN name TO title");
    let hub = hub_on(&cluster);
    let answer = hub.get("/v1/spaces/1");
    assert_eq!((answer.status, &answer.json()["name"]), (200, &json!("")), "no fault either");
    let is_ready = || (hub.get("/readyz").json()["status"] == "ready").then_some(());
    eventually("nothing is wrong", is_ready);
}
