//! All connections on one epoll: reads into one shared buffer, finds the frames, answers pings,
//! and sends what a scenario asks.
//!
//! The engine knows nothing of chats; a scenario implements [`Receive`]. It never blocks on a
//! socket, and it never drops a frame: what a socket doesn't take waits in its connection.

use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::client::centrifugo;
use crate::client::connection::{self, Connection, Refusal};
use crate::client::dialect::{Asks, Dialect};
use crate::client::frames::{self, BINARY, CLOSE, Fault, PING, PONG};
use crate::client::inflater::Inflater;
use crate::client::nats::{self, Junk, Operation};

/// Room for a few hundred frames: one read takes what has gathered.
const READ_BYTES: usize = 256 * 1024;
const EVENTS: usize = 1024;
/// After this many full reads of one socket the others have their turn.
const FULL_READS: usize = 4;
const _: () = assert!(READ_BYTES as u64 > frames::PAYLOAD_BYTES_MAX + 16, "a frame fits a read");

/// Why a connection is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The hub closed it with this code (1005: none).
    Closed(u16),
    /// The socket ended without a close frame.
    Gone,
    /// The server sent what a server must not.
    Broken(Fault),
    /// The server answered the handshake with something else than its 101.
    Refused(Refusal),
    /// The server sent what its dialect hasn't, or an error that ends the connection.
    Foreign,
}

/// A time as [`Engine::now`] counts it.
pub(crate) fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

/// What a scenario is told.
pub trait Receive {
    /// A text came; `now` is the run's microsecond in which its read returned.
    fn text(&mut self, member: usize, text: &[u8], now: u64);
    /// A connection is over.
    fn ended(&mut self, member: usize, why: Ended);
}

/// All connections.
#[derive(Debug)]
pub struct Engine {
    poll: Poll,
    events: Events,
    connections: Vec<Option<Connection>>,
    buffer: Vec<u8>,
    /// Sockets that may hold more than was read of them; they make no new event.
    unread: Vec<usize>,
    started: Instant,
    mask: u32,
    dialect: Dialect,
    /// Of a dialect that has compressed messages.
    inflater: Option<Inflater>,
    /// Reads that brought something.
    pub reads: u64,
}

impl Engine {
    /// An engine without connections; the run's time begins.
    pub fn new(dialect: Dialect) -> io::Result<Engine> {
        Ok(Engine {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            connections: Vec::new(),
            buffer: vec![0; READ_BYTES],
            unread: Vec::new(),
            started: Instant::now(),
            mask: 0x9E37_79B9,
            dialect,
            inflater: dialect.inflates().then(Inflater::new),
            reads: 0,
        })
    }

    /// Microseconds of the run.
    pub fn now(&self) -> u64 {
        micros(self.started.elapsed())
    }

    /// Takes a connection in; its number counts from 0. What came with the handshake is told.
    pub fn add(&mut self, connection: Connection, receive: &mut impl Receive) -> io::Result<usize> {
        let member = self.connections.len();
        let mut connection = connection;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(connection.stream.socket(), Token(member), interest)?;
        let is_opening = connection.is_opening;
        self.connections.push(Some(connection));
        if !is_opening {
            self.flush(member);
            self.read(member, receive);
        }
        Ok(member)
    }

    /// Connections that are open.
    pub fn open(&self) -> impl Iterator<Item = usize> {
        let members = self.connections.iter().enumerate();
        members.filter(|(_, connection)| connection.is_some()).map(|(member, _)| member)
    }

    /// Adds a text to what a member sends; [`flush`](Engine::flush) sends it.
    pub fn push(&mut self, member: usize, text: &[u8]) {
        let mask = self.next_mask();
        if let Some(connection) = &mut self.connections[member] {
            frames::write(&mut connection.out, self.dialect.opcode(), text, mask);
        }
    }

    /// Says good-bye; the server's close frame ends the connection.
    pub fn leave(&mut self, member: usize) {
        self.answer(member, CLOSE, &1000u16.to_be_bytes());
    }

    /// Drops a connection as a lost network does; nobody is told.
    pub fn cut(&mut self, member: usize) {
        if let Some(mut connection) = self.connections[member].take() {
            let _ = self.poll.registry().deregister(connection.stream.socket());
        }
    }

    /// Drops a connection with a reset: what the server sends from then on is answered so too.
    pub fn reset(&mut self, member: usize) -> io::Result<()> {
        if let Some(connection) = &mut self.connections[member] {
            let socket = connection.stream.socket();
            rustix::net::sockopt::set_socket_linger(&*socket, Some(Duration::ZERO))?;
        }
        self.cut(member);
        Ok(())
    }

    /// Bytes that a member's socket has not taken yet.
    pub fn unsent(&self, member: usize) -> usize {
        self.connections[member].as_ref().map_or(0, |connection| connection.out.len())
    }

