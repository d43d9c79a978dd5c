//! The server: builds everything in order, runs until a signal or a fault, and shuts down without
//! losing anything.
//!
//! Order of the start: listener, store, shards, edge. Order of the end: nothing new
//! is admitted, members are closed over the window, the journals' rest is stored, and the
//! listener is closed last, so that nobody hangs in its backlog; first, where the backlog is that
//! of the process which serves next.

use std::fs;
use std::future::poll_fn;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::authorities::BadAuthorities;
use crate::cli::lines::Lines;
use crate::cli::logging::Log;
use crate::clock::Clock;
use crate::conditions::{Condition, Conditions};
use crate::config::Config;
use crate::config::memory::MemoryBound;
use crate::edge::auth::{Auth, Failures, Keeper, Replace, Revoked};
use crate::edge::tls::ReplaceIdentity;
use crate::edge::{EdgeState, Health};
use crate::faults::{Faults, panic_place};
use crate::hub::{Hub, HubThreads, PageRequest, RenewalRequest};
use crate::limits::{EDGE_THREADS_MAX, Limits, RENEWALS_MAX};
use crate::metrics::Metrics;
use crate::store::{self, StoreHandle, Unstored};
use crate::wire::Id;

mod certificate;
mod ending;
mod exporting;
mod memory;
mod reload;
mod service;
mod serving;
mod signals;
mod starting;
mod watchman;

use certificate::Certificate;
use ending::{Ending, HURRY, Step};
use exporting::Exporting;
use memory::Memory;
use reload::Reload;
pub use reload::Reread;
pub use service::Service;
use service::{Audience, Herald, Phase, Phases};
use serving::Serving;
use signals::{Asked, Signals};
use starting::{Doors, Opening, Starting, announce, start_hub};
use watchman::Watchman;

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
    /// The list of tokens that were called back can't be read.
    #[error("data_dir: {0}")]
    Revocations(io::Error),
    /// The authorities of the collector of traces can't be read.
    #[error("telemetry_ca: {0}")]
    Telemetry(BadAuthorities),
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
            Fault::Listen { .. } | Fault::Revocations(_) | Fault::Telemetry(_) => true,
            Fault::Store(error) => !error.is_passing(),
            Fault::System(_) | Fault::Broken(_) => false,
        }
    }
}

/// The setting that is to blame, where the error does not name one itself.
fn setting_of(error: &store::OpenError) -> &'static str {
    match error {
        store::OpenError::Journal(store::journal::JournalOpenError::TooSmall { .. })
        | store::OpenError::Offset(_) => "",
        _ => "data_dir: ",
    }
}

/// What a server has beside its configuration.
pub struct Beside {
    /// The numbers of this process.
    pub metrics: Arc<Metrics>,
    /// Its log.
    pub log: Log,
    /// Reads the configuration anew.
    pub reread: Arc<Reread>,
    /// What the process has from a service manager.
    pub service: Service,
}

/// Serves until SIGTERM or Ctrl-C.
pub fn run(config: Config, beside: Beside) -> Result<(), Fault> {
    if cfg!(measure_no_journal) {
        tracing::warn!("built without a journal, to measure: no message is stored");
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let edge = Builder::new_multi_thread()
        .worker_threads(threads.min(EDGE_THREADS_MAX))
        .thread_name("edge")
        .enable_all()
        .build()?;
    // Signals and the time of the end have this thread for themselves: whatever hangs, hangs
    // elsewhere.
    let own = Builder::new_current_thread().enable_all().build()?;
    let over = CancellationToken::new();
    let ended = own.block_on(async {
        match Server::build(config, beside, (edge.handle(), &over)).await? {
            Some(server) => server.run().await,
            None => Ok(()),
        }
    });
    over.cancel();
    // What hangs, or was not waited for, must not keep the process.
    own.shutdown_background();
    edge.shutdown_background();
    ended
}

/// Everything that runs.
struct Server {
    clock: Clock,
    limits: Limits,
    threads: Handle,
    hub: Hub,
    shards: HubThreads,
    store: StoreHandle,
    faults: Faults,
    edge: Serving,
    signals: Signals,
    reload: Reload,
    phases: Phases,
    exporting: Exporting,
}

/// A way to ask, and where that is heard.
type Way<T> = (mpsc::Sender<T>, mpsc::Receiver<T>);

/// How members ask for pages of history, one at a time, and have tokens judged.
fn questions(connections_max: usize) -> (Way<PageRequest>, Way<RenewalRequest>) {
    (mpsc::channel(connections_max), mpsc::channel(RENEWALS_MAX))
}

/// How a server's time has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Asked,
    Hurried,
    Broken,
}

