//! `POST /v1/users/{id}/notifications`: a push to each notification socket of a user (WIRE E).

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::edge::http::body::parse_object;
use crate::edge::http::json::Sound;
use crate::edge::http::peer::Peer;
use crate::edge::http::problem::Refusal;
use crate::edge::http::query::{PathText, parse_user, path_text};
use crate::edge::traced::Noted;
use crate::edge::{Edge, http::json};
use crate::hub::Question;
use crate::limits::{Limits, TIME_CHARS_MAX};
use crate::metrics::Metric;
use crate::shard::event::Notification;
use crate::wire::reject::Reject;

/// Pushes, and says to how many sockets.
pub(super) async fn push(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    path: PathText,
    request: Request,
) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct Pushed {
        delivered: u32,
    }
    edge.metrics.edge.add(Metric::OperatorRequests, 1);
    if edge.hub.is_draining() {
        return Err(Refusal::from(Reject::Draining).closing());
    }
    let user = parse_user(Some(&path_text(path)))?;
    let body = edge.bodies.read(peer, request.into_body(), edge.limits.body_bytes_max).await?;
    let push = parse(&body.bytes, &edge.limits)?;
    let delivered = edge.hub.ask(Question::notify(user, push), peer.key()).await;
    let delivered = delivered.map_err(Refusal::passed_on)?;
    let mut response = json::answer(StatusCode::OK, &Pushed { delivered });
    let delivered = Some(delivered);
    response.extensions_mut().insert(Noted { outcome: "pushed", delivered, ..Noted::default() });
    Ok(response)
}

fn parse(body: &[u8], limits: &Limits) -> Result<Notification, Refusal> {
    #[derive(Deserialize)]
    struct PushFields<'a> {
        #[serde(borrow)]
        data: Option<&'a RawValue>,
        #[serde(borrow, rename = "type")]
        kind: Option<&'a RawValue>,
        #[serde(borrow)]
        timestamp: Option<&'a RawValue>,
    }
    // This check is by hand, since serde reads a struct from an array too.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Refusal::bad_json());
    }
    let given: PushFields<'_> = parse_object(body, limits)?;
    let data = given.data.map(RawValue::get).unwrap_or_default();
    // It is passed on as it stands, to readers that are strict.
    if !data.starts_with('{') || serde_json::from_str::<Sound>(data).is_err() {
        return Err(Refusal::field("data", "Invalid request data: data no es válido"));
    }
    let bad_kind = || Refusal::field("type", "Invalid request data: type no es válido");
    let kind = match text(given.kind) {
        Ok(None) => "notification",
        Ok(Some(kind)) if kind == "notification" => "notification",
        Ok(Some(kind)) if kind == "event" => "event",
        _ => return Err(bad_kind()),
    };
    let bad_time = || Refusal::field("timestamp", "Invalid request data: timestamp no es válido");
    let timestamp = text(given.timestamp).map_err(|()| bad_time())?;
    if timestamp.as_ref().is_some_and(|text| !is_time(text)) {
        return Err(bad_time());
    }
    let timestamp = timestamp.map(|text| Box::from(text.as_ref()));
    Ok(Notification { kind: kind.into(), data: compact(data).into(), timestamp })
}

fn text(raw: Option<&RawValue>) -> Result<Option<Cow<'_, str>>, ()> {
    raw.map(|raw| serde_json::from_str::<String>(raw.get()).map(Cow::Owned))
        .transpose()
        .map_err(|_| ())
}

/// JSON without the white space between its parts; its numbers and strings as they stand.
fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for letter in json.chars() {
        if in_string || !matches!(letter, ' ' | '\t' | '\n' | '\r') {
            out.push(letter);
        }
        if letter == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = letter == '\\' && !escaped;
    }
    out
}

/// The pusher's own time, which the hub only passes on: short, and one line.
fn is_time(text: &str) -> bool {
    (1..=TIME_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Notification, &'static str> {
        let parsed = parse(body.as_bytes(), &Limits::default());
        parsed.map_err(|refusal| refusal.field.unwrap_or("json"))
    }

    #[test]
    fn a_push_is_compact_and_has_a_kind() {
        let push = read(r#"{"data": { "a" : "x \" y" , "b" : [ 1e2, 12345678901234567890 ] }}"#);
        let push = push.expect("a sound push");
        assert_eq!(&*push.data, r#"{"a":"x \" y","b":[1e2,12345678901234567890]}"#);
        assert_eq!((&*push.kind, push.timestamp), ("notification", None));
        let nested = r#"{"data":{"a":{"a":[{"a":1},{"a":null}]},"b":"\ud83d\ude00","c":-1e-999}}"#;
        let push = read(nested).expect("each object has its own keys");
        assert_eq!(&*push.data, &nested[8..nested.len() - 1]);
        let given = r#"{"type":"event","data":{},"timestamp":"2026-01-02T03:04:05.678901-03:00"}"#;
        let push = read(given).expect("a sound push");
        assert_eq!(&*push.kind, "event");
        assert_eq!(push.timestamp.as_deref(), Some("2026-01-02T03:04:05.678901-03:00"));
    }

    #[test]
    fn a_push_that_is_none_names_its_field() {
        for (body, field) in [
            ("", "json"),
            ("[]", "json"),
            ("[{},null,null]", "json"),
            (r#"{"data":{}"#, "json"),
            (r#"{"data":{},"data":{}}"#, "json"),
            ("{}", "data"),
            (r#"{"data":null}"#, "data"),
            (r#"{"data":[]}"#, "data"),
            (r#"{"data":"x"}"#, "data"),
            (r#"{"data":{"a":"\ud800"}}"#, "data"),
            (r#"{"data":{"\udc00":1}}"#, "data"),
            (r#"{"data":{"a":1,"b":2,"a":1}}"#, "data"),
            (r#"{"data":{"a":1,"\u0061":1}}"#, "data"),
            (r#"{"data":{"a":[[{"b":{"c":1,"c":1}}]]}}"#, "data"),
            (r#"{"data":{"a":[{"b":"\udc00\ud800"}]}}"#, "data"),
            (r#"{"data":{"n":1e999}}"#, "data"),
            (r#"{"data":{"n":[-1e999]}}"#, "data"),
            (r#"{"data":{},"type":"\ud800"}"#, "type"),
            (r#"{"data":{},"type":"chat"}"#, "type"),
            (r#"{"data":{},"type":7}"#, "type"),
            (r#"{"data":{},"timestamp":7}"#, "timestamp"),
            (r#"{"data":{},"timestamp":""}"#, "timestamp"),
            (r#"{"data":{},"timestamp":"a\nb"}"#, "timestamp"),
        ] {
            assert_eq!(read(body).map(|_| ()), Err(field), "{body}");
        }
    }
}
