//! A link that a test can spoil: a TCP proxy of our own, between clients and a hub or between a hub
//! and PostgreSQL.
//!
//! Each way has a [`Manner`] of its own, which may change while bytes pass: late, in pieces, slow,
//! held or swallowed. Besides, connections can be reset, closed, closed one way, and bytes changed.
//! [`Watch`] looks at what passes: `gate` stops a writer at a point, `commits` loses commits.

pub mod commits;
mod connection;
pub mod gate;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::time::Duration;

pub use connection::{Connection, Fate, Watcher};

/// A direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    ToServer,
    ToClient,
}

/// Both directions.
pub const BOTH: [Way; 2] = [Way::ToServer, Way::ToClient];

/// Whether anything comes through.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Passage {
    #[default]
    Open,
    /// The link is down: what was sent waits, nothing ends, nobody new comes through. All goes on
    /// when it is up again, as TCP sends again what was not acknowledged.
    Down,
    /// A black hole: what is sent is gone. Connections that lost something that way are reset once
    /// the link carries bytes again.
    Swallowing,
}

/// How bytes pass one way. The default changes nothing.
#[derive(Clone, Copy, Default, Debug)]
pub struct Manner {
    /// Each piece that was read comes out this much later,
    pub latency: Duration,
    /// and up to this much more, at random, without a change of order.
    pub jitter: Duration,
    /// The most bytes in one packet; 0: as they come.
    pub packet_bytes: usize,
    /// The most that passes in a second; 0: no bound.
    pub bytes_per_second: usize,
    pub passage: Passage,
}

/// Where a link leads.
#[derive(Clone, Debug)]
pub enum Server {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl From<SocketAddr> for Server {
    fn from(address: SocketAddr) -> Server {
        Server::Tcp(address)
    }
}

impl From<&Path> for Server {
    fn from(path: &Path) -> Server {
        Server::Unix(path.to_owned())
    }
}

/// Makes what looks at a new connection's bytes.
pub type Watch = Box<dyn Fn() -> Arc<dyn Watcher> + Send + Sync>;

/// Its connections end when it is dropped.
pub struct Link {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    watch: Option<Watch>,
}

struct State {
    server: Server,
    manners: [Manner; 2],
    /// Bytes that are still to be changed, each way.
    corrupt: [usize; 2],
    /// Bytes that were swallowed, all connections together.
    swallowed: usize,
    connections: Vec<Weak<Connection>>,
    accepted: u64,
    is_over: bool,
}

impl Link {
    /// Opens one that changes nothing yet.
    pub fn to(server: impl Into<Server>) -> Link {
        Link::watched(server, None)
    }

    /// Opens one whose bytes are looked at.
    pub fn watched(server: impl Into<Server>, watch: Option<Watch>) -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = State {
            server: server.into(),
            manners: [Manner::default(); 2],
            corrupt: [0; 2],
            swallowed: 0,
            connections: Vec::new(),
            accepted: 0,
            is_over: false,
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        let shared = Arc::new(Shared { state, changed, watch });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || serve(&listener, &own));
        Link { address, shared }
    }

    /// The address of the database `hub` behind it.
    pub fn database_url(&self) -> String {
        format!("postgresql://postgres@{}/hub", self.address)
    }

    /// Leads new connections elsewhere: a hub that was begun anew has another port.
    pub fn lead_to(&self, server: impl Into<Server>) {
        self.shared.lock().server = server.into();
    }

    /// Changes how bytes pass these ways, those of open connections too.
    pub fn set(&self, ways: &[Way], manner: Manner) {
        let mut state = self.shared.lock();
        for way in ways {
            state.manners[*way as usize] = manner;
        }
        self.shared.changed.notify_all();
    }

    /// Changes nothing of what passes from here on.
    pub fn mend(&self) {
        self.set(&BOTH, Manner::default());
    }

    /// Takes the link down, or lets it swallow everything, both ways.
    pub fn stop(&self, passage: Passage) {
        self.set(&BOTH, Manner { passage, ..Manner::default() });
    }

    /// Changes a bit of each of the next bytes that pass this way.
    pub fn corrupt(&self, way: Way, bytes: usize) {
        self.shared.lock().corrupt[way as usize] = bytes;
    }

    /// Ends all open connections: with a reset (SO_LINGER of 0) at both ends, or in order.
    pub fn end_all(&self, fate: Fate) -> usize {
        let open = self.open();
        open.iter().for_each(|connection| connection.end(fate));
        open.len()
    }

    /// Tells the receivers of this way that nothing more comes; the other way goes on.
    pub fn half_close(&self, way: Way) {
        self.open().iter().for_each(|connection| connection.half_close(way));
    }

    /// How many connections it has taken so far.
    pub fn accepted(&self) -> u64 {
        self.shared.lock().accepted
    }

    /// How many bytes it has swallowed so far.
    pub fn swallowed(&self) -> usize {
        self.shared.lock().swallowed
    }

    fn open(&self) -> Vec<Arc<Connection>> {
        let mut state = self.shared.lock();
        state.connections.retain(|connection| connection.strong_count() > 0);
        state.connections.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.end_all(Fate::Closed);
        self.shared.changed.notify_all();
        // The listening thread looks up only when somebody comes.
        _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    /// Waits until nothing is down or swallowed; the server to connect to, if there is still need.
    fn until_open(&self) -> Option<Server> {
        let is_shut = |state: &mut State| {
            let is_open = |manner: &Manner| manner.passage == Passage::Open;
            !state.is_over && !state.manners.iter().all(is_open)
        };
        let state = self.changed.wait_while(self.lock(), is_shut).expect("no panic");
        (!state.is_over).then(|| state.server.clone())
    }
}

fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((client, _)) = listener.accept() {
        let mut state = shared.lock();
        if state.is_over {
            return;
        }
        state.accepted += 1;
        drop(state);
        let own = Arc::clone(shared);
        std::thread::spawn(move || connection::open(client, &own));
    }
}
