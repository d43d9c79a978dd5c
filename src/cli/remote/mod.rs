//! The way from a command to a hub that runs: where it is, what is shown there, TLS, one HTTP
//! request, one WebSocket. What `chat`, `tail`, `say`, `bench` and `doctor` share.
//!
//! A token comes from a file or the environment, never from the command line, which everybody on
//! the machine reads; it is read again for each connection. Owns no connection but while it is
//! made or asked.

use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::{Arg, ArgMatches};
use futures_util::future::{Either, select};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::WebSocketStream;
use tungstenite::client::IntoClientRequest;
use tungstenite::http::{HeaderValue, Uri};

use super::CliExit;
use crate::authorities::{self, BadAuthorities};
use crate::limits::REMOTE_ANSWER_BYTES_MAX;
use crate::wire::SUBPROTOCOL;

mod fault;

pub(super) use fault::RemoteFault;
use fault::refused;

/// Where a hub is that is not said to be elsewhere.
pub(super) const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// The variable of the token, in the place of a file.
pub(super) const TOKEN_VARIABLE: &str = "HUB_TOKEN";
/// How long a connection, its TLS and its upgrade may take together.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// A hub's address and what is shown there. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Remote {
    is_tls: bool,
    /// Name or address, without an IPv6 address's brackets.
    host: String,
    port: u16,
    /// What stands before each path.
    prefix: String,
    /// A file of the authorities that are believed; `None`: those of the system.
    ca: Option<PathBuf>,
    token: Shown,
}

/// Where the token is that is shown.
#[derive(Clone, PartialEq, Eq)]
enum Shown {
    Nothing,
    File(PathBuf),
    Variable(String),
}

/// The token is not shown.
impl std::fmt::Debug for Remote {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Remote({})", self.base())
    }
}

/// An answer to a request.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The answer as a refusal, where it is none of the 200s.
    pub(super) fn accepted(self) -> Result<Answer, RemoteFault> {
        if self.status.is_success() {
            return Ok(self);
        }
        let retry_after = self.headers.get(RETRY_AFTER);
        Err(RemoteFault::Refused(refused(self.status, retry_after, &self.body)))
    }
}

/// A request's method, path and what goes with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub headers: &'a [(&'static str, &'a str)],
    pub body: &'a str,
}

impl<'a> Asked<'a> {
    pub(super) fn get(path: &'a str) -> Asked<'a> {
        Asked { method: "GET", path, headers: &[], body: "" }
    }
}

/// A connection, plain or within TLS.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}
type Stream = Box<dyn Duplex>;
/// A WebSocket to a hub.
pub(super) type Socket = WebSocketStream<Stream>;

/// The options that say where a hub is and what is shown there.
pub(super) fn arguments() -> [Arg; 3] {
    let arg = |name: &'static str, long: &'static str, form: &'static str| {
        Arg::new(name).long(long).value_name(form)
    };
    [
        arg("url", "url", "URL").help(
            "The hub: http://, https://, ws:// or wss://, without a path \
             [default: http://127.0.0.1:8080]",
        ),
        arg("ca", "ca", "FILE")
            .help("Authorities (PEM) that the hub's certificate may be of [default: the system's]"),
        arg("token_file", "token-file", "FILE").help(
            "File of the token or key to show, read anew for each connection; \
             or the variable HUB_TOKEN",
        ),
    ]
}

impl Remote {
    /// Where the options say that it is.
    pub(super) fn read(
        matches: &ArgMatches,
        environment: &[(OsString, OsString)],
    ) -> Result<Remote, CliExit> {
        let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
        let variable = environment.iter().find(|(name, _)| name == OsStr::new(TOKEN_VARIABLE));
        let token = match (text("token_file"), variable) {
            (Some(file), _) => Shown::File(file.into()),
            (None, Some((_, value))) if !value.is_empty() => {
                Shown::Variable(value.to_string_lossy().into_owned())
            }
            _ => Shown::Nothing,
        };
        let ca = text("ca").map(PathBuf::from);
        Ok(Remote { ca, token, ..Remote::parse(text("url").unwrap_or(DEFAULT_URL))? })
    }

