//! The sockets of one shard's members: which of them are ready, reading into the shard's one
//! buffer, and sending without waiting.
//!
//! Owns the streams, their TLS and the frame readers, slot by slot as the shard's arena has its
//! members, and an epoll that tells which are ready. The runtime watches that epoll as one file: a
//! member costs it nothing, and has no task.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read as _, Write as _};
use std::mem;
use std::task::{Context, Poll};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Token};
use socket2::SockRef;
use tokio::io::unix::AsyncFd;

use super::directory::Permit;
use crate::limits::{CLOSED_SOCKETS_MAX, ENDED_SOCKETS_MAX, QUEUED_SOCKETS_MAX, READY_SOCKETS_MAX};
use crate::shard::event::{MemberKey, PIECES, Sent, Sockets};
use crate::wire::frame_reader::Reader;

mod leaving;
mod session;

pub(super) use leaving::Leaving;
use session::Flushed;
pub(crate) use session::{Link, Session};

/// One member's socket.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    generation: u32,
    /// The sweep waits for it to be writable.
    armed: bool,
    /// The peer's side is over; what it sent before may still have to be read.
    ended: bool,
    /// It was ready while its member could not be read: nothing will tell of that again.
    deferred: bool,
    /// It is among those to be read again.
    queued: bool,
    /// The table has a session for it.
    is_sealed: bool,
    /// Bytes that its peer has sent and nobody reads.
    thrown_away: u32,
    /// The peer said goodbye or broke the protocol: what it still sends is thrown away.
    pub deaf: bool,
    /// The peer's frames; what is cut is kept there.
    pub reader: Reader,
    /// Its place among the connections, given back when the socket is dropped.
    pub permit: Permit,
}

/// What became of a read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Read {
    /// So many bytes are in the buffer, and there may be more.
    Bytes(usize),
    /// So many bytes are in the buffer, and that was all.
    Drained(usize),
    /// So many bytes came, none of them for the hub: a part of a record, or TLS' own.
    Hidden(usize),
    /// The peer's side is over: closed or broken.
    Ended,
    /// There is nothing.
    WouldBlock,
}

/// What a socket is ready for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    /// The member whose socket it is.
    pub member: MemberKey,
    /// It may have something to be read.
    pub readable: bool,
    /// It takes bytes.
    pub writable: bool,
    /// Its peer's side is over.
    pub ended: bool,
}

/// The sockets of a shard, by the slots of its members.
#[derive(Debug)]
pub(super) struct SocketTable {
    slots: Vec<Option<Socket>>,
    /// The TLS of those that have any; beside them, so that plain ones pay nothing for it.
    sessions: Vec<Option<Box<Session>>>,
    epoll: AsyncFd<mio::Poll>,
    events: Events,
    /// To be read though the epoll does not tell of them: it tells only of what is new. Each once.
    queue: VecDeque<MemberKey>,
    /// Those whose peers have ended, a few of which are taken at a time: where thousands leave at
    /// once, the others are served between them.
    ended: VecDeque<Ready>,
    /// Sockets of members that are no more, to be closed a few at a time: the kernel needs a while
    /// to give back what a peer sent and nobody read.
    closing: VecDeque<Socket>,
    /// The member whose socket was in hand last.
    in_hand: Option<MemberKey>,
}

impl SocketTable {
    /// An empty table with room for this many. Within a runtime.
    pub(super) fn with_room(sockets: usize) -> io::Result<SocketTable> {
        #[expect(deprecated, reason = "its successor is unsafe; a Poll keeps its one descriptor")]
        let epoll = AsyncFd::with_interest(mio::Poll::new()?, tokio::io::Interest::READABLE)?;
        Ok(SocketTable {
            slots: Vec::with_capacity(sockets),
            sessions: Vec::new(),
            epoll,
            events: Events::with_capacity(READY_SOCKETS_MAX),
            queue: VecDeque::new(),
            ended: VecDeque::new(),
            closing: VecDeque::new(),
            in_hand: None,
        })
    }

