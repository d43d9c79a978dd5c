//! What operators see of the store, and have done to it while the hub serves: dead letters, and
//! copies of the embedded database (WIRE E).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::edge::Edge;
use crate::edge::http::door::not_found;
use crate::edge::http::json;
use crate::edge::http::peer::Peer;
use crate::edge::http::problem::Refusal;
use crate::edge::http::query::{Query, limit};
use crate::limits::{LETTERS_BYTES_MAX, LETTERS_RETRIED_MAX};
use crate::metrics::Metric;
use crate::store::{CopiesShown, Letter, NewestLetters, NotDone, Retried};
use crate::wire::reject::Reject;
use crate::wire::time::TimeFormat;

/// How many letters are listed where the query does not say.
const LETTERS: u32 = 20;
/// How long whoever has letters tried again waits for the store.
const RETRY_WAIT: Duration = Duration::from_secs(10);

impl From<NotDone> for Refusal {
    fn from(not_done: NotDone) -> Refusal {
        Refusal::from(match not_done {
            NotDone::Busy => Reject::Overloaded,
            NotDone::Away => Reject::StoreUnavailable,
        })
    }
}

/// Does something that waits for the disk.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Refusal> {
    let done = spawn_blocking(work).await;
    done.map_err(|_| Refusal::from(Reject::Internal))?.map_err(|error| {
        tracing::warn!(%error, "an operator's question could not be answered");
        Refusal::from(Reject::StoreUnavailable)
    })
}

/// `GET /v1/hub/dead-letters?limit=&content=`: the newest dead letters; what was said, and who is
/// called how, only where `content` is 1.
pub(super) async fn letters(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    edge.metrics.edge.add(Metric::OperatorRequests, 1);
    let query = Query::parse(query.as_deref());
    let limit = limit(&query, LETTERS, LETTERS_RETRIED_MAX as u32)?;
    let has_content = match query.get("content") {
        value if value.is_empty() => false,
        value => match value.text() {
            Some("0") => false,
            Some("1") => true,
            _ => return Err(Refusal::field("content", "content debe ser 0 o 1")),
        },
    };
    let mut room = edge.answers.begin(peer, 0)?;
    if !room.grow_to(LETTERS_BYTES_MAX as usize) {
        return Err(Reject::Overloaded.into());
    }
    let care = edge.care.clone();
    let found = beside(move || care.letters(limit as usize)).await?;
    let total = edge.metrics.total().get(Metric::DeadLetters);
    edge.answers.json(peer, &letters_json(&found, total, (has_content, edge.limits.utc_offset)))
}

#[derive(Serialize)]
struct LetterJson<'a> {
    id: String,
    space_id: i32,
    user_id: i32,
    timestamp: String,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

fn letters_json(
    found: &NewestLetters,
    total: u64,
    (has_content, utc_offset): (bool, i32),
) -> impl Serialize + '_ {
    #[derive(Serialize)]
    struct Letters<'a> {
        data: Vec<LetterJson<'a>>,
        total: u64,
        has_more: bool,
    }
    let mut format = TimeFormat::new(utc_offset);
    let mut time = |it: &Letter| format.string(it.at);
    let times: Vec<String> = found.letters.iter().map(&mut time).collect();
    let data = found.letters.iter().zip(times).map(|(it, timestamp)| LetterJson {
        id: it.id.to_string(),
        space_id: it.space.0,
        user_id: it.user.0,
        timestamp,
        reason: &it.reason,
        username: has_content.then_some(&it.username),
        content: has_content.then_some(&it.content),
    });
    Letters { data: data.collect(), total, has_more: found.more }
}

#[derive(Serialize)]
struct RetriedJson {
    stored: u64,
    already_stored: u64,
    refused: u64,
    left: u64,
    /// Why the try has stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<String>,
}

/// `POST /v1/hub/dead-letters/retry`: tries the letters again that were refused first, a hundred of
/// them at most.
pub(super) async fn retry(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
) -> Result<Response, Refusal> {
    edge.metrics.edge.add(Metric::OperatorRequests, 1);
    if edge.hub.is_draining() {
        return Err(Refusal::from(Reject::Draining).closing());
    }
    tracing::info!(peer = %peer.address, "dead letters are tried again by request");
    let retried = timeout(RETRY_WAIT, edge.care.retry_letters()).await;
    let Retried { stored, already, refused, left, stopped } =
        retried.map_err(|_| Reject::StoreUnavailable)??;
    let stopped = stopped.map(|error| error.to_string());
    let done = RetriedJson { stored, already_stored: already, refused, left, stopped };
    Ok(json::answer(StatusCode::OK, &done))
}

/// `GET /v1/hub/backups`: the copies that there are, and the one that is made.
pub(super) async fn backups(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
) -> Result<Response, Refusal> {
    edge.metrics.edge.add(Metric::OperatorRequests, 1);
    let _begun = edge.answers.begin(peer, 0)?;
    shown(&edge, StatusCode::OK).await
}

/// `POST /v1/hub/backups`: has a copy made, unless one is being made.
pub(super) async fn back_up(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
) -> Result<Response, Refusal> {
    edge.metrics.edge.add(Metric::OperatorRequests, 1);
    if !edge.care.can_copy() {
        return Ok(not_found());
    }
    if edge.hub.is_draining() {
        return Err(Refusal::from(Reject::Draining).closing());
    }
    edge.care.copy()?;
    tracing::info!(peer = %peer.address, "a copy is made by request");
    shown(&edge, StatusCode::ACCEPTED).await
}

async fn shown(edge: &Edge, status: StatusCode) -> Result<Response, Refusal> {
    let care = edge.care.clone();
    let copies = beside(move || care.copies()).await?;
    Ok(json::answer(status, &backups_json(copies)))
}

#[derive(Serialize)]
struct KeptJson {
    file: String,
    bytes: u64,
}

#[derive(Serialize)]
struct RunningJson {
    copied_bytes: u64,
    all_bytes: u64,
}

#[derive(Serialize)]
#[serde(untagged)]
enum LastJson {
    Made { file: String, bytes: u64, messages: u64 },
    Failed { error: String },
}

#[derive(Serialize)]
struct BackupsJson {
    /// `null`: no copies are made here, since a database of its own has the messages.
    folder: Option<String>,
    data: Vec<KeptJson>,
    running: Option<RunningJson>,
    /// What became of the last copy since the start.
    last: Option<LastJson>,
}

fn backups_json(copies: Option<CopiesShown>) -> BackupsJson {
    let Some(CopiesShown { folder, state, kept }) = copies else {
        return BackupsJson { folder: None, data: Vec::new(), running: None, last: None };
    };
    let kept = kept.into_iter().map(|it| KeptJson { file: it.file, bytes: it.bytes });
    let running = |(copied_bytes, all_bytes)| RunningJson { copied_bytes, all_bytes };
    let running = state.running.map(running);
    let last = state.last.map(|last| match last {
        Ok(made) => {
            LastJson::Made { file: made.file, bytes: made.of.bytes, messages: made.of.messages }
        }
        Err(error) => LastJson::Failed { error },
    });
    BackupsJson { folder: Some(folder.display().to_string()), data: kept.collect(), running, last }
}
