//! The sockets of one shard's members: which of them are ready, reading into the shard's one
//! buffer, and sending without waiting.
//!
//! Owns the streams and the frame readers, slot by slot as the shard's arena has its members, and
//! an epoll that tells which are ready. The runtime watches that epoll as one file: a member costs
//! it nothing, and has no task.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read as _, Write as _};
use std::mem;
use std::task::{Context, Poll};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Token};
use tokio::io::unix::AsyncFd;

use super::directory::Permit;
use crate::limits::{ENDED_SOCKETS_MAX, READY_SOCKETS_MAX};
use crate::shard::event::{MemberKey, PIECES, Sent, Sockets};
use crate::wire::frame_reader::Reader;

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
    epoll: AsyncFd<mio::Poll>,
    events: Events,
    /// To be read though the epoll does not tell of them: it tells only of what is new. Each once.
    queue: VecDeque<MemberKey>,
    /// Those whose peers have ended, a few of which are taken at a time: where thousands leave at
    /// once, the others are served between them.
    ended: VecDeque<Ready>,
}

impl SocketTable {
    /// An empty table with room for this many. Within a runtime.
    pub(super) fn with_room(sockets: usize) -> io::Result<SocketTable> {
        #[expect(deprecated, reason = "its successor is unsafe; a Poll keeps its one descriptor")]
        let epoll = AsyncFd::with_interest(mio::Poll::new()?, tokio::io::Interest::READABLE)?;
        Ok(SocketTable {
            slots: Vec::with_capacity(sockets),
            epoll,
            events: Events::with_capacity(READY_SOCKETS_MAX),
            queue: VecDeque::new(),
            ended: VecDeque::new(),
        })
    }

