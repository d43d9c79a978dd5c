//! The door: what holds for every request, whatever its route. Foreign origins are turned away,
//! preflights answered, refusals written in the shape asked for, answers marked and counted.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;

use super::cors::{self, OriginVerdict, Origins};
use super::problem::{Refusal, wants_problem};
use crate::metrics::{Metric, Metrics};

/// What the door goes by.
#[derive(Debug)]
pub(crate) struct FrontDoor {
    /// The origins that are let in.
    origins: Origins,
    /// The listener is on a loopback address: only loopback names are answered to.
    loopback: bool,
    /// Where requests are counted.
    metrics: Arc<Metrics>,
}

impl FrontDoor {
    /// The door of a listener.
    pub(crate) fn new(
        listener: &TcpListener,
        origins: Origins,
        metrics: &Arc<Metrics>,
    ) -> FrontDoor {
        let loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        FrontDoor { origins, loopback, metrics: Arc::clone(metrics) }
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

async fn pass(State(door): State<Arc<FrontDoor>>, request: Request, next: Next) -> Response {
    door.metrics.edge.add(Metric::HttpRequests, 1);
    let problem = wants_problem(request.headers());
    // What follows a refused upgrade is frames or a body, never a request (RFC 9931); where a
    // chunked body ends, two readers may not agree.
    let last = [header::UPGRADE, header::TRANSFER_ENCODING];
    let is_last = last.iter().any(|name| request.headers().contains_key(name));
    let mut response = match door.judge(&request) {
        OriginVerdict::Foreign => {
            door.metrics.edge.add(Metric::OriginsRefused, 1);
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
    };
    // The head of a 101 is written by the connection, and takes no more headers.
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    door.count(&response);
    finish(&mut response, problem, is_last);
    response
}

fn finish(response: &mut Response, problem: bool, is_last: bool) {
    let mut closes = is_last;
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        refusal.render(response, problem);
        closes |= refusal.closes;
    }
    let headers = response.headers_mut();
    // The router names a path's methods by itself; the existing server says 404 and no more.
    headers.remove(header::ALLOW);
    if headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    if closes {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}
