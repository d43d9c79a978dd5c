//! The guard before every route: takes what a request shows out of it, judges that, and leaves the
//! caller in its place.

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use super::caller::Caller;
use super::current::Auth;
use super::routes::{self, Asks};
use super::secret::Secret;
use crate::edge::http::door::not_found;
use crate::edge::http::peer::Peer;
use crate::edge::http::problem::Refusal;
use crate::wire::percent::decode;
use crate::wire::reject::Reject;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// What stands before a token among the subprotocols of a handshake.
const PROTOCOL_TOKEN: &str = "token.";
/// The key of a token in a query.
const QUERY_TOKEN: &str = "token";

/// A request that shows nothing at all, wrong or right. Travels as an extension of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NothingShown;

/// Puts the guard before routes.
pub(crate) fn guard(routes: Router, auth: &Auth) -> Router {
    routes.route_layer(middleware::from_fn_with_state(auth.clone(), pass))
}

async fn pass(State(auth): State<Auth>, mut request: Request, next: Next) -> Response {
    if !auth.is_on() {
        request.extensions_mut().insert(Arc::new(Caller::Anyone));
        return next.run(request).await;
    }
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let asks = path.and_then(|path| routes::asks(request.method(), path));
    let Some(asks) = asks else { return not_found() };
    let mut response = match caller(&auth, asks, &mut request) {
        Ok(caller) => {
            request.extensions_mut().insert(Arc::new(caller));
            next.run(request).await
        }
        Err(reject) => Refusal::from(reject).into_response(),
    };
    if response.status() == StatusCode::UNAUTHORIZED {
        let asked = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, asked);
    }
    response
}

/// Who has sent a request, if that may use the route. What is shown where nothing is asked is not
/// looked at: nobody finds out there what it is.
fn caller(auth: &Auth, asks: Asks, request: &mut Request) -> Result<Caller, Reject> {
    let shown = take_shown(request).filter(|_| asks != Asks::Nothing);
    let Some(shown) = shown else {
        request.extensions_mut().insert(NothingShown);
        return asks.judge(&Caller::Nobody).map(|()| Caller::Nobody);
    };
    let peer = request.extensions().get::<Peer>().copied();
    let caller = match peer {
        Some(peer) => shown_by(auth, peer, &shown)?,
        None => auth.caller(&shown, None)?,
    };
    asks.judge(&caller).map(|()| caller)
}

/// Whom something speaks for that a peer shows, in a request or in its first message.
pub(crate) fn shown_by(auth: &Auth, peer: Peer, shown: &Secret) -> Result<Caller, Reject> {
    let caller = auth.caller(shown, peer.key());
    if caller.is_err() {
        tell(auth, peer);
    }
    caller
}

/// Tells of an address that shows what is nobody's, and of which nothing is looked at for a while.
fn tell(auth: &Auth, peer: Peer) {
    let peer = peer.address.to_string();
    if let Some(left_out) = auth.is_to_be_told(&peer) {
        let what = "refused (429): this address shows tokens or keys that are none";
        tracing::warn!(peer, left_out, "{what} (failed_logins_max)");
    }
}

/// Takes everything that may be a token or a key out of a request; the first of it is what counts.
fn take_shown(request: &mut Request) -> Option<Secret> {
    let headers = request.headers_mut();
    let by_header = take_header(headers, &header::AUTHORIZATION);
    let by_key = take_header(headers, &API_KEY);
    let by_protocol = take_protocol(headers);
    let by_query = take_query(request.uri_mut());
    by_header.or(by_key).or(by_protocol).or(by_query)
}

/// A header's value, without `Bearer` before it. Given twice it is nobody's.
fn take_header(headers: &mut HeaderMap, name: &HeaderName) -> Option<Secret> {
    let is_twice = headers.get_all(name).iter().nth(1).is_some();
    let value = headers.remove(name)?;
    let value = value.as_bytes();
    let scheme = b"bearer ";
    let bare = match value.split_at_checked(scheme.len()) {
        Some((first, rest)) if first.eq_ignore_ascii_case(scheme) => rest.trim_ascii(),
        // Clients that have no token say so; the space is gone with the end of the line.
        _ if value.eq_ignore_ascii_case(scheme.trim_ascii_end()) => &[],
        _ => value,
    };
    Some(Secret::new(if is_twice { &[][..] } else { bare }))
}