    /// Takes a member's socket in.
    pub(super) fn insert(
        &mut self,
        member: MemberKey,
        stream: std::net::TcpStream,
        permit: Permit,
    ) -> io::Result<()> {
        let mut stream = TcpStream::from_std(stream);
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
            deaf: false,
            reader: Reader::default(),
            permit,
        });
        Ok(())
    }

    /// Ends a socket: it is closed here, and the epoll forgets it.
    pub(super) fn remove(&mut self, member: MemberKey) {
        if self.get_mut(member).is_some() {
            self.slots[member.slot as usize] = None;
        }
    }

    /// A member's socket.
    pub(super) fn get_mut(&mut self, member: MemberKey) -> Option<&mut Socket> {
        let socket = self.slots.get_mut(member.slot as usize)?.as_mut()?;
        (socket.generation == member.generation).then_some(socket)
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
        while found.len() < READY_SOCKETS_MAX
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
    /// Notes that it is ready; says whether the sweep waited for that.
    pub(super) fn note(&mut self, ready: Ready) -> bool {
        self.ended |= ready.ended;
        ready.writable && mem::take(&mut self.armed)
    }

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

    /// Reads what is there. A short read needs no second one to see that there is no more, unless
    /// the end is there too.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Read {
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
        match self.get_mut(member) {
            Some(socket) => sent(socket.stream.write(bytes)),
            None => Sent::Broken,
        }
    }

    fn sendv(&mut self, member: MemberKey, pieces: [&[u8]; PIECES]) -> Sent {
        match self.get_mut(member) {
            Some(socket) => sent(socket.stream.write_vectored(&pieces.map(IoSlice::new))),
            None => Sent::Broken,
        }
    }

    fn finish(&mut self, member: MemberKey) {
        if let Some(socket) = self.get_mut(member) {
            // If the peer is gone already, the next read shows it.
            _ = socket.stream.shutdown(std::net::Shutdown::Write);
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
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::hub::directory::Directory;
    use crate::limits::Limits;
    use crate::wire::UserId;
    use std::future::poll_fn;
    use std::net::{Ipv4Addr, TcpListener};

    const MEMBER: MemberKey = MemberKey { slot: 3, generation: 7 };

    /// Runs with a table that has one member's socket, and its peer.
    fn with_member<F: Future>(run: impl FnOnce(SocketTable, std::net::TcpStream) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            let peer = std::net::TcpStream::connect(listener.local_addr().expect("an address"));
            let (stream, _) = listener.accept().expect("the peer");
            stream.set_nonblocking(true).expect("an option");
            let permit = Directory::new(Limits::default(), Clock::start())
                .reserve(UserId(1), Ipv4Addr::LOCALHOST.into())
                .expect("room for one");
            let mut table = SocketTable::with_room(1).expect("an epoll");
            table.insert(MEMBER, stream, permit).expect("a socket");
            // Each new socket is told of once, as writable.
            let ready = next(&mut table).await;
            assert!(ready.writable && !ready.readable, "{ready:?}");
            assert!(is_quiet(&mut table).await);
            run(table, peer.expect("a connection")).await;
        });
    }

    async fn next(table: &mut SocketTable) -> Ready {
        let mut found = Vec::new();
        poll_fn(|context| table.poll_ready(context, &mut found)).await.expect("an epoll");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].member, MEMBER);
        found[0]
    }

    async fn is_quiet(table: &mut SocketTable) -> bool {
        tokio::task::yield_now().await;
        let mut found = Vec::new();
        poll_fn(|context| Poll::Ready(table.poll_ready(context, &mut found).is_pending())).await
    }

    fn read(table: &mut SocketTable) -> Read {
        table.get_mut(MEMBER).expect("the member").read(&mut [0; 16])
    }

    #[test]
    fn a_socket_is_told_of_once_for_what_it_has() {
        with_member(|mut table, mut peer| async move {
            for _ in 0..3 {
                peer.write_all(b"five!").expect("it takes them");
                let ready = next(&mut table).await;
                assert!(ready.readable && !ready.ended, "{ready:?}");
                assert!(matches!(read(&mut table), Read::Drained(5)));
                assert!(is_quiet(&mut table).await);
            }
        });
    }

    #[test]
    fn an_end_is_read_behind_what_came_before_it() {
        with_member(|mut table, mut peer| async move {
            peer.write_all(b"bye").expect("it takes them");
            drop(peer);
            loop {
                let ready = next(&mut table).await;
                table.get_mut(MEMBER).expect("the member").note(ready);
                if ready.ended {
                    break;
                }
            }
            assert!(matches!(read(&mut table), Read::Bytes(3)));
            assert!(matches!(read(&mut table), Read::Ended));
        });
    }

    #[test]
    fn a_full_socket_is_told_of_when_it_takes_bytes_again() {
        with_member(|mut table, mut peer| async move {
            let chunk = [b'x'; 64 << 10];
            while matches!(table.send(MEMBER, &chunk), Sent::Bytes(_)) {}
            table.arm(MEMBER);
            assert!(is_quiet(&mut table).await);
            let taker = std::thread::spawn(move || {
                let mut chunk = [0; 64 << 10];
                while peer.read(&mut chunk).is_ok_and(|bytes| bytes > 0) {}
            });
            let ready = next(&mut table).await;
            let socket = table.get_mut(MEMBER).expect("the member");
            assert!(socket.note(ready), "the sweep waits for it");
            assert!(!socket.note(ready), "once");
            assert!(matches!(table.send(MEMBER, &chunk), Sent::Bytes(_)));
            table.remove(MEMBER);
            taker.join().expect("the peer sees the end");
        });
    }

    #[test]
    fn what_was_held_back_comes_again_once() {
        with_member(|mut table, mut peer| async move {
            table.read_deferred(MEMBER);
            assert!(is_quiet(&mut table).await, "nothing was held back");
            peer.write_all(b"five!").expect("it takes them");
            next(&mut table).await;
            table.get_mut(MEMBER).expect("the member").defer();
            assert!(is_quiet(&mut table).await);
            table.read_deferred(MEMBER);
            assert!(next(&mut table).await.readable);
            assert!(matches!(read(&mut table), Read::Drained(5)));
            table.read_deferred(MEMBER);
            assert!(is_quiet(&mut table).await);
        });
    }

    #[test]
    fn a_socket_waits_for_its_next_turn_once_however_often_that_is_asked() {
        with_member(|mut table, mut peer| async move {
            assert!(!table.has_queued());
            table.read_again(MEMBER);
            table.read_again(MEMBER);
            table.get_mut(MEMBER).expect("the member").defer();
            table.read_deferred(MEMBER);
            peer.write_all(b"five!").expect("it takes them");
            assert!(table.has_queued() && table.get_mut(MEMBER).expect("the member").is_queued());
            let mut found = Vec::new();
            poll_fn(|context| table.poll_ready(context, &mut found)).await.expect("an epoll");
            // As it was queued, and perhaps as the epoll has it already.
            assert!((1..=2).contains(&found.len()), "{found:?}");
            assert!(!table.has_queued() && !table.get_mut(MEMBER).expect("it").is_queued());
        });
    }

    #[test]
    fn a_socket_that_waits_behind_many_closed_ones_is_not_forgotten() {
        with_member(|mut table, _peer| async move {
            table.queue.extend(
                (0..2 * READY_SOCKETS_MAX as u32).map(|slot| MemberKey { slot, generation: 0 }),
            );
            table.read_again(MEMBER);
            assert!(!is_quiet(&mut table).await);
            assert!(table.queue.is_empty());
        });
    }

    #[test]
    fn a_crowd_that_has_left_is_taken_a_few_at_a_time_beside_those_who_speak() {
        with_member(|mut table, mut peer| async move {
            let left = |slot| {
                let member = MemberKey { slot, generation: 0 };
                Ready { member, readable: true, writable: false, ended: true }
            };
            table.ended.extend((0..9 * ENDED_SOCKETS_MAX as u32).map(left));
            peer.write_all(b"five!").expect("it takes them");
            let (mut passes, mut spoke_at) = (0, None);
            while table.has_queued() {
                tokio::task::yield_now().await;
                let mut found = Vec::new();
                poll_fn(|context| table.poll_ready(context, &mut found)).await.expect("an epoll");
                passes += 1;
                let spoke = found.iter().filter(|ready| ready.member == MEMBER).count();
                assert_eq!(found.len(), ENDED_SOCKETS_MAX + spoke);
                spoke_at = spoke_at.or((spoke > 0).then_some(passes));
            }
            assert_eq!(passes, 9);
            assert!(spoke_at.is_some_and(|pass| pass < passes), "{spoke_at:?}");
        });
    }

    #[test]
    fn a_slots_next_member_does_not_get_the_last_ones_events() {
        with_member(|mut table, mut peer| async move {
            peer.write_all(b"five!").expect("it takes them");
            assert_eq!(next(&mut table).await.member, MEMBER);
            let later = MemberKey { generation: 8, ..MEMBER };
            assert!(table.get_mut(later).is_none());
            assert!(matches!(table.send(later, b"x"), Sent::Broken));
            table.remove(later);
            assert!(table.get_mut(MEMBER).is_some());
            table.remove(MEMBER);
            assert!(peer.read(&mut [0]).is_err(), "its peer is told");
            assert!(is_quiet(&mut table).await, "a closed socket is no more in the epoll");
        });
    }

    #[test]
    fn a_key_survives_the_epoll() {
        for member in [MEMBER, MemberKey { slot: u32::MAX, generation: u32::MAX }] {
            assert_eq!(super::member(token(member)), member);
        }
    }
}
