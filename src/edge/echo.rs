//! What testers of the protocol connect to, where `debug_endpoints` are on: a member like all
//! others, in a space where what it sends is sent back to it alone.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::response::Response;
use axum::routing::get;

use super::Edge;
use super::handshake::{answer, caller, other_claim};
use super::http::peer::Peer;
use super::http::query::Query;
use crate::wire::{SpaceKey, UserId};

/// As whom they come: nobody need say who it is.
const TESTER: UserId = UserId(0);

/// The endpoint.
pub(super) fn routes() -> Router<Arc<Edge>> {
    Router::new().route("/v1/debug/echo", get(echo))
}

/// `GET /v1/debug/echo`.
async fn echo(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let claim = other_claim(&Query::parse(None), |_| SpaceKey::Echo, Some(TESTER));
    let claim = claim.and_then(|claim| claim.judged(caller(&request)));
    answer(&edge, peer, claim, &request, "error upgrading connection")
}
