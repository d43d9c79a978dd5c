//! The edge: HTTP on one port. Handshakes, whose sockets go to their shards; what people ask, and
//! what operators ask.
//!
//! Owns the listener, the connections that are no members yet, and the bytes of bodies and answers
//! in flight. Never waits for a shard's lock (there is none) and never touches a member's socket
//! once it has been handed over.
//!
//! Reading order: [`serve`] here; `http/`: `accept`, `waiting`, `connection`, `door`; `handshake`;
//! `api/` and `admin/`.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

mod admin;
mod api;
pub(crate) mod auth;
mod catch_up;
mod echo;
mod handshake;
mod http;
pub(crate) mod key_file;
mod observe;
#[cfg(test)]
mod tests;
pub(crate) mod tls;
mod traced;

use api::health;
use auth::{Auth, Keeper};
pub(crate) use http::accept::Leaving;
pub(crate) use http::connection::prepare;
pub(crate) use http::cors::{Hosts, Origins};
pub(crate) use http::door::Names;
pub(crate) use http::forwarded::ProxyHeader;
#[cfg(any(test, fuzzing))]
pub(crate) use http::fuzzing;
pub(crate) use http::proxies::Proxies;
use http::{accept, answers, body, door, told};

use crate::clock::Clock;
use crate::conditions::Conditions;
use crate::hub::{Hub, PageRequest, Places, RenewalRequest};
use crate::limits::Limits;
use crate::metrics::{Latency, Metrics};
use crate::store::{Care, Reader, StoreState};
use crate::telemetry::Traces;
use crate::wire::time::Now;

/// The version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that was built (`CPI_HUB_COMMIT` at build time), or "unknown".
pub(crate) const COMMIT: &str = match option_env!("CPI_HUB_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// What the edge works with.
#[derive(Debug)]
pub(crate) struct EdgeState {
    /// The way to the shards.
    pub hub: Hub,
    /// History.
    pub reader: Reader,
    /// What operators have done to the store.
    pub care: Care,
    /// Counted into, and shown at `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Every bound.
    pub limits: Arc<Limits>,
    /// Origins of pages that may use the hub, and its own names.
    pub names: Names,
    /// Who is believed to speak for others.
    pub proxies: Proxies,
    /// Where time is read.
    pub clock: Clock,
    /// For `/readyz` and `/metrics`.
    pub health: Health,
    /// Who is who.
    pub auth: Auth,
    /// Members that need pages of history.
    pub pages: mpsc::Receiver<PageRequest>,
    /// Members that show another token.
    pub renewals: mpsc::Receiver<RenewalRequest>,
    /// Keeps what is called back.
    pub keeper: Keeper,
    /// Whether testers have an endpoint of their own.
    pub debug_endpoints: bool,
    /// Whether messages are found by their words.
    pub search: bool,
    /// Where requests are traced.
    pub traces: Traces,
}

/// How the store is, and what else is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    /// What the sink is doing; `None`: the store is not open yet.
    pub store: Option<watch::Receiver<StoreState>>,
    /// What is wrong now.
    pub conditions: Conditions,
    /// Cancelled when nothing more is accepted.
    pub leaving: CancellationToken,
}

impl Health {
    /// That of an edge that serves.
    pub(crate) fn new(
        store: Option<watch::Receiver<StoreState>>,
        conditions: Conditions,
    ) -> Health {
        Health { store, conditions, leaving: CancellationToken::new() }
    }

    /// What the store is doing now.
    pub(crate) fn store(&self) -> StoreState {
        self.store.as_ref().map_or(StoreState::Connecting, |store| *store.borrow())
    }
}

/// What the edge works with while the store is not open.
#[derive(Debug)]
pub(crate) struct StartingState {
    /// Counted into.
    pub metrics: Arc<Metrics>,
    /// Every bound.
    pub limits: Arc<Limits>,
    /// Origins of pages that may use the hub, and its own names.
    pub names: Names,
    /// Who is believed to speak for others.
    pub proxies: Proxies,
    /// Where time is read.
    pub clock: Clock,
    /// What is wrong now, for `/readyz`.
    pub conditions: Conditions,
    /// Who is who.
    pub auth: Auth,
}

/// What handlers work with.
#[derive(Debug)]
struct Edge {
    hub: Hub,
    reader: Reader,
    care: Care,
    metrics: Arc<Metrics>,
    limits: Arc<Limits>,
    health: Health,
    auth: Auth,
    /// Who was kicked, as the log was told.
    kicks: told::Told,
    bodies: body::Bodies,
    answers: answers::Answers,
    /// Whether messages are found by their words.
    search: bool,
    /// The hub's numbers of the last hour.
    past: watch::Receiver<observe::Past>,
}

impl Edge {
    /// The time.
    fn now(&self) -> Now {
        self.health.conditions.clock().now()
    }

    /// Counts how long something took that ends now.
    fn time(&self, latency: Latency, begun: Now) {
        self.metrics.edge.observe(latency, self.now().micros_since(begun));
    }
}

/// Where the edge listens.
pub(crate) struct Listeners {
    /// The port of all.
    pub main: TcpListener,
    /// What is spoken on it; `None`: plain HTTP.
    pub tls: Option<tls::Tls>,
    /// Another one, for plain HTTP beside TLS.
    pub plain: Option<TcpListener>,
}

