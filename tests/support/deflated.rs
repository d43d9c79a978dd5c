//! A WebSocket client of its own that compresses what it says and takes what is compressed
//! (RFC 7692): tungstenite does not.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use serde_json::Value;

use super::{Closed, PATIENCE, frame, upgrade};

/// What browsers offer.
pub const OFFER: &str = "permessage-deflate; client_max_window_bits";
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// A client that has agreed on compression.
pub struct Deflated<S = TcpStream> {
    stream: S,
    /// The answer to its handshake.
    pub head: String,
    came: Vec<u8>,
    /// Texts that came compressed, and plain.
    pub texts: (u64, u64),
    /// Bytes of the payloads of compressed texts, and of what they say.
    pub bytes: (u64, u64),
}

/// What came.
#[derive(Clone, PartialEq, Debug)]
pub enum Came {
    /// A text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// A close frame.
    Closed(Closed),
    /// Nothing within the connection's time.
    Nothing,
    /// The connection's end.
    End,
}

/// A message as it is sent compressed.
pub fn deflated(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 8 + 64);
    let mut stream = Compress::new(Compression::new(6), false);
    stream.compress_vec(message, &mut out, FlushCompress::Sync).expect("a stream");
    assert!(out.ends_with(&TAIL));
    out.truncate(out.len() - TAIL.len());
    out
}

/// What a compressed message says.
pub fn inflated(payload: &[u8]) -> Vec<u8> {
    let stream = [payload, &TAIL].concat();
    let (mut inflate, mut message) = (Decompress::new(false), Vec::new());
    loop {
        message.reserve(1 << 16);
        let (read, made) = (inflate.total_in() as usize, inflate.total_out());
        let input = &stream[read..];
        inflate.decompress_vec(input, &mut message, FlushDecompress::Sync).expect("a stream");
        if inflate.total_in() as usize == stream.len() && inflate.total_out() == made {
            return message;
        }
    }
}

impl<S: Read + Write> Deflated<S> {
    /// Asks for a socket with further header lines; `None`: the connection has ended before there
    /// was an answer.
    pub fn open(mut stream: S, path: &str, lines: &str) -> Option<Deflated<S>> {
        let lines = format!("Sec-WebSocket-Extensions: {OFFER}\r\n{lines}");
        stream.write_all(upgrade(path, &lines).as_bytes()).ok()?;
        stream.flush().ok()?;
        let mut came = Vec::new();
        let end = loop {
            if let Some(end) = came.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk) {
                Ok(read @ 1..) => came.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return None,
            }
        };
        let rest = came.split_off(end);
        let head = String::from_utf8(came).expect("a text head");
        if !head.starts_with("HTTP/1.1 101 ") {
            return None;
        }
        assert!(head.contains("\r\nSec-WebSocket-Extensions: permessage-deflate; "), "{head}");
        Some(Deflated { stream, head, came: rest, texts: (0, 0), bytes: (0, 0) })
    }

    /// How many texts have come compressed since this was last asked.
    pub fn take_deflated(&mut self) -> u64 {
        std::mem::take(&mut self.texts.0)
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).ok()
    }

    /// Sends a text compressed, unless the connection is over.
    pub fn send(&mut self, text: &str) -> Option<()> {
        self.write(&frame(0xC1, &deflated(text.as_bytes())))
    }

    /// What comes next. Pings are answered.
    pub fn came(&mut self) -> Came {
        loop {
            if let Some((first, payload)) = self.frame() {
                match first {
                    0x89 => _ = self.write(&frame(0x8A, &payload)),
                    0x8A => {}
                    _ => return self.read(first, payload),
                }
                continue;
            }
            let mut chunk = [0; 65_536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Came::End,
                Ok(read) => self.came.extend_from_slice(&chunk[..read]),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Came::Nothing,
                    _ => return Came::End,
                },
            }
        }
    }

    /// The next frame, if it has come whole: its first byte and its payload.
    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (&[first, second], rest) = self.came.split_first_chunk::<2>()?;
        let (header, length) = match second {
            126 => (4, u64::from(u16::from_be_bytes(*rest.first_chunk()?))),
            127 => (10, u64::from_be_bytes(*rest.first_chunk()?)),
            short => (2, u64::from(short)),
        };
        let end = header + usize::try_from(length).expect("a length of memory");
        let payload = self.came.get(header..end)?.to_vec();
        self.came.drain(..end);
        Some((first, payload))
    }

    fn read(&mut self, first: u8, payload: Vec<u8>) -> Came {
        let is_deflated = first & 0x40 != 0;
        let message = if is_deflated { inflated(&payload) } else { payload.clone() };
        match first & !0x40 {
            0x81 => {
                if is_deflated {
                    assert!(payload.len() < message.len(), "it is shorter so");
                    self.bytes.0 += payload.len() as u64;
                    self.bytes.1 += message.len() as u64;
                }
                self.texts.0 += u64::from(is_deflated);
                self.texts.1 += u64::from(!is_deflated);
                Came::Text(String::from_utf8(message).expect("a text is UTF-8"))
            }
            0x82 => Came::Binary(message),
            0x88 => {
                assert!(!is_deflated, "a control frame is plain");
                let code = message.first_chunk().map(|code| u16::from_be_bytes(*code));
                let reason = message.get(2..).unwrap_or_default().to_vec();
                let reason = String::from_utf8(reason).expect("a reason is UTF-8");
                Came::Closed(Closed { code, reason })
            }
            other => panic!("no frame of the hub's: {other:#x}"),
        }
    }

    /// The next text, as JSON.
    pub fn next(&mut self) -> Value {
        match self.came() {
            Came::Text(text) => serde_json::from_str(&text).expect("JSON"),
            other => panic!("no text: {other:?}"),
        }
    }

    /// Reads up to the first message of a type.
    pub fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next();
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// Reads until it is closed, and says how.
    pub fn until_closed(&mut self) -> Closed {
        loop {
            match self.came() {
                Came::Closed(closed) => return closed,
                Came::Text(_) | Came::Binary(_) => {}
                other => panic!("no close: {other:?}"),
            }
        }
    }
}

impl Deflated {
    /// Waits this long at most for what comes.
    pub fn set_patience(&self, wait: Duration) {
        self.stream.set_read_timeout(Some(wait.min(PATIENCE))).expect("a timeout");
    }
}
