//! What operators watch: the hub's numbers, those of the last hour and each new one, how the
//! members of a space stand, and who came and went of late (WIRE E).
//!
//! Owns the samples. Costs shards nothing but what is asked of them by hand: numbers are read where
//! shards publish them in any case.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use super::Edge;

mod comings;
mod feed;
mod hottest;
mod members;
mod past;
mod sample;

pub(super) use past::{PERIOD, Past, keep};

/// The endpoints.
pub(super) fn routes() -> Router<Arc<Edge>> {
    Router::new()
        .route("/v1/hub/past", get(feed::past))
        .route("/v1/hub/feed", get(feed::feed))
        .route("/v1/hub/hottest", get(hottest::list))
        .route("/v1/connections", get(comings::list))
        .route("/v1/spaces/{space_id}/members", get(members::list))
}
