//! Listening sockets that the process is started with.

use std::net::UdpSocket;
use std::os::fd::OwnedFd;

use rcgen::{CertificateParams, KeyPair};

use crate::support::service::{Handed, listening};
use crate::support::{GOOD, eventually};

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

#[test]
fn a_hub_serves_on_the_socket_that_it_is_handed() {
    let (socket, address) = listening();
    let env = [("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "cpi-hub.socket")];
    let handed = Handed { sockets: &[socket], env: &env, args: &["--drain-window", "0"] };
    let mut hub = handed.start_in(dir());
    assert_eq!(hub.address, address);
    let mut member = hub.join(1, 1, "Ana");
    member.chat("hola");
    member.next_of("chat");
    // Read again, the configuration is the same.
    hub.signal("HUP");
    assert_eq!(hub.post("/v1/ws/spaces/1/chat", GOOD).status, 200);
    assert_eq!(hub.stop("TERM").code(), Some(0), "{}", hub.log());
    handed.start_again(&mut hub);
    assert_eq!((hub.address, hub.history_of(1, 2).len()), (address, 2));
}

#[test]
fn with_tls_a_second_socket_named_plain_is_the_plain_one() {
    let (files, data) = (dir(), dir());
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["localhost".into()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate").pem();
    let [certificate, key] =
        [("certificate", certificate), ("key", key.serialize_pem())].map(|(name, text)| {
            let path = files.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path.to_str().expect("a text path").to_owned()
        });
    let ((main, secure), (plain, address)) = (listening(), listening());
    let args = ["--tls-certificate", &certificate, "--tls-key", &key, "--log", "info"];
    // The names say which is which, not the order.
    let env = [("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "plain:hub")];
    let handed = Handed { sockets: &[plain, main], env: &env, args: &args };
    let hub = handed.start_in(data);
    assert_eq!((hub.address, hub.get("/livez").text().as_str()), (address, "ok"));
    eventually("it says where TLS is", || hub.log().contains(&secure.to_string()).then_some(()));
}

/// What is handed over, with which variables and arguments, and what is said of it.
type Case<'a> = (Vec<OwnedFd>, &'a [(&'a str, &'a str)], &'a [&'a str], &'a str);

#[test]
fn sockets_that_can_not_be_served_on_are_refused_in_one_line() {
    let one = || vec![listening().0];
    let two = || vec![listening().0, listening().0];
    let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let deaf: OwnedFd = bound.expect("a socket").into();
    let datagram: OwnedFd = UdpSocket::bind("127.0.0.1:0").expect("a socket").into();
    let file: OwnedFd = std::fs::File::open("/dev/null").expect("a file").into();
    let (open, everywhere) = {
        let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        (OwnedFd::from(listener), address.to_string())
    };
    let many = "takes one, and beside TLS a second one that is named plain";
    let cases: [Case<'_>; 12] = [
        (one(), &[("LISTEN_FDS", "one")], &[], "LISTEN_FDS: `one` is not a number of sockets"),
        (one(), &[("LISTEN_FDS", "3")], &[], many),
        (one(), &[("LISTEN_FDS", "4000000000")], &[], many),
        (one(), &[("LISTEN_FDS", "1"), ("LISTEN_PID", "me")], &[], "LISTEN_PID: `me` is not a"),
        (two(), &[("LISTEN_FDS", "2")], &[], "LISTEN_FDNAMES: one of two sockets is to be named"),
        (
            one(),
            &[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "hub:plain")],
            &[],
            "LISTEN_FDNAMES: `hub:plain` are not the names of 1",
        ),
        (
            one(),
            &[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "plain")],
            &[],
            "LISTEN_FDNAMES: the only socket is named plain",
        ),
        (
            two(),
            &[("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "hub:plain")],
            &[],
            "LISTEN_FDS: all is plain where no tls_certificate is given",
        ),
        (vec![file], &[("LISTEN_FDS", "1")], &[], "fd 3 is not a socket"),
        (vec![datagram], &[("LISTEN_FDS", "1")], &[], "fd 3 is not a valid tcp socket"),
        (vec![deaf], &[("LISTEN_FDS", "1")], &[], "fd 3 does not listen"),
        (
            one(),
            &[("LISTEN_FDS", "1")],
            &["--listen", "127.0.0.1:1"],
            "--listen: 127.0.0.1:1, but the socket that the hub is handed (LISTEN_FDS) listens on",
        ),
    ];
    let refused = |handed: Handed<'_>, expected: &str| {
        let output = handed.run();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{expected}: {said}");
        assert!(said.lines().count() == 1 && said.contains(expected), "{expected}: {said}");
    };
    for (sockets, env, args, expected) in cases {
        refused(Handed { sockets: &sockets, env, args }, expected);
    }
    // Who may reach it is judged by where the socket listens, not by what the settings say.
    let reached = format!("{everywhere} is reached from other machines");
    let env = [("LISTEN_FDS", "1")];
    refused(Handed { sockets: &[open], env: &env, args: &[] }, &reached);
}

#[test]
fn sockets_of_another_process_are_left_alone() {
    let (socket, address) = listening();
    let env = [("LISTEN_FDS", "1"), ("LISTEN_PID", "1")];
    let args = ["--listen", "127.0.0.1:0"];
    let hub = Handed { sockets: &[socket], env: &env, args: &args }.start_in(dir());
    assert_ne!(hub.address, address);
}
