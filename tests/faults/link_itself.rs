//! The link that other tests spoil does what it is told to, and nothing else: held against a plain
//! peer, without a hub.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::link::{BOTH, Fate, Link, Manner, Passage, Way};
use crate::support::{PATIENCE, eventually};

/// Nothing came for as long as this: nothing comes.
const NOTHING: Duration = Duration::from_millis(300);

/// A link, and the two ends of a connection over it.
struct Pair {
    link: Link,
    client: TcpStream,
    server: TcpStream,
}

fn pair() -> Pair {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let link = Link::to(listener.local_addr().expect("an address"));
    let client = TcpStream::connect(link.address).expect("it listens");
    let (server, _): (TcpStream, SocketAddr) = listener.accept().expect("it connects");
    for end in [&client, &server] {
        end.set_nodelay(true).expect("an option");
        end.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    }
    // The link knows of the connection once something has passed.
    assert_eq!(pass(&client, &server, b"first").0, b"first");
    Pair { link, client, server }
}

/// Sends from one end, and reads as many bytes at the other; how long that took.
fn pass(mut from: &TcpStream, mut to: &TcpStream, bytes: &[u8]) -> (Vec<u8>, Duration) {
    let (begun, mut got) = (Instant::now(), vec![0; bytes.len()]);
    from.write_all(bytes).expect("the link reads");
    to.read_exact(&mut got).expect("the link writes");
    (got, begun.elapsed())
}

fn nothing_comes(mut to: &TcpStream) {
    to.set_read_timeout(Some(NOTHING)).expect("a timeout");
    let kind = to.read(&mut [0; 1]).expect_err("nothing comes").kind();
    assert!(matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{kind:?}");
    to.set_read_timeout(Some(PATIENCE)).expect("a timeout");
}

fn is_reset(mut end: &TcpStream) {
    let kind = end.read(&mut [0; 1]).expect_err("it is reset").kind();
    assert_eq!(kind, ErrorKind::ConnectionReset);
}

pub fn a_link_delays_slows_and_holds_bytes_and_loses_none() {
    let Pair { link, client, server } = pair();
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(pass(&client, &server, &bytes).0, bytes);
    let latency = Duration::from_millis(300);
    link.set(&[Way::ToServer], Manner { latency, ..Manner::default() });
    let (got, took) = pass(&client, &server, &bytes);
    assert!(got == bytes && took >= latency, "{took:?}");
    // 256 bytes at 1,000 in a second, the other way alone.
    let slow = Manner { bytes_per_second: 1_000, packet_bytes: 16, ..Manner::default() };
    link.set(&[Way::ToClient], slow);
    let (got, took) = pass(&server, &client, &bytes);
    assert!(got == bytes && took >= Duration::from_millis(220), "{took:?}");
    link.stop(Passage::Down);
    (&client).write_all(b"waits").expect("the kernel takes it");
    nothing_comes(&server);
    link.mend();
    let mut got = [0; 5];
    (&server).read_exact(&mut got).expect("it comes");
    assert_eq!(&got, b"waits");
}

pub fn jitter_and_single_bytes_change_no_order() {
    let Pair { link, client, server } = pair();
    let jitter = Duration::from_millis(15);
    link.set(&BOTH, Manner { jitter, packet_bytes: 1, ..Manner::default() });
    let bytes: Vec<u8> = (0..2_000).map(|number| number as u8).collect();
    let sent = bytes.clone();
    let sending = std::thread::spawn(move || {
        for piece in sent.chunks(7) {
            (&client).write_all(piece).expect("the link reads");
        }
        client
    });
    let mut got = vec![0; bytes.len()];
    (&server).read_exact(&mut got).expect("it comes");
    assert!(got == bytes, "in order");
    let client = sending.join().expect("no panic");
    assert_eq!(pass(&server, &client, b"back").0, b"back");
}

pub fn a_link_changes_and_cuts_what_it_is_told_to() {
    let Pair { link, client, server } = pair();
    link.corrupt(Way::ToServer, 1);
    assert_eq!(pass(&server, &client, b"abc").0, b"abc", "the other way is as it was");
    assert_eq!(pass(&client, &server, b"abc").0, b"qbc");
    assert_eq!(pass(&client, &server, b"abc").0, b"abc");
    link.half_close(Way::ToServer);
    assert_eq!((&server).read(&mut [0; 1]).expect("an end"), 0);
    assert_eq!(pass(&server, &client, b"goes on").0, b"goes on");

    let Pair { link, client, server } = pair();
    assert_eq!(link.end_all(Fate::Reset), 1);
    is_reset(&client);
    is_reset(&server);

    let Pair { link, client, server } = pair();
    assert_eq!(link.end_all(Fate::Closed), 1);
    for mut end in [&client, &server] {
        assert_eq!(end.read(&mut [0; 1]).expect("an end"), 0);
    }

    // Who resets a connection is heard at its other end.
    let Pair { link: _link, client, server } = pair();
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("an option");
    drop(client);
    is_reset(&server);
}

pub fn what_is_swallowed_is_gone_and_its_connection_is_of_no_more_use() {
    let Pair { link, client, server } = pair();
    link.stop(Passage::Swallowing);
    (&client).write_all(b"gone").expect("the link reads");
    eventually("it is swallowed", || (link.swallowed() == 4).then_some(()));
    nothing_comes(&server);
    link.mend();
    (&client).write_all(b"later").expect("the link reads");
    is_reset(&server);
    is_reset(&client);
    assert_eq!(link.accepted(), 1);
}
