//! The door: what holds for every request, whatever its route. Foreign origins are turned away,
//! preflights answered, refusals written in the shape asked for, answers marked and counted.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;

use super::cors::{self, OriginVerdict, Origins};
use super::problem::{Refusal, wants_problem};
use super::unread;
use crate::limits::Limits;
use crate::metrics::{Metric, Metrics};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// What the door goes by.
#[derive(Debug)]
pub(crate) struct FrontDoor {
    /// The origins that are let in.
    origins: Origins,
    /// The listener is on a loopback address: only loopback names are answered to.
    loopback: bool,
    /// Where requests are counted.
    metrics: Arc<Metrics>,
    /// How long a body that nobody reads may take to arrive.
    close_wait: Duration,
    /// How long a connection may be idle after its answer, as answers say it.
    keep_alive: Option<HeaderValue>,
}

impl FrontDoor {
    /// The door of a listener.
    pub(crate) fn new(
        listener: &TcpListener,
        origins: Origins,
        metrics: &Arc<Metrics>,
        limits: &Limits,
    ) -> FrontDoor {
        let loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        // The seconds are rounded down: the peer is to be the first to close.
        let seconds = limits.keep_alive_wait / 1_000;
        let keep_alive = HeaderValue::try_from(format!("timeout={seconds}")).ok();
        FrontDoor {
            origins,
            loopback,
            metrics: Arc::clone(metrics),
            close_wait: Duration::from_millis(limits.close_wait),
            keep_alive: keep_alive.filter(|_| seconds > 0),
        }
    }

    /// Puts the door in front of `routes`; what they don't know is 404, methods too.
    pub(crate) fn before(self, routes: Router) -> Router {
        let routes =
            routes.fallback(async || not_found()).method_not_allowed_fallback(async || not_found());
        self.around(routes)
    }

    /// Puts the door around routes that have an answer to everything.
    pub(crate) fn around(self, routes: Router) -> Router {
        // Around the whole router, not each route: it adds headers of its own at its edge.
        let door = middleware::from_fn_with_state(Arc::new(self), pass);
        Router::new().fallback_service(routes).layer(door)
    }

    fn judge(&self, request: &Request) -> OriginVerdict {
        let authority = request.uri().authority().map(|authority| authority.as_str());
        cors::judge(&self.origins, self.loopback, request.headers(), authority)
    }

    /// The answer of the door or of what is behind it. The request is gone when this returns.
    async fn answer(&self, request: Request, next: Next) -> Response {
        match self.judge(&request) {
            OriginVerdict::Foreign => {
                self.metrics.edge.add(Metric::OriginsRefused, 1);
                StatusCode::FORBIDDEN.into_response()
            }
            OriginVerdict::Listed(origin) if request.method() == Method::OPTIONS => {
                (StatusCode::NO_CONTENT, cors::preflight_headers(origin)).into_response()
            }
            OriginVerdict::Listed(origin) => {
                let mut response = next.run(request).await;
                response.headers_mut().extend(cors::answer_headers(origin));
                response
            }
            OriginVerdict::Plain => next.run(request).await,
        }
    }

    fn count(&self, response: &Response) {
        let edge = &self.metrics.edge;
        if response.status().is_server_error() {
            edge.add(Metric::HttpFaults, 1);
        }
        if let Some(reject) = response.extensions().get::<Refusal>().and_then(|it| it.counts) {
            edge.reject(reject);
        }
    }
}

/// The answer of a route that is not there, byte for byte as the existing server has it.
pub(crate) fn not_found() -> Response {
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain")], "404 page not found")
        .into_response()
}

/// What of a request's head says how it is answered.
struct Asked {
    /// Refusals are to be problems (RFC 9457).
    problem: bool,
    /// The answer is the connection's last.
    is_last: bool,
    /// How long the connection stays is told.
    is_kept: bool,
}

impl Asked {
    fn of(request: &Request) -> Asked {
        let headers = request.headers();
        // What follows a refused upgrade is frames or a body, never a request (RFC 9931); where a
        // chunked body ends, two readers may not agree.
        let last = [header::UPGRADE, header::TRANSFER_ENCODING];
        let is_last = last.iter().any(|name| headers.contains_key(name));
        let mut options = headers.get_all(header::CONNECTION).iter();
        let keeps = options.all(|it| it.as_bytes().eq_ignore_ascii_case(b"keep-alive"));
        let is_kept = request.version() == Version::HTTP_11 && keeps;
        Asked { problem: wants_problem(headers), is_last, is_kept }
    }
}

async fn pass(State(door): State<Arc<FrontDoor>>, request: Request, next: Next) -> Response {
    door.metrics.edge.add(Metric::HttpRequests, 1);
    let asked = Asked::of(&request);
    let (request, unread) = unread::lend(request);
    let mut response = door.answer(request, next).await;
    // The head of a 101 is written by the connection, and takes no more headers.
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    door.count(&response);
    let mut closes = asked.is_last;
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        refusal.render(&mut response, asked.problem);
        closes |= refusal.closes;
    }
    closes = closes || !unread.finish(door.close_wait).await;
    let headers = response.headers_mut();
    // The router names a path's methods by itself; the existing server says 404 and no more.
    headers.remove(header::ALLOW);
    if headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    if closes {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    } else if let Some(keep_alive) = door.keep_alive.as_ref().filter(|_| asked.is_kept) {
        headers.insert(KEEP_ALIVE, keep_alive.clone());
    }
    response
}
