//! Members over TLS: what they say and are told, slow ones, and how they end.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use tokio_rustls::rustls::ProtocolVersion;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::{Files, Secured, client_config, connect, content, join, join_with, secured};
use crate::support::events::Events;
use crate::support::{Client, Closed, UNLIMITED, eventually, frame, upgrade};

#[test]
fn people_chat_over_both_versions_of_tls_and_beside_it_and_closes_arrive() {
    let files = Files::new();
    let hub = files.hub(&[]);
    let trusted = files.certificate();
    let path = |user: i32| format!("/v1/ws/spaces/1?user_id={user}&username=Ana");
    let mut old = join_with(&hub, connect(&hub), &path(1), client_config(&trusted, &TLS12));
    let mut new = join_with(&hub, connect(&hub), &path(2), client_config(&trusted, &TLS13));
    let mut plain = hub.join(1, 3, "Eva");
    let version = |it: &mut Client<Secured>| it.stream().conn.protocol_version();
    assert_eq!(version(&mut old), Some(ProtocolVersion::TLSv1_2));
    assert_eq!(version(&mut new), Some(ProtocolVersion::TLSv1_3));
    for (turn, said) in ["uno", "dos", "tres"].into_iter().enumerate() {
        match turn {
            0 => old.chat(said),
            1 => new.chat(said),
            _ => plain.chat(said),
        }
        assert_eq!(content(&old.next_of("chat")), said);
        assert_eq!(content(&new.next_of("chat")), said);
        assert_eq!(content(&plain.next_of("chat")), said);
    }
    // A message whose length is of another sort.
    let long = "á".repeat(200);
    new.chat(&long);
    assert_eq!(content(&old.next_of("chat")), long);
    // HTTP on the same port, and its answers.
    let mut stream = secured(connect(&hub), client_config(&trusted, &TLS13)).expect("TLS");
    let get = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(get.as_bytes()).expect("the hub reads");
    let mut answer = String::new();
    // To its end, which is one of TLS: else this would be an error.
    stream.read_to_string(&mut answer).expect("an answer and its end");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    // Whoever breaks the protocol is told so.
    old.send(&"x".repeat(10_000));
    let (_, closed) = old.until_closed();
    assert_eq!(closed, Closed::by(1009, "message_too_big"));
    // The end of TLS comes behind the close frame.
    new.socket.close(None).expect("the hub reads");
    while new.socket.read().is_ok() {}
    let mut rest = Vec::new();
    new.stream().read_to_end(&mut rest).expect("the end of TLS");
    plain.close();
}

#[test]
fn a_stream_of_events_is_read_over_tls_to_its_end() {
    let files = Files::new();
    let hub = files.hub(&["--drain-window", "0s"]);
    let config = client_config(&files.certificate(), &TLS13);
    let stream = secured(connect(&hub), config).expect("TLS");
    let mut reader = Events::open(stream, "/v1/spaces/1/events?user_id=2", "").expect("a stream");
    reader.next_of("join");
    let mut ana = join(&hub, &files, 1);
    let text = "á".repeat(200);
    for _ in 0..20 {
        ana.chat(&text);
        assert_eq!(content(&reader.next_of("chat")), text);
    }
    hub.signal("TERM");
    let last = reader.until_the_end().pop().expect("it is told why");
    assert_eq!(last["data"]["code"], 1012);
    // The end was one of TLS: a cut would have been an error.
    assert_eq!(reader.stream().read(&mut [0]).expect("the end of TLS"), 0);
}