    /// A hub at an address; nothing is shown there.
    pub(super) fn parse(url: &str) -> Result<Remote, RemoteFault> {
        let bad = || RemoteFault::Url(url.into());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let is_tls = match uri.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            _ => return Err(bad()),
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        // What stands before an @ is a password, which is no way to say who one is here.
        if host.is_empty() || authority.contains('@') || uri.query().is_some() {
            return Err(bad());
        }
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Remote { is_tls, host, port, prefix, ca: None, token: Shown::Nothing })
    }

    /// `http://host:port` with the prefix, for people.
    pub(super) fn base(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.prefix)
    }

    fn authority(&self) -> String {
        let Remote { host, port, is_tls, .. } = self;
        let host = if host.contains(':') { &format!("[{host}]") } else { host };
        match (port, is_tls) {
            (80, false) | (443, true) => host.clone(),
            _ => format!("{host}:{port}"),
        }
    }

    fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Whether all its addresses are this machine's own loopback.
    pub(super) async fn is_loopback(&self) -> Result<bool, RemoteFault> {
        let address = self.address();
        let found = lookup_host((self.host.as_str(), self.port)).await;
        let found: Vec<SocketAddr> =
            found.map_err(|error| RemoteFault::Connect { address, error })?.collect();
        Ok(!found.is_empty() && found.iter().all(|it| it.ip().to_canonical().is_loopback()))
    }

    /// The token that is to be shown, if there is one, as it is now.
    pub(super) fn token(&self) -> Result<Option<String>, RemoteFault> {
        let (place, text) = match &self.token {
            Shown::Nothing => return Ok(None),
            Shown::Variable(text) => (TOKEN_VARIABLE.to_owned(), Ok(text.clone())),
            Shown::File(file) => {
                (format!("--token-file: {}", file.display()), std::fs::read_to_string(file))
            }
        };
        let bad = |problem: String| RemoteFault::Token { place: place.clone(), problem };
        let token = text.map_err(|error| bad(error.to_string()))?.trim().to_owned();
        let is_one = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        if is_one { Ok(Some(token)) } else { Err(bad("one line with a token is expected".into())) }
    }

    /// Whether whose the connection is follows from what is shown: tokens have dots, keys don't.
    pub(super) fn names_its_user(&self) -> Result<bool, RemoteFault> {
        Ok(self.token()?.is_some_and(|token| token.contains('.')))
    }

    /// Connects.
    async fn connect(&self) -> Result<Stream, RemoteFault> {
        let address = self.address();
        let connect = |error| RemoteFault::Connect { address: address.clone(), error };
        let stream = TcpStream::connect(&address).await.map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        if !self.is_tls {
            return Ok(Box::new(stream));
        }
        let tls = |error| RemoteFault::Tls { address: address.clone(), error };
        let name = ServerName::try_from(self.host.clone());
        let name = name.map_err(|error| tls(io::Error::other(error)))?;
        let connector = TlsConnector::from(Arc::new(self.tls()?));
        Ok(Box::new(connector.connect(name, stream).await.map_err(tls)?))
    }

    fn tls(&self) -> Result<ClientConfig, RemoteFault> {
        authorities::https(self.ca.as_deref())
            .map_err(|BadAuthorities { file, problem }| RemoteFault::Ca { file, problem })
    }

    /// Opens a WebSocket of the second dialect at a path with its query.
    pub(super) async fn socket(&self, path: &str) -> Result<Socket, RemoteFault> {
        within(CONNECT_WAIT, async {
            let scheme = if self.is_tls { "wss" } else { "ws" };
            let url = format!("{scheme}://{}{}{path}", self.authority(), self.prefix);
            let mut request = url.into_client_request()?;
            let headers = request.headers_mut();
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
            if let Some(token) = self.token()? {
                headers.insert(AUTHORIZATION, bearer(&token));
            }
            let stream = self.connect().await?;
            Ok(tokio_tungstenite::client_async(request, stream).await?.0)
        })
        .await
    }

    /// Asks once, over a connection of its own, for `wait` at most.
    pub(super) async fn ask(
        &self,
        asked: Asked<'_>,
        wait: Duration,
    ) -> Result<Answer, RemoteFault> {
        within(wait, async {
            let path = format!("{}{}", self.prefix, asked.path);
            let mut request = Request::builder().method(asked.method).uri(path);
            request = request.header(HOST, self.authority()).header(CONNECTION, "close");
            for (name, value) in asked.headers {
                request = request.header(*name, *value);
            }
            if let Some(token) = self.token()? {
                request = request.header(AUTHORIZATION, bearer(&token));
            }
            let request = request.body(Full::new(Bytes::copy_from_slice(asked.body.as_bytes())));
            let broken = |error: &dyn std::fmt::Display| RemoteFault::Broken(error.to_string());
            let request = request.map_err(|error| broken(&error))?;
            let stream = TokioIo::new(self.connect().await?);
            let (mut sender, driver) =
                http1::handshake(stream).await.map_err(|error| broken(&error))?;
            let exchange = async {
                let answer = sender.send_request(request).await.map_err(|it| broken(&it))?;
                let (head, body) = answer.into_parts();
                let body = Limited::new(body, REMOTE_ANSWER_BYTES_MAX).collect().await;
                let body = body.map_err(|error| broken(&error))?.to_bytes();
                Ok(Answer { status: head.status, headers: head.headers, body })
            };
            match select(Box::pin(exchange), Box::pin(driver)).await {
                Either::Left((answer, _)) => answer,
                // The connection has ended; what came of the answer is there.
                Either::Right((_, exchange)) => exchange.await,
            }
        })
        .await
    }
}

