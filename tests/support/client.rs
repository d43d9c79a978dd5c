//! A WebSocket client that reads and writes as slowly as its test does.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::HandshakeError;
use tungstenite::handshake::client::Request;
use tungstenite::http::HeaderValue;
use tungstenite::{Error, Message, WebSocket};

use super::PATIENCE;

/// A WebSocket client, over a plain socket where nothing else is said.
pub struct Client<S = TcpStream> {
    /// What speaks the protocol.
    pub socket: WebSocket<S>,
}

/// How a connection ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Closed {
    /// The close frame's code; `None`: an empty close frame, or none at all.
    pub code: Option<u16>,
    /// Its reason.
    pub reason: String,
}

impl Closed {
    /// With a close frame of this code and reason.
    pub fn by(code: u16, reason: &str) -> Closed {
        Closed { code: Some(code), reason: reason.to_owned() }
    }
}

impl Client {
    /// Joins a space in the second dialect by another address than the hub's own, such as a link's.
    pub fn dial(address: SocketAddr, space: i32, user: i32) -> Client {
        let connect = || {
            let stream = TcpStream::connect(address).expect("somebody listens");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
            stream.set_nodelay(true).expect("an option");
            stream
        };
        let url = format!("ws://{address}/v1/ws/spaces/{space}?user_id={user}");
        let mut request = url.into_client_request().expect("a valid URL");
        let protocol = HeaderValue::from_static("cpi-hub.v1");
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
        Client { socket: upgraded(&request, connect) }
    }
}

/// Shakes hands over a new connection; over another one where a signal has interrupted it, which
/// tungstenite takes for the end.
pub(super) fn upgraded(request: &Request, connect: impl Fn() -> TcpStream) -> WebSocket<TcpStream> {
    loop {
        match tungstenite::client(request.clone(), connect()) {
            Err(HandshakeError::Failure(Error::Io(error)))
                if error.kind() == ErrorKind::Interrupted => {}
            upgraded => return upgraded.expect("an upgrade").0,
        }
    }
}

impl<S: Read + Write> Client<S> {
    /// Sends a text.
    pub fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("the hub reads");
    }

    /// Says something.
    pub fn chat(&mut self, content: &str) {
        let data = serde_json::json!({"type": "chat", "data": {"content": content}});
        self.send(&data.to_string());
    }

    /// Sends a frame of any kind.
    pub fn send_message(&mut self, message: Message) {
        self.socket.send(message).expect("the hub reads");
    }

    /// Reads on where a signal has interrupted it.
    fn read(&mut self) -> Result<Message, Error> {
        loop {
            match self.socket.read() {
                Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    /// The next text, as it came.
    pub fn text(&mut self) -> String {
        loop {
            match self.read().expect("a message") {
                Message::Text(text) => return text.to_string(),
                Message::Close(close) => panic!("closed instead of a message: {close:?}"),
                _ => {}
            }
        }
    }

    /// The next message of any kind.
    pub fn message(&mut self) -> Message {
        self.read().expect("a message")
    }

    /// The next text, as JSON.
    pub fn next(&mut self) -> Value {
        serde_json::from_str(&self.text()).expect("JSON")
    }

    /// Reads up to the first message of a type.
    pub fn next_of(&mut self, kind: &str) -> Value {
        self.next_that(|its| its == kind)
    }

    /// Reads up to the first message whose type is one of these.
    pub fn next_that(&mut self, is_one: impl Fn(&str) -> bool) -> Value {
        loop {
            let message = self.next();
            if message["type"].as_str().is_some_and(&is_one) {
                return message;
            }
        }
    }

    /// Sends unless the connection is over.
    pub fn try_send(&mut self, message: Message) -> Result<(), ()> {
        self.socket.send(message).map_err(|_| ())
    }

    /// The next text as JSON, or how the connection ended.
    pub fn try_next(&mut self) -> Result<Value, Closed> {
        loop {
            match self.read() {
                Ok(Message::Text(text)) => {
                    return Ok(serde_json::from_str(&text).expect("JSON"));
                }
                Ok(Message::Close(Some(frame))) => {
                    let reason = frame.reason.to_string();
                    return Err(Closed { code: Some(frame.code.into()), reason });
                }
                Ok(_) => {}
                Err(_) => return Err(Closed { code: None, reason: String::new() }),
            }
        }
    }

    /// Closes it with a code, and reads up to the end.
    pub fn close(mut self) {
        self.socket.close(None).expect("the hub reads");
        while self.read().is_ok() {}
    }

    /// Reads until the hub has closed it; the texts that came before, and how.
    pub fn until_closed(mut self) -> (Vec<String>, Closed) {
        let mut texts = Vec::new();
        let mut closed = Closed { code: None, reason: String::new() };
        loop {
            match self.read() {
                Ok(Message::Text(text)) => texts.push(text.to_string()),
                Ok(Message::Close(Some(frame))) => {
                    closed.code = Some(frame.code.into());
                    closed.reason = frame.reason.to_string();
                }
                Ok(_) => {}
                Err(_) => return (texts, closed),
            }
        }
    }

    /// The bare connection: what comes next is up to the test.
    pub fn stream(&mut self) -> &mut S {
        self.socket.get_mut()
    }
}
