//! Streams of events (`docs/WIRE.md` I), as `curl -N`, bots and browsers read them.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::events::{Came, Events, ask};
use crate::support::{Answer, Hub, UNLIMITED, eventually};

fn open(hub: &Hub, path: &str) -> Events {
    open_with(hub, path, "")
}

fn open_with(hub: &Hub, path: &str, lines: &str) -> Events {
    Events::open(hub.connect(), path, lines).expect("a stream")
}

fn path(user: i32) -> String {
    format!("/v1/spaces/1/events?user_id={user}&username=Eva")
}

fn last_event_id(id: &str) -> String {
    format!("Last-Event-ID: {id}\r\n")
}

/// What is shown to people of a chat.
fn said(chat: &Value) -> &str {
    chat["data"]["content"].as_str().expect("a chat")
}

fn members(hub: &Hub) -> Value {
    hub.get("/v1/spaces/1/presence").json()["members"].clone()
}

#[test]
fn a_reader_gets_what_a_socket_gets_byte_for_byte_and_is_a_member_as_all_are() {
    let hub = Hub::start(&[]);
    let mut ana = hub.join_v1(1, 1, "&username=Ana");
    ana.next_of("join");
    let mut eva = open(&hub, &path(2));
    for line in ["HTTP/1.1 200 OK\r\n", "Cache-Control: no-store\r\n", "Connection: close\r\n"] {
        assert!(eva.head.contains(line), "{}", eva.head);
    }
    for line in ["X-Accel-Buffering: no\r\n", "Vary: Origin\r\n", "\r\nDate: "] {
        assert!(eva.head.contains(line), "{}", eva.head);
    }
    let framing = ["content-length", "transfer-encoding", "keep-alive"];
    assert!(framing.iter().all(|name| !eva.head.to_lowercase().contains(name)), "{}", eva.head);
    let welcome = eva.next();
    assert_eq!((&welcome["type"], &welcome["data"]["members"]), (&json!("welcome"), &json!(2)));
    assert_eq!(welcome["data"]["position"], *eva.last_id, "it can come back from here on");
    assert!(eva.retry.is_some_and(|wait| (1_000..5_000).contains(&wait)), "{:?}", eva.retry);
    assert_eq!(eva.next(), ana.next_of("join"), "her own join, as the others see it");
    ana.chat("línea uno\r\n\ndata: dos \" \\ 😀");
    let (heard, seen) = (eva.next_of("chat"), ana.next_of("chat"));
    assert_eq!(heard, seen);
    assert_eq!(heard["data"]["id"], *eva.last_id);
    assert_eq!(members(&hub), 2);
    let mut beto = hub.join(1, 3, "Beto");
    assert_eq!(eva.next()["username"], "Beto");
    drop(eva);
    assert_eq!(beto.next_of("leave")["user_id"], 2);
    assert_eq!((members(&hub), hub.metric("hub_event_streams_total")), (json!(2), 1.0));
}

#[test]
fn who_says_no_user_or_wants_only_to_watch_is_told_all_and_nobody_is_told_of_it() {
    let hub = Hub::start(&["--announce-members-max", "2"]);
    let mut ana = hub.join_v1(1, 1, "");
    ana.next_of("join");
    let mut nobody = open(&hub, "/v1/spaces/1/events");
    let welcome = nobody.next();
    assert_eq!(welcome["data"]["members"], 1);
    assert!(welcome["data"].get("user_id").is_none(), "{welcome}");
    let mut watcher = open(&hub, "/v1/spaces/1/events?user_id=7&watch=1");
    assert_eq!(watcher.next()["data"]["user_id"], 7);
    // Beto is the second member, and so his coming is still announced.
    let mut beto = hub.join(1, 2, "Beto");
    for reader in [&mut nobody, &mut watcher] {
        assert_eq!(reader.next()["username"], "Beto", "of each other they hear nothing");
    }
    assert_eq!(ana.next()["username"], "Beto");
    let present = hub.get("/v1/spaces/1/presence").json();
    let users: Vec<i64> = present["users"]
        .as_array()
        .expect("users")
        .iter()
        .filter_map(|user| user["user_id"].as_i64())
        .collect();
    assert_eq!((&present["members"], users), (&json!(2), vec![1, 2]));
    assert_eq!(hub.get("/v1/spaces").json()["data"][0]["members"], 2);
    assert_eq!(hub.metric("hub_members"), 4.0, "they have their places as all have");
    // An operator reaches it all the same.
    let kicked = hub.request("DELETE", "/v1/spaces/1/members/7", &[], b"").json();
    assert_eq!(kicked["closed"], 1);
    let closing = watcher.next();
    assert_eq!((&closing["type"], &closing["data"]["code"]), (&json!("closing"), &json!(4009)));
    assert_eq!((watcher.retry, watcher.came()), (Some(3_600_000), Came::End));
    beto.chat("hola");
    assert_eq!(said(&nobody.next()), "hola", "nobody left");
}

