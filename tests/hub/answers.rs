//! What one address can take of the memory for bodies and answers, and what is left for the others
//! (P8), against the real binary.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::support::peers::{
    connect_from, forget_peak, get, get_from, memory, post_from, post_head,
};
use crate::support::{Answer, GOOD, Hub, eventually};

const PAGE: &str = "/v1/messages?space_id=1&page_size=100";

/// The largest chat post that is taken: its avatar fills it.
fn largest_post() -> String {
    let body = json!({"user_id": 1, "username": "Ana", "message": "grande", "image": ""});
    let body = body.to_string();
    let image = "i".repeat((8 << 20) - body.len());
    body.replace("\"image\":\"\"", &format!("\"image\":\"{image}\""))
}

/// Begins `count` of the largest posts from `127.0.0.last`, and keeps their last byte back.
fn begin_posts(hub: &Hub, last: u8, count: usize) -> Vec<TcpStream> {
    let body = largest_post();
    let begin = |mut stream: TcpStream| {
        stream.write_all(post_head(body.len()).as_bytes()).expect("the hub reads");
        // A body for which there is no room is refused meanwhile.
        _ = stream.write_all(&body.as_bytes()[..body.len() - 1]);
        stream
    };
    std::thread::scope(|scope| {
        let begin = || scope.spawn(|| begin(connect_from(hub, last, false)));
        let posts: Vec<_> = (0..count).map(|_| begin()).collect();
        posts.into_iter().map(|post| post.join().expect("it is sent")).collect()
    })
}

#[test]
fn slow_large_bodies_of_one_address_hold_up_no_small_body_and_no_other_address() {
    let hub = Hub::unlimited_with(&["--handshake-wait", "10m"]);
    let slow = begin_posts(&hub, 2, 9);
    for last in [2, 3] {
        for _ in 0..20 {
            let answer = post_from(&hub, last, GOOD);
            assert_eq!(answer.status, 200, "127.0.0.{last}: {}", answer.text());
        }
    }
    let push = hub.post("/v1/users/1/notifications", "{\"data\":{}}");
    assert_eq!(push.status, 200, "{}", push.text());
    let other = post_from(&hub, 3, &largest_post());
    assert_eq!(other.status, 200, "another's large body: {}", other.text());
    let own = post_from(&hub, 2, &largest_post());
    assert_eq!((own.status, own.json()["code"].as_str()), (503, Some("overloaded")));
    assert!(own.header("retry-after").is_some());
    // Three had room; those go on, and the others were told so.
    let mut stored = 0;
    for mut stream in slow {
        _ = stream.write_all(b"}");
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        }
        stored += usize::from(answer.starts_with(b"HTTP/1.1 200 "));
    }
    assert_eq!(stored, 3);
    assert_eq!(post_from(&hub, 2, &largest_post()).status, 200, "its share is free again");
}

/// A hub whose space 1 has a page of 600 KB, and room for few of them at a time.
fn hub_with_pages(args: &[&str]) -> Hub {
    let bounds = ["--answers-bytes-max", "4MiB", "--page-images-bytes-max", "64KiB"];
    let hub =
        Hub::unlimited_with(&bounds.into_iter().chain(args.iter().copied()).collect::<Vec<_>>());
    // Each character takes six bytes in an answer.
    let message = format!("{}{}", "😀".repeat(500), "\u{1}".repeat(500));
    let body = json!({"user_id": 1, "username": "Ana", "message": message}).to_string();
    for _ in 0..100 {
        assert_eq!(post_from(&hub, 9, &body).status, 200);
    }
    hub
}

fn assert_whole(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let length = answer.header("content-length").expect("its length is told");
    assert_eq!(length, answer.body.len().to_string());
    assert!(answer.body.len() > 500_000, "{}", answer.body.len());
    assert_eq!(answer.json()["data"].as_array().map(Vec::len), Some(100));
}

/// Asks for a page `count` times from `127.0.0.last`, and reads none of the answers.
fn ask_and_read_nothing(hub: &Hub, last: u8, count: usize) -> Vec<TcpStream> {
    let ask = |_| {
        let mut stream = connect_from(hub, last, true);
        stream.write_all(get(PAGE).as_bytes()).expect("the hub reads");
        stream
    };
    (0..count).map(ask).collect()
}

