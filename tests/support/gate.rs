//! A proxy before PostgreSQL that stops a writer at a point of the test's choice and holds what it
//! has until the test lets it go, or drops it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::PATIENCE;
use super::proxy::find;

/// Where a writer is stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// The server has the first half of what was sent with the rows' beginning.
    InCopy,
    /// The server has all rows, and not the commit.
    BeforeCommit,
    /// The server has committed, and nobody knows.
    AfterCommit,
    /// Anywhere: nothing passes, in either direction, and nothing ends.
    Anywhere,
}

/// What becomes of what was held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// What was held goes on to the server.
    Sent,
    /// The connection ends.
    Lost,
}

#[derive(Debug, Default)]
struct State {
    /// Where the next writer is to be stopped.
    stop: Option<Point>,
    /// Where a writer is stopped.
    stopped: Option<Point>,
    fate: Option<Fate>,
}

/// Ends with the process.
pub struct Gate {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Gate {
    /// Starts one before a server's socket; it is open.
    pub fn start(server: &Path) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let (server, own) = (server.to_owned(), Arc::clone(&shared));
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let Ok(server) = UnixStream::connect(&server) else { continue };
                pass(&client, &server, &own);
            }
        });
        Gate { address, shared }
    }

    /// The address of the database `hub` behind it.
    pub fn url(&self) -> String {
        format!("postgresql://postgres@{}/hub", self.address)
    }

    /// Stops the next writer that comes to this point, and waits until one has.
    pub fn stop_at(&self, point: Point) {
        let mut state = self.shared.lock();
        (state.stop, state.stopped, state.fate) = (Some(point), None, None);
        let is_waiting = |state: &mut State| state.stopped.is_none();
        let (state, late) =
            self.shared.changed.wait_timeout_while(state, PATIENCE, is_waiting).expect("no panic");
        assert!(!late.timed_out(), "no writer came to {point:?}");
        drop(state);
    }

    /// Lets go of what is held.
    pub fn let_go(&self, fate: Fate) {
        let mut state = self.shared.lock();
        (state.stop, state.fate) = (None, Some(fate));
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    /// Whether a writer is to be stopped here; if so, none is after it.
    fn stops(&self, point: Point) -> bool {
        let mut state = self.lock();
        let stops = state.stop == Some(point);
        if stops {
            state.stopped = Some(point);
            if point != Point::Anywhere {
                state.stop = None;
            }
            self.changed.notify_all();
        }
        stops
    }

    fn wait(&self) -> Fate {
        let state = self.lock();
        let held = |state: &mut State| state.fate.is_none();
        let state = self.changed.wait_while(state, held).expect("no panic");
        state.fate.expect("it was waited for")
    }
}

fn pass(client: &TcpStream, server: &UnixStream, shared: &Arc<Shared>) {
    let copies = || (client.try_clone().expect("a copy"), server.try_clone().expect("a copy"));
    let stage = Arc::new(AtomicU8::new(NO_ROWS));
    let ((client, server), own, told) = (copies(), Arc::clone(shared), Arc::clone(&stage));
    std::thread::spawn(move || {
        questions(&client, &server, &own, &told);
        _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
    });
    let ((client, server), own) = (copies(), Arc::clone(shared));
    std::thread::spawn(move || {
        answers(&server, &client, &own, &stage);
        _ = client.shutdown(Shutdown::Both);
    });
}

/// How far a connection's rows are: what only asks has a transaction and a commit too.
const NO_ROWS: u8 = 0;
const COPIED: u8 = 1;
const COMMITTING: u8 = 2;

/// From the server to the client.
fn answers(mut server: &UnixStream, mut client: &TcpStream, shared: &Shared, stage: &AtomicU8) {
    let mut chunk = vec![0; 1 << 16];
    while let Ok(read @ 1..) = server.read(&mut chunk) {
        let committed = find(&chunk[..read], b"COMMIT\0")
            && stage
                .compare_exchange(COMMITTING, NO_ROWS, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok();
        let stops =
            shared.stops(Point::Anywhere) || (committed && shared.stops(Point::AfterCommit));
        if stops && shared.wait() == Fate::Lost {
            break;
        }
        if client.write_all(&chunk[..read]).is_err() {
            break;
        }
    }
}

/// From the client to the server.
fn questions(mut client: &TcpStream, mut server: &UnixStream, shared: &Shared, stage: &AtomicU8) {
    let mut chunk = vec![0; 1 << 16];
    while let Ok(read @ 1..) = client.read(&mut chunk) {
        let mut bytes = &chunk[..read];
        let copies = find(bytes, b"PGCOPY\n");
        if copies {
            stage.store(COPIED, Ordering::SeqCst);
        }
        let commits = find(bytes, b"COMMIT\0")
            && stage
                .compare_exchange(COPIED, COMMITTING, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok();
        let mut stops =
            shared.stops(Point::Anywhere) || (commits && shared.stops(Point::BeforeCommit));
        if copies && shared.stops(Point::InCopy) {
            let (first, rest) = bytes.split_at(read / 2);
            if server.write_all(first).is_err() {
                break;
            }
            (bytes, stops) = (rest, true);
        }
        if stops && shared.wait() == Fate::Lost {
            break;
        }
        if server.write_all(bytes).is_err() {
            break;
        }
    }
}