async fn within<T>(
    wait: Duration,
    work: impl Future<Output = Result<T, RemoteFault>>,
) -> Result<T, RemoteFault> {
    tokio::time::timeout(wait, work).await.unwrap_or(Err(RemoteFault::Late(wait)))
}

fn bearer(token: &str) -> HeaderValue {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).expect("visible letters");
    value.set_sensitive(true);
    value
}

/// A value of a query, with all but the plainest bytes escaped.
pub(super) fn query_value(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' => out.push(char::from(byte)),
            // A string takes whatever is written to it.
            byte => _ = write!(out, "%{byte:02X}"),
        }
    }
    out
}

/// A runtime for one command, on this thread.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, CliExit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| CliExit::failed(format!("start: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hubs_address_is_read_in_all_its_forms() {
        for (url, base, address) in [
            ("http://hub.example", "http://hub.example", "hub.example:80"),
            ("ws://127.0.0.1:8080/", "http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("wss://hub.example/chat/", "https://hub.example/chat", "hub.example:443"),
            ("https://[::1]:8443", "https://[::1]:8443", "[::1]:8443"),
        ] {
            let remote = Remote::parse(url).expect(url);
            assert_eq!((remote.base().as_str(), remote.address().as_str()), (base, address));
        }
        for bad in ["hub", "", "ws://", "file:///x", "http://ana:geheim@hub", "http://hub/?a=1"] {
            let fault = Remote::parse(bad).expect_err(bad).to_string();
            assert!(fault.starts_with("--url: "), "{fault}");
        }
    }

    #[test]
    fn a_token_is_one_word_and_never_shown() {
        let mut remote = Remote::parse(DEFAULT_URL).expect("an address");
        assert_eq!(remote.token().expect("none"), None);
        remote.token = Shown::Variable("a.b.c\n".into());
        assert_eq!(remote.token().expect("one").as_deref(), Some("a.b.c"));
        assert!(remote.names_its_user().expect("one"));
        assert!(!format!("{remote:?}").contains("a.b.c"));
        remote.token = Shown::Variable("two words".into());
        let fault = CliExit::from(remote.token().expect_err("two"));
        assert_eq!(fault.code, crate::cli::EXIT_CONFIG);
        assert_eq!(fault.text, "HUB_TOKEN: one line with a token is expected");
    }

    #[test]
    fn a_name_is_escaped_as_a_query_wants_it() {
        assert_eq!(query_value("Ana Ñ&=/-_7"), "Ana%20%C3%91%26%3D%2F-_7");
    }
}
