//! The accept loop: takes connections in, serves HTTP on each, and hands the sockets of accepted
//! handshakes on. A handshake that is there already needs no task, and no place in the runtime's
//! epoll: when thousands come back at once, most are.
//!
//! Owns every connection's task until the connection ends or becomes a member's; awaits them all
//! when it stops. A connection is accepted before it has a place, so that one that only waits for
//! its peer is closed when somebody is there to take its place, and not before. Knows nothing of
//! what is served: that is the [`Router`]'s.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use mio::net::TcpListener as MioListener;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::connection::{self, Greeted};
use super::proxies::Proxies;
use super::short_way::ShortWay;
use super::stream::Stream;
use super::told::Told;
use crate::clock::Clock;
use crate::conditions::{Condition, Conditions};
use crate::edge::tls::Tls;
use crate::faults::{caught, note_panic};
use crate::hub::Places;
use crate::limits::{ACCEPT_WAIT_MAX, Limits};
use crate::metrics::{Metrics, Part};

const BACK_OFF_MIN: Duration = Duration::from_millis(100);

/// What connections are served with.
#[derive(Clone)]
pub(crate) struct Serving {
    /// What is served.
    pub app: Router,
    /// Who decides on handshakes before the router, where there are any.
    pub short_way: Option<Arc<dyn ShortWay>>,
    /// What connections begin with; `None`: they are plain.
    pub tls: Option<Tls>,
    /// Every bound.
    pub limits: Arc<Limits>,
    /// The places of all connections.
    pub places: Places,
    /// Who is believed to speak for others.
    pub proxies: Proxies,
    /// Where time is read.
    pub clock: Clock,
    /// Counted into.
    pub metrics: Arc<Metrics>,
    /// Where it is told that none can be accepted.
    pub conditions: Conditions,
}

/// How a listener is left to whoever accepts on its socket next.
#[derive(Clone)]
pub(crate) struct Leaving {
    /// Cancelled at the latest when all is to stop: nothing more is accepted from then on.
    pub now: CancellationToken,
    /// Dropped once whoever was accepted before has been heard.
    pub heard: mpsc::Sender<Infallible>,
}

/// Accepts until `leaving`, and serves until `stop`; then requests under way have `close_wait` to
/// end, and connections that have not asked for anything yet have as long to ask. They have as long
/// before they count as heard, too.
///
/// From `leaving` on an answer is its connection's last, and a kept connection on which nothing
/// more is asked is closed before all count as heard. So whoever keeps connections, as proxies do,
/// asks whoever is next, and is not told that this hub ends.
pub(crate) async fn run(
    listener: TcpListener,
    serving: Serving,
    leaving: Leaving,
    stop: CancellationToken,
) {
    let close_wait = Duration::from_millis(serving.limits.close_wait);
    let mut back_off = BackOff { wait: None, conditions: serving.conditions.clone() };
    let mut listener = match Listener::new(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the listener can't be waited for"),
    };
    let Leaving { now: leave, heard } = leaving;
    let mut open = Connections::new(serving, &leave, &stop);
    let mut stopped = std::pin::pin!(stop.cancelled());
    loop {
        tokio::select! {
            biased;
            () = leave.cancelled() => break,
            Some(ended) = open.tasks.join_next() => open.tell_panic(&ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    back_off.end();
                    // `start` comes first: a connection that was accepted is heard, if there is a
                    // place for it.
                    let started = tokio::select! {
                        biased;
                        started = open.start(stream, address) => started,
                        () = &mut stopped => break,
                    };
                    if let Err(error) = started {
                        back_off.pause(&error, &leave).await;
                    }
                }
                // The peer of this connection was gone before it was accepted.
                Err(error) if is_peers(&error) => {}
                Err(error) => back_off.pause(&error, &leave).await,
            },
        }
    }
    drop(listener);
    let asking = close_wait * 3 / 4;
    if tokio::time::timeout(asking, stop.run_until_cancelled(open.ended())).await.is_err() {
        open.shared.idle.cancel();
        let rest = close_wait - asking;
        _ = tokio::time::timeout(rest, stop.run_until_cancelled(open.ended())).await;
    }
    drop(heard);
    stop.run_until_cancelled(open.served()).await;
    open.finish(close_wait).await;
}

fn is_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// A listener whose connections the runtime knows only once they have to be waited for.
struct Listener(AsyncFd<MioListener>);

impl Listener {
    fn new(listener: TcpListener) -> io::Result<Listener> {
        let listener = MioListener::from_std(listener.into_std()?);
        #[expect(deprecated, reason = "its successor is unsafe; a listener keeps its descriptor")]
        let listener = AsyncFd::with_interest(listener, tokio::io::Interest::READABLE)?;
        Ok(Listener(listener))
    }

