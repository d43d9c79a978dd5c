//! Who is at the door: failed log-ins, proxies that are believed, and herds; against the real
//! binary. What a request may do once it is in is `auth`'s.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use serde_json::json;

use crate::auth::{SECRET, bearer, now, token};
use crate::support::peers::{connect_from, get};
use crate::support::{Answer, Hub, LOG_FILE, eventually, rest, run_hub, upgrade};

/// Lines that send a request the long way: more headers than the short one reads.
const LONG: &str = "X: x\r\n";

/// A hub that believes the proxy at 127.0.0.1, and asks who is who.
fn asking(args: &[&str]) -> Hub {
    let args = [&["--trusted-proxies", "127.0.0.1"], args].concat();
    Hub::start_with_env(&args, &[("HUB_JWT_SECRET", SECRET)])
}

/// A hub that believes the proxy at 127.0.0.1, where an address has one socket.
fn narrow(args: &[&str]) -> Hub {
    let proxies = ["--trusted-proxies", "127.0.0.1, 10.0.0.0/8", "--address-connections-max", "1"];
    Hub::start(&[&proxies[..], args].concat())
}

/// The answer to a page of history that somebody asks for through the proxy, showing this.
fn page(hub: &Hub, client: &str, shown: &str) -> Answer {
    let lines = [("X-Forwarded-For", client), ("Authorization", &bearer(shown))];
    hub.request("GET", "/v1/messages?space_id=5", &lines, b"")
}

/// The answer to a handshake with these header lines, and its connection.
fn shake(mut stream: TcpStream, lines: &str) -> (Answer, TcpStream) {
    let request = upgrade("/v1/ws/spaces/5?user_id=7", lines);
    stream.write_all(request.as_bytes()).expect("the hub reads");
    (Answer::read(&mut stream), stream)
}

/// The lines of the log with this text, of which there is one at least.
fn told(hub: &Hub, text: &str) -> Vec<String> {
    let file = hub.data_dir().join(LOG_FILE);
    eventually("it is told", || {
        let log = std::fs::read_to_string(&file).expect("a log");
        let lines = log.lines().filter(|line| line.contains(text) && line.ends_with('}'));
        Some(lines.map(str::to_owned).collect::<Vec<_>>()).filter(|lines| !lines.is_empty())
    })
}

#[test]
fn after_ten_wrong_tokens_in_a_minute_an_address_is_429() {
    let hub = asking(&[]);
    let begun = Instant::now();
    let mut tried = 0;
    let refused = loop {
        let answer = page(&hub, "192.0.2.1", &format!("a.b.{tried}"));
        if answer.status == 429 {
            break answer;
        }
        assert_eq!(answer.status, 401);
        tried += 1;
    };
    // On a slow machine another one is looked at each 6 s.
    let more = begun.elapsed().as_secs() / 6 + 1;
    assert!((10..=10 + more).contains(&tried), "{tried}");
    assert_eq!(refused.json()["code"], "rate_limited");
    let wait: u64 = refused.header("retry-after").expect("a hint").parse().expect("seconds");
    assert!((1..=6).contains(&wait), "{wait}");
}

