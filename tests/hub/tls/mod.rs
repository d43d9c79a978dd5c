//! TLS for clients: what passes through it, what does not, and the certificate.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use tungstenite::client::IntoClientRequest;

use crate::support::{Client, Hub, PATIENCE, eventually};

mod certificates;
mod collectors;
mod commands;
mod handshakes;
mod members;
mod secrets;

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
        self.hub_logging("info", args)
    }

    fn hub_logging(&self, log: &str, args: &[&str]) -> TlsHub {
        let (certificate, key) = (self.path("certificate"), self.path("key"));
        let files = ["--tls-certificate", &certificate, "--tls-key", &key];
        let plain = ["--tls-plain-listen", "127.0.0.1:0", "--log", log, "--log-format", "json"];
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

impl DerefMut for TlsHub {
    fn deref_mut(&mut self) -> &mut Hub {
        &mut self.hub
    }
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
