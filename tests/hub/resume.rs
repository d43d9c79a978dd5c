//! Resume (P3; `docs/WIRE.md` C, H 13): from memory, over its edge into the store, more than it
//! brings, and while the store is away; by a client alone, and by a crowd through drops and
//! restarts.

use serde_json::{Value, json};

use crate::support::returning::{self, Crowd};
use crate::support::{Client, Hub};

/// Little is kept in memory, so that most of what was missed is the store's to tell.
fn forgetful() -> Hub {
    Hub::unlimited_with(&["--resume-bytes-max", "4KiB"])
}

/// Says this many messages of this many bytes, and waits for the last one; their ids.
fn say(client: &mut Client, messages: usize, bytes: usize) -> Vec<String> {
    let text = "x".repeat(bytes);
    let mut ids = Vec::with_capacity(messages);
    while ids.len() < messages {
        let some = (messages - ids.len()).min(100);
        (0..some).for_each(|number| client.chat(&format!("{number} {text}")));
        for _ in 0..some {
            ids.push(id_of(&client.next_of("chat")));
        }
    }
    ids
}

fn id_of(chat: &Value) -> String {
    chat["data"]["id"].as_str().expect("a chat has an id").to_owned()
}

/// What a v1 client is sent up to `resumed`: the ids of chats, and how it ended. Its own join
/// follows.
fn resume(hub: &Hub, space: i32, user: i32, after: &str) -> (Vec<String>, Value) {
    let mut client = hub.join_v1(space, user, &format!("&after={after}"));
    assert_eq!(client.next()["type"], "welcome");
    let mut sent = Vec::new();
    loop {
        let message = client.next();
        match message["type"].as_str() {
            Some("chat") => sent.push(id_of(&message)),
            Some("resumed") => {
                let own = client.next();
                assert_eq!((&own["type"], &own["user_id"]), (&json!("join"), &json!(user)));
                return (sent, message["data"].clone());
            }
            Some("join" | "leave") => assert_ne!(message["user_id"], user, "its own join is last"),
            other => panic!("{other:?}"),
        }
    }
}

fn complete(from: &str, sent: &[String]) -> Value {
    let to = sent.last().map_or(from, |last| last);
    json!({"from": from, "to": to, "count": sent.len(), "complete": true})
}

#[test]
fn what_memory_no_longer_holds_comes_from_the_store() {
    let mut hub = forgetful();
    let mut ana = hub.join(1, 1, "Ana");
    let ids = say(&mut ana, 600, 380);
    for (user, from) in (1_000..).zip([0, 1, 300, 598, 599]) {
        let (sent, resumed) = resume(&hub, 1, user, &ids[from]);
        assert_eq!(sent, ids[from + 1..], "after the message {from}");
        assert_eq!(resumed, complete(&ids[from], &sent));
    }
    let (sent, resumed) = resume(&hub, 1, 12, "00000000000000000000000000");
    assert_eq!((sent.len(), &resumed["complete"]), (600, &json!(true)));
    // The existing front end's dialect gets the same, then its own join, then what is live.
    let path = format!("/v1/ws/spaces/1?user_id=3&after={}", ids[9]);
    let mut seed = hub.socket(&path, None);
    let sent: Vec<String> = (10..600).map(|_| id_of(&seed.next_of("chat"))).collect();
    assert_eq!(sent, ids[10..]);
    while seed.next_of("join")["user_id"] != 3 {}
    ana.chat("live");
    assert_eq!(seed.next_of("chat")["data"]["content"], "live");

    // Nothing is in memory after a restart, and another space's positions are this one's too.
    hub.kill();
    hub.restart();
    let (sent, resumed) = resume(&hub, 1, 13, &ids[99]);
    assert_eq!((sent.len(), &sent[..500]), (501, &ids[100..]));
    assert_eq!(resumed["complete"], true);
    let (sent, resumed) = resume(&hub, 2, 14, &ids[99]);
    assert_eq!((sent.len(), &resumed["complete"], &resumed["count"]), (0, &json!(true), &json!(0)));
}

