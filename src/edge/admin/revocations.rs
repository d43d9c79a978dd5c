//! Calling tokens back before their end (WIRE E, G).

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use crate::edge::auth::{NotRevoked, Whose, revocation};
use crate::edge::http::body::parse_object;
use crate::edge::http::door::not_found;
use crate::edge::http::peer::Peer;
use crate::edge::http::problem::Refusal;
use crate::edge::{Edge, http::json};
use crate::limits::{Limits, TOKEN_ID_CHARS_MAX};
use crate::metrics::Metric;
use crate::wire::reject::Reject;

/// `POST /v1/auth/revocations`: calls a user's tokens back, or one, and closes their sockets.
pub(super) async fn revoke(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct Revoked {
        closed: u32,
    }
    if !edge.auth.is_on() {
        return Ok(not_found());
    }
    edge.metrics.edge.add(Metric::OperatorRequests, 1);
    let body = edge.bodies.read(peer, request.into_body(), edge.limits.body_bytes_max).await?;
    let (whose, until) = parse(&body.bytes, &edge.limits)?;
    let live = revocation(&whose, edge.auth.now());
    edge.auth.revoke(whose, until).await.map_err(|error| match error {
        NotRevoked::Full => Refusal::from(Reject::Overloaded),
        NotRevoked::Unkept(_) => Refusal::from(Reject::StoreUnavailable),
    })?;
    let closed = edge.hub.revoke(live).await.map_err(Refusal::passed_on)?;
    tracing::info!(peer = %peer.address, closed, "tokens are called back by request");
    Ok(json::answer(StatusCode::OK, &Revoked { closed }))
}

fn parse(body: &[u8], limits: &Limits) -> Result<(Whose, Option<i64>), Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fields {
        user_id: Option<i32>,
        token_id: Option<String>,
        until: Option<i64>,
    }
    // This check is by hand, since serde reads a struct from an array too.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Refusal::bad_json());
    }
    let given: Fields = parse_object(body, limits)?;
    let whose = match (given.user_id, given.token_id) {
        (Some(user), None) => Whose::User(user),
        (None, Some(id)) if (1..=TOKEN_ID_CHARS_MAX).contains(&id.chars().count()) => {
            Whose::Token(id)
        }
        _ => {
            let message = "Invalid request data: user_id o token_id es requerido";
            return Err(Refusal::field("user_id", message));
        }
    };
    Ok((whose, given.until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_names_a_user_or_a_token() {
        let read = |body: &str| {
            let read = parse(body.as_bytes(), &Limits::default());
            read.map_err(|refusal| refusal.field.unwrap_or("json"))
        };
        assert_eq!(read(r#"{"user_id":7}"#), Ok((Whose::User(7), None)));
        let token = (Whose::Token("a".into()), Some(9));
        assert_eq!(read(r#"{"token_id":"a","until":9}"#), Ok(token));
        for (body, field) in [
            ("", "json"),
            ("[7,null,null]", "json"),
            (r#"{"user_id":"7"}"#, "json"),
            (r#"{"user_id":7,"user_id":8}"#, "json"),
            (r#"{"user":7}"#, "json"),
            (r#"{"user_id":7,"until":1.5}"#, "json"),
            ("{}", "user_id"),
            (r#"{"token_id":""}"#, "user_id"),
            (r#"{"user_id":7,"token_id":"a"}"#, "user_id"),
        ] {
            assert_eq!(read(body), Err(field), "{body}");
        }
        let long = format!("{{\"token_id\":\"{}\"}}", "x".repeat(257));
        assert_eq!(read(&long), Err("user_id"));
    }
}
