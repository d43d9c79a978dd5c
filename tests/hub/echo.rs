//! `/v1/debug/echo`, by which tests of the protocol that others have made reach the hub's reader,
//! writer, shard and sockets: what is sent there comes back.

use std::io::{ErrorKind, Read, Write};

use tungstenite::Message;

use crate::support::{Answer, Client, Closed, Hub, frame, run_hub, upgrade};

const PATH: &str = "/v1/debug/echo";

fn ask(hub: &Hub, request: &str) -> Answer {
    let mut stream = hub.connect();
    stream.write_all(request.as_bytes()).expect("the hub reads");
    Answer::read(&mut stream)
}

fn echo() -> (Hub, Client) {
    let hub = Hub::start(&["--debug-endpoints"]);
    let client = hub.socket(PATH, None);
    (hub, client)
}

#[test]
fn the_route_is_there_only_where_it_is_asked_for_and_nobody_else_reaches_it() {
    let hub = Hub::start(&[]);
    let answer = ask(&hub, &upgrade(PATH, ""));
    assert_eq!((answer.status, answer.text().as_str()), (404, "404 page not found"));
    let open = ["--listen", "0.0.0.0:0", "--debug-endpoints"];
    let refused = run_hub(&open, &[("HUB_JWT_SECRET", "a secret of thirty-two bytes or more")]);
    assert_eq!(refused.status.code(), Some(78));
    assert_eq!(
        String::from_utf8_lossy(&refused.stderr),
        "cpi-hub: --debug-endpoints: 0.0.0.0:0 is reached from other machines; listen on \
         127.0.0.1, or say --insecure if you mean it\n"
    );
    let hub = Hub::start(&["--debug-endpoints", "--listen", "0.0.0.0:0", "--insecure"]);
    assert_eq!(ask(&hub, &upgrade(PATH, "")).status, 101);
    assert_eq!(ask(&hub, &format!("HEAD {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n")).status, 404);
}

#[test]
fn texts_and_bytes_of_each_length_come_back_as_they_were() {
    let (hub, mut client) = echo();
    let bytes = |length| (0..length).map(|at| (at % 251) as u8).collect::<Vec<u8>>();
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 300_000] {
        let text: String = ('a'..='z').cycle().take(length).collect();
        for message in [Message::binary(bytes(length)), Message::text(text)] {
            client.send_message(message.clone());
            assert!(client.message() == message, "{length}");
        }
    }
    let longest = Message::binary(bytes(16 << 20));
    client.send_message(longest.clone());
    assert!(client.message() == longest);
    // Nobody else hears of it, and no message is said.
    assert_eq!(hub.metric("hub_chats_accepted_total"), 0.0);
    client.send_message(Message::binary(vec![0; (16 << 20) + 1]));
    assert_eq!(client.until_closed().1, Closed::by(1009, "message_too_big"));
}

#[test]
fn ten_pings_at_once_and_a_message_in_pieces_are_answered_in_order() {
    let (_hub, mut client) = echo();
    let pings = (0..10_u8).flat_map(|n| frame(0x89, &[n]));
    let pieces = [frame(0x02, b"\xC3"), frame(0x89, b"between"), frame(0x80, b"\x28")].concat();
    let sent: Vec<u8> = pings.chain(pieces).collect();
    client.stream().write_all(&sent).expect("written");
    for n in 0..10_u8 {
        assert_eq!(client.message(), Message::Pong(vec![n].into()));
    }
    assert_eq!(client.message(), Message::Pong("between".into()));
    assert_eq!(client.message(), Message::binary(b"\xC3\x28".to_vec()));
    client.stream().write_all(&frame(0x81, b"\xC3\x28")).expect("written");
    assert_eq!(client.until_closed().1, Closed::by(1007, "invalid_utf8"));
}

#[test]
fn who_does_not_read_what_comes_back_is_not_read_either_and_loses_nothing() {
    let (hub, mut client) = echo();
    let message = frame(0x82, &vec![7; 60_000]);
    let stream = client.stream();
    stream.set_nonblocking(true).expect("a socket");
    let mut sent = 0_usize;
    let mut idle = 0;
    // Until neither side takes more; the rest of the last message goes out afterwards.
    while idle < 200 {
        match stream.write(&message[sent % message.len()..]) {
            Ok(bytes) => (sent, idle) = (sent + bytes, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                idle += 1;
                let owed = hub.metric("hub_private_bytes");
                assert!(owed <= f64::from(32 << 20) + 64.0, "{owed} bytes are owed");
            }
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 64 << 20, "it is read although it reads nothing");
    }
    stream.set_nonblocking(false).expect("a socket");
    let mut writer = stream.try_clone().expect("another handle");
    let whole = sent.div_ceil(message.len());
    let rest = message.repeat(whole).split_off(sent);
    let writing = std::thread::spawn(move || writer.write_all(&rest));
    let mut back = vec![0; 60_004];
    for _ in 0..whole {
        client.stream().read_exact(&mut back).expect("what was sent");
        assert_eq!(back[..4], [0x82, 126, 0xEA, 0x60]);
        assert!(back[4..].iter().all(|byte| *byte == 7));
    }
    writing.join().expect("no panic").expect("all is read now");
}
