//! A link to PostgreSQL that stops a writer at a point of the test's choice and holds what it has
//! until the test lets it go, or ends the connection.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::super::PATIENCE;
use super::{Connection, Link, Watcher, Way};

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
    /// The connection ends in order.
    Lost,
    /// The connection is reset.
    Reset,
}

#[derive(Debug, Default)]
struct State {
    /// Where the next writer is to be stopped.
    stop: Option<Point>,
    /// Where a writer is stopped.
    stopped: Option<Point>,
    fate: Option<Fate>,
}

/// Its connections end when it is dropped.
pub struct Gate {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    link: Link,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Gate {
    /// Starts one before a server's socket; it is open.
    pub fn start(server: &Path) -> Gate {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let watch = move || {
            let shared = Arc::clone(&own);
            Arc::new(Writer { shared, stage: AtomicU8::new(NO_ROWS) }) as Arc<dyn Watcher>
        };
        let link = Link::watched(server, Some(Box::new(watch)));
        Gate { address: link.address, shared, link }
    }

    /// The address of the database `hub` behind it.
    pub fn url(&self) -> String {
        self.link.database_url()
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

impl Drop for Gate {
    fn drop(&mut self) {
        self.let_go(Fate::Lost);
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

/// How far a connection's rows are: what only asks has a transaction and a commit too.
const NO_ROWS: u8 = 0;
const COPIED: u8 = 1;
const COMMITTING: u8 = 2;

struct Writer {
    shared: Arc<Shared>,
    stage: AtomicU8,
}

impl Writer {
    /// Whether the connection was at one stage, and is at the next one now.
    fn steps(&self, from: u8, to: u8) -> bool {
        self.stage.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// From the server to the client.
    fn stops_answer(&self, bytes: &[u8]) -> bool {
        let committed = find(bytes, b"COMMIT\0") && self.steps(COMMITTING, NO_ROWS);
        self.shared.stops(Point::Anywhere) || (committed && self.shared.stops(Point::AfterCommit))
    }

    /// From the client to the server. What was held back behind the first half is `bytes` then.
    fn stops_question(&self, connection: &Connection, bytes: &mut Vec<u8>) -> bool {
        let copies = find(bytes, b"PGCOPY\n");
        if copies {
            self.stage.store(COPIED, Ordering::SeqCst);
        }
        let commits = find(bytes, b"COMMIT\0") && self.steps(COPIED, COMMITTING);
        if self.shared.stops(Point::Anywhere) || (commits && self.shared.stops(Point::BeforeCommit))
        {
            return true;
        }
        let in_copy = copies && self.shared.stops(Point::InCopy);
        if in_copy {
            let rest = bytes.split_off(bytes.len() / 2);
            connection.pass(Way::ToServer, std::mem::replace(bytes, rest));
        }
        in_copy
    }
}

impl Watcher for Writer {
    fn sees(&self, connection: &Connection, way: Way, mut bytes: Vec<u8>) -> bool {
        let stops = match way {
            Way::ToServer => self.stops_question(connection, &mut bytes),
            Way::ToClient => self.stops_answer(&bytes),
        };
        match if stops { self.shared.wait() } else { Fate::Sent } {
            Fate::Sent => connection.pass(way, bytes),
            Fate::Lost => return false,
            Fate::Reset => connection.end(super::Fate::Reset),
        }
        true
    }
}

/// Whether some bytes hold others.
pub fn find(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
