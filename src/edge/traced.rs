//! Which requests are traced, and what their spans say: handshakes, streams of events and posts.
//!
//! The span of a request that is answered ends with its answer; [`finish`] tells of it what that
//! says. Whoever is let into a space takes its span along (`handshake`). What is told is the hub's
//! own: a route, a code, a number; of the client's only a request's id, which is plain.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;

use super::http::head::Fields;
use super::http::problem::Refusal;
use super::http::request_id::{Begun, RequestId};
use super::http::upgrade::Streaming;
use crate::telemetry::{Kind, Seed, Span, Traces};
use crate::wire::time::Now;
use crate::wire::{Dialect, Encoding, parse_int};

/// W3C Trace Context.
const TRACEPARENT: &str = "traceparent";
const STATUS: &str = "http.response.status_code";
const CODE: &str = "cpi_hub.code";

/// What a handler says of an answer that is no refusal; an extension of it.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Noted {
    /// What has become of the request.
    pub outcome: &'static str,
    /// The code of what stands in the way, where the answer itself is none of an error.
    pub code: Option<&'static str>,
    /// How far a message is: `accepted`, `durable`.
    pub level: Option<&'static str>,
    /// Whether it was there already.
    pub duplicate: Option<bool>,
    /// Sockets that a push has gone to.
    pub delivered: Option<u32>,
}

/// A request that is traced.
struct Route<'a> {
    kind: Kind,
    method: &'static str,
    template: &'static str,
    /// The space, as the path has it.
    space: Option<&'a str>,
}

impl Route<'_> {
    fn of<'a>(method: &str, path: &'a str) -> Option<Route<'a>> {
        let of = |kind, method, template, space| Some(Route { kind, method, template, space });
        let handshake = |template, space| of(Kind::Handshake, "GET", template, space);
        let post = |template, space| of(Kind::Post, "POST", template, space);
        let mut parts = path.strip_prefix("/v1/")?.split('/');
        if parts.clone().any(str::is_empty) {
            return None;
        }
        let parts = [(); 5].map(|()| parts.next());
        match (method, parts) {
            ("GET", [Some("ws"), Some("spaces"), space @ Some(_), None, None]) => {
                handshake("/v1/ws/spaces/{space_id}", space)
            }
            ("GET", [Some("ws"), Some("user-connection"), None, ..]) => {
                handshake("/v1/ws/user-connection", None)
            }
            ("GET", [Some("ws"), Some("notifications"), None, ..]) => {
                handshake("/v1/ws/notifications", None)
            }
            ("GET", [Some("spaces"), space @ Some(_), Some("events"), None, _]) => {
                handshake("/v1/spaces/{space_id}/events", space)
            }
            ("POST", [Some("ws"), Some("spaces"), space @ Some(_), Some("chat"), None]) => {
                post("/v1/ws/spaces/{space_id}/chat", space)
            }
            ("POST", [Some("ws"), Some("spaces"), space @ Some(_), Some("broadcast"), None]) => {
                post("/v1/ws/spaces/{space_id}/broadcast", space)
            }
            ("POST", [Some("users"), Some(_), Some("notifications"), None, _]) => {
                post("/v1/users/{user_id}/notifications", None)
            }
            _ => None,
        }
    }
}

/// What the span of a request is begun from, if it is to have one.
pub(super) fn seed<F: Fields + ?Sized>(
    traces: &Traces,
    (method, path): (&str, &str),
    headers: &F,
    (id, at): (Option<&RequestId>, Now),
) -> Option<Seed> {
    if !traces.is_on() {
        return None;
    }
    let route = Route::of(method, path)?;
    let mut seed = traces.seed(route.kind, at, headers.all(TRACEPARENT))?;
    seed.text("http.request.method", route.method);
    seed.text("http.route", route.template);
    if let Some(space) = route.space.and_then(parse_int) {
        seed.number("cpi_hub.space_id", space.into());
    }
    if let Some(id) = id {
        seed.text("cpi_hub.request_id", id.as_str().to_owned());
    }
    Some(seed)
}

/// What a request's span is begun from, as the door has put it there.
pub(super) fn seed_of(request: &Request) -> Option<&Seed> {
    request.extensions().get::<Begun>()?.seed.as_ref()
}