#[test]
fn who_comes_back_goes_on_where_it_was_through_a_restart_of_the_hub() {
    let mut hub = Hub::unlimited_with(&["--resume-bytes-max", "4KiB"]);
    let mut ana = hub.join(1, 1, "Ana");
    ana.next_of("join");
    let mut reader = open(&hub, &path(2));
    reader.next_of("join");
    let texts: Vec<String> = (0..200).map(|n| format!("{n} {}", "x".repeat(300))).collect();
    for text in &texts[..3] {
        ana.chat(text);
        ana.next_of("chat");
        assert_eq!(said(&reader.next_of("chat")), text);
    }
    let id = reader.last_id.clone();
    drop(reader);
    let mut sent = |from: usize, to: usize| {
        texts[from..to].iter().for_each(|text| ana.chat(text));
        (from..to).for_each(|_| _ = ana.next_of("chat"));
    };
    // From memory: nobody has read events meanwhile.
    sent(3, 6);
    let mut reader = open_with(&hub, &path(2), &last_event_id(&id));
    assert_eq!((reader.next()["type"].clone(), reader.last_id.clone()), ("welcome".into(), id));
    for text in &texts[3..6] {
        assert_eq!(said(&reader.next_of("chat")), text);
    }
    let resumed = reader.next_of("resumed")["data"].clone();
    assert_eq!((&resumed["complete"], &resumed["count"]), (&json!(true), &json!(3)));
    assert_eq!(reader.next()["user_id"], 2, "her own join comes last");
    let id = reader.last_id.clone();
    drop(reader);
    // More than memory holds, and then a hub that holds nothing.
    sent(6, 199);
    for restarts in 0..2 {
        if restarts == 1 {
            hub.history_of(1, 199);
            hub.kill();
            hub.restart();
        }
        let older = format!("{}&after={}", path(2), "0".repeat(26));
        let mut reader = open_with(&hub, &older, &last_event_id(&id));
        for text in &texts[6..199] {
            assert_eq!(said(&reader.next_of("chat")), text);
        }
        let resumed = reader.next_of("resumed")["data"].clone();
        assert_eq!((&resumed["complete"], &resumed["count"]), (&json!(true), &json!(193)));
        assert_eq!(resumed["to"], *reader.last_id);
    }
    // Without a header the address says where.
    let mut reader = open(&hub, &format!("{}&after={}", path(3), id));
    assert_eq!(said(&reader.next_of("chat")), texts[6]);
    let mut ahead = open_with(&hub, &path(4), &last_event_id("7ZZZZZZZZZZZZZZZZZZZZZZZZZ"));
    let resumed = ahead.next_of("resumed")["data"].clone();
    assert_eq!((&resumed["complete"], &resumed["reason"]), (&json!(false), &json!("ahead")));
    assert_eq!(resumed["to"], *ahead.last_id, "its position is one that there is again");
}

