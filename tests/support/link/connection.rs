//! One connection over a link: for each way a thread that reads, and a thread that writes what was
//! read when its time has come.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::super::ledger::random;
use super::{Passage, Server, Shared, State, Way};

/// Read at once.
const CHUNK_BYTES: usize = 1 << 14;
/// Chunks that wait for their time, each way; then the sender waits too.
const CHUNKS_MAX: usize = 64;
/// A writer whose receiver takes nothing looks this often whether it is to end.
const BLOCKED: Duration = Duration::from_millis(100);

/// What is looked at on its way.
pub trait Watcher: Send + Sync {
    /// Is to [`pass`](Connection::pass) bytes on; may wait before that. Says whether the connection
    /// goes on; if not, both ends are closed behind what has passed.
    fn sees(&self, connection: &Connection, way: Way, bytes: Vec<u8>) -> bool;
}

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Closed = 1,
    Reset = 2,
}

enum Chunk {
    Bytes(Instant, Vec<u8>),
    /// The sender has said its last.
    End,
    /// Both ends are to end so.
    Fate(Fate),
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// An open connection.
pub struct Connection {
    client: Stream,
    server: Stream,
    /// 0 while it is open, then a [`Fate`].
    fate: AtomicU8,
    /// Whether it has lost bytes.
    has_lost: AtomicBool,
    chunks: [Chunks; 2],
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Chunks {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    chunks: VecDeque<Chunk>,
    /// When the last of them is due.
    last: Option<Instant>,
    random: u64,
}

/// Connects a client to the server, and carries what they say.
pub fn open(client: TcpStream, shared: &Arc<Shared>) {
    let Some(server) = shared.until_open() else { return };
    let Ok(server) = Stream::connect(&server) else { return };
    let client = Stream::Tcp(client);
    client.set_up();
    server.set_up();
    let connection = Arc::new(Connection {
        client,
        server,
        fate: AtomicU8::new(0),
        has_lost: AtomicBool::new(false),
        chunks: Default::default(),
        shared: Arc::clone(shared),
    });
    shared.lock().connections.push(Arc::downgrade(&connection));
    let watcher = shared.watch.as_ref().map(|watch| watch());
    for way in super::BOTH {
        let (own, watcher) = (Arc::clone(&connection), watcher.clone());
        std::thread::spawn(move || own.read(way, watcher.as_deref()));
        let own = Arc::clone(&connection);
        std::thread::spawn(move || own.write(way));
    }
}

impl Connection {
    /// Sends bytes on their way; waits where too much is on it already.
    pub fn pass(&self, way: Way, bytes: Vec<u8>) {
        let manner = self.shared.lock().manners[way as usize];
        let chunks = &self.chunks[way as usize];
        let is_full = |waiting: &mut Waiting| waiting.chunks.len() >= CHUNKS_MAX && !self.is_over();
        let waiting = chunks.waiting.lock().expect("no panic");
        let mut waiting = chunks.changed.wait_while(waiting, is_full).expect("no panic");
        let most = (manner.jitter.as_micros() as u64).max(1);
        let jitter = Duration::from_micros(random(&mut waiting.random) % most);
        let due = Instant::now() + manner.latency + jitter;
        // What was sent later does not overtake.
        let due = waiting.last.map_or(due, |last| last.max(due));
        waiting.last = Some(due);
        waiting.chunks.push_back(Chunk::Bytes(due, bytes));
        chunks.changed.notify_all();
    }

    /// Ends it at once, at both ends.
    pub fn end(&self, fate: Fate) {
        if fate == Fate::Reset {
            self.client.forget();
            self.server.forget();
        }
        // A shutdown would send an end in order; without one, readers wake up all the same.
        let how = if fate == Fate::Reset { Shutdown::Read } else { Shutdown::Both };
        _ = self.fate.compare_exchange(0, fate as u8, Ordering::SeqCst, Ordering::SeqCst);
        self.client.shutdown(how);
        self.server.shutdown(how);
        for chunks in &self.chunks {
            let _waiting = chunks.waiting.lock().expect("no panic");
            chunks.changed.notify_all();
        }
        let _state = self.shared.lock();
        self.shared.changed.notify_all();
    }

    /// Closes the client's end alone.
    pub fn end_client(&self) {
        self.client.shutdown(Shutdown::Both);
    }

    /// Tells the receiver of this way that nothing more comes. What is on its way is lost.
    pub fn half_close(&self, way: Way) {
        self.receiver(way).shutdown(Shutdown::Write);
    }

    fn is_over(&self) -> bool {
        self.fate.load(Ordering::SeqCst) != 0
    }

    fn sender(&self, way: Way) -> &Stream {
        if way == Way::ToServer { &self.client } else { &self.server }
    }

    fn receiver(&self, way: Way) -> &Stream {
        if way == Way::ToServer { &self.server } else { &self.client }
    }

    fn push(&self, way: Way, chunk: Chunk) {
        let chunks = &self.chunks[way as usize];
        chunks.waiting.lock().expect("no panic").chunks.push_back(chunk);
        chunks.changed.notify_all();
    }

