//! `POST /v1/ws/spaces/{space_id}/chat` and `/broadcast`: a chat from outside a socket (WIRE A3).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;

use super::ChatJson;
use super::post::PostBody;
use crate::edge::auth::{Access, Caller};
use crate::edge::http::peer::Peer;
use crate::edge::http::problem::Refusal;
use crate::edge::http::query::{PathText, path_text};
use crate::edge::traced::Noted;
use crate::edge::{Edge, http::json};
use crate::hub::{Existing, Posted};
use crate::limits::Limits;
use crate::shard::Accept;
use crate::shard::event::Post;
use crate::store::{RangeQuery, StoredMessage};
use crate::wire::client_message::is_nonce;
use crate::wire::reject::Reject;
use crate::wire::time::TimeFormat;
use crate::wire::{Id, SpaceId, UserId};

/// How long a post waits to hear who exists.
const EXISTING_WAIT: Duration = Duration::from_millis(250);
const IDEMPOTENCY_KEY: &str = "idempotency-key";
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const RESPOND_ASYNC: &str = "respond-async";

/// Accepts a chat, and answers when it is stored, or after `durable_wait_max` when it is only
/// accepted. Where chats are accepted once they are stored, nobody knows by then whether it is.
pub(super) async fn post(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    Extension(caller): Extension<Arc<Caller>>,
    path: PathText,
    request: Request,
) -> Result<Response, Refusal> {
    if edge.hub.is_draining() {
        return Err(Refusal::from(Reject::Draining).closing());
    }
    let (head, body) = request.into_parts();
    // Where a chat is accepted once it is stored there is nothing to be told before.
    let is_by_store = edge.hub.accept() == Accept::Stored;
    let asynchronous = prefers_async(&head.headers) && !is_by_store;
    let body = edge.bodies.read(peer, body, edge.limits.chat_body_bytes_max).await?;
    let post = sound_post(&body.bytes, &path_text(path), &head, &caller, &edge.limits)?;
    let post = Post { address: peer.key(), ..post };
    must_exist(&edge, post.user, post.space, peer).await?;
    let mut echo = Echo::of(&post);
    // The post holds copies of what is kept of the body, and they are small.
    drop(body);
    let posting = edge.hub.post(post);
    let posted = match is_by_store {
        true => in_time(edge.limits.durable_wait_max, posting).await?,
        false => posting.await,
    };
    let mut posted = posted.map_err(Refusal::passed_on)?;
    let stored = !asynchronous && is_stored(&mut posted, edge.limits.durable_wait_max).await?;
    if posted.duplicate {
        // The two may differ in the name only: whatever else is another is refused.
        if let Some(first) = first(&edge, echo.space, posted.id, peer).await {
            echo.username = first.username.into();
        }
    }
    let status = if stored { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = echo.answer(status, &posted, edge.limits.utc_offset);
    response.extensions_mut().insert(noted(stored, posted.duplicate));
    let headers = response.headers_mut();
    if posted.duplicate {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    if asynchronous {
        headers.insert(PREFERENCE_APPLIED, HeaderValue::from_static(RESPOND_ASYNC));
    }
    Ok(response)
}

/// What the trace of an accepted post says.
fn noted(stored: bool, duplicate: bool) -> Noted {
    let (outcome, level) = if stored { ("stored", "durable") } else { ("accepted", "accepted") };
    Noted { outcome, level: Some(level), duplicate: Some(duplicate), ..Noted::default() }
}

fn sound_post(
    body: &[u8],
    path: &str,
    head: &Parts,
    caller: &Caller,
    limits: &Limits,
) -> Result<Post, Refusal> {
    let body = PostBody::parse(body, path, limits, caller.user())?;
    let nonce = nonce(&head.headers)?;
    caller.speaks_for(body.user)?;
    caller.may(body.space, Access::Say)?;
    Ok(Post {
        space: body.space,
        user: body.user,
        username: body.username.into(),
        content: body.content.into(),
        image: body.image.into(),
        nonce: nonce.map(Box::from),
        address: None,
    })
}

/// Refuses posts of users and in spaces that are not there, before anybody sees them. A store that
/// does not say in time stops none: then the row is judged when it is stored.
async fn must_exist(edge: &Edge, user: UserId, space: SpaceId, peer: Peer) -> Result<(), Reject> {
    let existing = match edge.hub.exist(user, space) {
        Some(known) => known,
        None => {
            let asked = edge.reader.existing(user, space, peer.number());
            let Ok(Ok(found)) = tokio::time::timeout(EXISTING_WAIT, asked).await else {
                return Ok(());
            };
            let existing = Existing { user: found.user, space: found.space };
            edge.hub.note_existing(user, space, existing);
            existing
        }
    };
    match existing {
        Existing { user: true, space: true } => Ok(()),
        Existing { user: false, .. } => Err(Reject::UnknownUser),
        Existing { space: false, .. } => Err(Reject::UnknownSpace),
    }
}

/// What becomes of a post, if that is known in time.
async fn in_time<T>(wait_ms: u64, posting: impl Future<Output = T>) -> Result<T, Refusal> {
    let known = tokio::time::timeout(Duration::from_millis(wait_ms), posting).await;
    known.map_err(|_| Refusal::not_yet_stored())
}

/// Whether the store has committed the message in time; an error if it has refused it.
async fn is_stored(posted: &mut Posted, wait_ms: u64) -> Result<bool, Refusal> {
    match tokio::time::timeout(Duration::from_millis(wait_ms), &mut posted.durable).await {
        Ok(Ok(Ok(()))) => Ok(true),
        Ok(Ok(Err(reject))) => Err(Refusal::passed_on(reject)),
        // The shard is gone, or the store is slow: the message is in the journal, and no further.
        Ok(Err(_)) | Err(_) => Ok(false),
    }
}

/// The first message of a repeated key, as far as it is stored and the store can be asked.
async fn first(edge: &Edge, space: SpaceId, id: Id, peer: Peer) -> Option<StoredMessage> {
    let (after, before) = (id.0.checked_sub(1).map(Id), id.0.checked_add(1).map(Id));
    let query = RangeQuery { space, after, before, newest_max: None, limit: 1 };
    let room = edge.answers.begin(peer, 1).ok()?;
    let (range, _room) = edge.reader.range(query, room).await.ok()?;
    range.rows.into_iter().next()
}

/// What the answer repeats of a post.
struct Echo {
    space: SpaceId,
    user: UserId,
    username: Box<str>,
    content: Box<str>,
    image: Box<str>,
}

impl Echo {
    fn of(post: &Post) -> Echo {
        Echo {
            space: post.space,
            user: post.user,
            username: post.username.clone(),
            content: post.content.clone(),
            image: post.image.clone(),
        }
    }

    fn answer(&self, status: StatusCode, posted: &Posted, utc_offset: i32) -> Response {
        #[derive(Serialize)]
        struct Answer<'a> {
            chat_message: ChatJson<'a>,
            message: &'static str,
        }
        let chat_message = ChatJson {
            id: &posted.id.to_string(),
            content: &self.content,
            user_id: self.user.0,
            username: &self.username,
            space_id: self.space.0,
            timestamp: &TimeFormat::new(utc_offset).string(posted.at),
            image: &self.image,
        };
        json::answer(status, &Answer { chat_message, message: "Mensaje enviado exitosamente" })
    }
}

/// The `Idempotency-Key`, bare or quoted.
fn nonce(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let bad = || Refusal::field("Idempotency-Key", "Idempotency-Key no es válida");
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = given.next() else { return Ok(None) };
    let text = value.to_str().map_err(|_| bad())?;
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if is_nonce(bare) && given.next().is_none() { Ok(Some(bare)) } else { Err(bad()) }
}

/// Whether `Prefer` (RFC 7240) asks not to wait for the store.
fn prefers_async(headers: &HeaderMap) -> bool {
    let lines = headers.get_all("prefer").iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|preference| {
        let name = preference.split([';', '=']).next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case(RESPOND_ASYNC)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::time::Micros;
    use tokio::sync::oneshot;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().expect("a header value"));
        }
        headers
    }

    #[test]
    fn a_key_is_taken_bare_or_quoted() {
        let longest = "k".repeat(64);
        for (given, expected) in [
            ("a1", Ok(Some("a1"))),
            ("\"a1\"", Ok(Some("a1"))),
            (longest.as_str(), Ok(Some(longest.as_str()))),
            ("\"", Ok(Some("\""))),
            ("", Err(())),
            ("\"\"", Err(())),
            ("a b", Err(())),
            (&"k".repeat(65), Err(())),
        ] {
            let headers = headers(IDEMPOTENCY_KEY, &[given]);
            assert_eq!(nonce(&headers).map_err(|_| ()), expected, "{given}");
        }
        assert_eq!(nonce(&HeaderMap::new()), Ok(None));
        let twice = nonce(&headers(IDEMPOTENCY_KEY, &["a", "a"])).expect_err("two keys");
        assert_eq!((twice.status.as_u16(), twice.code), (400, "invalid_parameter"));
    }

    #[test]
    fn a_preference_is_found_among_others() {
        for (given, expected) in [
            ("respond-async", true),
            ("wait=10, Respond-Async; x=y", true),
            ("return=minimal", false),
            ("respond-asynchronously", false),
        ] {
            assert_eq!(prefers_async(&headers("prefer", &[given])), expected, "{given}");
        }
    }

    #[tokio::test]
    async fn the_answer_has_the_bytes_of_the_wire_contract() {
        let posted = Posted {
            id: Id(7),
            at: Micros(1_767_333_845_678_901),
            duplicate: false,
            durable: oneshot::channel().1,
        };
        let echo = Echo {
            space: SpaceId(1),
            user: UserId(1),
            username: "Ana Paz".into(),
            content: "ho\"la <ñ>".into(),
            image: "".into(),
        };
        let response = echo.answer(StatusCode::OK, &posted, -10_800);
        assert_eq!(response.headers()["content-type"], "application/json");
        let body = axum::body::to_bytes(response.into_body(), 4096).await.expect("a body");
        assert_eq!(
            std::str::from_utf8(&body).expect("JSON is UTF-8"),
            "{\"chat_message\":{\"id\":\"00000000000000000000000007\",\"content\":\"ho\\\"la <ñ>\",\
             \"user_id\":1,\"username\":\"Ana Paz\",\"space_id\":1,\
             \"timestamp\":\"2026-01-02T03:04:05.678901-03:00\",\"image\":\"\"},\
             \"message\":\"Mensaje enviado exitosamente\"}\n"
        );
    }

    #[tokio::test]
    async fn the_store_decides_the_status_within_its_time() {
        type Verdict = Option<Result<(), Reject>>;
        let outcome = async |verdict: Option<Verdict>| {
            let (tell, durable) = oneshot::channel();
            let mut posted = Posted { id: Id(7), at: Micros(0), duplicate: false, durable };
            // Outer none: silence; inner none: the shard is gone.
            let silent = match verdict {
                None => Some(tell),
                Some(None) => None,
                Some(Some(verdict)) => tell.send(verdict).map_or(None, |()| None),
            };
            let stored = is_stored(&mut posted, 0).await;
            drop(silent);
            stored
        };
        assert_eq!(outcome(Some(Some(Ok(())))).await, Ok(true));
        assert_eq!(outcome(None).await, Ok(false));
        assert_eq!(outcome(Some(None)).await, Ok(false));
        let refused = outcome(Some(Some(Err(Reject::UnknownUser)))).await.expect_err("refused");
        assert_eq!((refused.status.as_u16(), refused.counts), (422, None));
    }
}
