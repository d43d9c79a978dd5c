//! The three socket endpoints, and streams of events: a request is checked in WIRE A1's order, and
//! its socket sent to the shard of its space, with the 101 as the first bytes that the member is
//! owed: who reads it is in.
//!
//! Everything up to there is pure but for the member's permit, which is taken last but one and
//! given back by dropping it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, RawQuery, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::BytesMut;
use socket2::SockRef;

use super::Edge;
use super::auth::Caller;
use super::http::connection::give_up_after;
use super::http::door::{FrontDoor, not_found};
use super::http::peer::Peer;
use super::http::problem::Refusal;
use super::http::query::{
    PathText, Query, QueryValue, parse_user, path_space, path_text, position,
};
use super::http::request_id::{Begun, RequestId};
use super::http::short_way::{Head, ShortWay};
use super::http::upgrade::{Refused, Take, Untaken, Upgrade};
use super::traced;
use crate::hub::{Admission, Permit};
use crate::limits::Limits;
use crate::metrics::Metric;
use crate::shard::event::{Grant, Guise, Join};
use crate::telemetry::{Seed, Span};
use crate::wire::time::Now;
use crate::wire::{Dialect, Encoding, Id, SpaceKey, UserId, parse_int};

mod events;
mod extension;
mod offer;
mod unproven;

use offer::{Offer, accepted_head, offer};

/// What a request claims: the user, and the space that they want to join.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Claim {
    space: SpaceKey,
    user: UserId,
    username: Box<str>,
    after: Option<Id>,
    /// As what they are there.
    guise: Guise,
    /// What the user may do there; known once the request has been judged.
    grant: Grant,
}

impl Claim {
    /// The claim, if its user is whom the request speaks for, and may be there: row 8.
    pub(super) fn judged(self, caller: &Caller) -> Result<Claim, Refusal> {
        let grant = match self.guise {
            Guise::Nobody => caller.watches(self.space)?,
            _ => caller.joins(self.user, self.space)?,
        };
        Ok(Claim { grant, ..self })
    }
}

/// What a socket brings to its shard beside who it is.
struct Opening {
    /// What the member is to be sent first.
    bytes: BytesMut,
    dialect: Dialect,
    encoding: Encoding,
    request: Option<RequestId>,
    /// When the handshake was whole.
    begun: Now,
    span: Option<Span>,
}

/// The kernel waits for a reader of events this number of times `write_wait`: if it is only slow,
/// its shard closes it before.
const GONE_TIMES: u64 = 2;

/// What stands before a space's number in a path.
const SPACES: &str = "/v1/ws/spaces/";
const LOBBY: &str = "/v1/ws/user-connection";
const INBOX: &str = "/v1/ws/notifications";

/// The endpoints.
pub(super) fn routes() -> Router<Arc<Edge>> {
    Router::new()
        .route("/v1/ws/spaces/{space_id}", get(chat))
        .route("/v1/ws/user-connection", get(lobby))
        .route("/v1/ws/notifications", get(inbox))
        .route("/v1/spaces/{space_id}/events", get(events::events))
}

/// `GET /v1/ws/spaces/{space_id}`.
async fn chat(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    space: PathText,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let query = Query::parse(query.as_deref());
    let claim = chat_claim(&path_text(space), &query, &edge.limits, caller(&request).user());
    answer(&edge, peer, claim, &request, "Error upgrading WebSocket connection")
}

/// `GET /v1/ws/user-connection`.
async fn lobby(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let query = Query::parse(query.as_deref());
    let claim = other_claim(&query, |_| SpaceKey::Lobby, caller(&request).user());
    answer(&edge, peer, claim, &request, "error upgrading connection")
}

/// `GET /v1/ws/notifications`.
async fn inbox(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let query = Query::parse(query.as_deref());
    let claim = other_claim(&query, SpaceKey::Inbox, caller(&request).user());
    answer(&edge, peer, claim, &request, "error upgrading connection")
}

/// Whom a request speaks for. The guard has said so; nobody, if a route has none before it.
pub(super) fn caller(request: &Request) -> &Caller {
    request.extensions().get::<Arc<Caller>>().map_or(&Caller::Nobody, AsRef::as_ref)
}

