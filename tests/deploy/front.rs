//! A proxy of `deploy/proxies/` in front of a hub, as it is given to operators: only addresses,
//! certificates and times are others. Clients come to it by TLS, from addresses of their own.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;

use crate::support::trials::Lack;
use crate::support::{Answer, Client, PATIENCE, eventually};

/// The name that the files of `deploy/proxies/` serve.
const NAME: &str = "hub.example";
/// Its page's origin.
pub const ORIGIN: &str = "https://hub.example";

/// How many proxies were started.
static FRONTS: AtomicU8 = AtomicU8::new(1);

/// How long a proxy may take to end.
const END_WAIT: Duration = Duration::from_secs(2);

pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Which proxy it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    Haproxy,
    Caddy,
}

/// What is other than in the proxy's file: a text that stands there once, and what it becomes.
pub type Changes<'a> = &'a [(&'a str, &'a str)];

/// A proxy that runs; killed when dropped.
pub struct Front {
    child: Child,
    address: SocketAddr,
    client: Arc<ClientConfig>,
    dir: TempDir,
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Kind::Nginx => "nginx",
            Kind::Haproxy => "haproxy",
            Kind::Caddy => "caddy",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Kind::Nginx => "nginx.conf",
            Kind::Haproxy => "haproxy.cfg",
            Kind::Caddy => "Caddyfile",
        }
    }

    /// How the file says where it listens and with which certificate; and how the test does.
    fn own(self, at: SocketAddr, dir: &Path) -> Vec<(&'static str, String)> {
        let file = |name: &str| dir.join(name).display().to_string();
        match self {
            Kind::Nginx => vec![
                ("listen 443 ssl", format!("listen {at} ssl")),
                ("/etc/ssl/private/hub.pem", file("certificate")),
                ("/etc/ssl/private/hub.key", file("key")),
            ],
            Kind::Haproxy => {
                vec![("bind :443", format!("bind {at}")), ("/etc/haproxy/hub.pem", file("both"))]
            }
            Kind::Caddy => {
                let (certificate, key) = (file("certificate"), file("key"));
                let site = format!(
                    "{{\nadmin off\nauto_https disable_redirects\n}}\n\
                     https://{NAME}:{} {{\nbind {}\ntls {certificate} {key}\n",
                    at.port(),
                    at.ip()
                );
                vec![("hub.example {\n", site)]
            }
        }
    }

    fn command(self, config: &Path, dir: &Path) -> Command {
        let mut command = Command::new(self.program());
        match self {
            Kind::Nginx => command.arg("-p").arg(dir).arg("-e").arg(dir.join("log")),
            Kind::Haproxy => command.arg("-db"),
            Kind::Caddy => command.args(["run", "--adapter", "caddyfile", "--config"]),
        };
        match self {
            Kind::Nginx => command.arg("-c").arg(dir.join("whole.conf")),
            Kind::Haproxy => command.arg("-f").arg(config),
            Kind::Caddy => command.arg(config).env("HOME", dir).env("XDG_DATA_HOME", dir),
        };
        command
    }
}

impl Front {
    /// Starts it in front of a hub.
    pub fn start(kind: Kind, hub: SocketAddr, changes: Changes<'_>) -> Result<Front, Lack> {
        need(kind)?;
        let dir = tempfile::tempdir().expect("a directory");
        let client = certificate(dir.path());
        // Nobody else has this address: between its being free and the proxy's start no hub of
        // another test can take the port.
        let own = Ipv4Addr::new(127, 0, 1, FRONTS.fetch_add(1, Ordering::Relaxed));
        let free = TcpListener::bind((own, 0)).expect("a port");
        let address = free.local_addr().expect("an address");
        let mut text = given(kind.file());
        let mut change = |from: &str, to: &str| {
            assert_eq!(text.matches(from).count(), 1, "{from} in {}", kind.file());
            text = text.replace(from, to);
        };
        for (from, to) in kind.own(address, dir.path()) {
            change(from, &to);
        }
        change("127.0.0.1:8080", &hub.to_string());
        changes.iter().for_each(|(from, to)| change(from, to));
        let config = dir.path().join(kind.file());
        fs::write(&config, text).expect("it writes");
        fs::write(dir.path().join("whole.conf"), NGINX).expect("it writes");
        let mut command = kind.command(&config, dir.path());
        let log = fs::File::create(dir.path().join("output")).expect("a file");
        let both = log.try_clone().expect("a descriptor");
        command.stdin(Stdio::null()).stdout(log).stderr(both);
        drop(free);
        let child = command.spawn().expect("the proxy starts");
        let mut front = Front { child, address, client, dir };
        eventually("the proxy listens", || {
            let ended = front.child.try_wait().expect("it is asked");
            assert!(ended.is_none(), "{}", front.output());
            TcpStream::connect(address).ok()
        });
        Ok(front)
    }

