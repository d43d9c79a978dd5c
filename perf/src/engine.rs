//! All connections on one epoll: reads into one shared buffer, finds the frames, answers pings,
//! and sends what a scenario asks.
//!
//! The engine knows nothing of chats; a scenario implements [`Receive`]. It never blocks on a
//! socket, and it never drops a frame: what a socket doesn't take waits in its connection.

use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::client::Connection;
use crate::frames::{self, CLOSE, Fault, PING, PONG, TEXT};

/// Room for a few hundred frames: one read takes what has gathered.
const READ_BYTES: usize = 256 * 1024;
const EVENTS: usize = 1024;
/// After so many full reads of one socket the others have their turn.
const FULL_READS: usize = 4;
const _: () = assert!(READ_BYTES as u64 > frames::PAYLOAD_BYTES_MAX + 16, "a frame fits a read");

/// Why a connection is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The hub closed it with this code (1005: none).
    Closed(u16),
    /// The socket ended without a close frame.
    Gone,
    /// The hub sent what a server must not.
    Broken(Fault),
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
    /// Reads that brought something.
    pub reads: u64,
}

impl Engine {
    /// An engine without connections; the run's time begins.
    pub fn new() -> io::Result<Engine> {
        Ok(Engine {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            connections: Vec::new(),
            buffer: vec![0; READ_BYTES],
            unread: Vec::new(),
            started: Instant::now(),
            mask: 0x9E37_79B9,
            reads: 0,
        })
    }

    /// Microseconds of the run.
    pub fn now(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// Takes a connection in; its number counts from 0. What came with the handshake is told.
    pub fn add(&mut self, connection: Connection, receive: &mut impl Receive) -> io::Result<usize> {
        let member = self.connections.len();
        let mut connection = connection;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut connection.stream, Token(member), interest)?;
        self.connections.push(Some(connection));
        self.read(member, receive);
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
            frames::write(&mut connection.out, TEXT, text, mask);
        }
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
    }

    /// Waits for sockets, at most so long, and serves each that is ready.
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
            let held = connection.cut.len();
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
            match self.take_frames(member, &buffer[..held + count], receive) {
                Ok(taken) => {
                    let Some(connection) = &mut self.connections[member] else { break None };
                    connection.cut.extend_from_slice(&buffer[taken..held + count]);
                }
                Err(why) => break Some(why),
            }
            // A short read says that the socket is dry; the next bytes make a new event.
            if held + count < buffer.len() {
                break None;
            }
            full_reads += 1;
        };
        self.buffer = buffer;
        if let Some(why) = end {
            self.end(member, why, receive);
        }
    }

    /// Tells the whole frames of `input`; how many bytes they took.
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
                PING => self.answer(member, PONG, frame.payload),
                PONG => {}
                CLOSE => {
                    let code =
                        frame.payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code));
                    self.answer(member, CLOSE, frame.payload.get(..2).unwrap_or_default());
                    return Err(Ended::Closed(code.unwrap_or(1005)));
                }
                _ => receive.text(member, frame.payload, now),
            }
        }
        Ok(taken)
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
            let _ = self.poll.registry().deregister(&mut connection.stream);
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