/// Serves until `stop`; then nothing more is accepted, and requests under way have `close_wait`
/// to end. Returns when the last connection that is no member's is closed.
///
/// Cancel `stop` last of all: until then, handshakes and posts are answered `draining` once the
/// hub drains, so that nobody hangs in the listener's backlog. Where somebody serves on that socket
/// next, the backlog is theirs: `leaving` comes first then, and the drain once all are heard.
pub(crate) async fn serve(
    listeners: Listeners,
    state: EdgeState,
    (leaving, stop): (Leaving, CancellationToken),
) {
    let EdgeState {
        hub,
        reader,
        care,
        metrics,
        limits,
        names,
        proxies,
        clock,
        health,
        auth,
        pages,
        renewals,
        keeper,
        debug_endpoints,
        search,
        traces,
    } = state;
    let renewing = auth::renew(auth.clone(), hub.clone(), renewals);
    let parting = auth::part(auth.clone(), hub.clone());
    let pager = catch_up::Pager::new(hub.clone(), reader.clone(), Arc::clone(&limits));
    let places = hub.places().clone();
    let conditions = health.conditions.clone();
    let (past, sampling) = observe::keep(Arc::clone(&metrics), clock.clone(), observe::PERIOD);
    let edge = Arc::new(Edge {
        past,
        search,
        bodies: body::Bodies::new(&limits, &conditions),
        answers: answers::Answers::new(&limits, &conditions),
        hub,
        reader,
        care,
        auth: auth.clone(),
        metrics: Arc::clone(&metrics),
        limits: Arc::clone(&limits),
        health,
        kicks: told::Told::default(),
    });
    let at_door = (clock.clone(), traces);
    let door = Arc::new(door::FrontDoor::new(&listeners.main, names, &metrics, &limits, at_door));
    let handshakes = handshake::Handshakes { edge: Arc::clone(&edge), door: Arc::clone(&door) };
    let app = door.before(routes(edge, &auth, debug_endpoints));
    let (tls, short_way) = (listeners.tls.clone(), Some(Arc::new(handshakes) as _));
    let serving = accept::Serving {
        app,
        short_way,
        tls,
        limits,
        places,
        proxies,
        clock,
        metrics,
        conditions,
    };
    let serving = listen(listeners, serving, (leaving, &stop));
    // A member that still waits for a page when all is over gets none.
    tokio::join!(
        serving,
        stop.run_until_cancelled(pager.run(pages)),
        stop.run_until_cancelled(renewing),
        stop.run_until_cancelled(parting),
        stop.run_until_cancelled(keeper.run()),
        stop.run_until_cancelled(sampling)
    );
}

/// Answers on `listeners` while the store can't be opened yet, until `stop`: alive, not ready, and
/// nothing else.
pub(crate) async fn serve_starting(
    listeners: Listeners,
    state: StartingState,
    stop: CancellationToken,
) {
    let StartingState { metrics, limits, names, proxies, clock, conditions, auth } = state;
    let leaving = Leaving { now: stop.clone(), heard: mpsc::channel(1).0 };
    let health = Health::new(None, conditions.clone());
    let scraped = api::metrics::Scraped {
        metrics: Arc::clone(&metrics),
        limits: Arc::clone(&limits),
        health,
        hub: None,
    };
    let routes = Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::starting))
        .fallback(health::not_yet)
        .method_not_allowed_fallback(health::not_yet)
        .with_state(conditions.clone())
        .merge(auth::guard(api::metrics::routes(scraped), &auth));
    // Nobody is let in yet: there is nothing to trace.
    let at_door = (clock.clone(), Traces::default());
    let door = Arc::new(door::FrontDoor::new(&listeners.main, names, &metrics, &limits, at_door));
    let app = door.around(routes);
    // These connections have ended before the hub begins, which has places of its own.
    let places = Places::new(&limits);
    let (tls, short_way) = (listeners.tls.clone(), None);
    let serving = accept::Serving {
        app,
        short_way,
        tls,
        limits,
        places,
        proxies,
        clock,
        metrics,
        conditions,
    };
    listen(listeners, serving, (leaving, &stop)).await;
}

/// Serves the same on all listeners.
async fn listen(
    listeners: Listeners,
    serving: accept::Serving,
    (leaving, stop): (Leaving, &CancellationToken),
) {
    let Listeners { main, plain, .. } = listeners;
    let beside = accept::Serving { tls: None, ..serving.clone() };
    let also = leaving.clone();
    let beside = async move {
        if let Some(plain) = plain {
            accept::run(plain, beside, also, stop.clone()).await;
        }
    };
    tokio::join!(accept::run(main, serving, leaving, stop.clone()), beside);
}

fn routes(edge: Arc<Edge>, auth: &Auth, debug_endpoints: bool) -> Router {
    let metrics = api::metrics::routes(api::metrics::Scraped {
        metrics: Arc::clone(&edge.metrics),
        limits: Arc::clone(&edge.limits),
        health: edge.health.clone(),
        hub: Some(edge.hub.clone()),
    });
    let debug = if debug_endpoints { echo::routes() } else { Router::new() };
    let guarded = Router::new()
        .merge(handshake::routes())
        .merge(debug)
        .merge(api::routes())
        .merge(admin::routes())
        .merge(observe::routes())
        .with_state(edge)
        .merge(metrics);
    auth::guard(guarded, auth).merge(api::console::routes())
}