    fn output(&self) -> String {
        fs::read_to_string(self.dir.path().join("output")).unwrap_or_default()
    }

    /// A connection from `127.0.0.last`, within TLS.
    pub fn connect(&self, last: u8) -> Stream {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket");
        let own = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
        socket.bind(&own.into()).expect("the loopback has many addresses");
        socket.connect(&self.address.into()).expect("the proxy listens");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        let name = ServerName::try_from(NAME).expect("a name");
        let session = ClientConnection::new(Arc::clone(&self.client), name).expect("a session");
        StreamOwned::new(session, stream)
    }

    /// Asks by a connection of its own, with further lines of the head.
    pub fn ask(&self, last: u8, method: &str, path: &str, rest: (&str, &[u8])) -> Answer {
        let mut stream = self.connect(last);
        let (lines, body) = rest;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {NAME}\r\nOrigin: {ORIGIN}\r\n\
             Content-Length: {length}\r\nConnection: close\r\n{lines}\r\n"
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("it reads");
        Answer::read(&mut stream)
    }

    /// GETs a path.
    pub fn get(&self, path: &str) -> Answer {
        self.ask(1, "GET", path, ("", b""))
    }

    /// Tries to join a space from `127.0.0.last` in the second dialect; or the refusal's status.
    pub fn join(&self, last: u8, path: &str, lines: &[(&'static str, &str)]) -> Joined {
        let url = format!("wss://{NAME}{path}");
        let mut request = url.into_client_request().expect("a URL");
        let headers = request.headers_mut();
        headers.insert("Sec-WebSocket-Protocol", HeaderValue::from_static("cpi-hub.v1"));
        headers.insert("Origin", HeaderValue::from_static(ORIGIN));
        for (name, value) in lines {
            headers.insert(*name, value.parse().expect("a header's value"));
        }
        match tungstenite::client(request, self.connect(last)) {
            Ok((socket, _)) => Ok(Client { socket }),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                Err(answer.status().as_u16())
            }
            Err(error) => panic!("{error}\n{}", self.output()),
        }
    }
}

/// A member, or the status of a refusal.
pub type Joined = Result<Client<Stream>, u16>;

impl Drop for Front {
    fn drop(&mut self) {
        // nginx has workers, which end with their master if it is asked to end.
        _ = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status();
        let until = Instant::now() + END_WAIT;
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::yield_now();
        }
        _ = self.child.kill();
        _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the proxy's output:\n{}", self.output());
        }
    }
}

/// What nginx's own file is around ours.
const NGINX: &str = "daemon off;\npid pid;\nerror_log stderr;\nworker_processes 1;\n\
    events { worker_connections 1024; }\nhttp {\naccess_log off;\n\
    client_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\n\
    uwsgi_temp_path uwsgi;\nscgi_temp_path scgi;\ninclude nginx.conf;\n}\n";

/// A file of `deploy/proxies/`.
fn given(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/proxies").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whether the program is there.
fn need(kind: Kind) -> Result<(), Lack> {
    find(kind.program())
        .map(|_| ())
        .ok_or_else(|| Lack(format!("{} is missing: `scripts/test` installs it", kind.program())))
}

/// Where a program is.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Writes a certificate and its key; gives what trusts it.
fn certificate(dir: &Path) -> Arc<ClientConfig> {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new([NAME.into()]).expect("a name");
    let made = params.self_signed(&key).expect("a certificate").pem();
    let secret = key.serialize_pem();
    fs::write(dir.join("certificate"), &made).expect("it writes");
    fs::write(dir.join("key"), &secret).expect("it writes");
    fs::write(dir.join("both"), format!("{made}{secret}")).expect("it writes");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(made.as_bytes()).expect("PEM")).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}