/// Tells of the span of somebody who is let in, and whose socket is on its way to its shard. If it
/// never comes there, its peer has gone.
pub(super) fn let_in(span: &mut Span, dialect: Dialect, encoding: Encoding, resumes: bool) {
    let (status, encoding) = match encoding {
        Encoding::Frames => (StatusCode::SWITCHING_PROTOCOLS, "frames"),
        Encoding::Deflated => (StatusCode::SWITCHING_PROTOCOLS, "deflated"),
        Encoding::Events => (StatusCode::OK, "events"),
    };
    span.number(STATUS, status.as_u16().into());
    let dialect = match dialect {
        Dialect::Seed => "seed",
        Dialect::V1 => "v1",
    };
    span.text("cpi_hub.dialect", dialect);
    span.text("cpi_hub.encoding", encoding);
    span.flag("cpi_hub.resumes", resumes);
    span.outcome("gone");
}

/// Tells of a span that its handshake was refused after its answer.
pub(super) fn refuse(span: &mut Span, code: &'static str) {
    span.outcome("refused");
    span.text(CODE, code);
}

/// Traces a request by its answer, unless its span has gone along with its socket. Refusals are not
/// written into it yet.
pub(super) fn finish(seed: &Seed, response: &Response) {
    let extensions = response.extensions();
    let is_gone = response.status() == StatusCode::SWITCHING_PROTOCOLS
        || extensions.get::<Arc<Streaming>>().is_some();
    if is_gone {
        return;
    }
    let mut span = seed.begin();
    let refusal = extensions.get::<Refusal>();
    let status = refusal.map_or(response.status(), |refusal| refusal.status);
    span.number(STATUS, status.as_u16().into());
    let noted = extensions.get::<Noted>().copied().unwrap_or_default();
    let code = refusal.map(|refusal| refusal.code).or(noted.code);
    let outcome = match noted.outcome {
        _ if refusal.is_some() || !status.is_success() => "refused",
        "" => "done",
        outcome => outcome,
    };
    span.outcome(outcome);
    if let Some(code) = code {
        span.text(CODE, code);
    }
    if let Some(level) = noted.level {
        span.text("cpi_hub.level", level);
    }
    if let Some(duplicate) = noted.duplicate {
        span.flag("cpi_hub.duplicate", duplicate);
    }
    if let Some(delivered) = noted.delivered {
        span.number("cpi_hub.delivered", delivered.into());
    }
    if status.is_server_error() {
        span.fail(code.unwrap_or("internal"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_streams_and_posts_are_traced_and_nothing_else() {
        let route = |method: &'static str, path: &'static str| {
            Route::of(method, path).map(|it| (it.kind, it.template, it.space))
        };
        for (method, path, kind, template, space) in [
            ("GET", "/v1/ws/spaces/7", Kind::Handshake, "/v1/ws/spaces/{space_id}", Some("7")),
            ("GET", "/v1/ws/user-connection", Kind::Handshake, "/v1/ws/user-connection", None),
            ("GET", "/v1/ws/notifications", Kind::Handshake, "/v1/ws/notifications", None),
            (
                "GET",
                "/v1/spaces/7/events",
                Kind::Handshake,
                "/v1/spaces/{space_id}/events",
                Some("7"),
            ),
            (
                "POST",
                "/v1/ws/spaces/x/chat",
                Kind::Post,
                "/v1/ws/spaces/{space_id}/chat",
                Some("x"),
            ),
            (
                "POST",
                "/v1/ws/spaces/7/broadcast",
                Kind::Post,
                "/v1/ws/spaces/{space_id}/broadcast",
                Some("7"),
            ),
            (
                "POST",
                "/v1/users/7/notifications",
                Kind::Post,
                "/v1/users/{user_id}/notifications",
                None,
            ),
        ] {
            assert_eq!(route(method, path), Some((kind, template, space)), "{path}");
        }
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/v1"),
            ("GET", "/v1/"),
            ("GET", "/v1/ws/spaces/"),
            ("GET", "/v1/ws/spaces/7/"),
            ("GET", "/v1/ws/spaces/7/chat"),
            ("HEAD", "/v1/ws/spaces/7"),
            ("GET", "/v1/spaces/7/messages"),
            ("POST", "/v1/ws/spaces/7/chat/x"),
            ("POST", "/v1/ws/spaces//chat"),
            ("GET", "/metrics"),
        ] {
            assert_eq!(route(method, path), None, "{method} {path}");
        }
    }
}