#[test]
fn an_address_that_guesses_is_not_heard_and_all_others_are() {
    let hub = asking(&["--failed-logins-max", "1"]);
    let good = token(json!({}));
    let neighbour = "2001:db8::2";
    assert_eq!(page(&hub, "2001:db8::1", "k").status, 401);
    for shown in [&good, "k", "a.b.c"] {
        assert_eq!(page(&hub, neighbour, shown).status, 429, "the same /64");
        let lines = format!("Authorization: {shown}\r\n");
        let lines = format!("{lines}X-Forwarded-For: 6.6.6.6, {neighbour}\r\n");
        let (answer, _) = shake(hub.connect(), &lines);
        assert_eq!((answer.status, answer.header("retry-after").is_some()), (429, true));
    }
    for other in ["2001:db8:0:1::1", "192.0.2.1"] {
        assert_eq!(page(&hub, other, &good).status, 200, "{other}");
    }
    // Neither who shows nothing is kept out, nor who asks for what is everybody's.
    let lines = [("X-Forwarded-For", neighbour)];
    assert_eq!(hub.request("GET", "/v1/messages?space_id=5", &lines, b"").status, 401);
    let lines = [("X-Forwarded-For", neighbour), ("Authorization", "k")];
    assert_eq!(hub.request("GET", "/readyz", &lines, b"").status, 200);
    // What somebody who may has made is no guess, though it is over.
    let over = token(json!({"exp": now() - 3_600}));
    for shown in [&*over, "", &token(json!({"aud": "others"})), &good] {
        let expected = if shown == good { 200 } else { 401 };
        assert_eq!(page(&hub, "198.51.100.1", shown).status, expected, "{shown}");
    }
    let told = told(&hub, "failed_logins_max");
    assert!(told.len() == 1 && told[0].contains(neighbour), "{told:?}");
}

#[test]
fn wrong_tokens_over_a_socket_count_as_all_others() {
    let hub = asking(&["--failed-logins-max", "1"]);
    let good = token(json!({}));
    let lines = [("Authorization", bearer(&good)), ("X-Forwarded-For", "192.0.2.1".into())];
    let lines = lines.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut member = hub.socket_with("/v1/ws/spaces/5", Some("cpi-hub.v1"), &lines);
    member.send(&json!({"type": "auth", "data": {"token": "a.b.c"}}).to_string());
    member.next_of("error");
    assert_eq!(page(&hub, "192.0.2.1", &good).status, 429);
    assert_eq!(page(&hub, "192.0.2.2", &good).status, 200);
}

#[test]
fn a_believed_proxys_clients_have_limits_of_their_own() {
    let hub = narrow(&[]);
    let of = |client: &str| format!("X-Forwarded-For: {client}\r\n");
    for long in ["".to_owned(), LONG.repeat(40)] {
        let mut held = Vec::new();
        let mut check = |lines: String, status: u16| {
            let (answer, stream) = shake(hub.connect(), &format!("{lines}{long}"));
            assert_eq!(answer.status, status, "{lines}");
            held.push(stream);
        };
        check(of("192.0.2.1"), 101);
        check(of("192.0.2.1"), 503);
        // The client can put before it what it likes; a proxy before that is one of ours.
        check(of("192.0.2.2, 192.0.2.1"), 503);
        check(of("192.0.2.1, 10.1.2.3"), 503);
        check(format!("{}{}", of("192.0.2.2"), of("192.0.2.1")), 503);
        check(format!("Forwarded: for=192.0.2.9\r\n{}", of("192.0.2.1")), 503);
        check(of("192.0.2.2"), 101);
        check(of("2001:db8::1"), 101);
        check(of("2001:db8::2"), 503);
        // Who says nothing is the proxy, which counts too.
        check(String::new(), 101);
        check(of("unknown"), 503);
        drop(held);
        eventually("their places are free", || (hub.metric("hub_members") == 0.0).then_some(()));
    }
}

#[test]
fn nobody_else_is_believed() {
    let hub = narrow(&[]);
    let forged = |n: u8| format!("X-Forwarded-For: 192.0.2.{n}\r\nForwarded: for=192.0.2.{n}\r\n");
    for (last, long) in [(2, String::new()), (3, LONG.repeat(40))] {
        let (first, _held) = shake(connect_from(&hub, last, false), &forged(1));
        assert_eq!(first.status, 101, "an address of its own");
        let lines = format!("{}{long}", forged(last));
        let (second, _) = shake(connect_from(&hub, last, false), &lines);
        assert_eq!(second.status, 503);
    }
    // Where none is believed a proxy's word is nobody's either, and loopback is exempt.
    let hub = Hub::start(&["--address-connections-max", "1"]);
    let held: Vec<_> = (0..3).map(|_| shake(hub.connect(), &forged(1))).collect();
    assert!(held.iter().all(|(answer, _)| answer.status == 101));
}

