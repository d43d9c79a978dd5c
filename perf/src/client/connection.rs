//! One connection: the handshake, made in one blocking round trip or left to the engine, and then
//! a non-blocking socket with what was cut off its input and what it still has to send.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use mio::net::TcpStream as MioStream;

use crate::client::dialect::{Dialect, Seat};
use crate::client::frames;
use crate::client::said::Position;
use crate::client::stream::{Stream, Tls};
use crate::client::token::Signer;

/// Longer than any handshake that is going to succeed.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// RFC 6455's own example; a fixed key is enough where no cache stands between.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    /// The seat whose connection it is.
    pub seat: Seat,
    /// Non-blocking.
    pub stream: Stream,
    /// The start of a frame whose end has not come.
    pub cut: Vec<u8>,
    /// What the socket has not taken yet.
    pub out: Vec<u8>,
    /// Whether the server's answer to the handshake has still to come.
    pub is_opening: bool,
    /// Where frames carry a stream: what has come and is no whole operation yet.
    pub plain: Vec<u8>,
    /// Where frames carry a stream: what the frame that was begun has still to bring.
    pub frame_rest: u64,
}

/// A server to connect to.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it is spoken to within; `None`: plain.
    pub tls: Option<&'static Tls>,
    /// How it is spoken to.
    pub dialect: Dialect,
    /// Who signs a token for each handshake; `None`: none is shown.
    pub signer: Option<&'static Signer>,
}

impl Server {
    /// The server at an address such as `127.0.0.1:8080`, `ws://127.0.0.1:8080/` or
    /// `wss://localhost:8443`, of which `ca` has the certificate.
    pub fn at(url: &str, ca: Option<&Path>, dialect: Dialect) -> io::Result<Server> {
        let address = address(url)?;
        let tls = match (is_secure(url), ca) {
            (false, _) => None,
            (true, None) => return Err(io::Error::other(format!("{url}: --ca FILE is missing"))),
            (true, Some(file)) => {
                let host = url.split("://").nth(1).unwrap_or_default();
                let host = host.rsplit_once(':').map_or(host, |(name, _)| name);
                Some(Tls::trusting(host, file)?)
            }
        };
        Ok(Server { address, tls, dialect, signer: None })
    }
}

fn is_secure(url: &str) -> bool {
    url.starts_with("wss://") || url.starts_with("https://")
}

/// Reads an address such as `127.0.0.1:8080`, `localhost:8080` or `ws://127.0.0.1:8080/`.
pub fn address(url: &str) -> io::Result<SocketAddr> {
    let schemes = ["ws://", "http://", "wss://", "https://"];
    let rest = schemes.iter().find_map(|scheme| url.strip_prefix(scheme));
    let host = rest.unwrap_or(url).trim_end_matches('/');
    let told = |error| io::Error::other(format!("{url}: {error}"));
    let mut found = host.to_socket_addrs().map_err(told)?;
    found.next().ok_or_else(|| io::Error::other(format!("{url}: no address")))
}

/// Opens a chat socket and waits for the 101.
pub fn connect(server: Server, seat: Seat) -> io::Result<Connection> {
    let mut stream = TcpStream::connect(server.address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(HANDSHAKE_WAIT))?;
    let mut tls = server.tls.map(Tls::begin).transpose()?;
    let request = request(server, seat, None);
    let cut = match &mut tls {
        None => ask(&mut stream, &request)?,
        Some(tls) => ask(&mut rustls::Stream::new(&mut **tls, &mut stream), &request)?,
    };
    stream.set_read_timeout(None)?;
    stream.set_nonblocking(true)?;
    let mut connection = Connection::new(Stream::new(MioStream::from_std(stream), tls), seat);
    connection.cut = cut;
    connection.greet(server);
    Ok(connection)
}

/// Begins to open a chat socket; the engine sends the request and reads the answer.
pub fn dial(server: Server, seat: Seat) -> io::Result<Connection> {
    dial_after(server, seat, None)
}

/// Begins to open a chat socket, as [`dial`] does, of somebody who has seen all up to `after`.
pub fn dial_after(server: Server, seat: Seat, after: Option<Position>) -> io::Result<Connection> {
    let (tcp, tls) = (MioStream::connect(server.address)?, server.tls.map(Tls::begin).transpose()?);
    let mut connection = Connection::new(Stream::new(tcp, tls), seat);
    connection.is_opening = true;
    connection.out.extend_from_slice(request(server, seat, after).as_bytes());
    connection.greet(server);
    Ok(connection)
}

impl Connection {
    fn new(stream: Stream, seat: Seat) -> Connection {
        Connection {
            seat,
            stream,
            cut: Vec::new(),
            out: Vec::new(),
            is_opening: false,
            plain: Vec::new(),
            frame_rest: 0,
        }
    }