#[test]
fn what_is_asked_wrongly_is_answered_as_any_request_is() {
    let hub = Hub::start(&["--origins", "https://app.example"]);
    let refused = |path: &str, lines: &[(&str, &str)]| hub.request("GET", path, lines, b"");
    for (path, lines, field, message) in [
        ("/v1/spaces/x/events", &[][..], "space_id", "space_id debe ser un número"),
        ("/v1/spaces/1/events?user_id=x", &[], "user_id", "user_id debe ser un número"),
        ("/v1/spaces/1/events?watch=2", &[], "watch", "watch debe ser 0 o 1"),
        ("/v1/spaces/1/events?after=x", &[], "after", "after no es una posición válida"),
        (
            "/v1/spaces/1/events",
            &[("Last-Event-ID", "7")],
            "Last-Event-ID",
            "Last-Event-ID no es una posición válida",
        ),
    ] {
        let plain = refused(path, lines);
        assert_eq!(plain.status, 400, "{path}");
        assert_eq!(plain.json()["code"], "invalid_parameter", "{path}");
        assert_eq!(plain.json()["message"], message, "{path}");
        let problem = [lines, &[("Accept", "application/problem+json")]].concat();
        assert_eq!(refused(path, &problem).json()["field"], field, "{path}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(hub.request(method, &path(1), &[], b"").status, 404, "{method}");
    }
    let mut stream = hub.connect();
    let head = format!("HEAD {} HTTP/1.1\r\nHost: localhost\r\n\r\n", path(1));
    stream.write_all(head.as_bytes()).expect("the hub reads");
    let head = Answer::read_of(&mut stream, "HEAD");
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(hub.metric("hub_joins_total"), 0.0, "nobody has come");
    // Pages of listed origins may read, those of others not.
    let origin = |origin: &str| format!("Origin: {origin}\r\n");
    let listed = open_with(&hub, &path(1), &origin("https://app.example"));
    let allowed = "Access-Control-Allow-Origin: https://app.example\r\n";
    assert!(listed.head.contains(allowed), "{}", listed.head);
    let other = Events::open(hub.connect(), &path(1), &origin("https://other.example"));
    assert_eq!(other.map(|_| ()), Err((403, String::new())));
    let preflight = [("Origin", "https://app.example")];
    let preflight = hub.request("OPTIONS", &path(1), &preflight, b"");
    let headers = preflight.header("access-control-allow-headers").expect("a list");
    assert!(headers.split(',').any(|it| it == "Last-Event-ID"), "{headers}");
}

#[test]
fn a_client_of_http_1_0_reads_the_same_stream() {
    let hub = Hub::start(&[]);
    let mut stream = hub.connect();
    let asked = format!("GET {} HTTP/1.0\r\nHost: localhost\r\n\r\n", path(1));
    stream.write_all(asked.as_bytes()).expect("the hub reads");
    let mut reader = Events::answered(stream).expect("an answer").expect("a stream");
    assert_eq!(reader.next()["type"], "welcome");
    assert_eq!(reader.next()["user_id"], 1);
}

#[test]
fn a_reader_that_stalls_is_closed_and_the_others_are_not() {
    let hub = Hub::start(
        &[&UNLIMITED[..], &["--write-wait", "1s", "--log-bytes-max", "256KiB"]].concat(),
    );
    let mut ana = hub.join(1, 1, "Ana");
    let mut prompt = open(&hub, "/v1/spaces/1/events");
    let stalled = hub.connect();
    socket2::SockRef::from(&stalled).set_recv_buffer_size(4 << 10).expect("an option");
    let mut stalled = Events::open(stalled, &path(2), "").expect("a stream");
    ana.next_of("join");
    let text = "x".repeat(400);
    let mut chats = 0;
    while hub.metric("hub_closes_total") == 0.0 {
        (0..100).for_each(|_| ana.chat(&text));
        for _ in 0..100 {
            assert_eq!(said(&prompt.next_of("chat")), text);
            ana.next_of("chat");
        }
        chats += 100;
        assert!(chats < 100_000, "it is never closed");
    }
    let metrics = hub.get("/metrics").text();
    assert!(metrics.contains("reason=\"too_slow\"} 1"), "{metrics}");
    // Whole events, and then the end: that of the kernel, since it takes nothing more.
    let whole = stalled.until_the_end();
    assert!(whole.len() < chats + 10);
    assert_eq!(members(&hub), 1, "the other one is nobody's");
    ana.chat("hola");
    assert_eq!(said(&prompt.next_of("chat")), "hola");
}

#[test]
fn what_a_reader_sends_is_not_heard_and_too_much_of_it_ends_its_stream() {
    let hub = Hub::start(&[]);
    let mut reader = open(&hub, &path(1));
    reader.next_of("join");
    let request = ask("/v1/spaces/1/messages", "");
    reader.stream().write_all(request.as_bytes()).expect("it is taken");
    reader.stream().write_all(&[0x81, 0x80, 0, 0, 0, 0]).expect("it is taken");
    let mut beto = hub.join(1, 2, "Beto");
    beto.chat("hola");
    assert_eq!(said(&reader.next_of("chat")), "hola", "it goes on");
    // Until the hub has had enough of it.
    let flooding = reader.stream().try_clone().expect("a handle");
    let flood = std::thread::spawn(move || {
        let mut flooding = flooding;
        while flooding.write_all(&[b'x'; 16 << 10]).is_ok() {}
    });
    let closing = reader.next_of("closing");
    assert_eq!(closing["data"]["code"], 4029);
    _ = reader.stream().shutdown(Shutdown::Both);
    flood.join().expect("it ends");
    assert_eq!(beto.next_of("leave")["user_id"], 1);
}

#[test]
fn a_silent_stream_is_kept_alive_and_a_reader_that_says_its_last_has_gone() {
    let hub = Hub::start(&["--ping-period", "300ms", "--pong-wait", "600ms"]);
    let mut reader = open(&hub, &path(1));
    reader.next_of("join");
    for _ in 0..4 {
        assert_eq!(reader.came(), Came::Comment("ping".into()), "and nobody asks for an answer");
    }
    reader.stream().shutdown(Shutdown::Write).expect("it is open");
    while reader.came() != Came::End {}
    eventually("it has left", || (members(&hub) == 0).then_some(()));
}

#[test]
fn a_drain_tells_readers_why_and_when_to_come_back_and_who_comes_too_early_too() {
    let hub = Hub::start(&["--drain-window", "3s"]);
    let mut readers = [open(&hub, &path(1)), open(&hub, &path(2))];
    let restart = |reader: &mut Events| {
        let last = reader.until_the_end().pop().expect("it is told why");
        assert_eq!((&last["type"], &last["data"]["code"]), (&json!("closing"), &json!(1012)));
        let hint = last["data"]["retry_after_ms"].as_u64();
        assert_eq!(reader.retry.map(u64::from), hint);
    };
    hub.signal("TERM");
    restart(&mut readers[0]);
    // The other one is still to be closed: the hub drains, and takes nobody in.
    assert_eq!(Events::open(hub.connect(), &path(3), "").map(|_| ()).expect_err("no").0, 503);
    restart(&mut open_with(&hub, &path(3), "Accept: text/event-stream\r\n"));
    restart(&mut readers[1]);
}

#[test]
fn who_is_put_off_is_told_so_as_it_can_read_it() {
    let hub = Hub::start(&["--user-connections-max", "1"]);
    let mut first = open(&hub, &path(1));
    first.next_of("join");
    // A program reads the status.
    let refused = hub.get(&path(1));
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("too_many_connections")));
    assert_eq!(refused.header("retry-after"), Some("3"));
    // A browser's `EventSource` would never come back after that.
    let mut put_off = open_with(&hub, &path(1), "Accept: text/event-stream\r\n");
    let events = put_off.until_the_end();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["data"]["code"], 1013);
    assert_eq!(events[0]["data"]["retry_after_ms"].as_u64(), put_off.retry.map(u64::from));
    assert_eq!(hub.metric("hub_rejects_total"), 2.0, "both are counted");
    // Who is no user counts under its address alone.
    let readers: Vec<Events> = (0..5).map(|_| open(&hub, "/v1/spaces/1/events")).collect();
    assert_eq!(readers.len(), 5);
}

#[test]
fn a_reader_is_gone_at_once_when_its_connection_is_reset() {
    let hub = Hub::start(&[]);
    let mut ana = hub.join(1, 1, "Ana");
    let mut reader = open(&hub, &path(2));
    reader.next_of("join");
    let stream: &TcpStream = reader.stream();
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("an option");
    drop(reader);
    assert_eq!(ana.next_of("leave")["user_id"], 2);
}
