//! What members get beyond the seed: one order, the second dialect, resume, counts, timeouts
//! (`docs/WIRE.md` A2, C).

use std::io::{Read, Write};

use serde_json::{Value, json};
use tungstenite::Message;

use crate::support::{Client, Hub, eventually, frame};

#[test]
fn forty_chats_in_one_write_are_forty_frames_in_one_order_for_all() {
    let hub = Hub::unlimited();
    let mut ana = hub.join(1, 1, "Ana");
    let mut beto = hub.join(1, 2, "Beto");
    beto.next_of("join");
    let mut bytes = Vec::new();
    for number in 0..40 {
        let chat = json!({"type": "chat", "data": {"content": number.to_string()}});
        bytes.extend(frame(0x81, chat.to_string().as_bytes()));
    }
    ana.stream().write_all(&bytes).expect("written");
    let read =
        |client: &mut Client| -> Vec<Value> { (0..40).map(|_| client.next_of("chat")).collect() };
    let (seen, same) = (read(&mut ana), read(&mut beto));
    assert_eq!(seen, same);
    let contents: Vec<Value> = seen.iter().map(|chat| chat["data"]["content"].clone()).collect();
    let expected: Vec<Value> = (0..40).map(|number| json!(number.to_string())).collect();
    assert_eq!(contents, expected);
    assert!(seen.is_sorted_by(|a, b| a["data"]["id"].as_str() < b["data"]["id"].as_str()));
    assert!(seen.is_sorted_by(|a, b| a["timestamp"].as_str() <= b["timestamp"].as_str()));
}

#[test]
fn hostile_text_comes_back_as_it_was_said_and_stays_so_in_history() {
    let hub = Hub::unlimited();
    let mut client = hub.join(1, 1, "Ana \"Paz\"");
    let texts = [
        "'; DROP TABLE chat_messages; --",
        "tab\tline\nreturn\rback\\slash \\N \\. \"quoted\"",
        "\u{202E}bidi \u{200B}zero \u{FFFE} \u{2028} \u{1b}[31m",
        "e\u{301}\u{301}\u{301} 👩‍👩‍👧‍👦 ñ",
        " spaces ",
        "<img src=x onerror=alert(1)>",
    ];
    for text in texts {
        client.chat(text);
        let seen = client.next_of("chat");
        assert_eq!(seen["data"]["content"], text);
        assert_eq!(seen["data"]["username"], "Ana \"Paz\"");
    }
    let history = hub.history_of(1, texts.len());
    let stored: Vec<&Value> = history.iter().map(|row| &row["content"]).collect();
    assert_eq!(stored, texts);
}

