//! The table of sockets beside real ones: who is told of, read again, taken and closed, and when.

use super::*;
use crate::clock::Clock;
use crate::hub::directory::Directory;
use crate::limits::Limits;
use crate::wire::time::{MonoMs, TIME_BYTES};
use crate::wire::{Encoding, UserId};
use std::future::poll_fn;
use std::net::{Ipv4Addr, TcpListener};

const MEMBER: MemberKey = MemberKey { slot: 3, generation: 7 };

/// Runs with a table that has one member's socket, and its peer.
fn with_member<F: Future>(run: impl FnOnce(SocketTable, std::net::TcpStream) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut table = SocketTable::with_room(1).expect("an epoll");
        let peer = take_in(&mut table, MEMBER);
        // Each new socket is told of once, as writable.
        let ready = next(&mut table).await;
        assert!(ready.writable && !ready.readable, "{ready:?}");
        assert!(is_quiet(&mut table).await);
        run(table, peer).await;
    });
}

/// Gives a table a member's socket; its peer.
fn take_in(table: &mut SocketTable, member: MemberKey) -> std::net::TcpStream {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let peer = std::net::TcpStream::connect(listener.local_addr().expect("an address"));
    let (stream, _) = listener.accept().expect("the peer");
    stream.set_nonblocking(true).expect("an option");
    let permit = Directory::new(Limits::default(), Clock::start())
        .reserve(UserId(1), None)
        .expect("room for one");
    table.insert(member, stream.into(), permit).expect("a socket");
    peer.expect("a connection")
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
            table.note(ready);
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
        assert!(table.note(ready), "the sweep waits for it");
        assert!(!table.note(ready), "once");
        assert!(matches!(table.send(MEMBER, &chunk), Sent::Bytes(_)));
        table.remove(MEMBER);
        assert!(!table.close(), "it was the only one");
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
fn a_crowd_that_is_removed_is_closed_a_few_at_a_time() {
    with_member(|mut table, _peer| async move {
        let crowd = (0..3 * CLOSED_SOCKETS_MAX as u32)
            .map(|n| MemberKey { slot: 10 + n, generation: 0 })
            .map(|member| (member, take_in(&mut table, member)));
        let crowd: Vec<_> = crowd.collect();
        for (member, peer) in &crowd {
            peer.set_nonblocking(true).expect("an option");
            table.remove(*member);
        }
        let closed = || crowd.iter().filter(|(_, peer)| peer.peek(&mut [0]).is_ok()).count();
        for turn in 1..=3 {
            assert_eq!(table.close(), turn < 3, "whether there are more");
            assert_eq!(closed(), turn * CLOSED_SOCKETS_MAX);
        }
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
        assert!(table.get_mut(MEMBER).is_none() && !table.close());
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

#[test]
fn after_a_panic_those_between_two_frames_are_told_and_the_others_are_cut() {
    let keys = [0, 1, 2].map(|slot| MemberKey { slot, generation: 5 });
    let [told, within_a_frame, in_hand] = keys;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut table = SocketTable::with_room(3).expect("an epoll");
        let mut peers = keys.map(|key| take_in(&mut table, key));
        for key in keys {
            assert!(matches!(table.send(key, b"abc"), Sent::Bytes(3)));
        }
        let can_be_told = |key| (key != within_a_frame).then_some(Encoding::Frames);
        let mut leaving = table.close_all(can_be_told, &[b'0'; TIME_BYTES], MonoMs(1_000));
        let mut read = |key: MemberKey| {
            let mut came = Vec::new();
            peers[key.slot as usize].read_to_end(&mut came).expect("an end");
            came
        };
        assert_eq!(read(told), b"abc\x88\x09\x03\xf4restart");
        assert_eq!(read(within_a_frame), b"abc");
        assert_eq!(read(in_hand), b"abc", "what it was sent last nobody knows");
        // It stays until its peer has gone too, or its time is over.
        let mut buffer = [0; 16];
        leaving.look(MonoMs(1), &mut buffer);
        assert_eq!(leaving.len(), 1);
        drop(peers);
        leaving.look(MonoMs(2), &mut buffer);
        assert_eq!(leaving.len(), 0);
    });
}
