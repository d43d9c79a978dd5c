//! Publish once: a message that is sent again under its nonce is there once, over socket and HTTP,
//! across kills and other shard counts (P7; `docs/WIRE.md` C, E, H 12).

use serde_json::{Value, json};

use crate::support::{Answer, Client, Hub};

fn post(hub: &Hub, key: &str, message: &str) -> Answer {
    let body = json!({"user_id": 1, "username": "Ana", "message": message}).to_string();
    let headers = [("Idempotency-Key", key), ("Content-Type", "application/json")];
    hub.request("POST", "/v1/ws/spaces/1/chat", &headers, body.as_bytes())
}

/// Says something under a nonce, and gives the acks up to `level`, or the error.
fn say(client: &mut Client, nonce: &str, content: &str, level: &str) -> Value {
    let data = json!({"content": content, "nonce": nonce, "ack": level});
    client.send(&json!({"type": "chat", "data": data}).to_string());
    loop {
        let message = client.next();
        let data = &message["data"];
        let ended = message["type"] == "error" || data["level"] == level;
        if ended && (data["nonce"] == nonce || data["ref"] == nonce) {
            return data.clone();
        }
    }
}

pub fn what_is_sent_again_after_a_kill_is_there_once() {
    let mut hub = Hub::unlimited();
    let mut ana = hub.join_v1(1, 1, "");
    let stored = say(&mut ana, "stored", "hola", "durable");
    let accepted = say(&mut ana, "accepted", "hola otra vez", "accepted");
    let posted = post(&hub, "posted", "por correo");
    assert_eq!(posted.status, 200);
    for shards in ["1", "3", "2"] {
        hub.kill();
        hub.restart_with(&["--shards", shards]);
        let mut ana = hub.join_v1(1, 1, "");
        for (nonce, content, first) in
            [("stored", "hola", &stored), ("accepted", "hola otra vez", &accepted)]
        {
            let again = say(&mut ana, nonce, content, "durable");
            assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &json!(true)));
        }
        let again = post(&hub, "\"posted\"", "por correo");
        assert_eq!((again.status, &again.body), (200, &posted.body));
        assert_eq!(again.header("Idempotency-Replayed"), Some("true"));
        let other = say(&mut ana, "stored", "adiós", "accepted");
        assert_eq!((&other["code"], &other["ref"]), (&json!("nonce_reused"), &json!("stored")));
        assert_eq!(post(&hub, "posted", "otra cosa").status, 409);
        // A nonce is its user's and its space's own.
        let mut beto = hub.join_v1(1, 2, "");
        let own = say(&mut beto, &format!("stored {shards}").replace(' ', "-"), "hola", "accepted");
        assert_eq!(own["duplicate"], false);
    }
    let rows = hub.history_of(1, 6);
    let count = |text: &str| rows.iter().filter(|row| row["content"] == text).count();
    assert_eq!((count("hola"), count("hola otra vez"), count("por correo")), (4, 1, 1));
}

pub fn a_nonce_is_forgotten_when_its_window_is_over_also_across_a_restart() {
    let mut hub = Hub::start(&["--nonce-window", "1s"]);
    let mut ana = hub.join_v1(1, 1, "");
    let first = say(&mut ana, "a1", "hola", "durable");
    hub.kill();
    hub.restart();
    let mut ana = hub.join_v1(1, 1, "");
    crate::support::eventually("the window is over", || {
        let again = say(&mut ana, "a1", "hola", "accepted");
        (again["duplicate"] == false)
            .then_some(again)
            .inspect(|again| assert!(again["id"].as_str() > first["id"].as_str()))
    });
    assert_eq!(hub.history_of(1, 2).len(), 2);
}
