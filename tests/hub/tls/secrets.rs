//! What people show, say and configure is in no line of the log, however fine that is: a run of
//! everything that is shown to a hub, with a word in each of it that is then looked for.

use std::io::{Read, Write};
use std::net::TcpStream;

use cpi_hub::conditions::Condition;
use serde_json::json;
use tokio_rustls::rustls::version::TLS13;
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;

use super::{Files, Made, Secured, TlsHub, client_config, connect, join_with, replace, secured};
use crate::auth::{SECRET, bearer, new_key, token, write_keys};
use crate::support::health::planted_by;
use crate::support::{Answer, Client, Hub, eventually, frame, upgrade};

const PATH: &str = "/v1/ws/spaces/5?user_id=7&username=canary-name";
const V1: Option<&str> = Some("cpi-hub.v1");

fn shown(token: &str) -> String {
    json!({"type": "auth", "data": {"token": token}}).to_string()
}

/// A socket of `cpi-hub.v1` over TLS that has shown nothing.
fn join_as(hub: &TlsHub, files: &Files) -> Client<Secured> {
    let url = format!("ws://localhost:{}{PATH}", hub.tls.port());
    let mut request = url.into_client_request().expect("a URL");
    let v1 = HeaderValue::from_static("cpi-hub.v1");
    request.headers_mut().insert("Sec-WebSocket-Protocol", v1);
    let config = client_config(&files.certificate(), &TLS13);
    let stream = secured(connect(hub), config).expect("TLS");
    let (socket, _) = tungstenite::client(request, stream).expect("an upgrade");
    Client { socket }
}

/// Shows tokens in first messages and later ones, over TLS and beside it, and says something.
fn speak(hub: &TlsHub, files: &Files, good: &str) {
    let config = client_config(&files.certificate(), &TLS13);
    let mut member = join_with(hub, connect(hub), &format!("{PATH}&token={good}"), config);
    member.chat("canary-text");
    member.next_of("chat");
    // In the first message too, with another behind it in one write.
    let mut first = join_as(hub, files);
    let chat = json!({"type": "chat", "data": {"content": "canary-text"}}).to_string();
    let both = [frame(0x81, shown(good).as_bytes()), frame(0x81, chat.as_bytes())].concat();
    first.stream().write_all(&both).expect("the hub reads");
    assert_eq!(first.next()["type"], "welcome");
    assert_eq!(first.next_of("chat")["data"]["content"], "canary-text");
    let mut plain = hub.socket(PATH, V1);
    plain.send(&shown(good));
    plain.next_of("welcome");
    plain.send(&shown("canary.later.token"));
    assert_eq!(plain.next_of("error")["data"]["code"], "unauthorized");
    plain.send(&shown(good));
    plain.next_of("auth");
    let chat = json!({"type": "chat", "data": {"content": "canary-text", "nonce": "canary-nonce"}});
    plain.send(&chat.to_string());
    plain.next_of("ack");
    for wrong in [shown("canary.first.token"), "canary-junk".into()] {
        let mut none = hub.socket(PATH, V1);
        none.send(&wrong);
        none.until_closed();
    }
}

/// Shows what is nobody's in each place, behind forged addresses, until nothing is looked at.
fn guess(hub: &Hub) {
    let page = "/v1/messages?space_id=5&token=canary.query.token";
    let forwarded = [
        ("X-Forwarded-For", "canary-host, 192.0.2.1"),
        ("Forwarded", "for=\"canary\""),
        ("X-Api-Key", "canary-key"),
        ("Cookie", "canary=1"),
    ];
    let statuses: Vec<u16> = (0..5)
        .map(|n| {
            let bearer = format!("Bearer canary.{n}.token");
            let headers = [&forwarded[..], &[("Authorization", &bearer)]].concat();
            hub.request("GET", page, &headers, b"").status
        })
        .collect();
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
    let lines = "Sec-WebSocket-Protocol: cpi-hub.v1, token.canary.protocol.token\r\n";
    let mut stream = hub.connect();
    stream.write_all(upgrade(PATH, lines).as_bytes()).expect("the hub reads");
    assert_eq!(Answer::read(&mut stream).status, 401);
}

