//! Handshakes of TLS, and what is none.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConnection, StreamOwned};

use super::{Files, client_config, connect, content, exchange, join, secured};
use crate::support::PATIENCE;

#[test]
fn a_client_hello_that_comes_in_pieces_is_taken_and_one_that_does_not_end_is_closed() {
    let files = Files::new();
    let hub = files.hub(&[]);
    let config = client_config(&files.certificate(), &TLS13);
    let name = ServerName::try_from("localhost").expect("a name");
    let mut tls = ClientConnection::new(config, name).expect("a connection");
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).expect("a buffer");
    // One byte a packet.
    let mut stream = connect(&hub);
    stream.set_nodelay(true).expect("an option");
    for byte in &hello {
        stream.write_all(std::slice::from_ref(byte)).expect("the hub reads");
    }
    let mut secured = StreamOwned::new(tls, stream);
    secured.conn.complete_io(&mut secured.sock).expect("a handshake");
    assert!(!secured.conn.is_handshaking());
    // A half of it, nothing at all, and too much of one.
    let begun = Instant::now();
    let half = exchange(&hub, &hello[..hello.len() / 2]);
    let none = exchange(&hub, b"");
    assert!((half.is_empty(), none.is_empty()) == (true, true), "{half:?} {none:?}");
    // Each has 5 s; the rest is for a machine that is busy.
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    let endless = [&[22, 3, 1, 0x40, 0, 1, 0xFF, 0xFF, 0xFF][..], &[0; 0x3FFB]].concat();
    assert!(exchange(&hub, &endless).len() < 64);
    assert!(hub.metric("hub_tls_handshakes_failed_total") >= 3.0);
    assert_eq!(hub.get("/livez").status, 200);
}

#[test]
fn what_is_no_tls_is_told_so_or_closed_and_harms_nobody() {
    let files = Files::new();
    let hub = files.hub(&[]);
    let mut member = join(&hub, &files, 1);
    let get = "GET /v1/ws/spaces/1?user_id=1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = String::from_utf8(exchange(&hub, get.as_bytes())).expect("text");
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.ends_with("This port speaks TLS: say https:// or wss:// instead\n"), "{answer}");
    for junk in [&[0; 64][..], &[22, 3, 1, 0, 4, 9, 9, 9, 9], &[0x80, 0x2E, 1, 0, 2], b"\x16\x02"] {
        let mut junk = junk.to_vec();
        junk.resize(junk.len() + 64, 0xFF);
        assert!(exchange(&hub, &junk).len() < 16, "an alert, or nothing");
    }
    member.chat("hola");
    assert_eq!(content(&member.next_of("chat")), "hola");
}

#[test]
fn other_names_and_no_name_are_shown_the_same_certificate_and_other_protocols_nothing() {
    let files = Files::new();
    let hub = files.hub(&[]);
    let trusted = files.certificate();
    for name in ["other.example", "127.0.0.1"] {
        let config = client_config(&trusted, &TLS13);
        let name = ServerName::try_from(name).expect("a name");
        let tls = ClientConnection::new(config, name).expect("a connection");
        let mut stream = StreamOwned::new(tls, connect(&hub));
        // The certificate has come, and it is the client that refuses it.
        let error = stream.conn.complete_io(&mut stream.sock).expect_err("another name");
        assert!(error.to_string().contains("not valid for name"), "{error}");
    }
    for (protocol, is_taken) in [("http/1.1", true), ("h2", false)] {
        let mut config = (*client_config(&trusted, &TLS13)).clone();
        config.alpn_protocols = vec![protocol.into()];
        let made = secured(connect(&hub), Arc::new(config));
        assert_eq!(made.is_ok(), is_taken, "{protocol}");
        if let Ok(stream) = made {
            assert_eq!(stream.conn.alpn_protocol(), Some(protocol.as_bytes()));
        }
    }
}
