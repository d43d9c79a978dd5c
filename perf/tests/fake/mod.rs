//! A hub of a few lines for the generator's own tests: a thread a connection, one lock, and a
//! fault that is planted on purpose.
//!
//! It speaks just the part of the protocol that the generator uses, and is no model for anything.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What the fake does wrong, once, at its tenth chat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Keeps the chat to itself.
    Lose,
    /// Sends it twice.
    Double,
    /// Sends it after the next one.
    Swap,
    /// Sends it to the other spaces too.
    Leak,
    /// Closes a member with 4008.
    Close,
    /// Keeps the acknowledgement to itself that it is stored.
    Unacked,
    /// Sends a ping first, and takes no more chats until the pong is there.
    Ping,
    /// Refuses the chat, and says when to come again.
    Refuse,
    /// Refuses it, and does not say so.
    RefuseForGood,
    /// Neither takes nor answers it.
    Swallow,
    /// Brings nothing to whoever comes back, and calls that complete.
    Forget,
}

struct State {
    fault: Fault,
    chats: u32,
    ids: u64,
    held: Option<(i32, Vec<u8>)>,
    /// What was said, for those who come back.
    said: Vec<(i32, u64, Vec<u8>)>,
    awaits_pong: bool,
    members: Vec<(i32, TcpStream)>,
}

/// Starts a fake hub; it ends with the test's process.
pub(crate) fn start(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let state = State {
        fault,
        chats: 0,
        ids: 0,
        held: None,
        said: vec![],
        awaits_pong: false,
        members: vec![],
    };
    let state = Arc::new(Mutex::new(state));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = Arc::clone(&state);
            thread::spawn(move || serve(stream, &state));
        }
    });
    address
}

/// Starts a server that accepts each handshake and leaves the rest to `serve`.
pub(crate) fn accept(serve: fn(TcpStream) -> Option<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                read_head(&mut stream)?;
                stream.write_all(ACCEPTED).ok()?;
                serve(stream)
            });
        }
    });
    address
}

/// Starts a server that lets this many in and refuses all others, to come again in a while.
pub(crate) fn start_refusing(after: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        let mut members = Vec::new();
        for mut stream in listener.incoming().flatten() {
            if read_head(&mut stream).is_none() {
                continue;
            }
            let answer = match members.len() < after {
                true => [ACCEPTED, &frame(0x81, "{\"type\":\"join\",\"data\":{}}")].concat(),
                false => b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 9\r\n\r\n".to_vec(),
            };
            // A member that is gone is not the fake's business.
            let _ = stream.write_all(&answer);
            members.push(stream);
        }
    });
    address
}

/// Starts a server of plain HTTP that gives these answers in turn; an empty one ends the
/// connection.
pub(crate) fn start_answering(answers: &'static [&'static str]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                for answer in answers.iter().cycle() {
                    let head = read_head(&mut stream)?;
                    let bytes = head.split("Content-Length: ").nth(1)?.split('\r').next()?;
                    let mut body = vec![0; bytes.parse().ok()?];
                    stream.read_exact(&mut body).ok()?;
                    match *answer {
                        "" => return Some(()),
                        answer => stream.write_all(answer.as_bytes()).ok()?,
                    }
                }
                None
            });
        }
    });
    address
}

const ACCEPTED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: \
    Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    String::from_utf8(head).ok()
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    let head = read_head(&mut stream)?;
    let space: i32 = head.strip_prefix("GET /v1/ws/spaces/")?.split('?').next()?.parse().ok()?;
    let mut answer = ACCEPTED.to_vec();
    // In one write: the generator must find the frame behind the head.
    {
        let mut state = state.lock().expect("no test thread panics");
        match head.contains("cpi-hub.v1") {
            true => answer.extend(state.welcome(space, &head)),
            false => answer.extend(frame(0x81, "{\"type\":\"join\",\"data\":{}}")),
        }
        stream.write_all(&answer).ok()?;
        state.members.push((space, stream.try_clone().ok()?));
    }
    loop {
        let (opcode, payload) = read_frame(&mut stream)?;
        let mut state = state.lock().expect("no test thread panics");
        match opcode {
            0x1 => {
                let text = String::from_utf8(payload).ok()?;
                if let Some(answer) = state.refusal(&text) {
                    stream.write_all(&answer).ok()?;
                    continue;
                }
                state.chat(space, &text);
                for ack in state.acks(&text) {
                    stream.write_all(&ack).ok()?;
                }
            }
            0xA if payload == b"are you there" => state.awaits_pong = false,
            0x8 => {
                let answer = [&[0x88, payload.len() as u8][..], &payload].concat();
                return stream.write_all(&answer).ok();
            }
            _ => {}
        }
    }
}