#[test]
fn the_other_header_is_read_where_that_is_said() {
    let hub = narrow(&["--proxy-header", "forwarded"]);
    let mut held = Vec::new();
    for (lines, status) in [
        ("Forwarded: for=\"[2001:db8::1]:80\";proto=https\r\n", 101),
        ("Forwarded: for=192.0.2.1, for=\"[2001:db8::2]\"\r\n", 503),
        ("X-Forwarded-For: 192.0.2.1\r\nForwarded: for=\", for=\"[2001:db8::1]\"\r\n", 503),
        ("Forwarded: for=192.0.2.1\r\n", 101),
    ] {
        let (answer, stream) = shake(hub.connect(), lines);
        assert_eq!(answer.status, status, "{lines}");
        held.push(stream);
    }
}

#[test]
fn a_line_of_the_log_names_the_client_and_not_the_proxy() {
    let hub = narrow(&[]);
    let lines = [("X-Forwarded-For", "192.0.2.77"), ("Origin", "https://evil.example")];
    assert_eq!(hub.request("GET", "/v1/spaces", &lines, b"").status, 403);
    let told = told(&hub, "https://evil.example");
    assert!(told[0].contains("192.0.2.77"), "{told:?}");
}

/// A header of version 2 for an IPv4 address that ends in `last`, with more behind it.
fn second(last: u8) -> Vec<u8> {
    let addresses = [192, 0, 2, last, 192, 0, 2, 99, 0, 1, 0, 2];
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x14"[..], &addresses, &[4; 8]].concat()
}

/// Sends a header in pieces, then shakes hands.
fn introduced(hub: &Hub, header: &[u8], piece: usize) -> (Answer, TcpStream) {
    let mut stream = hub.connect();
    for piece in header.chunks(piece) {
        stream.write_all(piece).expect("the hub reads");
    }
    shake(stream, "X-Forwarded-For: 192.0.2.250\r\n")
}

#[test]
fn a_proxy_that_speaks_its_protocol_is_believed_before_the_first_request() {
    let hub = narrow(&["--proxy-protocol", "on"]);
    let first = |source: &str| format!("PROXY {source} 1 2\r\n").into_bytes();
    let four = |last: u8| first(&format!("TCP4 192.0.2.{last} 192.0.2.99"));
    let mut held = Vec::new();
    for (n, piece) in [(0, 1), (1, 20), (2, 400)] {
        let six = |last: u8| first(&format!("TCP6 2001:db8:0:{n}::{last} ::1"));
        // An address has one socket, and two connections.
        for (header, status) in [
            (four(10 * n + 1), 101),
            (second(10 * n + 1), 503),
            (second(10 * n + 2), 101),
            (four(10 * n + 2), 503),
            (six(1), 101),
            (six(2), 503),
            // The list of a proxy of ours that came through this one is read.
            (first("TCP4 10.0.0.1 192.0.2.99"), if n == 0 { 101 } else { 503 }),
        ] {
            let (answer, stream) = introduced(&hub, &header, piece);
            assert_eq!(answer.status, status, "{:?}", String::from_utf8_lossy(&header));
            held.push(stream);
        }
    }
    // The list of somebody whom the proxy can't name is not: they share the proxy's address.
    for status in [101, 503] {
        let (answer, stream) = introduced(&hub, b"PROXY UNKNOWN\r\n", 400);
        assert_eq!(answer.status, status);
        held.push(stream);
    }
    drop(held);
    eventually("their places are free", || (number(&hub, "hub_members") == 0.0).then_some(()));
}