#[test]
fn what_comes_with_a_handshake_is_read_however_much_it_is() {
    const MESSAGES: usize = 60;
    let files = Files::new();
    let hub = files.hub(&UNLIMITED);
    let mut other = hub.join(1, 2, "Eva");
    let config = client_config(&files.certificate(), &TLS13);
    let mut stream = secured(connect(&hub), config).expect("TLS");
    // A request before it, on the same connection; more behind it than one read of the hub's holds.
    let get = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut bytes = get.as_bytes().to_vec();
    let path = "/v1/ws/spaces/1?user_id=1&username=Ana";
    bytes.extend_from_slice(upgrade(path, "").as_bytes());
    let filling = "x".repeat(300);
    for number in 0..MESSAGES {
        let chat = format!(r#"{{"type":"chat","data":{{"content":"{number} {filling}"}}}}"#);
        bytes.extend_from_slice(&frame(0x81, chat.as_bytes()));
    }
    stream.write_all(&bytes).expect("the hub reads");
    stream.flush().expect("the hub reads");
    for number in 0..MESSAGES {
        assert_eq!(content(&other.next_of("chat")), format!("{number} {filling}"));
    }
}

#[test]
fn slow_readers_get_every_message_once_and_in_order() {
    const MESSAGES: usize = 100;
    const READERS: i32 = 20;
    let files = Files::new();
    let long = ["--message-bytes-max", "8KiB", "--content-chars-max", "4000"];
    let hub = files.hub(&[&UNLIMITED[..], &long].concat());
    let mut speaker = join(&hub, &files, 1);
    let readers: Vec<_> = (2..2 + READERS)
        .map(|user| {
            // A window that is soon full.
            let stream = slow_stream(hub.tls);
            let version = if user % 2 == 0 { &TLS12 } else { &TLS13 };
            let config = client_config(&files.certificate(), version);
            let path = format!("/v1/ws/spaces/1?user_id={user}&username=Ana");
            join_with(&hub, stream, &path, config)
        })
        .collect();
    let filling = "x".repeat(3_900);
    let numbers: Vec<String> = (0..MESSAGES).map(|number| format!("{number} {filling}")).collect();
    let read_all = |mut reader: Client<Secured>| {
        for number in &numbers {
            assert_eq!(content(&reader.next_of("chat")), *number);
        }
        reader.close();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            numbers.iter().for_each(|number| speaker.chat(number));
            read_all(speaker);
        });
        // None reads before its socket is full.
        eventually("sockets are full", || (hub.metric("hub_members_blocked") >= 1.0).then_some(()));
        for reader in readers {
            scope.spawn(|| read_all(reader));
        }
    });
}

fn slow_stream(address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.set_recv_buffer_size(32 << 10).expect("an option");
    socket.connect(&address.into()).expect("the hub listens");
    socket.into()
}

#[test]
fn whoever_ends_without_a_close_frame_has_left() {
    let files = Files::new();
    let hub = files.hub(&[]);
    let mut stays = join(&hub, &files, 1);
    let ends: [fn(&mut Secured); 3] = [
        // The end of TLS, and of the socket after it.
        |stream| {
            stream.conn.send_close_notify();
            stream.flush().expect("the hub reads");
        },
        // The end of the socket alone, as a process that is killed ends.
        |stream| stream.sock.shutdown(Shutdown::Write).expect("it is open"),
        // A record that nobody has sealed.
        |stream| {
            stream
                .sock
                .write_all(&[23, 3, 3, 0, 32, 7, 7])
                .and_then(|()| stream.sock.write_all(&[7; 30]))
                .expect("the hub reads")
        },
    ];
    for (user, end) in (2..).zip(ends) {
        let mut leaves = join(&hub, &files, user);
        stays.next_of("join");
        end(leaves.stream());
        let left = stays.next_of("leave");
        assert_eq!(left["data"]["user_id"], user, "{left}");
        // And its socket is closed.
        let (_, closed) = leaves.until_closed();
        assert_eq!(closed, Closed { code: None, reason: String::new() });
    }
}

#[test]
fn a_drain_tells_members_over_tls_when_to_come_back() {
    let files = Files::new();
    let mut hub = files.hub(&["--drain-window", "0s"]);
    let member = join(&hub, &files, 1);
    assert!(hub.hub.stop("TERM").success());
    let (_, closed) = member.until_closed();
    assert_eq!(closed.code, Some(1012));
}