#[test]
fn the_second_dialect_is_welcomed_and_acked_and_seed_sockets_never_see_it() {
    let hub = Hub::unlimited();
    let mut seed = hub.join(1, 1, "Ana");
    seed.next();
    let mut v1 = hub.join_v1(1, 2, "&username=Beto");
    let welcome = v1.next();
    assert_eq!(welcome["type"], "welcome");
    let data = &welcome["data"];
    assert_eq!((&data["space_id"], &data["user_id"]), (&json!(1), &json!(2)));
    assert_eq!((&data["username"], &data["members"]), (&json!("Beto"), &json!(2)));
    assert_eq!(
        (&data["message_bytes_max"], &data["content_chars_max"]),
        (&json!(512), &json!(1000))
    );
    assert_eq!(data["ping_period_ms"], 54_000);
    assert_eq!(data["position"].as_str().expect("never null").len(), 26);
    assert_eq!(v1.next()["type"], "join");

    v1.send(r#"{"type":"chat","data":{"content":"hola","nonce":"a1","ack":"durable"}}"#);
    let mut answers: Vec<Value> = (0..3).map(|_| v1.next()).collect();
    answers.sort_by_key(|answer| answer["data"]["level"].as_str().unwrap_or("").to_owned());
    let id = answers[0]["data"]["id"].clone();
    assert_eq!(answers[0]["type"], "chat");
    for (answer, level) in answers[1..].iter().zip(["accepted", "durable"]) {
        let data = json!({"nonce": "a1", "id": id, "level": level, "duplicate": false});
        assert_eq!((&answer["type"], &answer["data"]), (&json!("ack"), &data));
    }
    assert_eq!(hub.history(1).len(), 1, "durable means stored");

    v1.send(r#"{"type":"chat","data":{"content":"hola","nonce":"a1"}}"#);
    let repeat = v1.next();
    assert_eq!(
        repeat["data"],
        json!({"nonce": "a1", "id": id, "level": "accepted", "duplicate": true})
    );
    v1.send(r#"{"type":"chat","data":{"content":"other","nonce":"a1"}}"#);
    let reused = v1.next();
    assert_eq!(reused["data"]["code"], "nonce_reused");
    assert_eq!(reused["data"]["ref"], "a1");
    v1.send(r#"{"type":"chat","data":{"content":"","nonce":"a2"}}"#);
    let empty = v1.next();
    assert_eq!(
        (&empty["data"]["code"], &empty["data"]["ref"]),
        (&json!("content_empty"), &json!("a2"))
    );

    assert_eq!(seed.next()["type"], "join");
    assert_eq!(seed.next()["data"]["content"], "hola");
    seed.send(r#"{"type":"ping"}"#);
    assert_eq!(seed.next()["type"], "pong", "nothing else came");
}

#[test]
fn a_client_that_comes_back_gets_what_it_missed_then_its_own_join() {
    let hub = Hub::unlimited();
    let mut ana = hub.join(1, 1, "Ana");
    ana.next();
    let mut ids = Vec::new();
    for number in 0..5 {
        ana.chat(&number.to_string());
        ids.push(ana.next_of("chat")["data"]["id"].as_str().expect("an id").to_owned());
    }
    let mut back = hub.join_v1(1, 2, &format!("&after={}", ids[2]));
    assert_eq!(back.next()["type"], "welcome");
    assert_eq!(back.next()["data"]["content"], "3");
    assert_eq!(back.next()["data"]["content"], "4");
    let resumed = back.next();
    let data = json!({"from": ids[2], "to": ids[4], "count": 2, "complete": true});
    assert_eq!((&resumed["type"], &resumed["data"]), (&json!("resumed"), &data));
    assert_eq!(back.next()["type"], "join");
    ana.chat("live");
    assert_eq!(back.next()["data"]["content"], "live");

    let mut seed = hub.socket(&format!("/v1/ws/spaces/1?user_id=3&after={}", ids[4]), None);
    let first = seed.next();
    assert_eq!((&first["type"], &first["user_id"]), (&json!("join"), &json!(2)));
    assert_eq!(seed.next()["data"]["content"], "live");
    assert_eq!(seed.next()["user_id"], 3);

    let ahead = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ";
    let mut ahead = hub.join_v1(1, 4, &format!("&after={ahead}"));
    ahead.next();
    let resumed = ahead.next();
    assert_eq!(
        (&resumed["data"]["complete"], &resumed["data"]["reason"]),
        (&json!(false), &json!("ahead"))
    );
}

#[test]
fn a_big_space_counts_instead_of_announcing() {
    let hub = Hub::unlimited_with(&["--announce-members-max", "2"]);
    let mut seed = hub.join(1, 1, "Ana");
    seed.next();
    let mut v1 = hub.join_v1(1, 2, "");
    v1.next_of("join");
    assert_eq!(seed.next()["user_id"], 2);
    let mut third = hub.join(1, 3, "Caro");
    assert_eq!(third.next()["user_id"], 3, "its own join comes to each joiner");
    assert_eq!(v1.next_of("presence")["data"], json!({"space_id": 1, "members": 3}));
    third.chat("hola");
    assert_eq!(seed.next()["type"], "chat", "a seed socket is told nothing instead");
}

#[test]
fn silence_is_pinged_and_then_closed() {
    let hub = Hub::start(&["--ping-period", "300ms", "--pong-wait", "2s", "--close-wait", "200ms"]);
    let mut watcher = hub.join(1, 1, "Ana");
    // The client library answers pings whenever it reads.
    let mut silent = hub.join(1, 2, "Beto");
    let mut pinged = false;
    loop {
        match watcher.message() {
            Message::Ping(payload) => {
                assert!(payload.is_empty());
                pinged = true;
            }
            Message::Text(text) if text.contains("leave") => break,
            _ => {}
        }
    }
    assert!(pinged);
    let mut rest = Vec::new();
    silent.stream().read_to_end(&mut rest).expect("the hub ends it");
    assert!(rest.ends_with(b"\x0F\xA8pong_timeout"));
}

#[test]
fn a_reader_that_stalls_is_evicted_and_the_others_are_not() {
    let hub = Hub::unlimited_with(&[
        "--write-wait",
        "1s",
        "--send-buffer-bytes",
        "4KiB",
        "--close-wait",
        "100ms",
    ]);
    let mut stalled = hub.join(1, 2, "stalls");
    let peer = stalled.stream().local_addr().expect("an address").port();
    assert!(is_kept(&hub, peer));
    let mut healthy = hub.join(1, 1, "Ana");
    healthy.next();
    let content = "x".repeat(400);
    let mut left = false;
    let mut sent = 0u32;
    let mut echoed = 0u32;
    while !left {
        healthy.chat(&content);
        sent += 1;
        loop {
            let message = healthy.next();
            left |= message["type"] == "leave";
            if message["type"] == "chat" {
                echoed += 1;
                break;
            }
        }
        assert!(sent < 2_000_000, "it is never evicted");
    }
    assert_eq!(sent, echoed);
    assert_eq!(hub.metric("hub_closes_total{reason=\"too_slow\"}"), 1.0);
    // The kernel keeps nothing of it either, though its peer is still there.
    eventually("nothing is left of it", || (!is_kept(&hub, peer)).then_some(()));
}

/// Whether the kernel still has the hub's side of a connection.
fn is_kept(hub: &Hub, peer: u16) -> bool {
    let sockets = std::fs::read_to_string("/proc/net/tcp").expect("a table");
    let ends = format!(":{:04X} 0100007F:{peer:04X} ", hub.address.port());
    sockets.lines().any(|line| line.contains(&ends))
}
