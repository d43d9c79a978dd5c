//! The floor that servers are held against: the least that fan-out takes on one thread. It writes
//! what a member sent to everybody in its space, all that has gathered in one send.
//!
//! No message is looked into, given an id, bounded, counted or stored, nobody is announced, and a
//! member that stops reading is waited for. It serves this generator and nobody else: the accept
//! key is the one to its fixed key. Owns its listener's connections until their peers go.

use std::io::{self, ErrorKind, Read, Write};
use std::mem;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::client::connection::{self, head_end};
use crate::client::frames::{self, CLOSE};

const LISTENER: Token = Token(usize::MAX);
const EVENTS: usize = 1024;
const READ_BYTES: usize = 64 * 1024;
/// A space's bytes that everybody has read are dropped when they are this many.
const DROP_BYTES: usize = 1024 * 1024;
/// Tells a member that it is in.
const WELCOME: &[u8] = b"\x81\x12{\"type\":\"welcome\"}";

/// Serves for ever.
pub fn serve(mut listener: TcpListener) -> io::Result<()> {
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut floor = Floor { poll, members: Vec::new(), spaces: Vec::new(), due: Vec::new() };
    let mut events = Events::with_capacity(EVENTS);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match floor.poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            match event.token() {
                LISTENER => floor.accept(&listener)?,
                Token(member) => {
                    if event.is_writable() {
                        floor.unblock(member);
                    }
                    floor.read(member, event.is_read_closed(), &mut buffer);
                }
            }
        }
        for space in mem::take(&mut floor.due) {
            floor.sweep(space);
        }
    }
}

struct Floor {
    poll: Poll,
    members: Vec<Option<Member>>,
    spaces: Vec<Space>,
    /// Spaces with something that somebody has not been sent.
    due: Vec<usize>,
}

struct Member {
    stream: TcpStream,
    /// `None` until the handshake is read.
    space: Option<usize>,
    cut: Vec<u8>,
    /// How much of its space's bytes it has been sent.
    cursor: usize,
    is_blocked: bool,
}

struct Space {
    number: i64,
    bytes: Vec<u8>,
    members: Vec<usize>,
    is_due: bool,
}

impl Floor {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let token = Token(self.members.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, token, interest)?;
            let (space, cut, cursor) = (None, Vec::new(), 0);
            self.members.push(Some(Member { stream, space, cut, cursor, is_blocked: false }));
        }
    }

    fn unblock(&mut self, at: usize) {
        if let Some(member) = &mut self.members[at]
            && mem::take(&mut member.is_blocked)
            && let Some(space) = member.space
        {
            self.make_due(space);
        }
    }

    fn make_due(&mut self, space: usize) {
        if !mem::replace(&mut self.spaces[space].is_due, true) {
            self.due.push(space);
        }
    }

    /// Reads a member's socket dry, to its end where that is there; then the member is dropped.
    fn read(&mut self, at: usize, is_ended: bool, buffer: &mut [u8]) {
        loop {
            let Some(member) = &mut self.members[at] else { return };
            let held = mem::take(&mut member.cut);
            buffer[..held.len()].copy_from_slice(&held);
            let count = match member.stream.read(&mut buffer[held.len()..]) {
                Ok(count) if count > 0 => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    member.cut = held;
                    return;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    member.cut = held;
                    continue;
                }
                _ => return self.leave(at),
            };
            let end = held.len() + count;
            match self.take(at, &mut buffer[..end]) {
                Some(taken) => {
                    if let Some(member) = &mut self.members[at] {
                        member.cut.extend_from_slice(&buffer[taken..end]);
                    }
                }
                None => return self.leave(at),
            }
            if end < buffer.len() && !is_ended {
                return;
            }
        }
    }

    /// Takes what is whole; how much that was, or nothing where the member goes.
    fn take(&mut self, at: usize, input: &mut [u8]) -> Option<usize> {
        let mut taken = 0;
        let space = match self.members[at].as_ref()?.space {
            Some(space) => space,
            None => {
                let Some(end) = head_end(input) else { return Some(0) };
                taken = end;
                self.join(at, &input[..end])?
            }
        };
        while let Some(frame) = frames::first_masked(&mut input[taken..]) {
            if frame.opcode == CLOSE {
                return None;
            }
            let out = &mut self.spaces[space].bytes;
            frames::write_head(out, frame.opcode, frame.payload.len());
            out.extend_from_slice(frame.payload);
            taken += frame.bytes;
            self.make_due(space);
        }
        Some(taken)
    }

    /// Answers the handshake; the member's space.
    fn join(&mut self, at: usize, head: &[u8]) -> Option<usize> {
        let path = std::str::from_utf8(head).ok()?.strip_prefix("GET /v1/ws/spaces/")?;
        let number = path.split(['?', ' ']).next()?.parse().ok()?;
        let known = self.spaces.iter().position(|space| space.number == number);
        let space = known.unwrap_or_else(|| {
            let (bytes, members) = (Vec::new(), Vec::new());
            self.spaces.push(Space { number, bytes, members, is_due: false });
            self.spaces.len() - 1
        });
        let member = self.members[at].as_mut()?;
        member.space = Some(space);
        member.cursor = self.spaces[space].bytes.len();
        self.spaces[space].members.push(at);
        let answer = [connection::switching_protocols().as_bytes(), WELCOME].concat();
        // A new socket takes that much.
        (member.stream.write(&answer).ok()? == answer.len()).then_some(space)
    }

    fn leave(&mut self, at: usize) {
        if let Some(Member { space: Some(space), .. }) = self.members[at].take() {
            self.spaces[space].members.retain(|member| *member != at);
        }
    }

    fn sweep(&mut self, at: usize) {
        let Floor { spaces, members, .. } = self;
        let space = &mut spaces[at];
        space.is_due = false;
        let (mut gone, mut lowest) = (Vec::new(), space.bytes.len());
        for at in &space.members {
            let Some(member) = &mut members[*at] else { continue };
            if !member.send(&space.bytes) {
                gone.push(*at);
            }
            lowest = lowest.min(member.cursor);
        }
        if lowest == space.bytes.len() || lowest >= DROP_BYTES {
            space.bytes.drain(..lowest);
            for at in &space.members {
                members[*at].iter_mut().for_each(|member| member.cursor -= lowest);
            }
        }
        for at in gone {
            self.leave(at);
        }
    }
}

impl Member {
    /// Sends what it has not been sent, until its socket takes no more; whether it is still there.
    fn send(&mut self, bytes: &[u8]) -> bool {
        while !self.is_blocked && self.cursor < bytes.len() {
            match self.stream.write(&bytes[self.cursor..]) {
                Ok(count) => self.cursor += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_blocked = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}