    fn read(&self, way: Way, watcher: Option<&dyn Watcher>) {
        let mut bytes = vec![0; CHUNK_BYTES];
        loop {
            match self.sender(way).read(&mut bytes) {
                Ok(0) => return self.push(way, Chunk::End),
                Ok(read) => {
                    let bytes = bytes[..read].to_vec();
                    match watcher {
                        Some(watcher) if !watcher.sees(self, way, bytes.clone()) => {
                            return self.push(way, Chunk::Fate(Fate::Closed));
                        }
                        Some(_) => {}
                        None => self.pass(way, bytes),
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Whoever reset it, the other end learns of it.
                Err(_) => return self.push(way, Chunk::Fate(Fate::Reset)),
            }
        }
    }

    fn next(&self, way: Way) -> Option<Chunk> {
        let chunks = &self.chunks[way as usize];
        let is_empty = |waiting: &mut Waiting| waiting.chunks.is_empty() && !self.is_over();
        let waiting = chunks.waiting.lock().expect("no panic");
        let mut waiting = chunks.changed.wait_while(waiting, is_empty).expect("no panic");
        chunks.changed.notify_all();
        waiting.chunks.pop_front().filter(|_| !self.is_over())
    }

    /// Whoever takes nothing any more ends this way alone: what it has sent before goes on.
    fn write(&self, way: Way) {
        let mut is_heard = true;
        while let Some(chunk) = self.next(way) {
            let due = if let Chunk::Bytes(due, _) = chunk { due } else { Instant::now() };
            let passage = self.until(way, due);
            if passage == Passage::Swallowing {
                if let Chunk::Bytes(_, bytes) = chunk {
                    self.shared.lock().swallowed += bytes.len();
                }
                self.has_lost.store(true, Ordering::SeqCst);
                continue;
            }
            if self.has_lost.load(Ordering::SeqCst) {
                return self.end(Fate::Reset);
            }
            match chunk {
                Chunk::Bytes(_, bytes) => is_heard = is_heard && self.carry(way, bytes),
                Chunk::End => return self.receiver(way).shutdown(Shutdown::Write),
                Chunk::Fate(fate) => return self.end(fate),
            }
        }
    }

    /// Waits until a time has come and the link is up; whether it swallows then.
    fn until(&self, way: Way, due: Instant) -> Passage {
        let passage = |state: &State| state.manners[way as usize].passage;
        let mut state = self.shared.lock();
        loop {
            let left = due.saturating_duration_since(Instant::now());
            let is_down = passage(&state) == Passage::Down;
            if self.is_over() || (left.is_zero() && !is_down) {
                return passage(&state);
            }
            let left = if is_down { BLOCKED } else { left };
            state = self.shared.changed.wait_timeout(state, left).expect("no panic").0;
        }
    }

    /// Writes bytes in packets, no faster than they may pass.
    fn carry(&self, way: Way, mut bytes: Vec<u8>) -> bool {
        let mut state = self.shared.lock();
        let corrupt = state.corrupt[way as usize].min(bytes.len());
        state.corrupt[way as usize] -= corrupt;
        drop(state);
        bytes[..corrupt].iter_mut().for_each(|byte| *byte ^= 0x10);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let manner = self.shared.lock().manners[way as usize];
            let packet = if manner.packet_bytes == 0 { rest.len() } else { manner.packet_bytes };
            let (now, later) = rest.split_at(packet.min(rest.len()));
            if !self.put(way, now) {
                return false;
            }
            rest = later;
            if manner.bytes_per_second > 0 {
                let took = now.len() as f64 / manner.bytes_per_second as f64;
                self.until(way, Instant::now() + Duration::from_secs_f64(took));
            }
        }
        true
    }

    fn put(&self, way: Way, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() && !self.is_over() {
            match self.receiver(way).write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

impl Stream {
    fn connect(server: &Server) -> std::io::Result<Stream> {
        match server {
            Server::Tcp(address) => TcpStream::connect(address).map(Stream::Tcp),
            Server::Unix(path) => UnixStream::connect(path).map(Stream::Unix),
        }
    }

    fn set_up(&self) {
        match self {
            Stream::Tcp(stream) => {
                stream.set_nodelay(true).expect("an option");
                stream.set_write_timeout(Some(BLOCKED)).expect("an option");
            }
            Stream::Unix(stream) => stream.set_write_timeout(Some(BLOCKED)).expect("an option"),
        }
    }

    /// Has the last close send a reset. A Unix socket has none.
    fn forget(&self) {
        if let Stream::Tcp(stream) = self {
            _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    fn shutdown(&self, how: Shutdown) {
        _ = match self {
            Stream::Tcp(stream) => stream.shutdown(how),
            Stream::Unix(stream) => stream.shutdown(how),
        };
    }

    fn read(&self, bytes: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&*stream).read(bytes),
            Stream::Unix(stream) => (&*stream).read(bytes),
        }
    }

    fn write(&self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Stream::Tcp(stream) => (&*stream).write(bytes),
            Stream::Unix(stream) => (&*stream).write(bytes),
        }
    }
}
