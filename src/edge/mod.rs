//! The edge: HTTP on one port. Handshakes, whose sockets go to their shards; the API; health and
//! metrics; the console's pages.
//!
//! Owns the listener, the connections that are no members yet, and the bytes of bodies and answers
//! in flight. Never waits for a shard's lock (there is none) and never touches a member's socket
//! once it has been handed over.
//!
//! Reading order: [`serve`] here, `accept`, `waiting`, `connection`, `door`, `handshake`, `api`.

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

mod admin;
mod api;
mod auth;
mod catch_up;
mod handshake;
mod http;
#[cfg(test)]
mod tests;

pub use http::cors::{BadOrigin, Origins};
use http::{accept, answers, body, door};

use crate::conditions::Conditions;
use crate::hub::{Hub, PageRequest, Places};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::store::{Reader, StoreState};

/// The version, and the commit where the build was told it (`CPI_HUB_COMMIT`).
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that was built, or "unknown".
pub const COMMIT: &str = match option_env!("CPI_HUB_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// What the edge works with.
#[derive(Debug)]
pub struct EdgeState {
    /// The way to the shards.
    pub hub: Hub,
    /// History.
    pub reader: Reader,
    /// Counted into, and shown at `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Every bound.
    pub limits: Arc<Limits>,
    /// Pages of these origins may use the hub.
    pub origins: Origins,
    /// What the sink is doing, for `/readyz` and `/metrics`.
    pub store_state: watch::Receiver<StoreState>,
    /// What is wrong now, for the same.
    pub conditions: Conditions,
    /// Members that need pages of history.
    pub pages: mpsc::Receiver<PageRequest>,
}

/// How the store is, and what else is wrong.
#[derive(Clone, Debug)]
struct StoreHealth {
    state: watch::Receiver<StoreState>,
    conditions: Conditions,
}

/// What handlers work with.
#[derive(Debug)]
struct Edge {
    hub: Hub,
    reader: Reader,
    metrics: Arc<Metrics>,
    limits: Arc<Limits>,
    store: StoreHealth,
    bodies: body::Bodies,
    answers: answers::Answers,
}

/// Serves until `stop`; then nothing more is accepted, and requests under way have `close_wait`
/// to end. Returns when the last connection that is no member's is closed.
///
/// Cancel `stop` last of all: until then, handshakes and posts are answered `draining` once the
/// hub drains, so that nobody hangs in the listener's backlog.
pub async fn serve(listener: TcpListener, state: EdgeState, stop: CancellationToken) {
    let loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let limits = Arc::clone(&state.limits);
    let door = door::Door {
        origins: state.origins.clone(),
        loopback,
        metrics: Arc::clone(&state.metrics),
    };
    let EdgeState { hub, reader, metrics, limits: bounds, pages, .. } = state;
    let health = StoreHealth { state: state.store_state, conditions: state.conditions };
    let serving = (Arc::clone(&metrics), health.conditions.clone());
    let places = hub.places().clone();
    let pager = catch_up::Pager::new(hub.clone(), reader.clone(), Arc::clone(&bounds));
    let routes = routes((hub, reader), metrics, bounds, health);
    let (metrics, conditions) = serving;
    let app = door.before(routes);
    let serving = accept::Serving { app, limits, places, metrics, conditions };
    let serving = accept::run(listener, serving, stop.clone());
    // Those who still wait for a page when all is over get none.
    tokio::join!(serving, stop.run_until_cancelled(pager.run(pages)));
}

/// Answers on `listener` while the store can't be opened yet, until `stop`: alive, not ready, and
/// nothing else.
pub async fn serve_starting(
    listener: TcpListener,
    origins: Origins,
    (metrics, limits, conditions): (Arc<Metrics>, Arc<Limits>, Conditions),
    stop: CancellationToken,
) {
    let loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let door = door::Door { origins, loopback, metrics: Arc::clone(&metrics) };
    let routes = Router::new()
        .route("/livez", get(api::health::livez))
        .route("/readyz", get(api::health::starting))
        .fallback(api::health::not_yet)
        .method_not_allowed_fallback(api::health::not_yet)
        .with_state(conditions.clone());
    // Its connections have ended before the hub, with places of its own, begins.
    let (app, places) = (door.around(routes), Places::new(&limits));
    let serving = accept::Serving { app, limits, places, metrics, conditions };
    accept::run(listener, serving, stop).await;
}

fn routes(
    (hub, reader): (Hub, Reader),
    metrics: Arc<Metrics>,
    limits: Arc<Limits>,
    store: StoreHealth,
) -> Router {
    let (bodies, answers) = (body::Bodies::new(&limits), answers::Answers::new(&limits));
    let scrape = api::metrics::Scrape::new(Arc::clone(&metrics), store.clone());
    let edge = Edge { hub, reader, metrics, limits, store, bodies, answers };
    Router::new()
        .route("/v1/ws/spaces/{space_id}", get(handshake::chat))
        .route("/v1/ws/user-connection", get(handshake::lobby))
        .route("/v1/ws/notifications", get(handshake::inbox))
        .route("/v1/ws/spaces/{space_id}/chat", post(api::chat::post))
        .route("/v1/ws/spaces/{space_id}/broadcast", post(api::chat::post))
        .route("/v1/messages", get(api::history::pages))
        .route("/v1/spaces", get(api::presence::list))
        .route("/v1/spaces/{space_id}/messages", get(api::history::range))
        .route("/v1/spaces/{space_id}/presence", get(api::presence::presence))
        .route("/v1/spaces/{space_id}/members/{user_id}", delete(api::presence::kick))
        .route("/v1/users/{user_id}/notifications", post(admin::notify::push))
        .route("/livez", get(api::health::livez))
        .route("/readyz", get(api::health::readyz))
        .with_state(Arc::new(edge))
        .merge(scrape.route())
        .merge(api::console::routes())
}
