//! TLS of a member beside a real socket and rustls' own client: what waits, what is read at once,
//! and peers who send much that is nothing.

use super::*;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};

use crate::limits::SEALED_BYTES_MAX;

/// The hub's end and the peer's, behind their handshake.
struct Ends {
    session: Session,
    stream: TcpStream,
    peer: ClientConnection,
    far: StdStream,
}

fn connections() -> (ServerConnection, ClientConnection) {
    let made = rcgen::generate_simple_self_signed(["hub".into()]).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .expect("a certificate and its key");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a certificate");
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("hub").expect("a name");
    let mut server = ServerConnection::new(Arc::new(server)).expect("a connection");
    server.set_buffer_limit(Some(SEALED_BYTES_MAX));
    let client = ClientConnection::new(Arc::new(client), name).expect("a connection");
    (server, client)
}

fn ends() -> Ends {
    let (mut tls, mut peer) = connections();
    let mut bytes = Vec::new();
    while tls.is_handshaking() || peer.is_handshaking() || tls.wants_write() {
        bytes.clear();
        peer.write_tls(&mut bytes).expect("a buffer");
        let mut left = &bytes[..];
        while !left.is_empty() {
            tls.read_tls(&mut left).expect("a buffer");
            tls.process_new_packets().expect("TLS");
        }
        bytes.clear();
        tls.write_tls(&mut bytes).expect("a buffer");
        let mut left = &bytes[..];
        while !left.is_empty() {
            peer.read_tls(&mut left).expect("a buffer");
            peer.process_new_packets().expect("TLS");
        }
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let far = StdStream::connect(listener.local_addr().expect("an address"));
    let (stream, _) = listener.accept().expect("the peer");
    stream.set_nonblocking(true).expect("an option");
    let (session, stream) = (Session::new(tls), TcpStream::from_std(stream));
    Ends { session, stream, peer, far: far.expect("a connection") }
}

impl Ends {
    /// Sends what the peer has sealed, and reads until that shows.
    fn read(&mut self, buffer: &mut [u8]) -> Read {
        while self.peer.wants_write() {
            self.peer.write_tls(&mut self.far).expect("it fits");
        }
        loop {
            match self.session.read(&mut self.stream, false, buffer) {
                Read::WouldBlock => std::thread::yield_now(),
                read => return read,
            }
        }
    }

    /// What the peer has got, once it is this much.
    fn got(&mut self, bytes: usize) -> Vec<u8> {
        let mut got = vec![0; bytes];
        let mut has = 0;
        while has < bytes {
            self.session.flush(&mut self.stream);
            match self.peer.reader().read(&mut got[has..]) {
                Ok(more) => has += more,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                    self.peer.read_tls(&mut self.far).expect("more comes");
                    self.peer.process_new_packets().expect("TLS");
                }
            }
        }
        got
    }
}

/// Bytes that show where they stand.
fn numbered(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

#[test]
fn what_a_full_socket_does_not_take_is_a_record_at_most_and_comes_once_and_in_order() {
    let mut ends = ends();
    let all = numbered(16 << 20);
    let mut sent = 0;
    loop {
        let (first, second) = all[sent..].split_at(1_000);
        let pieces = [&[][..], first, second, &[]].map(IoSlice::new);
        match ends.session.send(&mut ends.stream, &pieces) {
            Sent::Bytes(bytes) => sent += bytes,
            other => break assert_eq!(other, Sent::Blocked),
        }
    }
    // The kernel holds some MiB, and nothing is sealed that waits behind another record.
    assert!(sent < all.len() && ends.session.tls.wants_write(), "{sent} bytes");
    assert_eq!(ends.session.flush(&mut ends.stream), Flushed::Some);
    let mut kept = Vec::new();
    while ends.session.tls.wants_write() {
        ends.session.tls.write_tls(&mut kept).expect("a buffer");
    }
    assert!(kept.len() <= SEALED_BYTES_MAX + 256, "{} bytes", kept.len());
}

#[test]
fn a_full_socket_goes_on_where_it_was() {
    let mut ends = ends();
    let all = numbered(16 << 20);
    let (mut sent, mut got) = (0, 0);
    while got < all.len() {
        let pieces = [IoSlice::new(&all[sent..])];
        if sent < all.len()
            && let Sent::Bytes(bytes) = ends.session.send(&mut ends.stream, &pieces[..])
        {
            sent += bytes;
        }
        let bytes = (sent - got).min(100_000);
        assert!(ends.got(bytes) == all[got..got + bytes], "at {got}");
        got += bytes;
    }
}

#[test]
fn the_end_comes_behind_all_that_was_sent() {
    let mut ends = ends();
    let all = numbered(8 << 20);
    let mut sent = 0;
    while let Sent::Bytes(bytes) =
        ends.session.send(&mut ends.stream, &[IoSlice::new(&all[sent..])])
    {
        sent += bytes;
    }
    ends.session.finish(&mut ends.stream);
    assert!(ends.session.is_last, "a record is still to come");
    assert!(ends.got(sent) == all[..sent]);
    assert!(!ends.session.is_last);
    let mut rest = Vec::new();
    ends.far.read_to_end(&mut rest).expect("the end of the socket");
    let mut left = &rest[..];
    while !left.is_empty() {
        ends.peer.read_tls(&mut left).expect("a buffer");
    }
    let state = ends.peer.process_new_packets().expect("TLS");
    assert!(state.peer_has_closed());
}

#[test]
fn a_record_that_is_longer_than_may_be_read_is_read_piece_by_piece() {
    let mut ends = ends();
    let all = numbered(16 << 10);
    ends.peer.writer().write_all(&all).expect("it fits");
    let (mut buffer, mut got, mut hidden) = ([0; 100], Vec::new(), 0);
    while got.len() < all.len() {
        match ends.read(&mut buffer) {
            Read::Bytes(bytes) | Read::Drained(bytes) => got.extend_from_slice(&buffer[..bytes]),
            Read::Hidden(bytes) => hidden += bytes,
            read => panic!("{read:?} after {} bytes", got.len()),
        }
    }
    assert_eq!(got, all);
    assert!(hidden > 0, "its first part is nothing yet");
    ends.peer.send_close_notify();
    assert!(matches!(ends.read(&mut buffer), Read::Ended));
}

#[test]
fn a_peer_that_sends_records_of_next_to_nothing_is_read_and_one_of_nothing_is_closed() {
    let mut ends = ends();
    let mut buffer = [0; 100];
    for turn in 0..20_000 {
        ends.peer.writer().write_all(b"x").expect("it fits");
        let read = ends.read(&mut buffer);
        assert!(matches!(read, Read::Drained(1)), "{read:?} in {turn}");
    }
    // A key update is what a client may send without end; it costs work, and holds nothing.
    let mut turns = 0;
    let ended = loop {
        turns += 1;
        for _ in 0..64 {
            ends.peer.refresh_traffic_keys().expect("keys");
        }
        match ends.read(&mut buffer) {
            Read::Hidden(_) => {}
            read => break read,
        }
        assert!(turns < 10_000);
    };
    assert!(matches!(ended, Read::Ended), "{ended:?}");
}
