//! The server: builds everything in order, runs until a signal or a fault, and shuts down without
//! losing anything.
//!
//! Order of the start: listener, store, shards, edge. Order of the end: nothing new
//! is admitted, members are closed over the window, the journals' rest is stored, and the
//! listener is closed last, so that nobody hangs in its backlog.

use std::fs;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::Clock;
use crate::conditions::{Condition, Conditions};
use crate::config::Config;
use crate::edge::{self, EdgeState, Health, StartingState};
use crate::faults::Faults;
use crate::hub::{self, Hub, HubSetup, HubThreads, ShardStore};
use crate::limits::{EDGE_THREADS_MAX, Limits, sum};
use crate::metrics::Metrics;
use crate::shard::event::Verdict;
use crate::store::journal::Writer;
use crate::store::latest::Latest;
use crate::store::{self, Store, StoreHandle, Unstored};

/// A start that takes longer says so.
const LONG_START: Duration = Duration::from_secs(1);
/// The time that the store has when there is no time.
const HURRY: Duration = Duration::from_millis(500);
/// Connections that may wait to be accepted: a herd's, as far as the kernel allows.
const BACKLOG: i32 = 4_096;

/// Why the server can't start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The listener can't be opened.
    #[error("listen {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's error.
        error: io::Error,
    },
    /// The data directory can't be used.
    #[error("{place}{0}", place = setting_of(.0))]
    Store(#[from] store::OpenError),
    /// A thread, a runtime or a signal can't be had.
    #[error("start: {0}")]
    System(#[from] io::Error),
    /// Something broke that only a restart mends.
    #[error("{0}")]
    Broken(String),
}

impl Fault {
    /// Whether the operator has to change something first.
    pub fn is_configuration(&self) -> bool {
        match self {
            Fault::Listen { .. } => true,
            Fault::Store(error) => !error.is_passing(),
            Fault::System(_) | Fault::Broken(_) => false,
        }
    }
}

/// The setting that is to blame, where the error does not name one itself.
fn setting_of(error: &store::OpenError) -> &'static str {
    match error {
        store::OpenError::Journal(store::journal::JournalOpenError::TooSmall { .. }) => "",
        _ => "data_dir: ",
    }
}

/// Serves until SIGTERM or Ctrl-C.
pub fn run(config: Config) -> Result<(), Fault> {
    if cfg!(measure_no_journal) {
        tracing::warn!("built without a journal, to measure: no message is stored");
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.min(EDGE_THREADS_MAX))
        .thread_name("edge")
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        match Server::build(config).await? {
            Some(server) => server.run().await,
            None => Ok(()),
        }
    });
    // A shard that hangs, or was not waited for, must not keep the process.
    runtime.shutdown_background();
    ended
}

/// Everything that runs.
struct Server {
    clock: Clock,
    stop_wait: Duration,
    drain_window: u64,
    hub: Hub,
    shards: HubThreads,
    store: StoreHandle,
    conditions: Conditions,
    faults: Faults,
    edge: JoinHandle<()>,
    stop_edge: CancellationToken,
    terminate: Signal,
    interrupt: Signal,
}

impl Server {
    /// Starts everything. `None`: a signal came before the store was open.
    async fn build(config: Config) -> Result<Option<Server>, Fault> {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let listener = listen(config.listen)?;
        let address = listener.local_addr()?;
        let limits = config.limits.clone();
        let clock = Clock::start();
        let metrics = Arc::new(Metrics::new(config.shards));
        let conditions = Conditions::new(clock);
        let faults = Faults::new(Arc::clone(&metrics), conditions.clone());
        let mut random = Random::open()?;
        let starting = Starting::begin(&listener, &config, &metrics, &faults, clock)?;
        let opening = open_store(&config, &limits, clock, &faults, random.next());
        let store = tokio::select! {
            store = opening => store?,
            () = again(&mut terminate, &mut interrupt) => return Ok(None),
            fault = faults.wait() => return Err(Fault::Broken(fault)),
        };
        starting.end().await;
        let stores = shard_stores(store.writers, store.committed, store.verdicts);
        // A member asks for one page at a time.
        let (pages, requests) = mpsc::channel(limits.connections_max);
        let (hub, shards) = hub::start(HubSetup {
            limits: limits.clone(),
            clock,
            metrics: Arc::clone(&metrics),
            stores,
            highest: store.highest,
            published: store.published,
            seed: random.next() as u64,
            pages,
            pinned: config.pinned,
            faults: faults.clone(),
        })?;
        let edge_state = EdgeState {
            hub: hub.clone(),
            reader: store.reader,
            metrics,
            limits: Arc::new(limits.clone()),
            names: config.names(),
            clock,
            health: Health { store: store.state, conditions: conditions.clone() },
            pages: requests,
        };
        let stop_edge = CancellationToken::new();
        let serving = edge::serve(listener, edge_state, stop_edge.clone());
        let edge = spawn_watched(&faults, "the listener", &stop_edge, serving);
        announce(address, &config, &limits);
        Ok(Some(Server {
            clock,
            stop_wait: Duration::from_millis(limits.stop_wait),
            drain_window: limits.drain_window,
            hub,
            shards,
            store: store.handle,
            conditions,
            faults,
            edge,
            stop_edge,
            terminate,
            interrupt,
        }))
    }