/// Checks that nothing of it is logged.
#[track_caller]
fn check(log: &str, others: &[&str]) {
    for word in ["canary"].iter().chain(others) {
        let line = log.lines().find(|line| line.contains(word));
        assert_eq!(line, None, "{word}");
    }
}

#[test]
fn what_people_show_is_in_no_line_of_the_log() {
    let files = Files::new();
    let (keys, secret) = (files.path("keys"), files.path("secret"));
    let (key, line) = new_key("operator", "operate,metrics");
    write_keys(keys.as_ref(), &[&line]);
    std::fs::write(&secret, SECRET).expect("a file");
    let mut hub = files.hub_logging(
        "trace",
        &[
            "--api-keys-file",
            &keys,
            "--jwt-secret-file",
            &secret,
            "--trusted-proxies",
            "127.0.0.1",
            "--failed-logins-max",
            "3",
        ],
    );
    let good = token(json!({"jti": "canary-id", "email": "canary@example.com"}));
    speak(&hub, &files, &good);
    guess(&hub);
    let called_back = json!({"token_id": "canary-id"}).to_string();
    let headers = [("Authorization", &*bearer(&key)), ("X-Forwarded-For", "192.0.2.2")];
    let answer = hub.request("POST", "/v1/auth/revocations", &headers, called_back.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    // Files that can't be used are told of, not shown.
    let made = Made::new();
    let of_key = made.key.lines().nth(1).expect("a line").to_owned();
    let broken = format!("-----BEGIN PRIVATE KEY-----\ncanary/{of_key}\n");
    replace(files.dir.path(), "key", &broken);
    let ask = |path: &str| hub.request("GET", path, &headers, b"");
    planted_by(ask, || hub.log(), Condition::CertificateUnread);
    replace(files.dir.path(), "keys", &format!("{line}\ncanary all {key}\n"));
    hub.signal("HUP");
    eventually("the log tells", || hub.log().contains("nothing is reloaded").then_some(()));
    assert!(hub.stop("TERM").success());
    let log = hub.log();
    assert!(log.contains("failed_logins_max"), "who guesses is told of");
    assert!(log.contains("\"DEBUG\""), "it is fine enough: {log}");
    let signature = good.rsplit('.').next().expect("a part");
    let own = made.key.lines().nth(2).expect("a line");
    check(&log, &[signature, &key, &of_key, own]);
}

#[test]
fn what_a_proxy_says_before_a_request_is_in_no_line_of_the_log() {
    let mut hub = Hub::start_with_env(
        &["--trusted-proxies", "127.0.0.1", "--proxy-protocol", "on", "--log", "trace"],
        &[("HUB_JWT_SECRET", SECRET)],
    );
    let say = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(hub.address).expect("the hub listens");
        stream.write_all(bytes).expect("the hub reads");
        let mut rest = Vec::new();
        // A header that is none is answered by the end of the connection.
        _ = stream.read_to_end(&mut rest);
        rest
    };
    let get = "GET /v1/messages?space_id=5 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
               Authorization: canary.proxied.token\r\n\r\n";
    for junk in ["PROXY canary 1 2\r\n", "PROXY TCP4 canary-a canary-b 1 2\r\n", "canary\r\n\r\n"] {
        say(junk.as_bytes());
    }
    let line = "PROXY TCP4 192.0.2.1 192.0.2.99 1 2\r\n";
    let answer = say(format!("{line}{get}").as_bytes());
    assert!(answer.starts_with(b"HTTP/1.1 401"), "{}", String::from_utf8_lossy(&answer));
    // The second version, with the name that the client asked for behind the addresses.
    let mut second = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x15".to_vec();
    second.extend_from_slice(&[192, 0, 2, 1, 192, 0, 2, 99, 0, 1, 0, 2]);
    second.extend_from_slice(b"\x02\x00\x06canary");
    let answer = say(&[&second[..], get.as_bytes()].concat());
    assert!(answer.starts_with(b"HTTP/1.1 401"), "{}", String::from_utf8_lossy(&answer));
    assert!(hub.stop("TERM").success());
    let log = hub.log();
    assert!(log.contains("proxy_protocol"), "who sends none is told of");
    check(&log, &[]);
}
