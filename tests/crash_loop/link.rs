//! Connections that may end at any byte, because their hub may be killed at any.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{Error, Message, WebSocket};

use crate::support::PATIENCE;

/// A WebSocket.
pub struct Link {
    socket: WebSocket<TcpStream>,
}

/// What came within a time.
pub enum Next {
    /// A message.
    Message(Value),
    /// Nothing.
    Nothing,
    /// The connection's end.
    Ended,
}

/// Connects, if the hub is there.
pub fn connect(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    stream.set_nodelay(true).ok()?;
    Some(stream)
}

impl Link {
    /// Opens one, if the hub is there to answer.
    pub fn open(address: SocketAddr, path: &str, protocol: Option<&'static str>) -> Option<Link> {
        let mut request = format!("ws://{address}{path}").into_client_request().expect("a URL");
        if let Some(protocol) = protocol {
            let value = HeaderValue::from_static(protocol);
            request.headers_mut().insert("Sec-WebSocket-Protocol", value);
        }
        let (socket, _) = tungstenite::client(request, connect(address)?).ok()?;
        Some(Link { socket })
    }

    /// Sends a text, unless the connection is over.
    pub fn send(&mut self, text: String) -> Option<()> {
        self.socket.send(Message::text(text)).ok()
    }

    /// Waits this long at most.
    pub fn next(&mut self, wait: Duration) -> Next {
        let wait = wait.max(Duration::from_millis(1));
        if self.socket.get_ref().set_read_timeout(Some(wait)).is_err() {
            return Next::Ended;
        }
        match self.socket.read() {
            Ok(Message::Text(text)) => {
                Next::Message(serde_json::from_str(&text).expect("one JSON text a frame"))
            }
            Ok(_) => Next::Nothing,
            Err(Error::Io(error)) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {
                    Next::Nothing
                }
                _ => Next::Ended,
            },
            Err(_) => Next::Ended,
        }
    }
}

/// A connection for one HTTP request after another.
pub struct Http {
    stream: TcpStream,
    address: SocketAddr,
}

impl Http {
    /// Connects, if the hub is there.
    pub fn open(address: SocketAddr) -> Option<Http> {
        Some(Http { stream: connect(address)?, address })
    }

    /// POSTs a body; the status and the answer, if the connection lasts until then.
    pub fn post(&mut self, path: &str, headers: &str, body: &str) -> Option<(u16, Value)> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n{headers}\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).ok()?;
        self.answer()
    }

    fn answer(&mut self) -> Option<(u16, Value)> {
        let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
        loop {
            if let Some(whole) = answer(&bytes) {
                return Some(whole);
            }
            match self.stream.read(&mut chunk) {
                Ok(read @ 1..) => bytes.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return None,
            }
        }
    }
}

/// A whole answer, if it has come.
fn answer(bytes: &[u8]) -> Option<(u16, Value)> {
    let head_end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..head_end]).expect("a text head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok())?
    });
    let body = bytes.get(head_end + 4..head_end + 4 + length.expect("a length"))?;
    Some((status, serde_json::from_slice(body).expect("a JSON body")))
}
