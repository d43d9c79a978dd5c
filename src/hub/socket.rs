//! The sockets of one shard's members: reading into the shard's one buffer, sending without
//! waiting, and waking a member's read task when its full socket takes bytes again.
//!
//! Owns the streams and the frame readers, slot by slot as the shard's arena has its members.

use std::io::{ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use super::directory::Permit;
use crate::shard::event::{MemberKey, Sent, Sockets};
use crate::wire::header::Reader;

/// One member's socket.
#[derive(Debug)]
pub(super) struct Socket {
    generation: u32,
    stream: TcpStream,
    /// The peer's frames; what is cut is kept there.
    pub reader: Reader,
    /// Wakes the member's read task.
    waker: Waker,
    /// The sweep waits for it to be writable.
    armed: bool,
    /// The peer said goodbye or broke the protocol: what it still sends is thrown away.
    pub deaf: bool,
    /// Its place among the connections, given back when the socket is dropped.
    _permit: Permit,
}

/// What became of a read.
#[derive(Debug)]
pub(super) enum Read {
    /// So many bytes are in the buffer.
    Bytes(usize),
    /// The peer's side is over: closed or broken.
    Ended,
    /// Nothing more now; the read task will be woken.
    Pending,
}

/// The sockets of a shard, by the slots of its members.
#[derive(Default, Debug)]
pub(super) struct SocketTable {
    slots: Vec<Option<Socket>>,
}

impl SocketTable {
    /// Takes a member's socket in.
    pub(super) fn insert(&mut self, member: MemberKey, stream: TcpStream, permit: Permit) {
        let slot = member.slot as usize;
        if slot >= self.slots.len() {
            self.slots.resize_with(slot + 1, || None);
        }
        self.slots[slot] = Some(Socket {
            generation: member.generation,
            stream,
            reader: Reader::default(),
            waker: Waker::noop().clone(),
            armed: false,
            deaf: false,
            _permit: permit,
        });
    }

    /// Ends a socket: it is closed here, and its read task ends.
    pub(super) fn remove(&mut self, member: MemberKey) {
        if self.get_mut(member).is_some()
            && let Some(socket) = self.slots[member.slot as usize].take()
        {
            socket.waker.wake();
        }
    }

    /// A member's socket.
    pub(super) fn get_mut(&mut self, member: MemberKey) -> Option<&mut Socket> {
        let socket = self.slots.get_mut(member.slot as usize)?.as_mut()?;
        (socket.generation == member.generation).then_some(socket)
    }

    /// Has a member's read task run again.
    pub(super) fn wake(&mut self, member: MemberKey) {
        if let Some(socket) = self.get_mut(member) {
            socket.waker.wake_by_ref();
        }
    }
}

impl Socket {
    /// Notes whom to wake.
    pub(super) fn watch(&mut self, context: &Context<'_>) {
        if !self.waker.will_wake(context.waker()) {
            self.waker = context.waker().clone();
        }
    }

    /// Whether an armed socket takes bytes again; asks to be woken if not.
    pub(super) fn poll_writable(&mut self, context: &mut Context<'_>) -> bool {
        if self.armed && self.stream.poll_write_ready(context).is_ready() {
            self.armed = false;
            return true;
        }
        false
    }

    /// Reads what is there. A short read needs no second one to see that there is no more.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Read {
        let mut buffer = ReadBuf::new(buffer);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Pending => Read::Pending,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                Read::Bytes(buffer.filled().len())
            }
            Poll::Ready(_) => Read::Ended,
        }
    }
}

fn sent(result: std::io::Result<usize>) -> Sent {
    match result {
        Ok(0) => Sent::Broken,
        Ok(bytes) => Sent::Bytes(bytes),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Sent::Blocked,
        Err(_) => Sent::Broken,
    }
}

impl Sockets for SocketTable {
    fn send(&mut self, member: MemberKey, bytes: &[u8]) -> Sent {
        match self.get_mut(member) {
            Some(socket) => sent(socket.stream.try_write(bytes)),
            None => Sent::Broken,
        }
    }

    fn sendv(&mut self, member: MemberKey, first: &[u8], second: &[u8]) -> Sent {
        match self.get_mut(member) {
            Some(socket) => {
                let pieces = [IoSlice::new(first), IoSlice::new(second)];
                sent(socket.stream.try_write_vectored(&pieces))
            }
            None => Sent::Broken,
        }
    }

    fn finish(&mut self, member: MemberKey) {
        if let Some(socket) = self.get_mut(member) {
            // If the peer is gone already, its reader says so.
            _ = socket2::SockRef::from(&socket.stream).shutdown(std::net::Shutdown::Write);
        }
    }

    fn arm(&mut self, member: MemberKey) {
        let Some(socket) = self.get_mut(member) else { return };
        socket.armed = true;
        let waker = socket.waker.clone();
        // Registers the read task for writability; it may have come just now.
        if socket.stream.poll_write_ready(&mut Context::from_waker(&waker)).is_ready() {
            waker.wake();
        }
    }
}
