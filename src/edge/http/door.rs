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
use tracing::Instrument;
use tracing::field::Empty;

use super::cors::{self, Guests, Hosts, OriginVerdict, Origins, Sent};
use super::peer::Peer;
use super::problem::{Refusal, wants_problem};
use super::request_id::{Begun, X_REQUEST_ID};
use super::told::Told;
use super::unread;
use crate::clock::Clock;
use crate::edge::traced;
use crate::limits::Limits;
use crate::metrics::{Metric, Metrics};
use crate::telemetry::Traces;

/// The most letters of a refused name that are told.
const NAME_CHARS: usize = 100;
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// The names that the door knows.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// Pages of these origins may use the hub.
    pub origins: Origins,
    /// The hub goes by these names too.
    pub hosts: Hosts,
}

/// What the door goes by.
#[derive(Debug)]
pub(crate) struct FrontDoor {
    /// Who is let in.
    guests: Guests,
    /// Who was refused.
    refused: Told,
    clock: Clock,
    /// Where requests are traced.
    traces: Traces,
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
        names: Names,
        metrics: &Arc<Metrics>,
        limits: &Limits,
        (clock, traces): (Clock, Traces),
    ) -> FrontDoor {
        let is_loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        let Names { origins, hosts } = names;
        // The seconds are rounded down: the peer is to be the first to close.
        let seconds = limits.keep_alive_wait / 1_000;
        let keep_alive = HeaderValue::try_from(format!("timeout={seconds}")).ok();
        FrontDoor {
            guests: Guests { origins, hosts, is_loopback },
            refused: Told::default(),
            clock,
            traces,
            metrics: Arc::clone(metrics),
            close_wait: Duration::from_millis(limits.close_wait),
            keep_alive: keep_alive.filter(|_| seconds > 0),
        }
    }

    /// Puts the door in front of `routes`; what they don't know is 404, methods too.
    pub(crate) fn before(self: Arc<FrontDoor>, routes: Router) -> Router {
        let routes =
            routes.fallback(async || not_found()).method_not_allowed_fallback(async || not_found());
        self.around(routes)
    }

    /// Puts the door around routes that have an answer to everything.
    pub(crate) fn around(self: Arc<FrontDoor>, routes: Router) -> Router {
        // Around the whole router, not each route: it adds headers of its own at its edge.
        let door = middleware::from_fn_with_state(self, pass);
        Router::new().fallback_service(routes).layer(door)
    }

    /// Whether a handshake that comes the short way may pass.
    pub(crate) fn lets_in(&self, headers: &[httparse::Header<'_>]) -> bool {
        let sent = Sent { version: Version::HTTP_11, headers, authority: None };
        matches!(self.guests.judge(sent), OriginVerdict::Plain | OriginVerdict::Listed(_))
    }

    /// Where requests are traced.
    pub(crate) fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Counts a request.
    pub(crate) fn count_request(&self) {
        self.metrics.edge.add(Metric::HttpRequests, 1);
    }

    fn judge(&self, request: &Request) -> OriginVerdict {
        let authority = request.uri().authority().map(|authority| authority.as_str());
        let (version, headers) = (request.version(), request.headers());
        self.guests.judge(Sent { version, headers, authority })
    }

    /// The answer of the door or of what is behind it. The request is gone when this returns.
    async fn answer(&self, request: Request, next: Next) -> Response {
        match self.judge(&request) {
            OriginVerdict::NoHost => {
                // Where its next request would go, a proxy and the hub may not agree.
                Refusal::field("Host", "Host no es válido").closing().into_response()
            }
            OriginVerdict::Foreign(origin) => {
                let origin = origin.map_or_else(|| "null".into(), |origin| origin.to_string());
                self.tell_refused(&request, "Origin", &origin);
                StatusCode::FORBIDDEN.into_response()
            }
            OriginVerdict::Unknown(host) => {
                self.tell_refused(&request, "Host", &host.to_string());
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

    /// Counts a request that is refused for what it says of origin or host, and tells of it, so
    /// that an operator whose own name it is finds what to do.
    fn tell_refused(&self, request: &Request, header: &'static str, name: &str) {
        self.metrics.edge.add(Metric::OriginsRefused, 1);
        // Names have no letter that a log or a terminal could take for anything else.
        let name = &name[..name.len().min(NAME_CHARS)];
        let subject = format!("{header} {name}");
        let Some(left_out) = self.refused.is_due(self.clock.now().mono, &subject) else { return };
        let peer = request.extensions().get::<Peer>().map(|peer| peer.address.to_string());
        let peer = peer.unwrap_or_default();
        let what_to_do = match header {
            "Host" => "the hub does not go by this Host: if it is yours, add it to `hosts`",
            _ if name == "null" => "this page says no Origin that could be listed",
            _ => "pages of this Origin may not use the hub: if it is yours, add it to `origins`",
        };
        tracing::warn!(name, peer, left_out, "refused (403): {what_to_do}");
    }

    /// The whole answer to a request, its head as the door has it.
    async fn pass(&self, request: Request, next: Next) -> Response {
        self.count_request();
        let (asked, seed) = (Asked::of(&request), traced::seed_of(&request).cloned());
        let (request, unread) = unread::lend(request);
        let mut response = self.answer(request, next).await;
        if let Some(seed) = seed {
            traced::finish(&seed, &response);
        }
        // The head of a 101 is written by the connection, and takes no more headers.
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return response;
        }
        self.count(&response);
        let mut closes = asked.is_last;
        if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
            refusal.render(&mut response, asked.problem);
            closes |= refusal.closes;
        }
        closes = closes || !unread.finish(self.close_wait).await;
        let headers = response.headers_mut();
        closes |= headers.get(header::CONNECTION).is_some_and(|it| it == "close");
        // The router names a path's methods by itself; the existing server says 404 and no more.
        headers.remove(header::ALLOW);
        // What there is to see depends on who asks; a preflight's answer says so itself.
        if !headers.get_all(header::VARY).iter().any(|it| it == "Origin") {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        if headers.contains_key(header::CONTENT_TYPE) {
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        }
        if closes {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        } else if let Some(keep_alive) = self.keep_alive.as_ref().filter(|_| asked.is_kept) {
            headers.insert(KEEP_ALIVE, keep_alive.clone());
        }
        response
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

async fn pass(State(door): State<Arc<FrontDoor>>, mut request: Request, next: Next) -> Response {
    let mut begun = Begun::new(request.headers(), door.clock.now());
    let asked = (request.method().as_str(), request.uri().path());
    let known = (Some(&begun.id), begun.at);
    begun.seed = traced::seed(&door.traces, asked, request.headers(), known);
    // The gravest sort of span, so that no choice of lines leaves the id out.
    let span = tracing::error_span!("request", id = begun.id.as_str(), trace = Empty);
    if let Some(seed) = &begun.seed {
        span.record("trace", seed.trace_text());
    }
    let id = begun.id.value();
    request.extensions_mut().insert(begun);
    let mut response = door.pass(request, next).instrument(span).await;
    // The head of a 101 is written by the connection, and takes no more headers.
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    response
}
