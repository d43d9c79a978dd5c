//! The start of a server: its listener, what answers there until the store is open, and the store,
//! which is opened where nobody waits for a disk or a name server that hangs.
//!
//! On a socket that was handed over, whoever connects during a short start is kept waiting for the
//! hub instead of being told to come again.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::ending::HURRY;
use super::reload::Reload;
use super::service::Sockets;
use super::signals::{Asked, Signals};
use super::{Fault, spawn_watched};
use crate::cli::lines::Lines;
use crate::clock::Clock;
use crate::config::Config;
use crate::edge::auth::Auth;
use crate::edge::tls::{ReplaceIdentity, Tls};
use crate::edge::{self, Listeners, StartingState};
use crate::faults::Faults;
use crate::hub::{self, Hub, HubSetup, HubThreads, PageRequest, RenewalRequest, ShardStore};
use crate::limits::{BACKLOG, Limits, sum};
use crate::store::{self, Store};
use crate::telemetry::Traces;

/// A start that takes longer says so.
const LONG_START: Duration = Duration::from_secs(1);
/// How long those who connect wait for a hub that starts on a socket that was handed over.
const START_WAIT: Duration = Duration::from_secs(5);

/// The port while the store is being opened, which takes as long as a new database is away.
pub(super) struct Starting {
    /// Dropped, it ends the listener: a start that is given up does so too.
    stop: DropGuard,
    edge: JoinHandle<()>,
}

impl Starting {
    pub(super) fn begin(
        doors: &Doors,
        config: &Config,
        (faults, auth): (&Faults, Auth),
        threads: &Handle,
    ) -> io::Result<Starting> {
        let listeners = doors.on(threads)?;
        let address = listeners.main.local_addr()?;
        let stop = CancellationToken::new();
        let state = StartingState {
            metrics: Arc::clone(faults.metrics()),
            limits: Arc::new(config.limits.clone()),
            names: config.names(),
            proxies: config.proxies.clone(),
            clock: auth.clock().clone(),
            conditions: faults.conditions().clone(),
            auth,
        };
        let wait = if doors.is_inherited { START_WAIT } else { Duration::ZERO };
        let (late, over) = (tokio::time::sleep(wait), stop.clone());
        let serving = async move {
            if over.run_until_cancelled(late).await.is_some() {
                edge::serve_starting(listeners, state, over).await;
            }
        };
        let telling = async move {
            tokio::time::sleep(LONG_START).await;
            tracing::info!(%address, "starting: not ready before the store is open");
        };
        let telling = stop.clone().run_until_cancelled_owned(telling);
        let both = async move { _ = tokio::join!(serving, telling) };
        let edge = spawn_watched(threads, (faults, "the first listener"), &stop, both);
        Ok(Starting { stop: stop.drop_guard(), edge })
    }

    /// Ends, so that the hub itself answers from here on. Requests under way have `close_wait`.
    pub(super) async fn end(self) {
        drop(self.stop);
        _ = self.edge.await;
    }
}

/// Where the hub listens, as long as it runs.
pub(super) struct Doors {
    main: StdListener,
    plain: Option<StdListener>,
    tls: Option<Tls>,
    /// Where the first one listens.
    pub(super) address: SocketAddr,
    /// Where plain HTTP is spoken beside TLS.
    pub(super) plain_address: Option<SocketAddr>,
    /// Whether somebody else holds the socket too, for whoever serves on it next.
    pub(super) is_inherited: bool,
}

impl Doors {
    /// Listens, unless the sockets do so already; nobody is answered yet. With it: what puts
    /// another certificate in the place of the one that is shown.
    pub(super) fn open(
        config: &Config,
        sockets: Sockets,
    ) -> Result<(Doors, Option<ReplaceIdentity>), Fault> {
        let (tls, replace) = config.tls.clone().map(Tls::new).unzip();
        let is_inherited = sockets.main.is_some();
        let open = |socket, address| match socket {
            Some(socket) => take_over(socket, &config.limits),
            None => listen(address, &config.limits),
        };
        let (main, address) = open(sockets.main, config.listen)?;
        let plain = config.plain_listen.map(|plain| open(sockets.plain, plain)).transpose()?;
        let (plain, plain_address) = plain.unzip();
        Ok((Doors { main, plain, tls, address, plain_address, is_inherited }, replace))
    }

    /// Listeners of the same, that the edge's threads wait for.
    pub(super) fn on(&self, threads: &Handle) -> io::Result<Listeners> {
        let main = on(threads, self.main.try_clone()?)?;
        let plain = self.plain.as_ref().map(|plain| on(threads, plain.try_clone()?));
        Ok(Listeners { main, tls: self.tls.clone(), plain: plain.transpose()? })
    }
}

/// A listener that was handed over, and where it listens. How many may wait there is for whoever
/// holds it to say.
fn take_over(
    (listener, address): (StdListener, SocketAddr),
    limits: &Limits,
) -> Result<(StdListener, SocketAddr), Fault> {
    let set_up = || {
        listener.set_nonblocking(true)?;
        edge::prepare(&socket2::SockRef::from(&listener), limits)
    };
    set_up().map_err(|error| Fault::Listen { address, error })?;
    Ok((listener, address))
}

