//! Streams of events (docs/WIRE.md, I): a request is checked as a handshake is, and its socket goes
//! to the shard of its space, with the head of the answer as the first bytes that the member is
//! owed. The answer has neither length nor chunks: its end is the connection's, so that all
//! members read the same bytes, and clients and proxies of HTTP/1.0 can too.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::{Extension, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;

use super::{Claim, Opening, caller, default_name, name_of, reserve, take};
use crate::edge::Edge;
use crate::edge::http::media::Accepted;
use crate::edge::http::peer::Peer;
use crate::edge::http::problem::Refusal;
use crate::edge::http::query::{
    PathText, Query, QueryValue, parse_user, path_space, path_text, position,
};
use crate::edge::http::request_id::{Begun, RequestId};
use crate::edge::http::upgrade::{Streaming, Upgrade};
use crate::edge::traced::{self, Noted};
use crate::limits::Limits;
use crate::shard::event::{Grant, Guise};
use crate::telemetry::Seed;
use crate::wire::close::Close;
use crate::wire::event_stream;
use crate::wire::reject::Reject;
use crate::wire::time::{Micros, TimeFormat};
use crate::wire::{Dialect, Encoding, Id, SpaceKey, UserId};

/// Where a client that comes back by itself says what it had last.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const EVENT_STREAM: &str = "text/event-stream";

/// `GET /v1/spaces/{id}/events`.
pub(super) async fn events(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    space: PathText,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let (query, headers) = (Query::parse(query.as_deref()), request.headers());
    let known = caller(&request).user();
    let claim = claim(&path_text(space), &query, headers, (&edge.limits, known))
        .and_then(|claim| claim.judged(caller(&request)));
    let claim = match claim {
        Ok(claim) => claim,
        Err(refusal) => return refusal.into_response(),
    };
    let now = request.extensions().get::<Begun>().map_or_else(|| edge.now(), |begun| begun.at);
    if request.method() == Method::HEAD {
        return answer(now.unix, Body::empty());
    }
    let reserved = match reserve(&edge, peer, claim) {
        Ok(reserved) => reserved,
        Err(refusal) => return put_off(&edge, headers, refusal),
    };
    let mut response = answer(now.unix, Body::empty());
    let given = RequestId::given(headers);
    let span = traced::seed_of(&request).map(Seed::begin);
    let streaming = Streaming(Box::new(move |bytes: BytesMut| {
        let (dialect, encoding) = (Dialect::V1, Encoding::Events);
        let opening = Opening { bytes, dialect, encoding, request: given, begun: now, span };
        Upgrade(take(&edge, peer, reserved, opening))
    }));
    response.extensions_mut().insert(Arc::new(streaming));
    response
}

/// What a request claims. Who says no user only watches, and a user may.
fn claim(
    space: &str,
    query: &Query,
    headers: &HeaderMap,
    (limits, known): (&Limits, Option<UserId>),
) -> Result<Claim, Refusal> {
    let name = name_of(query, limits)?;
    let space = path_space(space)?;
    let given = query.get("user_id");
    let user = if given.is_empty() { known } else { Some(parse_user(given.text())?) };
    let watches = match query.get("watch") {
        QueryValue::Missing | QueryValue::Text("" | "0") => false,
        QueryValue::Text("1") => true,
        _ => return Err(Refusal::field("watch", "watch debe ser 0 o 1")),
    };
    let (user, guise) = match user {
        None => (UserId(0), Guise::Nobody),
        Some(user) if watches => (user, Guise::Watcher),
        Some(user) => (user, Guise::Member),
    };
    // The address of a stream stays the same when its reader comes back: its header is newer.
    let asked = position(query, "after", "after no es una posición válida")?;
    let after = last_event(headers)?.or(asked);
    let username = if name.is_empty() { default_name(user) } else { name.into() };
    Ok(Claim { space: SpaceKey::Chat(space), user, username, after, guise, grant: Grant::ALL })
}

/// The position that `Last-Event-ID` gives; an empty one is none.
fn last_event(headers: &HeaderMap) -> Result<Option<Id>, Refusal> {
    let mut lines = headers.get_all(LAST_EVENT_ID).iter();
    let line = match (lines.next(), lines.next()) {
        (None, _) => return Ok(None),
        (Some(line), None) if line.is_empty() => return Ok(None),
        (Some(line), None) => line.to_str().ok(),
        (Some(_), Some(_)) => None,
    };
    let bad = || Refusal::field("Last-Event-ID", "Last-Event-ID no es una posición válida");
    line.and_then(Id::parse).map(Some).ok_or_else(bad)
}