/// The token among the subprotocols, which go on without it, so that no answer can repeat it.
fn take_protocol(headers: &mut HeaderMap) -> Option<Secret> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let lines: Vec<String> =
        lines.filter_map(|line| line.to_str().ok()).map(str::to_owned).collect();
    let elements = || lines.iter().flat_map(|line| line.split(',')).map(str::trim);
    let token = elements().find_map(|element| element.strip_prefix(PROTOCOL_TOKEN))?;
    let secret = Secret::new(token.as_bytes());
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    let others = elements().filter(|element| !element.starts_with(PROTOCOL_TOKEN));
    let others = others.collect::<Vec<_>>().join(", ");
    if let Some(others) = HeaderValue::try_from(others).ok().filter(|it| !it.is_empty()) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, others);
    }
    Some(secret)
}

/// The token in a query, which goes on without it.
fn take_query(uri: &mut Uri) -> Option<Secret> {
    let is_token = |pair: &&str| {
        let key = pair.split('=').next().unwrap_or_default();
        decode(key, true).as_deref() == Some(QUERY_TOKEN)
    };
    let query = uri.query()?;
    let pair = query.split('&').find(is_token)?;
    let value = pair.split_once('=').map_or("", |(_, value)| value);
    let secret = Secret::new(decode(value, true).unwrap_or_default().into_owned().into_bytes());
    let others: Vec<&str> = query.split('&').filter(|pair| !is_token(pair)).collect();
    let others = format!("{}?{}", uri.path(), others.join("&"));
    let mut parts = uri.clone().into_parts();
    // A part of what was a path and a query is one.
    parts.path_and_query = PathAndQuery::try_from(others).ok();
    *uri = Uri::from_parts(parts).unwrap_or_default();
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    /// What is taken of a request, and what is left of its query and subprotocols.
    fn taken(uri: &str, headers: &[(&str, &str)]) -> (Option<String>, String, String) {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).expect("a request");
        let shown = take_shown(&mut request);
        let shown = shown.map(|it| String::from_utf8(it.bytes().into()).expect("text"));
        assert!(!request.headers().contains_key("authorization"));
        assert!(!request.headers().contains_key("x-api-key"));
        let protocol = request.headers().get("sec-websocket-protocol");
        let protocol = protocol.map_or("", |it| it.to_str().expect("text")).to_owned();
        (shown, request.uri().to_string(), protocol)
    }

    #[test]
    fn what_is_shown_is_taken_out_of_the_request_wherever_it_stands() {
        for (uri, headers, shown, left) in [
            ("/a?b=1", &[][..], None, ("/a?b=1", "")),
            ("/a", &[("authorization", "Bearer a.b.c")][..], Some("a.b.c"), ("/a", "")),
            ("/a", &[("authorization", "bEARER  a.b.c ")], Some("a.b.c"), ("/a", "")),
            ("/a", &[("authorization", "a.b.c")], Some("a.b.c"), ("/a", "")),
            ("/a", &[("authorization", "Bearer")], Some(""), ("/a", "")),
            ("/a", &[("x-api-key", "k")], Some("k"), ("/a", "")),
            ("/a", &[("authorization", "x"), ("authorization", "y")], Some(""), ("/a", "")),
            ("/a", &[("authorization", "x"), ("x-api-key", "y")], Some("x"), ("/a", "")),
            ("/a?token=x.y&b=1&to%6ben=z", &[], Some("x.y"), ("/a?b=1", "")),
            ("/a?token=%78", &[("x-api-key", "k")], Some("k"), ("/a?", "")),
            ("/a?token", &[], Some(""), ("/a?", "")),
            ("/a?token=%ff", &[], Some(""), ("/a?", "")),
            (
                "/a",
                &[("sec-websocket-protocol", "chat, cpi-hub.v1,token.a.b.c")],
                Some("a.b.c"),
                ("/a", "chat, cpi-hub.v1"),
            ),
            ("/a", &[("sec-websocket-protocol", "token.a.b.c")], Some("a.b.c"), ("/a", "")),
            ("/a", &[("sec-websocket-protocol", "cpi-hub.v1")], None, ("/a", "cpi-hub.v1")),
        ] {
            let (found, uri_left, protocol) = taken(uri, headers);
            assert_eq!(found.as_deref(), shown, "{uri} {headers:?}");
            assert_eq!((&*uri_left, &*protocol), left, "{uri} {headers:?}");
        }
    }
}