pub(super) fn answer(
    edge: &Arc<Edge>,
    peer: Peer,
    claim: Result<Claim, Refusal>,
    request: &Request,
    broken: &'static str,
) -> Response {
    // The router lets HEAD through where GET is.
    if request.method() != Method::GET {
        return not_found();
    }
    let offer = offer(request.version(), request.headers(), edge.limits.compression > 0);
    let claim = match (claim, unproven::may_wait(request, offer.as_ref())) {
        (Ok(claim), Some(offer)) => {
            let seed = traced::seed_of(request).cloned();
            return unproven::answer(edge, peer, claim, (offer, seed));
        }
        (claim, _) => claim.and_then(|claim| claim.judged(caller(request))),
    };
    let reserved = claim.and_then(|claim| match request.extensions().get() {
        Some(Refused(refusal)) => Err(*refusal),
        None => reserve(edge, peer, claim),
    });
    let reserved = match reserved {
        Ok(reserved) => reserved,
        Err(refusal) => return refusal.into_response(),
    };
    let begun = request.extensions().get::<Begun>().map_or_else(|| edge.now(), |begun| begun.at);
    match offer {
        Some(offer) => {
            let span = traced::seed_of(request).map(Seed::begin);
            switching(upgrade(edge, peer, reserved, (&offer, begun, span)))
        }
        None => unsound(broken),
    }
}

/// Decides on handshakes that come the short way: all but those that are refused for what they
/// say, which the routes answer. Where it is asked who is who none come so: the guard stands before
/// the routes.
pub(super) struct Handshakes {
    pub(super) edge: Arc<Edge>,
    pub(super) door: Arc<FrontDoor>,
}

impl ShortWay for Handshakes {
    fn decide(&self, head: &Head<'_>, peer: Peer) -> Option<Result<Upgrade, Refusal>> {
        if self.edge.auth.is_on() || !self.door.lets_in(head.fields) {
            return None;
        }
        let begun = self.edge.now();
        let query = Query::parse(head.query);
        let claim = match head.path {
            LOBBY => other_claim(&query, |_| SpaceKey::Lobby, None),
            INBOX => other_claim(&query, SpaceKey::Inbox, None),
            // Where there is more, or an escape, the routes know what it is.
            path => match path.strip_prefix(SPACES)? {
                space if space.contains(['/', '%']) => return None,
                space => chat_claim(space, &query, &self.edge.limits, None),
            },
        };
        let may_deflate = self.edge.limits.compression > 0;
        let (claim, offer) = (claim.ok()?, offer(Version::HTTP_11, head.fields, may_deflate)?);
        let claim = claim.judged(&Caller::Anyone).ok()?;
        let reserved = reserve(&self.edge, peer, claim);
        Some(reserved.map(|reserved| {
            self.door.count_request();
            let (asked, known) = (("GET", head.path), (offer.request.as_ref(), begun));
            let seed = traced::seed(self.door.traces(), asked, head.fields, known);
            let span = seed.map(|seed| seed.begin());
            upgrade(&self.edge, peer, reserved, (&offer, begun, span))
        }))
    }
}

/// Lets a connection be a member, if there is room for it.
fn reserve(edge: &Edge, peer: Peer, claim: Claim) -> Result<(Claim, Permit), Refusal> {
    let user = Some(claim.user).filter(|_| claim.guise != Guise::Nobody);
    let permit = edge.hub.reserve(user, peer.key())?;
    Ok((claim, permit))
}

/// Row 10 of WIRE A1, and what RFC 6455 4.4 wants with it.
pub(super) fn unsound(message: &'static str) -> Response {
    let version = [(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))];
    let refusal = Refusal { code: "invalid_upgrade", ..Refusal::field("upgrade", message) };
    (version, refusal).into_response()
}

fn upgrade(
    edge: &Arc<Edge>,
    peer: Peer,
    reserved: (Claim, Permit),
    (offer, begun, span): (&Offer, Now, Option<Span>),
) -> Upgrade {
    let (bytes, dialect, request) = (accepted_head(offer), offer.dialect, offer.request.clone());
    let encoding = offer.encoding();
    let opening = Opening { bytes, dialect, encoding, request, begun, span };
    Upgrade(take(edge, peer, reserved, opening))
}

