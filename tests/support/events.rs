//! A reader of a stream of events that speaks HTTP as `curl -N` does, and reads the stream as the
//! standard has it (WHATWG HTML, "Interpreting an event stream").

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// An open stream.
pub struct Events<S = TcpStream> {
    stream: S,
    /// The answer's head.
    pub head: String,
    came: Vec<u8>,
    /// With what the reader would come back.
    pub last_id: String,
    /// How long it would wait before that, in ms.
    pub retry: Option<u32>,
    /// What stood beside the last event's data.
    pub fields: BTreeMap<String, String>,
}

/// What came of a stream.
#[derive(Clone, PartialEq, Debug)]
pub enum Came {
    /// An event: its name and its data.
    Event(String, Value),
    /// A comment.
    Comment(String),
    /// Nothing within the connection's time.
    Nothing,
    /// The stream's end.
    End,
}

/// A request for a stream, with further header lines.
pub fn ask(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n{lines}\r\n")
}

impl<S: Read + Write> Events<S> {
    /// Asks for a stream. Where the answer has another status, that, and what came of its body.
    pub fn open(mut stream: S, path: &str, lines: &str) -> Result<Events<S>, (u16, String)> {
        stream.write_all(ask(path, lines).as_bytes()).expect("the hub reads");
        stream.flush().expect("the hub reads");
        Events::answered(stream).expect("an answer")
    }

    /// Reads the answer's head; `None`: the connection has ended before.
    pub fn answered(mut stream: S) -> Option<Result<Events<S>, (u16, String)>> {
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
        let body = came.split_off(end);
        let head = String::from_utf8(came).expect("a text head");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        if status != 200 {
            return Some(Err((status, String::from_utf8_lossy(&body).into_owned())));
        }
        assert!(head.contains("\r\nContent-Type: text/event-stream\r\n"), "{head}");
        let (last_id, fields) = (String::new(), BTreeMap::new());
        Some(Ok(Events { stream, head, came: body, last_id, retry: None, fields }))
    }

    /// What comes next.
    pub fn came(&mut self) -> Came {
        loop {
            if let Some(block) = self.block() {
                return self.read(&block);
            }
            let mut chunk = [0; 65_536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Came::End,
                Ok(read) => self.came.extend_from_slice(&chunk[..read]),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Came::Nothing,
                    // What is cut is no event: the standard has it thrown away.
                    _ => return Came::End,
                },
            }
        }
    }

    /// Up to the next blank line, if that has come.
    fn block(&mut self) -> Option<String> {
        let end = self.came.windows(2).position(|two| two == b"\n\n")?;
        let block: Vec<u8> = self.came.drain(..end + 2).take(end).collect();
        Some(String::from_utf8(block).expect("events are UTF-8"))
    }

    fn read(&mut self, block: &str) -> Came {
        let (mut name, mut data) = (String::new(), String::new());
        self.fields.clear();
        for line in block.split('\n') {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            if !["", "data"].contains(&field) {
                self.fields.insert(field.into(), value.into());
            }
            match field {
                "" => return Came::Comment(value.into()),
                "id" => self.last_id = value.into(),
                "event" => name = value.into(),
                "retry" => self.retry = Some(value.parse().expect("digits")),
                "data" => data.push_str(value),
                other => panic!("no field of an event: {other}"),
            }
        }
        let data: Value = serde_json::from_str(&data).unwrap_or_else(|_| panic!("JSON: {data}"));
        assert_eq!(data["type"], *name, "an event is named by its type");
        Came::Event(name, data)
    }

    /// The next event.
    pub fn next(&mut self) -> Value {
        loop {
            match self.came() {
                Came::Event(_, data) => return data,
                Came::Comment(_) => {}
                other => panic!("no event: {other:?}"),
            }
        }
    }

    /// Reads up to the first event of a name.
    pub fn next_of(&mut self, name: &str) -> Value {
        loop {
            let event = self.next();
            if event["type"] == name {
                return event;
            }
        }
    }

    /// The events up to the stream's end.
    pub fn until_the_end(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            match self.came() {
                Came::Event(_, data) => events.push(data),
                Came::Comment(_) => {}
                Came::End => return events,
                Came::Nothing => panic!("the stream does not end: {events:?}"),
            }
        }
    }

    /// The bare connection.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl Events {
    /// Waits so long at most for what comes.
    pub fn set_patience(&self, wait: Duration) {
        self.stream.set_read_timeout(Some(wait)).expect("a timeout");
    }
}