    async fn run(mut self) -> Result<(), Fault> {
        let broken = self.wait().await;
        let begun = self.clock.now().mono;
        // A hub that is broken has nothing to spread: its members go at once.
        let window = if broken { 0 } else { self.drain_window };
        tracing::info!(window_ms = window, "shutting down: members are closed");
        self.hub.drain(window);
        let shards = tokio::task::spawn_blocking(move || self.shards.join());
        let closed = tokio::select! {
            joined = shards => joined.map_err(io::Error::other).flatten(),
            () = again(&mut self.terminate, &mut self.interrupt) => {
                tracing::warn!("asked again: members are not waited for");
                self.stop_wait = HURRY;
                Ok(())
            }
            () = tokio::time::sleep(self.stop_wait) => {
                Err(io::Error::other("members were still open after stop_wait"))
            }
        };
        if let Err(error) = &closed {
            tracing::error!(%error, "the shards did not end in order");
        }
        let spent = Duration::from_millis(self.clock.now().mono.since(begun));
        let wait = self.stop_wait.saturating_sub(spent).max(HURRY);
        let mut gone = None;
        tokio::select! {
            // Without an answer: a fault was told, and decides below how this ends.
            left = self.store.stop(wait) => if let Some(left) = left {
                gone = files_gone(&self.conditions, left);
                if let Some(gone) = &gone {
                    tracing::error!("{gone}");
                } else if left.records > 0 {
                    let records = left.records;
                    tracing::warn!(records, "records stay in the journal for the next start");
                }
            },
            () = again(&mut self.terminate, &mut self.interrupt) => {
                tracing::warn!("asked again: what is not stored stays in the journal");
            }
        }
        self.stop_edge.cancel();
        _ = self.edge.await;
        tracing::info!("stopped");
        // A part may have broken while the hub was ending, too.
        match self.faults.first().or(gone) {
            Some(fault) => Err(Fault::Broken(fault)),
            None => closed.map_err(Fault::System),
        }
    }

    /// Waits until the server is to stop; whether that is because something broke.
    async fn wait(&mut self) -> bool {
        tokio::select! {
            () = again(&mut self.terminate, &mut self.interrupt) => false,
            fault = self.faults.wait() => {
                tracing::error!(%fault, "the hub ends: only a restart mends this");
                true
            }
        }
    }
}

/// Spawns a task that may end from the moment that its `stop` is cancelled, and not before.
fn spawn_watched(
    faults: &Faults,
    name: &str,
    stop: &CancellationToken,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let part = faults.watch(name).until(stop.clone());
    tokio::spawn(async move {
        let _part = part;
        task.await;
    })
}

/// What becomes of records that wait, where files were taken away from under the hub.
fn files_gone(conditions: &Conditions, left: Unstored) -> Option<String> {
    let files = [Condition::DataDirectory, Condition::DatabaseFile];
    let raised = conditions.all().into_iter().find(|it| files.contains(&it.condition))?;
    let records = match left {
        Unstored { records: 0, bytes: 0 } => "nothing waited to be stored".into(),
        Unstored { records: 0, bytes } => format!("{bytes} bytes of records are not stored"),
        Unstored { records, .. } => format!("{records} records are not stored"),
    };
    let where_to = match conditions.holds(Condition::DataDirectory) {
        true => "the journals are gone with them",
        false => "they stay in the journals, for the next start on a database in its place",
    };
    let tail = if left == Unstored::default() { String::new() } else { format!("; {where_to}") };
    Some(format!("{}: {records}{tail}", raised.detail))
}