/// Has a socket taken by its shard, with what it is still to be answered first.
fn take(
    edge: &Arc<Edge>,
    peer: Peer,
    (claim, mut permit): (Claim, Permit),
    opening: Opening,
) -> Take {
    let Opening { bytes, dialect, encoding, request, begun, mut span } = opening;
    if let Some(span) = &mut span {
        traced::let_in(span, dialect, encoding, claim.after.is_some());
    }
    let join = Join {
        opening: bytes,
        space: claim.space,
        user: claim.user,
        username: claim.username,
        dialect,
        encoding,
        guise: claim.guise,
        after: claim.after,
        address: peer.key(),
        grant: claim.grant,
    };
    let edge = Arc::clone(edge);
    Box::new(move |link, first_bytes, place| {
        let counted = match encoding {
            Encoding::Frames | Encoding::Deflated => Metric::HandshakesAccepted,
            Encoding::Events => Metric::EventStreams,
        };
        edge.metrics.edge.add(counted, 1);
        edge.metrics.edge.add(Metric::HandshakesDeflated, (encoding == Encoding::Deflated).into());
        if encoding == Encoding::Events {
            // It says nothing, so the kernel is to find out whether it is there, by what it takes.
            let wait = Duration::from_millis(GONE_TIMES * edge.limits.write_wait);
            _ = give_up_after(&SockRef::from(&link.stream), Some(wait));
        }
        permit.carry(place);
        let request = request.map(RequestId::into_text);
        let admission = Admission { join, link, first_bytes, permit, request, begun, span };
        edge.hub.admit(admission).map_err(|(refused, close)| {
            let Admission { join, link, permit, mut span, .. } = *refused;
            if let Some(span) = &mut span {
                traced::refuse(span, close.name());
            }
            let Join { opening, encoding, .. } = join;
            Untaken { link, _place: permit.part(), opening, encoding, close }
        })
    })
}

/// A response that the connection takes for the sign to leave HTTP.
pub(super) fn switching(upgrade: Upgrade) -> Response {
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    response.extensions_mut().insert(Arc::new(upgrade));
    response
}

/// Rows 3 to 7 of WIRE A1, on the chat endpoint. A token's user need not be said in the query.
fn chat_claim(
    space: &str,
    query: &Query,
    limits: &Limits,
    known: Option<UserId>,
) -> Result<Claim, Refusal> {
    let user = query.get("user_id");
    if user.is_empty() && known.is_none() {
        return Err(Refusal::field("user_id", "user_id es requerido"));
    }
    let name = name_of(query, limits)?;
    let space = path_space(space)?;
    let user = known.filter(|_| user.is_empty()).map_or_else(|| parse_user(user.text()), Ok)?;
    let after = position(query, "after", "after no es una posición válida")?;
    let username = if name.is_empty() { default_name(user) } else { name.into() };
    let (space, guise) = (SpaceKey::Chat(space), Guise::Member);
    Ok(Claim { space, user, username, after, guise, grant: Grant::ALL })
}

/// Rows 3 and 6, on the other two endpoints.
pub(super) fn other_claim(
    query: &Query,
    space: impl Fn(UserId) -> SpaceKey,
    known: Option<UserId>,
) -> Result<Claim, Refusal> {
    let given = query.get("user_id");
    if given.is_empty() && known.is_none() {
        return Err(Refusal::field("user_id", "user_id is required"));
    }
    let number = given.text().and_then(parse_int).map(UserId);
    let user = known.filter(|_| given.is_empty()).or(number);
    let user = user.ok_or_else(|| Refusal::field("user_id", "user_id must be a number"))?;
    let (space, username, after) = (space(user), default_name(user), None);
    Ok(Claim { space, user, username, after, guise: Guise::Member, grant: Grant::ALL })
}

/// The name that a query gives, or "".
fn name_of<'a>(query: &'a Query, limits: &Limits) -> Result<&'a str, Refusal> {
    match query.get("username") {
        QueryValue::Missing => Ok(""),
        QueryValue::Text(name) if is_name(name, limits) => Ok(name),
        _ => Err(Refusal::field("username", "username no es válido")),
    }
}