impl Server {
    /// Starts everything. `None`: a signal came before the store was open.
    async fn build(
        config: Config,
        Beside { metrics, log, reread, service }: Beside,
        (threads, over): (&Handle, &CancellationToken),
    ) -> Result<Option<Server>, Fault> {
        let (mut signals, mut random) = (Signals::listen()?, Random::open()?);
        let (lines, limits, clock) = (log.lines().clone(), config.limits.clone(), Clock::start());
        let (doors, certificate) = Doors::open(&config, service.sockets)?;
        let (auth, replace, keeper) = who_is_who(&config, &metrics, &clock)?;
        let mut reload = Reload::new(config.clone(), log, (replace, certificate.clone()), reread);
        let faults = Faults::new(Arc::clone(&metrics), known_at_start(&config, &clock));
        let newest = start_watchmen(&faults, &clock, (lines.clone(), certificate), over);
        let phases = start_herald(service.audience, &faults, threads, over);
        let starting = Starting::begin(&doors, &config, (&faults, auth.clone()), threads)?;
        let instance = (&clock, random.next());
        let (traces, exporting) = Exporting::begin(&config, instance, &faults, threads)?;
        let seeds = (random.next(), traces.clone());
        let opening = Opening::begin(&config, clock.clone(), &faults, seeds, threads);
        let Some(mut store) = opening.wait(&mut signals, &mut reload, &faults, threads).await?
        else {
            return Ok(None);
        };
        starting.end().await;
        _ = newest.send(store.highest);
        let ((pages, requests), (renewals, shown)) = questions(limits.connections_max);
        let (seed, ways) = (random.next() as u64, (pages, renewals));
        let (hub, shards) = start_hub(&config, (&clock, &faults), seed, ways, &mut store)?;
        let edge_state = EdgeState {
            hub: hub.clone(),
            reader: store.reader,
            care: store.care,
            metrics,
            limits: Arc::new(limits.clone()),
            names: config.names(),
            proxies: config.proxies.clone(),
            clock: clock.clone(),
            health: Health::new(Some(store.state), faults.conditions().clone()),
            auth,
            pages: requests,
            renewals: shown,
            keeper,
            debug_endpoints: config.debug_endpoints,
            search: config.search,
            traces,
        };
        let edge = Serving::begin(threads, &doors, edge_state, &faults)?;
        watch_memory(&hub, &faults, over);
        phases.enter(Phase::Serving(announce(&doors, &config, &lines)));
        Ok(Some(Server {
            clock,
            limits,
            threads: threads.clone(),
            hub,
            shards,
            store: store.handle,
            faults,
            edge,
            signals,
            reload,
            phases,
            exporting,
        }))
    }

    async fn run(mut self) -> Result<(), Fault> {
        let why = self.wait().await;
        let Server { clock, limits, threads, mut signals, .. } = self;
        let mut ending = Ending::begin(clock, limits.stop_wait, why == Why::Hurried);
        // A hub that is broken has nothing to spread: its members go at once.
        let window = if why == Why::Asked { limits.drain_window } else { 0 };
        tracing::info!(window_ms = window, "shutting down: members are closed");
        self.phases.enter(Phase::Ending(limits.stop_wait));
        self.edge.leave();
        if why == Why::Asked {
            // Whatever comes of it, the members are next.
            ending.step(&mut signals, Duration::ZERO, self.edge.heard()).await;
        }
        self.hub.drain(window);
        let mut late = None;
        let shards = threads.spawn_blocking(move || self.shards.join());
        match ending.step(&mut signals, Duration::ZERO, shards).await {
            Step::Done(joined) => late = joined.map_err(io::Error::other).flatten().err(),
            Step::Left => tracing::warn!("asked again: members are not waited for"),
            Step::Late if ending.is_hurried() => {}
            Step::Late => {
                late = Some(io::Error::other("members were still open after stop_wait"));
            }
        }
        if let Some(error) = &late {
            tracing::error!(%error, "the shards did not end in order");
        }
        let wait = ending.left();
        let runtime = threads.clone();
        let stored = threads.spawn_blocking(move || runtime.block_on(self.store.stop(wait)));
        let mut gone = None;
        match ending.step(&mut signals, HURRY, stored).await {
            // Without an answer: a fault was told, and decides below how this ends.
            Step::Done(left) => {
                if let Some(left) = left.ok().flatten() {
                    gone = files_gone(self.faults.conditions(), left);
                    tell_unstored(left, gone.as_deref());
                }
            }
            Step::Left => tracing::warn!("asked again: what is not stored stays in the journal"),
            Step::Late => {
                let what = "the store did not end: what is not stored stays in the journal";
                tracing::error!("{what}");
                if !ending.is_hurried() {
                    late.get_or_insert(io::Error::other(what));
                }
            }
        }
        if let Step::Late = ending.step(&mut signals, Duration::ZERO, self.edge.end()).await {
            tracing::warn!("requests under way are not waited for");
        }
        // Last of all: what was traced of the end is sent too.
        ending.step(&mut signals, Duration::ZERO, self.exporting.end()).await;
        tracing::info!("stopped");
        // A part may have broken while the hub was ending, too.
        match self.faults.first().or(gone).or(late.map(|error| error.to_string())) {
            Some(fault) => Err(Fault::Broken(fault)),
            None => Ok(()),
        }
    }