fn shard_stores(
    writers: Vec<Writer>,
    committed: Vec<Arc<Latest<Option<u64>>>>,
    verdicts: Vec<mpsc::Receiver<Verdict>>,
) -> Vec<ShardStore> {
    let ends = writers.into_iter().zip(committed).zip(verdicts);
    ends.map(|((journal, committed), verdicts)| ShardStore { journal, committed, verdicts })
        .collect()
}

/// The port while the store is being opened, which takes as long as a new database is away.
struct Starting {
    /// Dropped, it ends the listener: a start that is given up does so too.
    stop: DropGuard,
    edge: JoinHandle<()>,
}

impl Starting {
    fn begin(
        listener: &TcpListener,
        config: &Config,
        metrics: &Arc<Metrics>,
        faults: &Faults,
        clock: Clock,
    ) -> io::Result<Starting> {
        let listener = socket2::SockRef::from(listener).try_clone()?;
        let listener = TcpListener::from_std(listener.into())?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let state = StartingState {
            metrics: Arc::clone(metrics),
            limits: Arc::new(config.limits.clone()),
            names: config.names(),
            clock,
            conditions: faults.conditions().clone(),
        };
        let serving = edge::serve_starting(listener, state, stop.clone());
        let telling = async move {
            tokio::time::sleep(LONG_START).await;
            tracing::info!(%address, "starting: not ready before the store is open");
        };
        let telling = stop.clone().run_until_cancelled_owned(telling);
        let both = async move { _ = tokio::join!(serving, telling) };
        let edge = spawn_watched(faults, "the first listener", &stop, both);
        Ok(Starting { stop: stop.drop_guard(), edge })
    }

    /// Ends, so that the hub itself answers from here on. Requests under way have `close_wait`.
    async fn end(self) {
        drop(self.stop);
        _ = self.edge.await;
    }
}

/// The next signal to stop.
async fn again(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, Fault> {
    let open = || {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(|error| Fault::Listen { address, error })
}

async fn open_store(
    config: &Config,
    limits: &Limits,
    clock: Clock,
    faults: &Faults,
    random: u128,
) -> Result<Store, Fault> {
    let data_dir = config.data_dir.clone();
    let mut store_config =
        store::StoreConfig::new(data_dir, config.shards, limits, clock, faults.clone());
    store_config.take_journals = config.take_journals;
    Ok(match &config.database_url {
        Some(url) => store::open_postgres(&store_config, url, random).await?,
        None => store::open_sqlite(&store_config, random)?,
    })
}

/// Says where it listens, on standard output for people and programs, and with what bounds.
fn announce(address: SocketAddr, config: &Config, limits: &Limits) {
    let parts = sum::memory(limits, config.shards);
    let each = parts.iter().map(|part| format!("{} {}", part.name, sum::readable(part.bytes)));
    let each = each.collect::<Vec<_>>().join(", ");
    tracing::info!(
        bytes = sum::total(&parts),
        parts = each,
        "memory that the bounds allow at most"
    );
    // Whoever closed our output does not want to know.
    _ = writeln!(io::stdout(), "cpi-hub listens on http://{address}");
    tracing::info!(
        %address,
        shards = config.shards,
        data_dir = %config.data_dir.display(),
        database = %config.database_url.as_ref().map_or("sqlite".into(), ToString::to_string),
        connections_max = limits.connections_max,
        connections_bytes_max = sum::connections(limits),
        logs_bytes_max = limits.logs_bytes_max,
        journal_bytes_max = limits.journal_bytes_max,
        "ready"
    );
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
}

/// The system's randomness: for ids of journals and seeds.
struct Random(fs::File);

impl Random {
    fn open() -> io::Result<Random> {
        Ok(Random(fs::File::open(Path::new("/dev/urandom"))?))
    }

    fn next(&mut self) -> u128 {
        let mut bytes = [0; 16];
        self.0.read_exact(&mut bytes).expect("urandom never ends");
        u128::from_le_bytes(bytes)
    }
}
