//! A shard's thread with one member and its peer: floods, and who comes to their turn meanwhile.

use super::host::ShardJournal;
use super::*;
use crate::hub::socket::{Socket, SocketTable};
use crate::limits::{FLOOD_READ_BYTES_MAX, Limits, Rate};
use crate::shard::event::{Grant, Guise, Join};
use crate::store::journal::tests::{LIMITS, reopen};
use crate::wire::reject::Reject;
use crate::wire::{Dialect, Encoding, Id, SpaceId, SpaceKey, UserId};
use bytes::BytesMut;
use std::collections::HashMap;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// A shard's state with one member, and that member's peer.
fn with_one_member(folder: &std::path::Path, control_rate: Rate) -> (State, TcpStream) {
    let opened = reopen(folder, 1, &LIMITS, 0).expect("it opens");
    let journal = opened.writers.into_iter().next().expect("one a shard");
    // Nobody is closed for flooding: the tests are about who comes to their turn meanwhile.
    let limits = Limits { flood_wait: u64::MAX / 2, control_rate, ..Limits::default() };
    let clock = Clock::start();
    let directory = Directory::new(limits.clone(), clock.clone());
    let metrics = Arc::new(Metrics::new(1));
    let setup = ShardSetup {
        number: 0,
        limits,
        accept: Default::default(),
        seed: 1,
        highest: Id::MIN,
        published: Vec::new(),
        now: clock.now(),
    };
    let around = Surroundings {
        journal: ShardJournal { shard: 0, writer: journal },
        sockets: SocketTable::with_room(1).expect("an epoll"),
        life: Default::default(),
        pages: mpsc::channel(1).0,
        renewals: mpsc::channel(1).0,
        waiting: HashMap::new(),
        directory: Arc::clone(&directory),
        comings: Default::default(),
        resuming: Default::default(),
        clock: clock.clone(),
    };
    let mut state = State::new(setup, around, clock, metrics);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let peer = TcpStream::connect(listener.local_addr().expect("an address"));
    let (stream, _) = listener.accept().expect("the peer");
    stream.set_nonblocking(true).expect("an option");
    // More than one turn reads of it.
    let buffered = socket2::SockRef::from(&stream).set_recv_buffer_size(4 << 20);
    buffered.expect("an option");
    let permit = directory.reserve(UserId(1), None).expect("room for one");
    let join = Join {
        opening: BytesMut::new(),
        space: SpaceKey::Chat(SpaceId(1)),
        user: UserId(1),
        username: "Ana Paz".into(),
        dialect: Dialect::V1,
        encoding: Encoding::Frames,
        guise: Guise::Member,
        after: None,
        address: None,
        grant: Grant::ALL,
    };
    let (link, first_bytes) = (stream.into(), Default::default());
    let begun = state.clock.now();
    state.admit(Admission { join, link, first_bytes, permit, request: None, begun, span: None });
    (state, peer.expect("a connection"))
}

/// Each idle connection has a socket's slot: a cache line. A field more is paid for by all of
/// them. A command is paid for while it waits, 65,536 times a shard at most.
#[test]
fn sockets_and_commands_stay_small() {
    // Where mio checks its own use, a stream takes 16 bytes, and not 4.
    let socket = if cfg!(debug_assertions) { 80 } else { 64 };
    assert_eq!(size_of::<Option<Socket>>(), socket);
    assert_eq!(size_of::<Queued>(), 112);
}

fn runtime() -> tokio::runtime::LocalRuntime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .expect("a runtime")
}

/// Sends pongs that nobody asked for, as many as the buffers take: something to be read, and
/// nothing for a turn.
fn flood(state: &mut State, peer: &mut TcpStream) -> usize {
    // Its welcome is sent, so that no turn is due.
    while state.turn() {}
    let pongs = [0x8A, 0x80, 0, 0, 0, 0].repeat(1_000);
    peer.set_nonblocking(true).expect("an option");
    let mut written = 0;
    while let Ok(bytes) = peer.write(&pongs) {
        written += bytes;
    }
    written
}

#[test]
fn a_peer_that_floods_is_read_a_little_each_tick() {
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let (mut state, mut peer) = with_one_member(folder.path(), Rate::new(1, 1));
        flood(&mut state, &mut peer);
        let refused = |state: &mut State| {
            let kind = Reject::RateLimited { retry_after_ms: 0 };
            state.shard.counts().rejects(kind.kind())
        };
        let mut before = 0;
        for tick in 0..5 {
            while refused(&mut state) == before {
                _ = poll_fn(|context| Poll::Ready(state.poll_work(context).is_pending())).await;
                yield_now().await;
            }
            for _ in 0..20 {
                _ = poll_fn(|context| Poll::Ready(state.poll_work(context).is_pending())).await;
                while state.turn() {}
                yield_now().await;
            }
            let read = refused(&mut state) - before;
            // Before it is known for a flood it is read as anybody is.
            let share = if tick == 0 { TURN_READ_BYTES_MAX as u64 / 6 } else { 0 };
            let most = share + FLOOD_READ_BYTES_MAX as u64 / 6 + 1;
            assert!((1..=most).contains(&read), "{read} pongs in tick {tick}");
            before += read;
            state.tick();
            while state.turn() {}
        }
    });
}

#[test]
fn a_peer_that_never_stops_sending_leaves_time_for_everything_else() {
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let (mut state, mut peer) = with_one_member(folder.path(), Rate::new(0, 0));
        let written = flood(&mut state, &mut peer);
        assert!(written > 2 * TURN_READ_BYTES_MAX, "{written} bytes");
        let work = poll_fn(|context| state.poll_work(context));
        let back = tokio::time::timeout(Duration::from_secs(30), work).await;
        back.expect("it comes back").expect("an epoll");
        assert!(state.around.sockets.has_queued(), "the rest waits for its next turn");
    });
}