    /// Takes a member's socket in.
    pub(super) fn insert(
        &mut self,
        member: MemberKey,
        link: Link,
        permit: Permit,
    ) -> io::Result<()> {
        let mut stream = TcpStream::from_std(link.stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.epoll.get_ref().registry().register(&mut stream, token(member), interest)?;
        let slot = member.slot as usize;
        if slot >= self.slots.len() {
            self.slots.resize_with(slot + 1, || None);
        }
        self.slots[slot] = Some(Socket {
            stream,
            generation: member.generation,
            armed: false,
            ended: false,
            deferred: false,
            queued: false,
            is_sealed: link.session.is_some(),
            thrown_away: 0,
            deaf: false,
            reader: Reader::default(),
            permit,
        });
        if let Some(session) = link.session {
            if slot >= self.sessions.len() {
                self.sessions.resize_with(slot + 1, || None);
            }
            self.sessions[slot] = Some(session);
            // It may hold what came with the handshake, of which the epoll knows nothing.
            self.read_again(member);
        }
        Ok(())
    }

    /// Ends a socket: [`SocketTable::close`] closes it.
    pub(super) fn remove(&mut self, member: MemberKey) {
        if let Some(socket) = self.get_mut(member) {
            let is_sealed = socket.is_sealed;
            self.closing.extend(self.slots[member.slot as usize].take());
            if is_sealed {
                self.sessions[member.slot as usize] = None;
            }
        }
    }

    /// Closes some of those that are removed, and the epoll forgets them. Says whether there are
    /// more.
    pub(super) fn close(&mut self) -> bool {
        let some = self.closing.len().min(CLOSED_SOCKETS_MAX);
        for socket in self.closing.drain(..some).filter(|socket| socket.armed) {
            // The kernel would keep for minutes what a peer does not take.
            _ = SockRef::from(&socket.stream).set_linger(Some(Duration::ZERO));
        }
        !self.closing.is_empty()
    }

    /// A member's socket.
    pub(super) fn get_mut(&mut self, member: MemberKey) -> Option<&mut Socket> {
        let socket = self.slots.get_mut(member.slot as usize)?.as_mut()?;
        (socket.generation == member.generation).then_some(socket)
    }

    /// A member's socket, and its TLS.
    fn parts(&mut self, member: MemberKey) -> Option<(&mut Socket, Option<&mut Session>)> {
        self.in_hand = Some(member);
        let slot = member.slot as usize;
        let socket = self.slots.get_mut(slot)?.as_mut()?;
        if socket.generation != member.generation {
            return None;
        }
        let session = if socket.is_sealed { self.sessions[slot].as_deref_mut() } else { None };
        Some((socket, session))
    }

    /// Notes that a socket is ready; says whether the sweep waited for that.
    pub(super) fn note(&mut self, ready: Ready) -> bool {
        let Some((socket, session)) = self.parts(ready.member) else { return false };
        socket.ended |= ready.ended;
        if !ready.writable {
            return false;
        }
        // What is sealed already goes first, and takes it all the same.
        if let Some(session) = session
            && session.flush(&mut socket.stream) != Flushed::All
        {
            return false;
        }
        mem::take(&mut socket.armed)
    }

    /// Reads what a member's socket has.
    pub(super) fn read(&mut self, member: MemberKey, buffer: &mut [u8]) -> Read {
        match self.parts(member) {
            Some((socket, None)) => socket.read(buffer),
            Some((socket, Some(session))) => session.read(&mut socket.stream, socket.ended, buffer),
            None => Read::WouldBlock,
        }
    }

    /// Has a member's socket be among the ready ones again, though it tells nothing new.
    pub(super) fn read_again(&mut self, member: MemberKey) {
        if let Some(socket) = self.get_mut(member)
            && !mem::replace(&mut socket.queued, true)
        {
            self.queue.push_back(member);
        }
    }

    /// Reads a socket again that was ready while its member could not be read.
    pub(super) fn read_deferred(&mut self, member: MemberKey) {
        if self.get_mut(member).is_some_and(|socket| mem::take(&mut socket.deferred)) {
            self.read_again(member);
        }
    }

    /// Whether some are to be read that nothing will tell of.
    pub(super) fn has_queued(&self) -> bool {
        !self.queue.is_empty() || !self.ended.is_empty()
    }

    /// Adds some of those whose peers have ended.
    fn take_ended(&mut self, found: &mut Vec<Ready>) {
        let some = self.ended.len().min(ENDED_SOCKETS_MAX);
        found.extend(self.ended.drain(..some));
    }

    /// Adds the sockets that are ready, a bounded number; a task that finds none is woken for the
    /// next. Some may be of members that are no more.
    pub(super) fn poll_ready(
        &mut self,
        context: &mut Context<'_>,
        found: &mut Vec<Ready>,
    ) -> Poll<io::Result<()>> {
        // Those of members that are no more don't count: behind them one may wait that is.
        while found.len() < QUEUED_SOCKETS_MAX
            && let Some(member) = self.queue.pop_front()
        {
            if let Some(socket) = self.get_mut(member) {
                socket.queued = false;
                found.push(Ready { member, readable: true, writable: false, ended: false });
            }
        }
        self.take_ended(found);
        loop {
            let mut guard = match self.epoll.poll_read_ready_mut(context) {
                Poll::Ready(guard) => guard?,
                Poll::Pending => {
                    if found.is_empty() {
                        self.take_ended(found);
                    }
                    return if found.is_empty() { Poll::Pending } else { Poll::Ready(Ok(())) };
                }
            };
            match guard.get_inner_mut().poll(&mut self.events, Some(Duration::ZERO)) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Poll::Ready(Err(error)),
            }
            let mut told = 0;
            for event in &self.events {
                told += 1;
                let ended = event.is_read_closed() || event.is_error();
                let (member, readable) = (member(event.token()), event.is_readable() || ended);
                let ready = Ready { member, readable, writable: event.is_writable(), ended };
                if ended { self.ended.push_back(ready) } else { found.push(ready) }
            }
            if told < READY_SOCKETS_MAX {
                // All that was: the runtime is to tell of what comes from here on.
                guard.clear_ready();
            }
            if !found.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// A member's key as the epoll knows it.
fn token(member: MemberKey) -> Token {
    Token((member.generation as usize) << 32 | member.slot as usize)
}

fn member(Token(token): Token) -> MemberKey {
    MemberKey { slot: token as u32, generation: (token >> 32) as u32 }
}

// Both halves of a key go into a token.
const _: () = assert!(size_of::<Token>() == 8);

impl Socket {
    /// Whether its turn to be read comes anyway.
    pub(super) fn is_queued(&self) -> bool {
        self.queued
    }

    /// Whether the peer's side is over.
    pub(super) fn is_over(&self) -> bool {
        self.ended
    }

    /// Notes that it is ready while its member can't be read.
    pub(super) fn defer(&mut self) {
        self.deferred = true;
    }

    /// Notes that bytes came for nobody. Returns the number of all of those.
    pub(super) fn throw_away(&mut self, bytes: usize) -> u32 {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.thrown_away = self.thrown_away.saturating_add(bytes);
        self.thrown_away
    }

    /// Reads what is there. A short read needs no second one to see that there is no more, unless
    /// the end is there too.
    fn read(&mut self, buffer: &mut [u8]) -> Read {
        loop {
            return match self.stream.read(buffer) {
                Ok(0) => Read::Ended,
                Ok(bytes) if bytes < buffer.len() && !self.ended => Read::Drained(bytes),
                Ok(bytes) => Read::Bytes(bytes),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Read::WouldBlock,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => Read::Ended,
            };
        }
    }
}

fn sent(result: io::Result<usize>) -> Sent {
    match result {
        Ok(0) => Sent::Broken,
        Ok(bytes) => Sent::Bytes(bytes),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Sent::Blocked,
        Err(_) => Sent::Broken,
    }
}

impl Sockets for SocketTable {
    fn send(&mut self, member: MemberKey, bytes: &[u8]) -> Sent {
        match self.parts(member) {
            Some((socket, None)) => sent(socket.stream.write(bytes)),
            Some((socket, Some(session))) => {
                session.send(&mut socket.stream, &[IoSlice::new(bytes)])
            }
            None => Sent::Broken,
        }
    }

    fn sendv(&mut self, member: MemberKey, pieces: [&[u8]; PIECES]) -> Sent {
        let pieces = pieces.map(IoSlice::new);
        match self.parts(member) {
            Some((socket, None)) => sent(socket.stream.write_vectored(&pieces)),
            Some((socket, Some(session))) => session.send(&mut socket.stream, &pieces),
            None => Sent::Broken,
        }
    }

    fn finish(&mut self, member: MemberKey) {
        match self.parts(member) {
            // If the peer is gone already, the next read shows it.
            Some((socket, None)) => _ = socket.stream.shutdown(std::net::Shutdown::Write),
            Some((socket, Some(session))) => session.finish(&mut socket.stream),
            None => {}
        }
    }

    fn arm(&mut self, member: MemberKey) {
        // The kernel tells when a socket that refused bytes takes them again, once.
        if let Some(socket) = self.get_mut(member) {
            socket.armed = true;
        }
    }
}

#[cfg(test)]
mod tests;
