//! nginx, HAProxy and Caddy, as `deploy/proxies/` has them, in front of a real hub: sockets and
//! posts pass, addresses are the clients', quiet sockets stay, and a restart refuses nobody.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};
use tungstenite::Message;

use crate::front::{Changes, Front, Kind, ORIGIN};
use crate::support::service::{Handed, listening};
use crate::support::trials::{Outcome, Over};
use crate::support::{Answer, Hub, eventually};

const SPACE: &str = "/v1/ws/spaces/1";

fn post(front: &Front, last: u8, text: &str, image: &str) -> Answer {
    let body = json!({"user_id": 7, "username": "Ana", "message": text, "image": image});
    let key = format!("Content-Type: application/json\r\nIdempotency-Key: {text}\r\n");
    let path = format!("{SPACE}/chat");
    front.ask(last, "POST", &path, (&key, body.to_string().as_bytes()))
}

/// The contents of a space's history, as the proxy lets it through.
fn contents(front: &Front) -> Vec<String> {
    let page = front.get("/v1/spaces/1/messages?limit=100").json();
    let rows = page["data"].as_array().expect("a page").iter();
    rows.map(|row| row["content"].as_str().expect("a text").to_owned()).collect()
}

fn lets_people_through(kind: Kind) -> Outcome {
    let hub = Hub::start(&[
        "--origins",
        ORIGIN,
        "--trusted-proxies",
        "127.0.0.1",
        "--address-connections-max",
        "2",
    ]);
    let front = Front::start(kind, hub.address, &[])?;
    let join = |last, user, lines: &[(&'static str, &str)]| {
        front.join(last, &format!("{SPACE}?user_id={user}"), lines)
    };
    let mut ana = join(2, 1, &[]).expect("she joins");
    assert_eq!(ana.next()["type"], "welcome");
    let mut beto = join(3, 2, &[]).expect("he joins");
    assert_eq!(beto.next()["type"], "welcome");
    ana.chat("hola");
    assert_eq!(beto.next_of("chat")["data"]["content"], "hola");
    let avatar = "x".repeat(6 << 20);
    let posted = post(&front, 3, "avatar", &avatar);
    assert_eq!(posted.status, 200, "{}", posted.text());
    assert_eq!(ana.next_of("chat")["data"]["content"], "hola");
    assert_eq!(ana.next_of("chat")["data"]["content"], "avatar");
    hub.history_of(1, 2);
    assert_eq!(contents(&front), ["hola", "avatar"]);
    // What a client says of itself counts for nothing: it is the address that it came from.
    let _second = join(2, 3, &[("X-Forwarded-For", "192.0.2.1")]).expect("two may");
    let third = join(2, 4, &[("X-Forwarded-For", "192.0.2.2")]).map(|_| ());
    assert_eq!(third, Err(503), "no third of one address");
    join(3, 5, &[]).expect("another address may");
    // The hub's own answer, as it is.
    let foreign = front.ask(3, "GET", "/nowhere", ("", b""));
    assert_eq!(foreign.status, 404);
    Ok(())
}

/// A socket on which nothing is said, for four times as long as the proxy lets one be quiet, with a
/// question over HTTP after each ping; then a hub that pings too seldom.
fn cuts_no_quiet_socket(kind: Kind, shorter: Changes<'_>) -> Outcome {
    let quiet = format!("{SPACE}?user_id=1");
    let hub = Hub::start(&["--origins", ORIGIN, "--ping-period", "1s", "--keep-alive-wait", "3s"]);
    let front = Front::start(kind, hub.address, shorter)?;
    let mut member = front.join(1, &quiet, &[]).expect("it joins");
    for _ in 0..8 {
        while !matches!(member.message(), Message::Ping(_)) {}
        assert_eq!(front.get("/readyz").status, 200);
    }
    member.chat("still here");
    assert_eq!(member.next_of("chat")["data"]["content"], "still here");
    if kind != Kind::Caddy {
        let hub = Hub::start(&["--origins", ORIGIN]);
        let front = Front::start(kind, hub.address, shorter)?;
        let mut member = front.join(1, &quiet, &[]).expect("it joins");
        let closed = loop {
            if let Err(closed) = member.try_next() {
                break closed;
            }
        };
        assert_eq!(closed.code, None, "the proxy has cut it, not the hub");
    }
    Ok(())
}

/// Posts through the proxy until it is told to end; what was answered other than with success.
fn post_until(front: &Front, over: &AtomicBool) -> (usize, Vec<String>) {
    let (mut said, mut refused) = (0, Vec::new());
    while !over.load(Ordering::Relaxed) {
        let answer = post(front, 2, &format!("m{said}"), "");
        if !matches!(answer.status, 200 | 202) {
            refused.push(format!("m{said}: {} {}", answer.status, answer.text()));
        }
        said += 1;
    }
    (said, refused)
}

/// Each message once and in order, by history and by the member who came back.
fn nothing_is_missing(front: &Front, after: &str, seen: &mut Vec<String>, said: usize) {
    let path = format!("{SPACE}?user_id=1&after={after}");
    let mut back = eventually("it comes back", || front.join(1, &path, &[]).ok());
    while seen.len() < said {
        let chat = back.next_of("chat");
        seen.push(chat["data"]["content"].as_str().expect("a text").to_owned());
    }
    let expected: Vec<String> = (0..said).map(|n| format!("m{n}")).collect();
    assert_eq!(*seen, expected);
}

/// A member's chats up to the end of its connection.
fn read_to_the_end(front: &Front) -> (String, Vec<String>) {
    let mut member = front.join(1, &format!("{SPACE}?user_id=1"), &[]).expect("it joins");
    let welcome = member.next_of("welcome");
    let mut position = welcome["data"]["position"].as_str().unwrap_or_default().to_owned();
    let mut seen = Vec::new();
    while let Ok(message) = member.try_next() {
        let data: &Value = &message["data"];
        if message["type"] == "chat" {
            seen.push(data["content"].as_str().expect("a text").to_owned());
            position = data["id"].as_str().expect("an id").to_owned();
        }
    }
    (position, seen)
}

/// Whoever posts and reads while a hub is restarted.
fn refuses_nobody(front: &Front, restart: impl FnOnce()) {
    let over = AtomicBool::new(false);
    let ((said, refused), (position, mut seen)) = thread::scope(|scope| {
        let over_at_the_end = Over(&over);
        let reader = scope.spawn(|| read_to_the_end(front));
        // The reader is there before the first message, so that it sees all of them.
        eventually("somebody is there", || {
            let presence = front.get("/v1/spaces/1/presence").json();
            (presence["members"] == 1).then_some(())
        });
        let poster = scope.spawn(|| post_until(front, &over));
        eventually("some are said", || (contents(front).len() > 20).then_some(()));
        restart();
        let until = contents(front).len();
        eventually("more are said", || {
            (contents(front).len() > until + 20 || until >= 80).then_some(())
        });
        drop(over_at_the_end);
        (poster.join().expect("it posts"), reader.join().expect("it reads"))
    });
    assert_eq!(refused, [""; 0], "of {said}");
    nothing_is_missing(front, &position, &mut seen, said);
}

/// `close_wait` is as it is: a kept connection that is idle for three quarters of it is closed,
/// and a post that a proxy sends on it in that very moment is lost, as with any server.
const DRAIN: [&str; 4] = ["--drain-window", "300ms", "--stop-wait", "10s"];

fn refuses_nobody_while_a_handed_hub_restarts(kind: Kind) -> Outcome {
    let (socket, address) = listening();
    let sockets = [socket];
    let args = [&["--origins", ORIGIN, "--user-message-rate", "off"][..], &DRAIN].concat();
    let handed = Handed { sockets: &sockets, env: &[("LISTEN_FDS", "1")], args: &args };
    let mut hub = handed.start_in(tempfile::tempdir().expect("a directory"));
    let front = Front::start(kind, address, &[])?;
    refuses_nobody(&front, || {
        assert_eq!(hub.stop("TERM").code(), Some(0), "{}", hub.log());
        handed.start_again(&mut hub);
    });
    Ok(())
}

/// Between the end of a hub that keeps its own socket and the next start nobody listens there.
pub fn caddy_has_people_wait_while_nobody_listens() -> Outcome {
    let address = listening().1.to_string();
    let mut hub = Hub::start(&["--origins", ORIGIN, "--listen", &address]);
    let front = Front::start(Kind::Caddy, hub.address, &[])?;
    assert_eq!(front.get("/livez").status, 200);
    assert_eq!(hub.stop("TERM").code(), Some(0), "{}", hub.log());
    thread::scope(|scope| {
        let asks = scope.spawn(|| front.get("/livez").status);
        hub.restart();
        assert_eq!(asks.join().expect("it is answered"), 200);
    });
    Ok(())
}

pub fn nginx_lets_people_through_and_says_who_they_are() -> Outcome {
    lets_people_through(Kind::Nginx)
}

pub fn haproxy_lets_people_through_and_says_who_they_are() -> Outcome {
    lets_people_through(Kind::Haproxy)
}

pub fn caddy_lets_people_through_and_says_who_they_are() -> Outcome {
    lets_people_through(Kind::Caddy)
}

pub fn nginx_cuts_no_quiet_socket_that_the_hub_pings() -> Outcome {
    let shorter =
        [("proxy_read_timeout 120s", "proxy_read_timeout 2s"), ("timeout 60s", "timeout 2s")];
    cuts_no_quiet_socket(Kind::Nginx, &shorter)
}

pub fn haproxy_cuts_no_quiet_socket_that_the_hub_pings() -> Outcome {
    let shorter = [("timeout tunnel 120s", "timeout tunnel 2s"), ("delay 30s", "delay 1s")];
    cuts_no_quiet_socket(Kind::Haproxy, &shorter)
}

pub fn caddy_cuts_no_quiet_socket_that_the_hub_pings() -> Outcome {
    cuts_no_quiet_socket(Kind::Caddy, &[("keepalive 60s", "keepalive 2s")])
}

pub fn nginx_refuses_nobody_while_a_hub_with_an_inherited_socket_restarts() -> Outcome {
    refuses_nobody_while_a_handed_hub_restarts(Kind::Nginx)
}

pub fn haproxy_refuses_nobody_while_a_hub_with_an_inherited_socket_restarts() -> Outcome {
    refuses_nobody_while_a_handed_hub_restarts(Kind::Haproxy)
}

pub fn caddy_refuses_nobody_while_a_hub_with_an_inherited_socket_restarts() -> Outcome {
    refuses_nobody_while_a_handed_hub_restarts(Kind::Caddy)
}
