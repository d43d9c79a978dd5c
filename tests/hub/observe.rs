//! What operators watch: the feed of the hub's numbers, how members stand, who came and went.

use std::io::{BufRead, BufReader, Write};

use serde_json::{Value, json};

use crate::support::{Answer, Hub, eventually};

/// A feed that is read event by event.
struct Feed(BufReader<std::net::TcpStream>);

impl Feed {
    fn open(hub: &Hub) -> Feed {
        let mut stream = hub.connect();
        let head = "GET /v1/hub/feed HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(head.as_bytes()).expect("the hub reads");
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).expect("a head") > 0, "it ended: {head}");
        }
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.contains("Content-Type: text/event-stream\r\n"), "{head}");
        assert!(head.contains("Cache-Control: no-store\r\n"), "{head}");
        Feed(reader)
    }

    /// The next event's data; `None`: the feed has ended. Sizes of chunks are passed by.
    fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).expect("a line") == 0 {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).expect("JSON"));
            }
        }
    }
}

#[test]
fn the_feed_shows_at_once_what_is_wrong_and_then_each_sample() {
    let hub = Hub::start(&[]);
    let mut feed = Feed::open(&hub);
    let first = feed.next().expect("an event");
    assert_eq!(first["ready"]["status"], "ready");
    let mut ana = hub.join(1, 7, "Ana");
    ana.chat("hola");
    ana.next_of("chat");
    let sample = eventually("the join and the chat are sampled", || {
        let sample = feed.next().expect("the feed goes on");
        (sample["numbers"]["chats"].as_f64() > Some(0.0)).then_some(sample)
    });
    assert_eq!(sample["numbers"]["members"], 1.0);
    assert_eq!(sample["numbers"]["spaces"], 1.0);
    let shards = sample["shards"].as_array().expect("a list");
    let members: u64 = shards.iter().filter_map(|it| it["members"].as_u64()).sum();
    assert_eq!(members, 1);
    let past = hub.get("/v1/hub/past").json();
    let at = past["at"].as_array().expect("a list");
    assert!(at.contains(&sample["at"]), "the past has what the feed has shown: {past}");
    let chats = past["series"]["chats"].as_array().expect("a list");
    assert_eq!(chats.len(), at.len());
    assert!(chats.iter().any(|it| it.as_f64() > Some(0.0)), "{past}");
}

#[test]
fn a_feed_ends_when_the_hub_does() {
    let mut hub = Hub::start(&["--drain-window", "100ms"]);
    let mut feed = Feed::open(&hub);
    feed.next().expect("an event");
    assert!(hub.stop("TERM").success());
    while feed.next().is_some() {}
}

#[test]
fn members_are_shown_as_they_stand_and_in_stretches() {
    let hub = Hub::start(&[]);
    let _members: Vec<_> = (1..=5).map(|user| hub.join(3, user, "Ana")).collect();
    let _modern = hub.join_v1(3, 6, "");
    let page = hub.get("/v1/spaces/3/members?limit=4").json();
    assert_eq!((&page["members"], &page["next_user"]), (&json!(6), &json!(5)));
    let rest = hub.get("/v1/spaces/3/members?limit=4&from_user=5").json();
    let users: Vec<_> = rest["data"].as_array().expect("a list").iter().collect();
    assert_eq!(users.len(), 2);
    assert_eq!((&users[0]["user_id"], &users[0]["dialect"]), (&json!(5), &json!("seed")));
    assert_eq!((&users[1]["user_id"], &users[1]["dialect"]), (&json!(6), &json!("cpi-hub.v1")));
    assert_eq!((&users[1]["blocked"], &users[1]["behind_bytes"]), (&json!(false), &json!(0)));
    assert!(users[1]["since"].is_string(), "{rest}");
    assert!(rest["next_user"].is_null(), "{rest}");
    for (query, field) in [("limit=0", "limit"), ("from_user=x", "from_user")] {
        let refused = hub.get(&format!("/v1/spaces/3/members?{query}"));
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains(field), "{}", refused.text());
    }
    assert_eq!(hub.get("/v1/spaces/x/members").status, 400);
}

fn connections(hub: &Hub, query: &str) -> Vec<Value> {
    let answer: Answer = hub.get(&format!("/v1/connections?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["data"].as_array().expect("a list").clone()
}

#[test]
fn who_was_closed_is_found_by_user_with_the_reason() {
    let hub = Hub::start(&[]);
    let stays = hub.join(3, 1, "Ana");
    let kicked = hub.join_v1(3, 2, "");
    assert_eq!(hub.request("DELETE", "/v1/spaces/3/members/2", &[], b"").status, 200);
    kicked.until_closed();
    let of_two = eventually("its end is known", || {
        let found = connections(&hub, "user_id=2");
        found[0]["ended"].is_object().then_some(found)
    });
    assert_eq!(of_two.len(), 1);
    assert_eq!(
        (&of_two[0]["ended"]["reason"], &of_two[0]["ended"]["code"]),
        (&json!("kicked"), &json!(4009))
    );
    let id = of_two[0]["id"].as_str().expect("an id");
    assert_eq!(connections(&hub, &format!("id={id}")), of_two);
    let here = connections(&hub, "space_id=3&ended=false");
    assert_eq!(here.len(), 1);
    assert_eq!((&here[0]["user_id"], &here[0]["place"]), (&json!(1), &json!("space")));
    // Loopback is where limits do not hold.
    assert!(here[0]["address"].is_null(), "{here:?}");
    assert!(connections(&hub, "address=192.0.2.1").is_empty());
    assert_eq!(hub.get("/v1/connections?id=7").status, 400);
    drop(stays);
}

#[test]
fn the_space_in_which_most_is_said_is_the_hottest() {
    let hub = Hub::start(&crate::support::UNLIMITED);
    let mut loud = hub.join(5, 1, "Ana");
    let _quiet = hub.join(6, 2, "Beto");
    let found = eventually("it is measured", || {
        loud.chat("hola");
        loud.next_of("chat");
        let found = hub.get("/v1/hub/hottest").json();
        let first = found["data"][0].clone();
        (first["chats_per_second"].as_f64() > Some(0.5)).then_some(first)
    });
    assert_eq!((&found["space_id"], &found["members"]), (&json!(5), &json!(1)));
    let [said, sent] = ["bytes_per_second", "sent_bytes_per_second"].map(|it| found[it].as_u64());
    assert!(said > Some(100) && sent >= said, "{found}");
}

#[test]
fn spaces_are_listed_in_stretches_the_largest_first() {
    let hub = Hub::start(&[]);
    let _members: Vec<_> = [(1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3)]
        .map(|(space, user)| hub.join(space, user, "Ana"))
        .into();
    let page = |query: &str| hub.get(&format!("/v1/spaces?{query}")).json();
    let first = page("limit=2");
    assert_eq!(
        first["data"],
        json!([{"space_id": 3, "members": 3}, {"space_id": 2, "members": 2}])
    );
    let rest = page("limit=2&offset=2");
    assert_eq!(rest, json!({"data": [{"space_id": 1, "members": 1}], "total": 3}));
    for bad in ["-1", "x", "1e3"] {
        let refused = hub.get(&format!("/v1/spaces?offset={bad}"));
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains("offset"), "{}", refused.text());
    }
}
