//! HTTP within TLS where it differs: what waits to be sent is sealed, and waits in TLS.

use super::*;
use crate::edge::tls::{Files, Identity, Tls};
use rcgen::CertifiedKey;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A server within TLS, and what connects to it.
async fn start(limits: Limits) -> (Server, TlsConnector) {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".into()]).expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder");
    let files =
        Files { certificate: folder.path().join("certificate"), key: folder.path().join("key") };
    std::fs::write(&files.certificate, cert.pem()).expect("it writes");
    std::fs::write(&files.key, signing_key.serialize_pem()).expect("it writes");
    let (tls, _replace) = Tls::new(Identity::read(files).expect("both are sound"));
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("a certificate");
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Server::start_with(limits, Some(tls)).await, TlsConnector::from(Arc::new(client)))
}

async fn connect(server: &Server, connector: &TlsConnector) -> TlsStream<TcpStream> {
    let name = ServerName::try_from("localhost").expect("a name");
    connector.connect(name, server.connect().await).await.expect("TLS")
}

#[tokio::test]
async fn a_handshake_without_a_place_is_answered_within_tls() {
    let (server, connector) = start(Limits::default()).await;
    let mut client = connect(&server, &connector).await;
    client.write_all(b"GET /full HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("it is read");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("the end of TLS");
    assert_eq!(&answer[HEAD.len()..], b"\x88\x0c\x03\xf5overloaded");
    server.end().await;
}

#[tokio::test]
async fn requests_follow_each_other_within_tls_and_a_long_answer_comes_whole() {
    let (server, connector) = start(Limits::default()).await;
    let mut client = connect(&server, &connector).await;
    let both = "GET /peer HTTP/1.1\r\nHost: localhost\r\n\r\n\
                GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    client.write_all(both.as_bytes()).await.expect("it is read");
    let mut answers = Vec::new();
    client.read_to_end(&mut answers).await.expect("the end of TLS");
    assert!(answers.starts_with(b"HTTP/1.1 200 OK\r\n"));
    let long = answers.iter().filter(|byte| **byte == b'x').count();
    assert!(long >= 16 << 20, "{long} bytes");
    server.end().await;
}

#[tokio::test]
async fn whoever_does_not_take_an_answer_within_tls_is_cut() {
    let limits = Limits { write_wait: 300, ..Limits::default() };
    let (server, connector) = start(limits).await;
    let mut client = connect(&server, &connector).await;
    client.write_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("it is read");
    let is_cut = async {
        while server.metrics.total().get(Metric::AnswersCut) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), is_cut).await.expect("it is cut");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.expect_err("it has no end");
    server.end().await;
}