/// The answer's head, but for what the door adds to it.
fn answer(unix: Micros, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, EVENT_STREAM),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
        (header::CONNECTION, "close"),
    ];
    headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    let since = Duration::from_micros(unix.0.max(0).unsigned_abs());
    let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since);
    headers.extend(HeaderValue::try_from(date).ok().map(|date| (header::DATE, date)));
    response
}

/// The answer to whom there is no room for now. An `EventSource` gives up for good at any status
/// but 200: it is told in a stream of one event, and comes back when that says.
fn put_off(edge: &Edge, headers: &HeaderMap, refusal: Refusal) -> Response {
    let close = match refusal.counts {
        Some(Reject::Draining) => Close::Restart,
        Some(Reject::RateLimited { .. }) => Close::TooFast,
        Some(Reject::Overloaded | Reject::TooManyConnections) => Close::Overloaded,
        _ => return refusal.into_response(),
    };
    if Accepted::of(headers).by_name(EVENT_STREAM) == 0 {
        return refusal.into_response();
    }
    if let Some(reject) = refusal.counts {
        edge.metrics.edge.reject(reject);
    }
    let unix = edge.now().unix;
    let at = *TimeFormat::new(edge.limits.utc_offset).text(unix);
    let mut told = BytesMut::new();
    // Microseconds are as good as chance to tell those apart who come back.
    event_stream::closing(&mut told, close, unix.0 as u32, &at);
    let mut response = answer(unix, Body::from(told.freeze()));
    let code = Some(refusal.code);
    response.extensions_mut().insert(Noted { outcome: "put_off", code, ..Noted::default() });
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01ARYZ6S410000000000000000";

    fn claimed(raw: &str, last: &[&'static str], known: Option<UserId>) -> Result<Claim, Refusal> {
        let mut headers = HeaderMap::new();
        for line in last {
            headers.append(LAST_EVENT_ID, HeaderValue::from_static(line));
        }
        claim("1", &Query::parse(Some(raw)), &headers, (&Limits::default(), known))
    }

    #[test]
    fn who_says_a_user_is_a_member_and_who_says_none_watches() {
        let guise = |raw: &str, known| {
            let claim = claimed(raw, &[], known).expect("a claim");
            (claim.user.0, claim.guise)
        };
        assert_eq!(guise("", None), (0, Guise::Nobody));
        assert_eq!(guise("watch=1", None), (0, Guise::Nobody));
        assert_eq!(guise("user_id=7", None), (7, Guise::Member));
        assert_eq!(guise("user_id=7&watch=0", None), (7, Guise::Member));
        assert_eq!(guise("user_id=7&watch=1", None), (7, Guise::Watcher));
        assert_eq!(guise("", Some(UserId(9))), (9, Guise::Member));
        assert_eq!(guise("watch=1", Some(UserId(9))), (9, Guise::Watcher));
        for (raw, field) in [
            ("watch=yes", "watch"),
            ("watch=%ff", "watch"),
            ("user_id=x", "user_id"),
            ("user_id=7&username=%07", "username"),
            ("after=x", "after"),
            ("after=", "after"),
        ] {
            let refusal = claimed(raw, &[], None).expect_err(raw);
            assert_eq!((refusal.status.as_u16(), refusal.field), (400, Some(field)), "{raw}");
        }
    }

    #[test]
    fn the_header_of_who_comes_back_wins_over_the_address() {
        let after = |raw: &str, last: &[&'static str]| claimed(raw, last, None).map(|it| it.after);
        let (id, other) = (Id::parse(ID), Id::parse("01ARYZ6S410000000000000001"));
        let older = format!("after={ID}");
        assert_eq!(after(&older, &[]), Ok(id));
        assert_eq!(after(&older, &[""]), Ok(id));
        assert_eq!(after(&older, &["01ARYZ6S410000000000000001"]), Ok(other));
        assert_eq!(after("", &[ID]), Ok(id));
        for bad in [&["7"][..], &[ID, ID], &["01ARYZ6S41000000000000000l"]] {
            let refusal = after("", bad).expect_err("no position");
            assert_eq!((refusal.code, refusal.field), ("invalid_parameter", Some("Last-Event-ID")));
        }
    }
}