    /// The next connection, non-blocking.
    async fn accept(&mut self) -> io::Result<(StdStream, SocketAddr)> {
        let accept = |listener: &mut MioListener| listener.accept();
        let accepted = self.0.async_io_mut(tokio::io::Interest::READABLE, accept).await?;
        Ok((accepted.0.into(), accepted.1))
    }
}

/// Waits between attempts when descriptors or memory are short: the kernel's backlog holds the
/// callers meanwhile, and the loop does not spin.
struct BackOff {
    wait: Option<Duration>,
    conditions: Conditions,
}

impl BackOff {
    async fn pause(&mut self, error: &io::Error, stop: &CancellationToken) {
        let wait = self.wait.map_or(BACK_OFF_MIN, |wait| (wait * 2).min(ACCEPT_WAIT_MAX));
        self.wait = Some(wait);
        self.conditions.raise(Condition::DescriptorsShort, error);
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }

    fn end(&mut self) {
        if self.wait.take().is_some() {
            self.conditions.clear(Condition::DescriptorsShort);
        }
    }
}

/// The connections that are open and are no member's yet.
struct Connections {
    tasks: JoinSet<()>,
    shared: Arc<connection::Shared>,
    conditions: Conditions,
}

impl Connections {
    fn new(serving: Serving, leaving: &CancellationToken, stop: &CancellationToken) -> Connections {
        let Serving { app, short_way, tls, limits, places, proxies, clock, metrics, conditions } =
            serving;
        let shared = connection::Shared {
            app: TowerToHyperService::new(app),
            short_way,
            tls,
            http: http(&limits),
            limits,
            places,
            proxies,
            told: Told::default(),
            clock,
            metrics,
            leaving: leaving.clone(),
            idle: stop.child_token(),
            stop: stop.clone(),
        };
        Connections { tasks: JoinSet::new(), shared: Arc::new(shared), conditions }
    }

    /// Serves a connection when there is a place, unless its address has too many: then the
    /// socket is closed unheard, since an answer would cost what the limit is there to save. An
    /// error: the runtime can wait for no more.
    async fn start(&mut self, stream: StdStream, address: SocketAddr) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let peer = shared.proxies.peer(address.ip());
        let Some(place) = shared.places.enter(shared.proxies.connections_of(peer)).await else {
            tracing::debug!(peer = %peer.address, "an address has too many connections");
            return Ok(());
        };
        if shared.proxies.introduce(peer) {
            let stream = TcpStream::from_std(stream)?;
            self.tasks.spawn(shared.serve_introduced(stream, (place, peer)));
            return Ok(());
        }
        if let Some(tls) = shared.tls.clone() {
            let stream = TcpStream::from_std(stream)?;
            self.tasks.spawn(shared.serve_tls(stream, (place, peer), tls));
            return Ok(());
        }
        // This is the listener's own task: a bug that one peer finds is not to end it.
        match caught(|| shared.greet(place, stream, peer)) {
            Err(panicked) => self.note_panic(&panicked),
            Ok(Greeted::Done) => {}
            Ok(Greeted::Untaken(untaken)) => {
                self.tasks.spawn(async move { shared.turn_away(untaken).await });
            }
            Ok(Greeted::Waits(stream, arrived)) => {
                let stream = Stream::Plain(TcpStream::from_std(stream)?);
                self.tasks.spawn(shared.serve(stream, arrived));
            }
        }
        Ok(())
    }

    /// Waits until all have ended.
    async fn ended(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            self.tell_panic(&ended);
        }
    }

    /// Waits for ever, and for each that ends.
    async fn served(&mut self) {
        self.ended().await;
        std::future::pending().await
    }

    /// Connections see `stop` by themselves; those that have not ended after `wait` are cut.
    async fn finish(mut self, wait: Duration) {
        if tokio::time::timeout(wait, self.ended()).await.is_err() {
            tracing::info!("requests that were still under way are cut off");
        }
        self.tasks.shutdown().await;
    }

    fn tell_panic(&self, ended: &Result<(), JoinError>) {
        if let Err(error) = ended
            && error.is_panic()
        {
            self.note_panic(error);
        }
    }

    /// A connection has met a bug, and has ended with it: its socket is closed, and its place is
    /// free. What connections share stays: it is changed only where nothing can panic in between.
    fn note_panic(&self, what: &dyn std::fmt::Display) {
        note_panic(Part::Connection, &self.shared.metrics, &self.conditions, &what.to_string());
    }
}

/// HTTP/1 as the hub speaks it: strict and bounded. Whoever has said its last still reads: it is
/// answered.
fn http(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.handshake_wait))
        .max_buf_size(limits.head_bytes_max)
        .max_headers(limits.headers_max)
        .half_close(true)
        .title_case_headers(true);
    http
}
