//! An HTTP answer, as a test reads it from a connection.

use std::io::{ErrorKind, Read};

use serde_json::Value;

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names as sent, values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads one answer to the connection's end or its Content-Length.
    pub fn read(stream: &mut impl Read) -> Answer {
        Answer::read_of(stream, "GET")
    }

    /// Reads the answer to a request of this method.
    pub fn read_of(stream: &mut impl Read, method: &str) -> Answer {
        let mut bytes = Vec::new();
        let mut chunk = [0; 65_536];
        let head_end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            let read = match stream.read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read.expect("an answer"),
            };
            assert!(read > 0, "closed without an answer: {:?}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&chunk[..read]);
        };
        let head = String::from_utf8(bytes[..head_end].to_vec()).expect("a text head");
        let mut lines = head.split("\r\n");
        let status_line = lines.next().expect("a status line");
        let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut answer = Answer {
            status: status.expect("a status"),
            headers,
            body: bytes[head_end + 4..].to_vec(),
        };
        let length = answer.header("content-length").and_then(|value| value.parse().ok());
        let kind = answer.header("content-type");
        // Events have no end: they are read by who reads on.
        let is_bare = method == "HEAD"
            || matches!(answer.status, 101 | 204 | 304)
            || kind == Some("text/event-stream");
        let length = length.filter(|_| !is_bare);
        let length = length.unwrap_or(if is_bare { 0 } else { usize::MAX });
        while answer.body.len() < length {
            match stream.read(&mut chunk) {
                Ok(read) if read > 0 => answer.body.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        answer
    }

    /// A header's value; its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.headers.iter().find(named).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("a text body")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?} {}", self.status, self.text()))
    }
}