impl State {
    /// What a member of `cpi-hub.v1` hears first, with what it missed.
    fn welcome(&self, space: i32, head: &str) -> Vec<u8> {
        let text =
            |id: u64| format!("{{\"type\":\"welcome\",\"data\":{{\"position\":\"{id:026}\"}}}}");
        let mut frames = frame(0x81, &text(self.ids));
        let after = head.split("after=").nth(1).and_then(|rest| rest.split([' ', '&']).next());
        let Some(after) = after.and_then(|after| after.parse::<u64>().ok()) else { return frames };
        let missed = self.said.iter().filter(|(of, id, _)| *of == space && *id > after);
        let missed: Vec<_> = missed.filter(|_| self.fault != Fault::Forget).collect();
        missed.iter().for_each(|(_, _, chat)| frames.extend(chat));
        let count = missed.len();
        let resumed =
            format!("{{\"type\":\"resumed\",\"data\":{{\"count\":{count},\"complete\":true}}}}");
        frames.extend(frame(0x81, &resumed));
        frames
    }

    /// The answer to a chat that is not taken, where there is one.
    fn refusal(&mut self, text: &str) -> Option<Vec<u8>> {
        let hint = match (self.fault, self.chats) {
            (Fault::Refuse, 9) => ",\"retry_after_ms\":20",
            (Fault::RefuseForGood, 9) => "",
            (Fault::Swallow, 9) => {
                self.chats += 1;
                return Some(Vec::new());
            }
            _ => return None,
        };
        self.chats += 1;
        let nonce = text.split("\"nonce\":\"").nth(1)?.split('"').next()?;
        let data = format!("\"code\":\"rate_limited\",\"ref\":\"{nonce}\"{hint}");
        let error = format!("{{\"type\":\"error\",\"data\":{{{data}}}}}");
        Some(frame(0x81, &error))
    }

    fn chat(&mut self, space: i32, text: &str) {
        if self.awaits_pong {
            return;
        }
        let content = text.split("\"content\":\"").nth(1).and_then(|rest| rest.split('"').next());
        let content = content.expect("the generator sends contents");
        self.chats += 1;
        self.ids += 1;
        let id = self.ids;
        let chat = |id: u64| {
            let text = format!(
                "{{\"type\":\"chat\",\"data\":{{\"id\":\"{id:026}\",\"content\":\"{content}\",\
                 \"user_id\":1}}}}"
            );
            frame(0x81, &text)
        };
        match (self.fault, self.chats) {
            (Fault::Lose, 10) => return,
            (Fault::Double, 10) => {
                self.send(Some(space), &chat(id));
                self.ids += 1;
                self.send(Some(space), &chat(id + 1));
                return;
            }
            (Fault::Swap, 10) => {
                self.held = Some((space, chat(id)));
                return;
            }
            (Fault::Leak, 10) => return self.send(None, &chat(id)),
            (Fault::Close, 10) => {
                let (_, member) = self.members.last_mut().expect("somebody sent this");
                let _ = member.write_all(&[0x88, 2, 0x0F, 0xA8]);
            }
            (Fault::Ping, 10) => {
                self.awaits_pong = true;
                self.send(Some(space), &frame(0x89, "are you there"));
            }
            _ => {}
        }
        self.said.push((space, id, chat(id)));
        self.send(Some(space), &chat(id));
        // After the next one of its own space: of another it would be no swap.
        if let Some((_, held)) = self.held.take_if(|(of, _)| *of == space) {
            self.send(Some(space), &held);
        }
    }

    /// What the sender of a nonce is told.
    fn acks(&self, text: &str) -> Vec<Vec<u8>> {
        let Some((_, rest)) = text.split_once("\"nonce\":\"") else { return Vec::new() };
        let nonce = rest.split('"').next().expect("an end");
        let is_kept =
            |level: &&str| *level == "accepted" || (self.fault, self.chats) != (Fault::Unacked, 10);
        let ack = |level| {
            frame(
                0x81,
                &format!(
                    "{{\"type\":\"ack\",\"data\":{{\"nonce\":\"{nonce}\",\"id\":\"X\",\
                     \"level\":\"{level}\",\"duplicate\":false}}}}"
                ),
            )
        };
        let levels = match text.contains("\"ack\":\"accepted\"") {
            true => &["accepted"][..],
            false => &["accepted", "durable"],
        };
        levels.iter().copied().filter(is_kept).map(ack).collect()
    }

    fn send(&mut self, to: Option<i32>, bytes: &[u8]) {
        let concerned = |space: &i32| to.is_none_or(|to| to == *space);
        for (_, member) in self.members.iter_mut().filter(|(space, _)| concerned(space)) {
            // A member that is gone is not the fake's business.
            let _ = member.write_all(bytes);
        }
    }
}

pub(crate) fn frame(head: u8, text: &str) -> Vec<u8> {
    let mut frame = vec![head];
    match text.len() {
        short @ 0..=125 => frame.push(short as u8),
        long => {
            frame.push(126);
            frame.extend((long as u16).to_be_bytes());
        }
    }
    frame.extend(text.as_bytes());
    frame
}

pub(crate) fn read_frame(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).ok()?;
    assert_ne!(head[1] & 0x80, 0, "clients mask");
    let mut length = usize::from(head[1] & 0x7F);
    if length == 126 {
        let mut long = [0; 2];
        stream.read_exact(&mut long).ok()?;
        length = u16::from_be_bytes(long).into();
    }
    let mut mask = [0; 4];
    stream.read_exact(&mut mask).ok()?;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).ok()?;
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
    Some((head[0] & 0x0F, payload))
}
