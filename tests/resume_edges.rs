//! Resume past what memory holds, and drains that spread (WIRE C, H 13, 15).

mod support;

use std::time::Instant;

use serde_json::{Value, json};
use support::{Hub, UNLIMITED};

#[test]
fn a_resume_behind_memory_says_what_is_missing_and_history_has_exactly_that() {
    let args: Vec<&str> = UNLIMITED.into_iter().chain(["--resume-bytes-max", "4KiB"]).collect();
    let hub = Hub::start(&args);
    let mut ana = hub.join(1, 1, "Ana");
    let text = "x".repeat(380);
    let mut ids: Vec<String> = Vec::new();
    for number in 0..600 {
        ana.chat(&format!("{number} {text}"));
        ids.push(ana.next_of("chat")["data"]["id"].as_str().expect("an id").to_owned());
    }
    let mut back = hub.join_v1(1, 2, &format!("&after={}", ids[0]));
    back.next_of("welcome");
    let mut sent: Vec<Value> = Vec::new();
    let resumed = loop {
        let message = back.next();
        match message["type"].as_str() {
            Some("chat") => sent.push(message["data"]["id"].clone()),
            Some("resumed") => break message["data"].clone(),
            _ => {}
        }
    };
    assert_eq!(
        (&resumed["complete"], &resumed["reason"]),
        (&json!(false), &json!("store_unavailable"))
    );
    assert_eq!(resumed["count"], sent.len());
    let from = ids.iter().position(|id| resumed["from"] == **id).expect("one of them");
    assert!(from > 0 && from < 599, "some is trimmed, some is not: {from}");
    assert_eq!(sent, ids[from + 1..], "exactly from < id <= to");
    // The hole (after, from] is history's to tell.
    hub.history_of(1, 600);
    let mut hole: Vec<Value> = Vec::new();
    let mut after = ids[0].clone();
    while hole.last() != Some(&resumed["from"]) {
        let page = hub.get(&format!("/v1/spaces/1/messages?after={after}&limit=100")).json();
        for row in page["data"].as_array().expect("rows") {
            if hole.last() != Some(&resumed["from"]) {
                hole.push(row["id"].clone());
            }
        }
        after = hole.last().and_then(Value::as_str).expect("more").to_owned();
    }
    assert_eq!(hole, ids[1..=from]);
}

#[test]
fn a_drain_spreads_its_closes_over_the_window() {
    let mut hub = Hub::start(&["--drain-window", "2s", "--connection-rate", "off"]);
    let members: Vec<_> = (0..40).map(|user| hub.join(1, user, "Ana")).collect();
    support::eventually("all have joined", || (hub.metric("hub_members") == 40.0).then_some(()));
    let begun = Instant::now();
    hub.signal("TERM");
    let readers: Vec<_> = members
        .into_iter()
        .map(|member| {
            std::thread::spawn(move || {
                let (_, how) = member.until_closed();
                assert_eq!((how.code, how.reason.as_str()), (Some(1012), "restart"));
                begun.elapsed().as_millis()
            })
        })
        .collect();
    let mut ends: Vec<u128> = readers.into_iter().map(|it| it.join().expect("1012")).collect();
    assert!(hub.wait().success());
    ends.sort_unstable();
    // Not when, but that no half of the window takes nearly all of them.
    let half = ends.iter().filter(|end| **end < 1_000).count();
    assert!((5..=35).contains(&half), "{ends:?}");
}

#[test]
fn a_foreign_page_can_not_post() {
    let hub = Hub::start(&[]);
    let body = br#"{"user_id":7,"username":"Ana","message":"hola"}"#;
    let evil = [("Origin", "http://evil.example")];
    let answer = hub.request("POST", "/v1/ws/spaces/1/chat", &evil, body);
    assert_eq!((answer.status, answer.body.len()), (403, 0));
    assert_eq!(hub.metric("hub_chats_accepted_total"), 0.0);
}
