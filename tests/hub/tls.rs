//! TLS for clients: what passes through it, what does not, and the certificate.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cpi_hub::conditions::Condition;
use rcgen::{CertificateParams, KeyPair};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};
use tungstenite::client::IntoClientRequest;

use crate::support::health::{mended, planted};
use crate::support::{Client, Closed, Hub, PATIENCE, UNLIMITED, eventually, run_hub};

type Secured = StreamOwned<ClientConnection, TcpStream>;

/// A certificate of this hub's, and its key, in files.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Files {
        let files = Files { dir: tempfile::tempdir().expect("a directory") };
        files.write(&Made::new());
        files
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().expect("a text path").to_owned()
    }

    fn write(&self, made: &Made) {
        replace(self.dir.path(), "certificate", &made.certificate);
        replace(self.dir.path(), "key", &made.key);
    }

    /// A hub that shows it, with plain HTTP beside it for the test's own questions.
    fn hub(&self, args: &[&str]) -> TlsHub {
        let (certificate, key) = (self.path("certificate"), self.path("key"));
        let files = ["--tls-certificate", &certificate, "--tls-key", &key];
        let plain = ["--tls-plain-listen", "127.0.0.1:0", "--log", "info", "--log-format", "json"];
        let hub = Hub::start(&[&files[..], &plain, args].concat());
        let ready = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            let address = line["fields"]["address"].as_str().or(line["address"].as_str())?;
            address.parse().ok()
        };
        let tls = eventually("it says where", || hub.log().lines().find_map(ready));
        TlsHub { hub, tls }
    }

    /// The certificate that clients are to be shown.
    fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path("certificate")).expect("a certificate")
    }
}

/// A hub with TLS; as a hub alone it is asked in plain HTTP.
struct TlsHub {
    hub: Hub,
    /// Where TLS is spoken.
    tls: SocketAddr,
}

impl Deref for TlsHub {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        &self.hub
    }
}

/// Puts a file in the place of another at once.
fn replace(dir: &Path, name: &str, content: &str) {
    let (new, path) = (dir.join("new"), dir.join(name));
    std::fs::write(&new, content).expect("it writes");
    std::fs::rename(new, path).expect("it is put in its place");
}

/// A certificate in the making.
struct Made {
    certificate: String,
    key: String,
}

impl Made {
    fn new() -> Made {
        Made::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut CertificateParams)) -> Made {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(["localhost".into()]).expect("a name");
        change(&mut params);
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        Made { certificate, key: key.serialize_pem() }
    }

    /// That ends at a time from now on, or before, in days.
    fn ending(days: i64) -> Made {
        Made::with(|params| {
            let now = std::time::SystemTime::now();
            let day = Duration::from_secs(86_400);
            let span = day * u32::try_from(days.unsigned_abs()).expect("few days");
            params.not_after = if days < 0 { now - span } else { now + span }.into();
        })
    }
}

fn client_config(trusted: &CertificateDer<'static>, version: Version) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

type Version = &'static SupportedProtocolVersion;

/// Makes a handshake of TLS over a socket.
fn secured(stream: TcpStream, config: Arc<ClientConfig>) -> std::io::Result<Secured> {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let name = ServerName::try_from("localhost").expect("a name");
    let tls = ClientConnection::new(config, name).expect("a connection");
    let mut secured = StreamOwned::new(tls, stream);
    while secured.conn.is_handshaking() {
        secured.conn.complete_io(&mut secured.sock)?;
    }
    Ok(secured)
}

fn connect(hub: &TlsHub) -> TcpStream {
    TcpStream::connect(hub.tls).expect("the hub listens")
}

fn join_with(
    hub: &TlsHub,
    stream: TcpStream,
    path: &str,
    config: Arc<ClientConfig>,
) -> Client<Secured> {
    let url = format!("ws://localhost:{}{path}", hub.tls.port());
    let request = url.into_client_request().expect("a URL");
    let stream = secured(stream, config).expect("TLS");
    let (socket, _) = tungstenite::client(request, stream).expect("an upgrade");
    Client { socket }
}

fn join(hub: &TlsHub, files: &Files, user: i32) -> Client<Secured> {
    let path = format!("/v1/ws/spaces/1?user_id={user}&username=Ana");
    join_with(hub, connect(hub), &path, client_config(&files.certificate(), &TLS13))
}

fn content(message: &serde_json::Value) -> String {
    message["data"]["content"].as_str().expect("a text").to_owned()
}

/// Sends bytes to the port of TLS; what comes back until the hub closes, which is soon.
fn exchange(hub: &TlsHub, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(hub);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(bytes).expect("the hub reads");
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    answer
}

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
    old.send_message(tungstenite::Message::binary(vec![0]));
    let (_, closed) = old.until_closed();
    assert_eq!(closed.code, Some(1003));
    // The end of TLS comes behind the close frame.
    new.socket.close(None).expect("the hub reads");
    while new.socket.read().is_ok() {}
    let mut rest = Vec::new();
    new.stream().read_to_end(&mut rest).expect("the end of TLS");
    plain.close();
}

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