    /// Reads a connection no more: it stays open, and its socket fills.
    pub fn stall(&mut self, member: usize) -> io::Result<()> {
        match &mut self.connections[member] {
            Some(connection) => self.poll.registry().deregister(connection.stream.socket()),
            None => Ok(()),
        }
    }

    /// Reads a stalled connection again, beginning with what has gathered.
    pub fn resume(&mut self, member: usize, receive: &mut impl Receive) -> io::Result<()> {
        let Some(connection) = &mut self.connections[member] else { return Ok(()) };
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(connection.stream.socket(), Token(member), interest)?;
        self.read(member, receive);
        Ok(())
    }

    /// Sends what a member's socket takes. A broken socket shows at its next read.
    pub fn flush(&mut self, member: usize) {
        let Some(connection) = &mut self.connections[member] else { return };
        let mut sent = 0;
        while sent < connection.out.len() {
            match connection.stream.write(&connection.out[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        connection.out.drain(..sent);
        if connection.stream.has_more() {
            _ = connection.stream.flush();
        }
    }

    /// Waits for sockets, at most for `wait`, and serves each that is ready.
    pub fn turn(&mut self, wait: Duration, receive: &mut impl Receive) -> io::Result<()> {
        let unread = mem::take(&mut self.unread);
        let wait = if unread.is_empty() { wait } else { Duration::ZERO };
        for member in unread {
            self.read(member, receive);
        }
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        let events = mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let Token(member) = event.token();
            if event.is_writable() {
                self.flush(member);
            }
            if event.is_readable() || event.is_error() {
                self.read(member, receive);
            }
        }
        self.events = events;
        Ok(())
    }

    /// Reads a socket dry, since readiness is told once, or leaves it for the next turn.
    fn read(&mut self, member: usize, receive: &mut impl Receive) {
        let mut buffer = mem::take(&mut self.buffer);
        let mut full_reads = 0;
        let end = loop {
            if full_reads == FULL_READS {
                self.unread.push(member);
                break None;
            }
            let Some(connection) = &mut self.connections[member] else { break None };
            let (held, is_plain) = (connection.cut.len(), connection.stream.is_plain());
            buffer[..held].copy_from_slice(&connection.cut);
            let count = match connection.stream.read(&mut buffer[held..]) {
                Ok(0) => break Some(Ended::Gone),
                Ok(count) => count,
                // Frames that came with the handshake are told even if nothing follows.
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => break Some(Ended::Gone),
            };
            connection.cut.clear();
            self.reads += u64::from(count > 0);
            match self.take(member, &buffer[..held + count], receive) {
                Ok(taken) => {
                    let Some(connection) = &mut self.connections[member] else { break None };
                    connection.cut.extend_from_slice(&buffer[taken..held + count]);
                }
                Err(why) => break Some(why),
            }
            // A short read says that a plain socket is dry; the next bytes make a new event. TLS
            // gives a record at a time.
            if held + count < buffer.len() && (count == 0 || is_plain) {
                break None;
            }
            full_reads += 1;
        };
        self.buffer = buffer;
        if let Some(why) = end {
            self.end(member, why, receive);
        }
    }

    /// Tells what `input` holds; how many bytes that took.
    fn take(
        &mut self,
        member: usize,
        input: &[u8],
        receive: &mut impl Receive,
    ) -> Result<usize, Ended> {
        let head_bytes = match &mut self.connections[member] {
            Some(connection) if connection.is_opening => {
                let Some(end) = connection::head_end(input) else { return Ok(0) };
                if let Some(refusal) = connection::refusal(&input[..end]) {
                    return Err(Ended::Refused(refusal));
                }
                connection.is_opening = false;
                // Only now: a socket that has not connected takes no options everywhere.
                let _ = connection.stream.socket().set_nodelay(true);
                end
            }
            _ => 0,
        };
        let input = &input[head_bytes..];
        let taken = match self.dialect.is_stream() {
            false => self.take_frames(member, input, receive)?,
            true => self.take_stream(member, input, receive)?,
        };
        Ok(head_bytes + taken)
    }

    /// Tells the whole frames of `input`.
    fn take_frames(
        &mut self,
        member: usize,
        input: &[u8],
        receive: &mut impl Receive,
    ) -> Result<usize, Ended> {
        let now = self.now();
        let mut taken = 0;
        while let Some(frame) = frames::first(&input[taken..]).map_err(Ended::Broken)? {
            taken += frame.bytes;
            match frame.opcode {
                PING | PONG | CLOSE => self.take_control(member, frame)?,
                _ if self.dialect.has_lines() => {
                    for line in centrifugo::lines(frame.payload) {
                        self.take_text(member, line, now, receive)?;
                    }
                }
                _ if frame.is_deflated => self.take_deflated(member, frame, now, receive)?,
                _ => self.take_text(member, frame.payload, now, receive)?,
            }
        }
        Ok(taken)
    }

    /// Tells the text that was compressed.
    fn take_deflated(
        &mut self,
        member: usize,
        frame: frames::Frame<'_>,
        now: u64,
        receive: &mut impl Receive,
    ) -> Result<(), Ended> {
        let mut inflater = self.inflater.take().ok_or(Ended::Broken(Fault::Malformed))?;
        let taken = match inflater.inflate(frame.payload) {
            Some(text) => self.take_text(member, text, now, receive),
            None => Err(Ended::Broken(Fault::Malformed)),
        };
        self.inflater = Some(inflater);
        taken
    }

    /// Tells a text, or does what the protocol asks for.
    fn take_text(
        &mut self,
        member: usize,
        text: &[u8],
        now: u64,
        receive: &mut impl Receive,
    ) -> Result<(), Ended> {
        let Some(connection) = &self.connections[member] else { return Ok(()) };
        match self.dialect.asks(connection.seat, text) {
            Asks::TheScenario => receive.text(member, text, now),
            Asks::Answer(answer) => self.answer(member, self.dialect.opcode(), &answer),
            Asks::Nothing => {}
            Asks::TheEnd => return Err(Ended::Foreign),
        }
        Ok(())
    }

    fn take_control(&mut self, member: usize, frame: frames::Frame<'_>) -> Result<(), Ended> {
        match frame.opcode {
            PING => self.answer(member, PONG, frame.payload),
            CLOSE => {
                let code = frame.payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code));
                self.answer(member, CLOSE, frame.payload.get(..2).unwrap_or_default());
                return Err(Ended::Closed(code.unwrap_or(1005)));
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes the frames' payloads for one stream, and tells the whole operations in it.
    fn take_stream(
        &mut self,
        member: usize,
        input: &[u8],
        receive: &mut impl Receive,
    ) -> Result<usize, Ended> {
        let mut taken = 0;
        while let Some(connection) = &mut self.connections[member] {
            let rest = &input[taken..];
            if connection.frame_rest > 0 && !rest.is_empty() {
                let now = connection.frame_rest.min(rest.len() as u64) as usize;
                connection.plain.extend_from_slice(&rest[..now]);
                connection.frame_rest -= now as u64;
                taken += now;
            } else if let Some(head) = frames::stream_head(rest) {
                connection.frame_rest = head.payload_bytes;
                taken += head.bytes;
            } else if rest.first().is_some_and(|first| first & 0x0F >= CLOSE) {
                let Some(frame) = frames::first(rest).map_err(Ended::Broken)? else { break };
                taken += frame.bytes;
                self.take_control(member, frame)?;
            } else {
                break;
            }
        }
        self.take_operations(member, receive)?;
        Ok(taken)
    }

    fn take_operations(&mut self, member: usize, receive: &mut impl Receive) -> Result<(), Ended> {
        let now = self.now();
        let Some(connection) = &mut self.connections[member] else { return Ok(()) };
        let mut plain = mem::take(&mut connection.plain);
        let mut taken = 0;
        while let Some((operation, bytes)) =
            nats::first(&plain[taken..]).map_err(|_: Junk| Ended::Foreign)?
        {
            match operation {
                Operation::Message(payload) => receive.text(member, payload, now),
                Operation::Pong => receive.text(member, b"PONG", now),
                Operation::Ping => self.answer(member, BINARY, b"PONG\r\n"),
                Operation::Word => {}
                Operation::Error(_) => return Err(Ended::Foreign),
            }
            taken += bytes;
        }
        plain.drain(..taken);
        if let Some(connection) = &mut self.connections[member] {
            connection.plain = plain;
        }
        Ok(())
    }

    fn answer(&mut self, member: usize, opcode: u8, payload: &[u8]) {
        let mask = self.next_mask();
        if let Some(connection) = &mut self.connections[member] {
            frames::write(&mut connection.out, opcode, payload, mask);
        }
        self.flush(member);
    }

    fn end(&mut self, member: usize, why: Ended, receive: &mut impl Receive) {
        if let Some(mut connection) = self.connections[member].take() {
            // Dropping the socket takes it off the epoll too; a failure here changes nothing.
            let _ = self.poll.registry().deregister(connection.stream.socket());
            receive.ended(member, why);
        }
    }

    /// Xorshift: RFC 6455 wants keys that differ, a load generator needs them cheap.
    fn next_mask(&mut self) -> [u8; 4] {
        self.mask ^= self.mask << 13;
        self.mask ^= self.mask >> 17;
        self.mask ^= self.mask << 5;
        self.mask.to_ne_bytes()
    }
}
