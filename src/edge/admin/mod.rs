//! What operators ask and do: spaces by size, kicks, pushes, tokens called back, dead letters and
//! copies of the store (WIRE E).
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
mod store;

/// The endpoints.
pub(super) fn routes() -> Router<Arc<Edge>> {
    Router::new()
        .route("/v1/auth/revocations", post(revocations::revoke))
        .route("/v1/hub/dead-letters", get(store::letters))
        .route("/v1/hub/dead-letters/retry", post(store::retry))
        .route("/v1/hub/backups", get(store::backups).post(store::back_up))
        .route("/v1/spaces", get(spaces::list))
        .route("/v1/spaces/{space_id}/members/{user_id}", delete(kick::kick))
        .route("/v1/users/{user_id}/notifications", post(notify::push))
}
