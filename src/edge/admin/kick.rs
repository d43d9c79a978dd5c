//! Closing the sockets of a user in a space (WIRE E).

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use crate::edge::Edge;
use crate::edge::http::json;
use crate::edge::http::peer::Peer;
use crate::edge::http::problem::Refusal;
use crate::edge::http::query::{parse_user, path_space};
use crate::hub::Question;
use crate::metrics::Metric;

/// `DELETE /v1/spaces/{id}/members/{user_id}`: closes a user's sockets there.
pub(super) async fn kick(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct Kicked {
        closed: u32,
    }
    let (space, user) = path.map_or_else(|_| Default::default(), |Path(segments)| segments);
    let (space, user) = (path_space(&space)?, parse_user(Some(&user))?);
    edge.metrics.edge.add(Metric::OperatorRequests, 1);
    let closed =
        edge.hub.ask(Question::kick(space, user), peer.key()).await.map_err(Refusal::passed_on)?;
    // Who kicks nobody, again and again, is one subject.
    let subject = match closed {
        0 => peer.address.to_string(),
        _ => format!("{} {space} {user}", peer.address),
    };
    if let Some(left_out) = edge.kicks.is_due(edge.hub.now(), &subject) {
        let peer = peer.address;
        tracing::info!(%peer, %space, %user, closed, left_out, "a user is closed by request");
    }
    Ok(json::answer(StatusCode::OK, &Kicked { closed }))
}