    /// Waits until the server is to stop.
    async fn wait(&mut self) -> Why {
        loop {
            tokio::select! {
                asked = self.signals.next() => match asked {
                    Asked::End => return Why::Asked,
                    Asked::QuickEnd => return Why::Hurried,
                    Asked::Reload => {
                        self.phases.enter(Phase::Reloading);
                        self.reload.begin(&self.threads);
                    }
                },
                () = self.reload.finish() => self.phases.enter(Phase::Reloaded),
                fault = self.faults.wait() => {
                    tracing::error!(%fault, "the hub ends: only a restart mends this");
                    return Why::Broken;
                }
            }
        }
    }
}

/// Says what is left of the records that were to be stored.
fn tell_unstored(left: Unstored, gone: Option<&str>) {
    match gone {
        Some(gone) => tracing::error!("{gone}"),
        None if left.records > 0 => {
            let records = left.records;
            tracing::warn!(records, "records stay in the journal for the next start");
        }
        None => {}
    }
}

/// What judges tokens and keys, what replaces these, and who keeps what is called back.
fn who_is_who(
    config: &Config,
    metrics: &Arc<Metrics>,
    clock: &Clock,
) -> Result<(Auth, Replace, Keeper), Fault> {
    let (revoked, keeper) = Revoked::open(&config.data_dir).map_err(Fault::Revocations)?;
    let failures = Failures::new(&config.limits, metrics);
    let (auth, replace) = Auth::new(config.credentials.clone(), (revoked, failures), clock.clone());
    Ok((auth, replace, keeper))
}

/// What is wrong with a hub of this configuration from its begin.
fn known_at_start(config: &Config, clock: &Clock) -> Conditions {
    let conditions = Conditions::new(clock.clone());
    let open = config.open_at().map(|listen| format!("it listens on {listen}"));
    conditions.set(Condition::Unauthenticated, open);
    conditions
}

/// Has somebody look after the clock and the log from here on, who is to be told of the newest
/// message once it is known; and after the certificate that clients are shown, where there is one.
fn start_watchmen(
    faults: &Faults,
    clock: &Clock,
    (lines, certificate): (Lines, Option<ReplaceIdentity>),
    over: &CancellationToken,
) -> oneshot::Sender<Id> {
    let (newest, highest) = oneshot::channel();
    let (clock, conditions) = (clock.clone(), faults.conditions().clone());
    if let Some(replace) = certificate {
        let (clock, conditions) = (clock.clone(), conditions.clone());
        let rounds = Certificate { replace, clock, conditions }.run();
        spawn_watched(&Handle::current(), (faults, "the certificate's rounds"), over, rounds);
    }
    let metrics = Arc::clone(faults.metrics());
    let rounds = Watchman { clock, lines, conditions, metrics, highest }.run();
    // They end with the runtime of this thread.
    spawn_watched(&Handle::current(), (faults, "the watchman"), over, rounds);
    newest
}

/// Has somebody look after the memory that this process may use, where a bound of it is known.
fn watch_memory(hub: &Hub, faults: &Faults, over: &CancellationToken) {
    let Some(bound) = MemoryBound::here() else { return };
    let (hub, conditions) = (hub.clone(), faults.conditions().clone());
    let rounds = Memory { bound, hub, conditions }.run();
    // It ends with the runtime of this thread.
    spawn_watched(&Handle::current(), (faults, "the memory's rounds"), over, rounds);
}

/// Has a service manager told how the process goes, and the parts looked after that must answer.
fn start_herald(
    audience: Audience,
    faults: &Faults,
    threads: &Handle,
    over: &CancellationToken,
) -> Phases {
    let (herald, phases) = Herald::new(audience, faults.metrics(), faults.conditions(), threads);
    // It ends with the runtime of this thread.
    spawn_watched(&Handle::current(), (faults, "the herald"), over, herald.run());
    phases
}

/// Spawns a task that may end from the moment that its `stop` is cancelled, and not before.
fn spawn_watched(
    threads: &Handle,
    (faults, name): (&Faults, &str),
    stop: &CancellationToken,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let part = faults.watch(name).until(stop.clone());
    let name = name.to_owned();
    threads.spawn(async move {
        let _part = part;
        let mut task = pin!(task);
        poll_fn(|context| {
            panic_place(&name);
            task.as_mut().poll(context)
        })
        .await;
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