fn default_name(user: UserId) -> Box<str> {
    format!("User{user}").into()
}

fn is_name(name: &str, limits: &Limits) -> bool {
    name.chars().count() <= limits.username_chars_max && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SpaceId;

    fn claim(space: &str, raw: &str) -> Result<Claim, &'static str> {
        let query = Query::parse(Some(raw));
        chat_claim(space, &query, &Limits::default(), None).map_err(|refusal| {
            assert_eq!((refusal.status.as_u16(), refusal.code), (400, "invalid_parameter"));
            refusal.message
        })
    }

    #[test]
    fn a_request_is_checked_in_the_order_of_the_wire_contract() {
        let long = format!("user_id=7&username={}", "n".repeat(257));
        for (space, raw, expected) in [
            ("1", "", "user_id es requerido"),
            ("1", "user_id=&username=%07", "user_id es requerido"),
            ("abc", "username=%07", "user_id es requerido"),
            ("abc", "user_id=x&username=%07&after=x", "username no es válido"),
            ("1", "user_id=7&username=%00", "username no es válido"),
            ("1", "user_id=7&username=%0A", "username no es válido"),
            ("1", "user_id=7&username=%C2%85", "username no es válido"),
            ("1", "user_id=7&username=%FF", "username no es válido"),
            ("1", long.as_str(), "username no es válido"),
            ("abc", "user_id=x&after=x", "space_id debe ser un número"),
            ("2147483648", "user_id=7", "space_id debe ser un número"),
            ("1/2", "user_id=7", "space_id debe ser un número"),
            ("1\0", "user_id=7", "space_id debe ser un número"),
            ("", "user_id=7", "space_id debe ser un número"),
            ("1", "user_id=x&after=x", "user_id debe ser un número"),
            ("1", "user_id=1e3", "user_id debe ser un número"),
            ("1", "user_id=%00", "user_id debe ser un número"),
            ("1", "user_id=%zz", "user_id debe ser un número"),
            ("1", "user_id=%D9%A1", "user_id debe ser un número"),
            ("1", "user_id=2147483648", "user_id debe ser un número"),
            ("1", "user_id=7&after=x", "after no es una posición válida"),
            ("1", "user_id=7&after=", "after no es una posición válida"),
        ] {
            assert_eq!(claim(space, raw).expect_err(raw), expected, "{space} {raw}");
        }
    }

    #[test]
    fn a_person_is_who_the_query_says() {
        let (space, user) = (SpaceKey::Chat(SpaceId(1)), UserId(7));
        let (username, grant) = ("User7".into(), Grant::ALL);
        let (after, guise) = (None, Guise::Member);
        let nameless = Claim { space, user, username, after, guise, grant };
        for raw in ["user_id=7", "user_id=%2B007&username=", "user_id=7&user_id=8&x=y"] {
            assert_eq!(claim("1", raw), Ok(nameless.clone()), "{raw}");
        }
        let named = claim("+1", "user_id=7&username=Ana%20Paz+%F0%9F%98%80");
        assert_eq!(named.map(|claim| claim.username), Ok("Ana Paz 😀".into()));
        let after = claim("-5", &format!("user_id=0&after={}", Id(77))).expect("a sound query");
        assert_eq!((after.space, after.user), (SpaceKey::Chat(SpaceId(-5)), UserId(0)));
        assert_eq!(after.after, Some(Id(77)));
    }

    #[test]
    fn the_other_endpoints_read_the_user_only() {
        let read = |raw: &str| other_claim(&Query::parse(Some(raw)), SpaceKey::Inbox, None);
        let message = |raw: &str| read(raw).expect_err(raw).message;
        assert_eq!(message("username=%07"), "user_id is required");
        assert_eq!(message("user_id="), "user_id is required");
        assert_eq!(message("user_id=x&after=x"), "user_id must be a number");
        let inbox = read("user_id=7&username=%07&after=x").expect("a sound query");
        assert_eq!((inbox.space, &*inbox.username), (SpaceKey::Inbox(UserId(7)), "User7"));
        assert_eq!(inbox.after, None);
    }
}
