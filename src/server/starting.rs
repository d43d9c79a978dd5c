//! The start of a server: its listener, what answers there until the store is open, and the store,
//! which is opened where nobody waits for a disk or a name server that hangs.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::ending::HURRY;
use super::reload::Reload;
use super::signals::{Asked, Signals};
use super::{Fault, spawn_watched};
use crate::clock::Clock;
use crate::config::Config;
use crate::edge::auth::Auth;
use crate::edge::tls::{ReplaceIdentity, Tls};
use crate::edge::{self, Listeners, StartingState};
use crate::faults::Faults;
use crate::limits::Limits;
use crate::store::{self, Store};

/// A start that takes longer says so.
const LONG_START: Duration = Duration::from_secs(1);
/// Connections that may wait to be accepted: a herd's, as far as the kernel allows.
const BACKLOG: i32 = 4_096;

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
        let serving = edge::serve_starting(listeners, state, stop.clone());
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
}

impl Doors {
    /// Listens; nobody is answered yet. With it: what puts another certificate in the place of the
    /// one that is shown.
    pub(super) fn open(config: &Config) -> Result<(Doors, Option<ReplaceIdentity>), Fault> {
        let (tls, replace) = config.tls.clone().map(Tls::new).unzip();
        let (main, address) = listen(config.listen, &config.limits)?;
        let plain = config.plain_listen.map(|plain| listen(plain, &config.limits)).transpose()?;
        let (plain, plain_address) = plain.unzip();
        Ok((Doors { main, plain, tls, address, plain_address }, replace))
    }

    /// Listeners of the same, that the edge's threads wait for.
    pub(super) fn on(&self, threads: &Handle) -> io::Result<Listeners> {
        let main = on(threads, self.main.try_clone()?)?;
        let plain = self.plain.as_ref().map(|plain| on(threads, plain.try_clone()?));
        Ok(Listeners { main, tls: self.tls.clone(), plain: plain.transpose()? })
    }
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
        random: u128,
        threads: &Handle,
    ) -> Opening {
        let (config, faults, runtime) = (config.clone(), faults.clone(), threads.clone());
        let stop = CancellationToken::new();
        let until = stop.clone();
        let store = threads.spawn_blocking(move || {
            let opening = open_store(&config, clock, &faults, random);
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
    random: u128,
) -> Result<Store, Fault> {
    let data_dir = config.data_dir.clone();
    let mut store_config =
        store::StoreConfig::new(data_dir, config.shards, &config.limits, clock, faults.clone());
    store_config.take_journals = config.take_journals;
    Ok(match &config.database_url {
        Some(url) => store::open_postgres(&store_config, url, random).await?,
        None => store::open_sqlite(&store_config, random)?,
    })
}