    fn greet(&mut self, server: Server) {
        let greeting = server.dialect.greeting(self.seat);
        if !greeting.is_empty() {
            frames::write(&mut self.out, server.dialect.opcode(), greeting.as_bytes(), [7; 4]);
        }
    }
}

/// The answer to [`connect`]'s request, for a server that serves nobody else.
pub fn switching_protocols() -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    )
}

fn request(server: Server, seat: Seat, after: Option<Position>) -> String {
    let Server { address, dialect, signer, .. } = server;
    let (mut path, mut headers) = (dialect.path(seat), dialect.headers(seat));
    if let Some(after) = after {
        path += &format!("&after={}", String::from_utf8_lossy(&after));
    }
    if let Some(signer) = signer {
        headers += &format!("Authorization: Bearer {}\r\n", signer.token(seat.user));
    }
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
    )
}

/// Sends a request, and reads the answer's head; what came behind that.
fn ask(stream: &mut (impl Read + Write), request: &str) -> io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    read_head(stream)
}

/// Reads the answer's head; what came behind it belongs to the first frames.
fn read_head(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(1024);
    let mut chunk = [0; 1024];
    loop {
        let count = stream.read(&mut chunk)?;
        head.extend_from_slice(&chunk[..count]);
        if let Some(end) = head_end(&head) {
            let behind = head.split_off(end);
            return check_head(&head, &behind).map(|()| behind);
        }
        if count == 0 || head.len() > HEAD_BYTES_MAX {
            return Err(io::Error::other("the hub ended the handshake without an answer"));
        }
    }
}

/// Where the answer's head ends, behind its empty line.
pub fn head_end(input: &[u8]) -> Option<usize> {
    input.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// A handshake's refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The answer's status; 101 where only the accept key was wrong.
    pub status: u16,
    /// Seconds after which to come again, where the server said.
    pub retry_after_s: Option<u16>,
}

/// Reads an answer's head; the refusal unless it is the 101 for our key.
pub fn refusal(head: &[u8]) -> Option<Refusal> {
    if check_head(head, b"").is_ok() {
        return None;
    }
    let head = String::from_utf8_lossy(head);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let retry_after =
        head.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
            name.eq_ignore_ascii_case("retry-after").then(|| value.trim().parse().ok()).flatten()
        });
    Some(Refusal { status: status.unwrap_or(0), retry_after_s: retry_after })
}

fn check_head(head: &[u8], behind: &[u8]) -> io::Result<()> {
    let head = String::from_utf8_lossy(head);
    let status = head.lines().next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 101") {
        let body = String::from_utf8_lossy(behind);
        return Err(io::Error::other(format!("handshake refused: {status} {body}")));
    }
    let accepted = head.lines().filter_map(|line| line.split_once(':')).any(|(name, value)| {
        name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == ACCEPT
    });
    match accepted {
        true => Ok(()),
        false => Err(io::Error::other("the 101 has no Sec-WebSocket-Accept for our key")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_a_scheme() {
        let expected: SocketAddr = "127.0.0.1:8080".parse().expect("an address");
        for url in ["127.0.0.1:8080", "ws://127.0.0.1:8080", "http://127.0.0.1:8080/"] {
            assert_eq!(address(url).expect("an address"), expected, "{url}");
        }
        assert!(address("127.0.0.1").is_err());
    }

    #[test]
    fn frames_behind_the_head_are_kept() {
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
             sec-websocket-accept: {ACCEPT}\r\n\r\n\u{1}frame"
        );
        assert_eq!(read_head(&mut answer.as_bytes()).expect("accepted"), b"\x01frame");
    }

    #[test]
    fn a_refusal_has_its_status_and_its_hint() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\n\r\n";
        let expected = Refusal { status: 503, retry_after_s: Some(2) };
        assert_eq!(refusal(answer), Some(expected));
        let accepted = format!("HTTP/1.1 101 x\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n");
        assert_eq!(refusal(accepted.as_bytes()), None);
        assert_eq!(head_end(accepted.as_bytes()), Some(accepted.len()));
        assert_eq!(refusal(b"junk"), Some(Refusal { status: 0, retry_after_s: None }));
    }

    #[test]
    fn a_refusal_is_told_with_its_status_and_body() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"code\":\"draining\"}";
        let error = read_head(&mut answer.as_bytes()).expect_err("refused").to_string();
        assert!(error.contains("503") && error.contains("draining"), "{error}");
        for answer in ["", "HTTP/1.1 101 Switching Protocols\r\n\r\n", "HTTP/1.1 101 x\r\nA: b"] {
            assert!(read_head(&mut answer.as_bytes()).is_err(), "{answer}");
        }
    }
}