/// The listener, and where it listens.
fn listen(address: SocketAddr, limits: &Limits) -> Result<(StdListener, SocketAddr), Fault> {
    let open = || {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        edge::prepare(&socket, limits)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = StdListener::from(socket);
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    open().map_err(|error| Fault::Listen { address, error })
}

/// A listener that the edge's threads wait for.
fn on(threads: &Handle, listener: StdListener) -> io::Result<TcpListener> {
    let _here = threads.enter();
    TcpListener::from_std(listener)
}

/// Says where it listens, on standard output for people and programs, and with what bounds; gives
/// back where.
pub(super) fn announce(doors: &Doors, config: &Config, lines: &Lines) -> String {
    let limits = &config.limits;
    let parts = sum::memory(limits, config.shards, config.tls.is_some());
    let each = parts.iter().map(|part| format!("{} {}", part.name, sum::readable(part.bytes)));
    let each = each.collect::<Vec<_>>().join(", ");
    tracing::info!(
        bytes = sum::total(&parts),
        parts = each,
        "memory that the bounds allow at most"
    );
    let address = doors.address;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let plain = doors.plain_address.map(|plain| format!(", and on http://{plain}"));
    let plain = plain.unwrap_or_default();
    let place = format!("{scheme}://{address}{plain}");
    lines.say(&format!("cpi-hub listens on {place}\n"));
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
    place
}

/// A store that is being opened, where nobody waits for a disk that hangs.
pub(super) struct Opening {
    store: JoinHandle<Option<Result<Store, Fault>>>,
    /// Dropped, it has a database waited for no longer.
    stop: CancellationToken,
}

impl Opening {
    pub(super) fn begin(
        config: &Config,
        clock: Clock,
        faults: &Faults,
        (random, traces): (u128, Traces),
        threads: &Handle,
    ) -> Opening {
        let (config, faults, runtime) = (config.clone(), faults.clone(), threads.clone());
        let stop = CancellationToken::new();
        let until = stop.clone();
        let store = threads.spawn_blocking(move || {
            let opening = open_store(&config, clock, &faults, (random, traces));
            runtime.block_on(until.run_until_cancelled(opening))
        });
        Opening { store, stop }
    }

    /// `None`: a signal has come first.
    pub(super) async fn wait(
        mut self,
        signals: &mut Signals,
        reload: &mut Reload,
        faults: &Faults,
        threads: &Handle,
    ) -> Result<Option<Store>, Fault> {
        loop {
            let ended = tokio::select! {
                store = &mut self.store => {
                    return store.map_err(io::Error::other)?.transpose();
                }
                asked = signals.next() => match asked {
                    Asked::End | Asked::QuickEnd => None,
                    Asked::Reload => {
                        reload.begin(threads);
                        continue;
                    }
                },
                () = reload.finish() => continue,
                fault = faults.wait() => Some(Fault::Broken(fault)),
            };
            self.stop.cancel();
            _ = tokio::time::timeout(HURRY, self.store).await;
            return ended.map_or(Ok(None), Err);
        }
    }
}

async fn open_store(
    config: &Config,
    clock: Clock,
    faults: &Faults,
    (random, traces): (u128, Traces),
) -> Result<Store, Fault> {
    let data_dir = config.data_dir.clone();
    let mut store_config =
        store::StoreConfig::new(data_dir, config.shards, &config.limits, clock, faults.clone());
    store_config.take_journals = config.take_journals;
    store_config.search = config.search;
    store_config.traces = traces;
    Ok(match &config.database_url {
        Some(url) => store::open_postgres(&store_config, url, random).await?,
        None => store::open_sqlite(&store_config, random)?,
    })
}

/// Starts the shards, each with its side of the store. Members ask for pages of history, and show
/// other tokens, by these `ways`.
pub(super) fn start_hub(
    config: &Config,
    (clock, faults): (&Clock, &Faults),
    seed: u64,
    (pages, renewals): (mpsc::Sender<PageRequest>, mpsc::Sender<RenewalRequest>),
    store: &mut Store,
) -> io::Result<(Hub, HubThreads)> {
    let journals = std::mem::take(&mut store.writers).into_iter();
    let ends = journals.zip(std::mem::take(&mut store.committed));
    let ends = ends.zip(std::mem::take(&mut store.verdicts));
    let stores = ends
        .map(|((journal, committed), verdicts)| ShardStore { journal, committed, verdicts })
        .collect();
    let remembered = store.remembered.clone();
    hub::start(HubSetup {
        limits: config.limits.clone(),
        clock: clock.clone(),
        metrics: Arc::clone(faults.metrics()),
        stores,
        highest: store.highest,
        published: std::mem::take(&mut store.published),
        remembered: Arc::new(move |shard| remembered.of_shard(shard)),
        seed,
        pages,
        renewals,
        accept: config.accept,
        pinned: config.pinned,
        faults: faults.clone(),
    })
}
