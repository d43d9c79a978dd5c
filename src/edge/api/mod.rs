//! What people and their programs ask over HTTP: chat posts, history, presence, health, metrics,
//! the console (WIRE A3, A4, E).
//!
//! A handler reads and checks what came (pure, tested here), asks hub or reader once, and writes
//! the answer.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use serde::Serialize;

use super::Edge;

mod chat;
pub(super) mod console;
pub(super) mod health;
mod history;
pub(super) mod metrics;
mod post;
mod presence;
pub(super) mod process;
mod search;
mod space;

/// The endpoints that need the hub.
pub(super) fn routes() -> Router<Arc<Edge>> {
    Router::new()
        .route("/v1/ws/spaces/{space_id}/chat", post(chat::post))
        .route("/v1/ws/spaces/{space_id}/broadcast", post(chat::post))
        .route("/v1/messages", get(history::pages))
        .route("/v1/spaces/{space_id}/messages", get(history::range))
        .route("/v1/spaces/{space_id}/search", get(search::search))
        .route("/v1/spaces/{space_id}/presence", get(presence::presence))
        .route("/v1/spaces/{space_id}", get(space::space))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
}

/// A chat message as posts and history by position show it: the frame's `data`.
#[derive(Serialize)]
struct ChatJson<'a> {
    id: &'a str,
    content: &'a str,
    user_id: i32,
    username: &'a str,
    space_id: i32,
    timestamp: &'a str,
    image: &'a str,
}