#[test]
fn who_does_not_read_big_pages_holds_a_share_of_the_memory_and_is_cut() {
    let hub = hub_with_pages(&["--write-wait", "3s"]);
    assert_whole(&get_from(&hub, 3, PAGE));
    forget_peak(&hub);
    let before = memory(&hub, "VmRSS");
    let slow = ask_and_read_nothing(&hub, 2, 300);
    let refused = eventually("its share is held", || {
        let answer = get_from(&hub, 2, PAGE);
        (answer.status == 503).then_some(answer)
    });
    assert_eq!(refused.json()["code"], "overloaded");
    assert!(refused.header("retry-after").is_some());
    assert_whole(&get_from(&hub, 3, PAGE));
    assert_eq!(post_from(&hub, 2, GOOD).status, 200, "small answers have room");
    eventually("slow readers are cut", || {
        (hub.metric("hub_answers_cut_total") >= 3.0).then_some(())
    });
    // Nobody has read or closed anything: the hub has taken the room back by itself.
    let whole = eventually("its share is free again", || {
        Some(get_from(&hub, 2, PAGE)).filter(|answer| answer.status == 200)
    });
    assert_whole(&whole);
    let most = memory(&hub, "VmHWM").saturating_sub(before);
    assert!(most < 48 << 20, "{} MiB more than before", most >> 20);
    drop(slow);
}

#[test]
fn a_reader_that_goes_away_in_the_midst_of_its_page_gives_its_room_back() {
    let hub = hub_with_pages(&["--write-wait", "10m"]);
    for _ in 0..3 {
        let mut slow = Vec::new();
        // Those that came while an earlier answer still held a part of the share were refused.
        eventually("its share is held", || {
            slow.append(&mut ask_and_read_nothing(&hub, 2, 10));
            (get_from(&hub, 2, PAGE).status == 503).then_some(())
        });
        drop(slow);
        eventually("it is free again", || (get_from(&hub, 2, PAGE).status == 200).then_some(()));
    }
}

#[test]
fn a_slow_but_steady_reader_gets_the_same_bytes() {
    let hub = hub_with_pages(&["--write-wait", "2s"]);
    let expected = get_from(&hub, 3, PAGE);
    assert_whole(&expected);
    let mut stream = connect_from(&hub, 2, true);
    stream.write_all(get(PAGE).as_bytes()).expect("the hub reads");
    let (mut answer, mut piece) = (Vec::new(), [0; 1_000]);
    loop {
        match stream.read(&mut piece).expect("it goes on") {
            0 => break,
            bytes => answer.extend_from_slice(&piece[..bytes]),
        }
    }
    assert!(answer.ends_with(&expected.body), "{} bytes", answer.len());
    assert_eq!(hub.metric("hub_answers_cut_total"), 0.0);
}

#[test]
fn the_names_of_a_crowd_count_as_an_answer_too() {
    let hub = Hub::unlimited_with(&["--answers-bytes-max", "2MiB", "--page-images-bytes-max", "0"]);
    let name = "%F0%9F%98%80".repeat(256);
    let members: Vec<_> = (1..=500)
        .map(|user| hub.socket(&format!("/v1/ws/spaces/1?user_id={user}&username={name}"), None))
        .collect();
    let who = "/v1/spaces/1/presence";
    let all = eventually("all are there", || {
        let present = get_from(&hub, 3, who);
        (present.json()["members"] == 500).then_some(present)
    });
    assert!(all.body.len() > 500_000, "{}", all.body.len());
    let mut slow: Vec<TcpStream> = Vec::new();
    // One that came while a look held a part of the share was refused: others come.
    eventually("its share is held", || {
        let mut stream = connect_from(&hub, 2, true);
        stream.write_all(get(who).as_bytes()).expect("the hub reads");
        slow.push(stream);
        (get_from(&hub, 2, who).status == 503).then_some(())
    });
    assert_eq!(get_from(&hub, 3, who).status, 200);
    drop((slow, members));
}
