//! The accept loop: takes connections in, serves HTTP on each, and hands the sockets of accepted
//! handshakes on.
//!
//! Owns every connection's task until the connection ends or becomes a member's; awaits them all
//! when it stops. Knows nothing of what is served: that is the [`Router`]'s.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::connection;
use super::peer::Peer;
use crate::limits::Limits;
use crate::metrics::Metrics;

const BACK_OFF_MIN: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// Accepts until `stop`, then lets requests under way end within `close_wait`.
pub(super) async fn run(
    listener: TcpListener,
    app: Router,
    (limits, metrics): (Arc<Limits>, Arc<Metrics>),
    stop: CancellationToken,
) {
    let mut open = Open::new(app, (Arc::clone(&limits), metrics), stop.clone());
    let mut back_off = BackOff::default();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = open.tasks.join_next_with_id() => open.forget(ended),
            accepted = listener.accept(), if open.has_room() => match accepted {
                Ok((stream, address)) => {
                    back_off.end();
                    open.start(stream, Peer::of(address));
                }
                // The peer was gone before its turn came.
                Err(error) if is_peers(&error) => {}
                Err(error) => back_off.pause(&error, &stop).await,
            },
        }
    }
    drop(listener);
    open.finish(Duration::from_millis(limits.close_wait)).await;
}

fn is_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Waits between attempts when descriptors or memory are short: the kernel's backlog holds the
/// callers meanwhile, and the loop does not spin.
#[derive(Default)]
struct BackOff {
    wait: Option<Duration>,
}

impl BackOff {
    async fn pause(&mut self, error: &io::Error, stop: &CancellationToken) {
        let wait = match self.wait {
            None => {
                tracing::warn!(%error, "connections can't be accepted; trying again");
                BACK_OFF_MIN
            }
            Some(wait) => (wait * 2).min(BACK_OFF_MAX),
        };
        self.wait = Some(wait);
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }

    fn end(&mut self) {
        if self.wait.take().is_some() {
            tracing::info!("connections are accepted again");
        }
    }
}

/// The connections that are open and are no member's yet.
struct Open {
    tasks: JoinSet<()>,
    addresses: HashMap<Id, u64>,
    counts: HashMap<u64, u32>,
    service: connection::Shared,
    limits: Arc<Limits>,
}

impl Open {
    fn new(
        app: Router,
        (limits, metrics): (Arc<Limits>, Arc<Metrics>),
        stop: CancellationToken,
    ) -> Open {
        let bounds = (Arc::clone(&limits), metrics);
        let service = connection::Shared::new(app, http(&limits), bounds, stop);
        let (addresses, counts) = (HashMap::new(), HashMap::new());
        Open { tasks: JoinSet::new(), addresses, counts, service, limits }
    }

    fn has_room(&self) -> bool {
        self.tasks.len() < self.limits.connections_max
    }

    /// Serves a connection, unless its address has too many that are not members yet: then the
    /// socket is closed unheard, since an answer would cost what the limit is there to save.
    fn start(&mut self, stream: TcpStream, peer: Peer) {
        if let Err(error) = connection::set_options(&stream, &self.limits) {
            return tracing::debug!(%error, "a connection was gone when it was accepted");
        }
        let Some(address) = peer.key() else {
            self.tasks.spawn(self.service.clone().serve(stream, peer));
            return;
        };
        let count = self.counts.entry(address).or_default();
        let max = self.limits.address_connections_max;
        if max > 0 && *count >= max {
            return tracing::debug!(peer = %peer.0, "an address has too many connections");
        }
        *count += 1;
        let task = self.tasks.spawn(self.service.clone().serve(stream, peer));
        self.addresses.insert(task.id(), address);
    }

    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(%error, "a connection's task panicked; it alone is closed");
                }
                error.id()
            }
        };
        let Some(address) = self.addresses.remove(&id) else { return };
        if let Some(count) = self.counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&address);
            }
        }
    }

    /// Connections see `stop` by themselves; those that have not ended after `wait` are cut.
    async fn finish(mut self, wait: Duration) {
        let all = async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                self.forget(ended);
            }
        };
        if tokio::time::timeout(wait, all).await.is_err() {
            tracing::info!("requests that were still under way are cut off");
        }
        self.tasks.shutdown().await;
    }
}

/// HTTP/1 as the hub speaks it: strict, bounded, without a date (WIRE A1 has exact headers).
fn http(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.handshake_wait))
        .max_buf_size(limits.head_bytes_max)
        .max_headers(limits.headers_max)
        .half_close(false)
        .title_case_headers(true)
        .auto_date_header(false);
    http
}