#[test]
fn of_more_than_ten_thousand_the_newest_are_sent_and_the_hole_is_named() {
    let hub = forgetful();
    let mut ana = hub.join(1, 1, "Ana");
    let ids = say(&mut ana, 10_002, 8);
    let (sent, resumed) = resume(&hub, 1, 15, &ids[1]);
    assert_eq!((sent.len(), &resumed), (10_000, &complete(&ids[1], &sent)));
    assert_eq!(sent, ids[2..]);
    let (sent, resumed) = resume(&hub, 1, 16, &ids[0]);
    assert_eq!(sent, ids[2..], "10,001 were missed");
    let expected = json!({"from": ids[1], "to": ids[10_001], "count": 10_000, "complete": false,
        "reason": "too_many"});
    assert_eq!(resumed, expected);
}

#[test]
fn while_the_store_is_away_memory_is_sent_and_the_hole_is_named() {
    let hub = Hub::unlimited_with(&["--resume-bytes-max", "4KiB", "--resume-wait", "1s"]);
    let mut ana = hub.join(1, 1, "Ana");
    let stored = say(&mut ana, 1, 380);
    hub.history_of(1, 1);
    let lock = hub.lock_store();
    let ids = say(&mut ana, 600, 380);
    let (sent, resumed) = resume(&hub, 1, 17, &stored[0]);
    let reason = json!("store_unavailable");
    assert_eq!((&resumed["complete"], &resumed["reason"]), (&json!(false), &reason));
    assert_eq!(resumed["count"], sent.len());
    let from = ids.iter().position(|id| resumed["from"] == **id).expect("one of them");
    assert!(from < 599, "some is in memory: {from}");
    assert_eq!(sent, ids[from + 1..], "exactly from < id <= to");
    drop(lock);
    // The hole (after, from] is history's to tell.
    hub.history_of(1, 601);
    let mut hole: Vec<Value> = Vec::new();
    let mut after = stored[0].clone();
    while hole.last() != Some(&resumed["from"]) {
        let page = hub.get(&format!("/v1/spaces/1/messages?after={after}&limit=100")).json();
        for row in page["data"].as_array().expect("rows") {
            if hole.last() != Some(&resumed["from"]) {
                hole.push(row["id"].clone());
            }
        }
        after = hole.last().and_then(Value::as_str).expect("more").to_owned();
    }
    assert_eq!(hole, ids[..=from]);
    // And now it is all there again.
    let (sent, resumed) = resume(&hub, 1, 18, &stored[0]);
    assert_eq!((sent, &resumed["complete"]), (ids, &json!(true)));
}

#[test]
fn others_talk_on_while_one_catches_up_and_it_misses_nothing() {
    let hub = forgetful();
    let mut ana = hub.join(1, 1, "Ana");
    let ids = say(&mut ana, 2_000, 380);
    let mut back = hub.join_v1(1, 2, &format!("&after={}", ids[0]));
    back.next_of("welcome");
    // The member is in the space and can speak before it has read anything.
    back.send(r#"{"type":"chat","data":{"content":"mientras","nonce":"m1"}}"#);
    say(&mut ana, 300, 380);
    let (mut sent, mut resumed) = (Vec::new(), None);
    while resumed.is_none() {
        let message = back.next();
        match message["type"].as_str() {
            Some("chat") => sent.push(id_of(&message)),
            Some("resumed") => resumed = Some(message["data"].clone()),
            other => assert_eq!(other, Some("leave"), "an answer comes behind what was said"),
        }
    }
    let resumed = resumed.expect("the loop ends with it");
    assert_eq!(resumed, complete(&ids[0], &sent));
    assert_eq!(back.next()["user_id"], 2, "its own join");
    let rows = hub.history_of(1, 2_301);
    let mut all: Vec<&str> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
    all.sort_unstable();
    let mut acked = None;
    while sent.len() < 2_300 || acked.is_none() {
        let message = back.next_that(|kind| ["chat", "ack"].contains(&kind));
        match message["type"].as_str() {
            Some("chat") => sent.push(id_of(&message)),
            _ => acked = Some(id_of(&message)),
        }
        if let Some(acked) = &acked {
            assert!(sent.contains(acked), "its own chat comes first");
        }
    }
    assert!(sent.iter().eq(&all[1..]), "all, in order, once");
}

#[test]
fn five_hundred_that_keep_dropping_miss_nothing_through_a_kill() {
    let mut hub = forgetful();
    let crowd = Crowd::of(10, 50, 150, 20_261_124);
    let figures = returning::run(&mut hub, crowd);
    eprintln!("500 clients: {figures:?}, gaps 0, doubles 0, all resumes complete");
}