/// The certificate that a new connection is shown.
fn shown(hub: &TlsHub, trusted: &CertificateDer<'static>) -> Option<CertificateDer<'static>> {
    let stream = secured(connect(hub), client_config(trusted, &TLS13)).ok()?;
    stream.conn.peer_certificates().map(|chain| chain[0].clone().into_owned())
}

#[test]
fn a_certificate_is_replaced_by_sighup_and_members_stay() {
    let files = Files::new();
    let hub = files.hub(&[]);
    let mut member = join(&hub, &files, 1);
    let old = files.certificate();
    files.write(&Made::new());
    hub.signal("HUP");
    let new = files.certificate();
    eventually("the new one is shown", || shown(&hub, &new).filter(|it| *it == new));
    assert!(shown(&hub, &old).is_none());
    member.chat("sigo");
    assert_eq!(content(&member.next_of("chat")), "sigo");
    eventually("the log tells", || hub.log().contains("reloaded").then_some(()));
}

#[test]
fn a_certificate_is_replaced_when_its_files_change_and_a_broken_one_changes_nothing() {
    let files = Files::new();
    let hub = files.hub(&[]);
    let old = files.certificate();
    let new = Made::new();
    replace(files.dir.path(), "certificate", &new.certificate);
    let detail = planted(&hub, Condition::CertificateUnread);
    assert!(detail.starts_with("tls_key: ") && detail.contains("not the key"), "{detail}");
    assert_eq!(shown(&hub, &old), Some(old.clone()));
    hub.signal("HUP");
    eventually("the log tells", || hub.log().contains("nothing is reloaded").then_some(()));
    assert_eq!(shown(&hub, &old), Some(old));
    replace(files.dir.path(), "key", &new.key);
    let new = files.certificate();
    eventually("the new one is shown", || shown(&hub, &new));
    mended(&hub, Condition::CertificateUnread);
}

#[test]
fn a_certificate_that_ends_soon_is_told_before() {
    let files = Files::new();
    files.write(&Made::ending(13));
    let hub = files.hub(&[]);
    let detail = planted(&hub, Condition::CertificateEnds);
    assert!(detail.starts_with("20"), "{detail}");
    files.write(&Made::ending(15));
    mended(&hub, Condition::CertificateEnds);
    assert!(!hub.has_condition(Condition::CertificateEnded.name()));
}

#[test]
fn a_certificate_that_has_ended_is_told_and_the_hub_serves_whom_it_may() {
    let files = Files::new();
    files.write(&Made::ending(-1));
    let hub = files.hub(&[]);
    planted(&hub, Condition::CertificateEnded);
    assert_eq!(hub.get("/readyz").status, 200);
    files.write(&Made::ending(400));
    mended(&hub, Condition::CertificateEnded);
    join(&hub, &files, 1).close();
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
            let config =
                client_config(&files.certificate(), if user % 2 == 0 { &TLS12 } else { &TLS13 });
            let path = format!("/v1/ws/spaces/1?user_id={user}&username=Ana");
            join_with(&hub, stream, &path, config)
        })
        .collect();
    let filling = "x".repeat(3_900);
    let numbers: Vec<String> = (0..MESSAGES).map(|number| format!("{number} {filling}")).collect();
    for number in &numbers {
        speaker.chat(number);
        assert_eq!(content(&speaker.next_of("chat")), *number);
    }
    // None has read a byte until here; each has more to come than the kernel holds for it.
    assert!(hub.metric("hub_sends_blocked_total") > 0.0);
    for mut reader in readers {
        for number in &numbers {
            assert_eq!(content(&reader.next_of("chat")), *number);
        }
        reader.close();
    }
}

fn slow_stream(address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.set_recv_buffer_size(1).expect("an option");
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

#[test]
fn settings_of_tls_that_can_not_be_used_are_one_line() {
    let files = Files::new();
    let dir = files.dir.path();
    let other = Made::new();
    replace(dir, "other", &other.key);
    replace(dir, "junk", "hola\n");
    replace(dir, "cut", "-----BEGIN CERTIFICATE-----\n????\n");
    let [certificate, key, other, junk, cut, none] =
        ["certificate", "key", "other", "junk", "cut", "none"].map(|name| files.path(name));
    let no_key = "there is no private key in it, in PEM and without a password";
    for (args, expected) in [
        (&["--tls-certificate", &*certificate][..], "--tls-certificate: its tls_key is missing".to_owned()),
        (&["--tls-key", &key], "--tls-key: its tls_certificate is missing".into()),
        (
            &["--tls-certificate", &none, "--tls-key", &key],
            format!("--tls-certificate: {none}: No such file or directory (os error 2)"),
        ),
        (
            &["--tls-certificate", &junk, "--tls-key", &key],
            format!("--tls-certificate: {junk}: there is no certificate in it, in PEM"),
        ),
        (
            &["--tls-certificate", &cut, "--tls-key", &key],
            format!("--tls-certificate: {cut}: it is no PEM"),
        ),
        (
            &["--tls-certificate", &certificate, "--tls-key", &junk],
            format!("--tls-key: {junk}: {no_key}"),
        ),
        (
            &["--tls-certificate", &certificate, "--tls-key", &certificate],
            format!("--tls-key: {certificate}: {no_key}"),
        ),
        (
            &["--tls-certificate", &certificate, "--tls-key", &other],
            format!("--tls-key: {other}: it is not the key of the certificate"),
        ),
        (
            &["--tls-plain-listen", "127.0.0.1:0"],
            "--tls-plain-listen: all is plain where no tls_certificate is given: listen says where"
                .into(),
        ),
        (
            &["--tls-certificate", &certificate, "--tls-key", &key, "--tls-plain-listen", "here"],
            "--tls-plain-listen: `here` is not an address and port such as 127.0.0.1:8081".into(),
        ),
        (
            &["--tls-certificate", &certificate, "--tls-key", &key, "--tls-plain-listen", "0.0.0.0:0"],
            "--tls-plain-listen: 0.0.0.0:0 is reached from other machines, and nobody is \
             authenticated; listen on 127.0.0.1, give HUB_JWT_SECRET, or say --insecure if you mean \
             it"
                .into(),
        ),
    ] {
        let output = run_hub(&[&["serve", "--listen", "127.0.0.1:0"], args].concat(), &[]);
        let text = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(78), "{args:?}: {text}");
        assert_eq!(text, format!("cpi-hub: {expected}\n"));
    }
}
