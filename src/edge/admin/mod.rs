//! What operators ask and do: spaces by size, kicks, pushes, tokens called back (WIRE E).
//!
//! `auth` decides who may, for all routes of this folder at once.

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post};

use super::Edge;

mod kick;
mod notify;
mod revocations;
mod spaces;

/// The endpoints.
pub(super) fn routes() -> Router<Arc<Edge>> {
    Router::new()
        .route("/v1/auth/revocations", post(revocations::revoke))
        .route("/v1/spaces", get(spaces::list))
        .route("/v1/spaces/{space_id}/members/{user_id}", delete(kick::kick))
        .route("/v1/users/{user_id}/notifications", post(notify::push))
}