/// The numbers of a hub whose proxies introduce themselves, as another peer is told them.
fn number(hub: &Hub, name: &str) -> f64 {
    eventually("a number", || {
        let mut stream = connect_from(hub, 2, false);
        // Where its last connection is still there, there may be no room for this one.
        _ = stream.write_all(get("/metrics").as_bytes());
        let text = String::from_utf8(rest(&mut stream)).expect("text");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.trim().parse().ok())
    })
}

#[test]
fn a_proxy_that_does_not_speak_it_is_closed_and_told_of() {
    let hub = narrow(&["--proxy-protocol", "on", "--handshake-wait", "1s"]);
    let request = upgrade("/v1/ws/spaces/5?user_id=7", "");
    for wrong in [
        request.clone().into_bytes(),
        format!("PROXY TCP4 192.0.2.1 192.0.2.99 1\r\n{request}").into_bytes(),
        format!("PROXY UNKNOWN {}", "x".repeat(200)).into_bytes(),
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"[..], &[0; 64]].concat(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
    ] {
        let mut stream = hub.connect();
        stream.write_all(&wrong).expect("the hub reads");
        assert_eq!(rest(&mut stream), b"", "{:?}", String::from_utf8_lossy(&wrong));
    }
    assert_eq!(number(&hub, "hub_proxy_headers_missing_total"), 5.0);
    // Nothing, or only a part of it, is waited for no longer than for a head.
    for part in ["", "PROXY TCP4 192.0.2.1"] {
        let mut stream = hub.connect();
        stream.write_all(part.as_bytes()).expect("the hub reads");
        assert_eq!(stream.read(&mut [0; 9]).expect("a clean end"), 0);
    }
    // A check that only connects is no mistake.
    drop(hub.connect());
    assert_eq!(number(&hub, "hub_proxy_headers_missing_total"), 5.0);
    assert_eq!(told(&hub, "proxy_protocol").len(), 1);
    // From anybody else it is no request.
    let mut stream = connect_from(&hub, 3, false);
    let request = format!("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n{request}");
    stream.write_all(request.as_bytes()).expect("the hub reads");
    assert_eq!(Answer::read(&mut stream).status, 400);
}

#[test]
fn a_herd_is_let_in_at_the_rate_of_the_hub_and_the_rest_is_told_when() {
    let hub = Hub::start(&["--connection-rate", "1/1"]);
    let mut herd: Vec<TcpStream> = (0..50).map(|_| hub.connect()).collect();
    for (number, stream) in herd.iter_mut().enumerate() {
        let request = upgrade(&format!("/v1/ws/spaces/5?user_id={number}"), "");
        stream.write_all(request.as_bytes()).expect("the hub reads");
    }
    let answers: Vec<Answer> = herd.iter_mut().map(Answer::read).collect();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 101).collect();
    assert!(!refused.is_empty() && refused.len() < answers.len(), "{}", refused.len());
    for answer in refused {
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
        assert_eq!(answer.json()["code"], "overloaded");
    }
    assert_eq!(hub.get("/livez").status, 200);
}

#[test]
fn a_mistake_about_proxies_is_told_in_one_line() {
    for (args, problem) in [
        (
            &["--trusted-proxies", "10.0.0.1/8"][..],
            "--trusted-proxies: `10.0.0.1/8` is not the begin of a network: that is 10.0.0.0/8",
        ),
        (
            &["--trusted-proxies", "proxy.example"],
            "--trusted-proxies: `proxy.example` is not an address such as 127.0.0.1, or a network",
        ),
        (&["--proxy-protocol", "on"], "--proxy-protocol: trusted_proxies are to say whose it is"),
        (
            &["--proxy-header", "x-real-ip"],
            "--proxy-header: `x-real-ip` is not x-forwarded-for or forwarded",
        ),
    ] {
        let output = run_hub(&[&["serve"], args].concat(), &[]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{text}");
        assert!(text.contains(problem) && text.trim_end().lines().count() == 1, "{text}");
    }
}
