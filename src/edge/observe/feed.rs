//! The numbers of the last hour, and each new sample with what is wrong as it comes.
//!
//! The feed is one answer that does not end, `text/event-stream`, read by `fetch` with the key in a
//! header: so no key stands in an address. It ends after a while, and when the hub drains; whoever
//! reads it asks again, and shows the key again.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use serde::Serialize;
use tokio::sync::watch;

use super::past::{Past, Sample};
use super::sample::names;
use crate::edge::Edge;
use crate::edge::api::health::{self, Answer};
use crate::edge::http::json;
use crate::edge::http::peer::Peer;
use crate::edge::http::problem::Refusal;
use crate::limits::{FEED_WAIT, SAMPLE_PERIOD};
use crate::metrics::{Counts, Metric};
use crate::wire::close::Close;
use crate::wire::reject::Reject;

/// `GET /v1/hub/past`: the samples of the last hour, number by number.
pub(super) async fn past(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
) -> Result<Response, Refusal> {
    let json = past_json(&edge.past.borrow());
    edge.answers.json(peer, &json)
}

#[derive(Serialize)]
struct PastJson {
    period_ms: u64,
    /// When each sample was taken, in milliseconds since 1970.
    at: Vec<i64>,
    series: BTreeMap<&'static str, Vec<f64>>,
}

fn past_json(past: &Past) -> PastJson {
    let at = past.samples().map(|sample| sample.at.0 / 1_000).collect();
    let number = |which: usize| past.samples().map(|sample| short(sample.numbers[which])).collect();
    let series = names().enumerate().map(|(which, name)| (name, number(which))).collect();
    PastJson { period_ms: SAMPLE_PERIOD, at, series }
}

/// Three places behind the point say enough, and are short.
fn short(number: f32) -> f64 {
    (f64::from(number) * 1_000.0).round() / 1_000.0
}

/// `GET /v1/hub/feed`: an event `sample` with each new sample.
pub(super) async fn feed(State(edge): State<Arc<Edge>>) -> Response {
    let shown = edge.past.clone();
    let until = Box::pin(tokio::time::sleep(Duration::from_millis(FEED_WAIT)));
    // At once: who opens the console waits for no sample.
    let first = shown.borrow().newest();
    let state = (edge, shown, until, Some(first));
    let events = unfold(state, |(edge, mut shown, mut until, first)| async move {
        let sample = match first {
            Some(first) => first,
            None => {
                let leaving = edge.health.leaving.clone();
                tokio::select! {
                    newest = newest(&mut shown) => Some(newest?),
                    () = until.as_mut() => return None,
                    () = leaving.cancelled() => return None,
                }
            }
        };
        let text = Bytes::from(event(&edge, sample));
        Some((Ok::<_, Infallible>(text), (edge, shown, until, None)))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // nginx would keep events until it has a page full of them.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(events)).into_response()
}

async fn newest(shown: &mut watch::Receiver<Past>) -> Option<Sample> {
    shown.changed().await.ok()?;
    shown.borrow_and_update().newest()
}

#[derive(Serialize)]
struct FeedJson {
    /// In milliseconds since 1970; `null`: the first sample is still to come.
    at: Option<i64>,
    numbers: BTreeMap<&'static str, f64>,
    ready: Answer,
    /// Since the start, those that are not 0.
    refusals: BTreeMap<&'static str, u64>,
    closes: BTreeMap<&'static str, u64>,
    shards: Vec<ShardJson>,
}

#[derive(Serialize)]
struct ShardJson {
    members: u64,
    spaces: u64,
    sends: u64,
    log_bytes: u64,
}

fn event(edge: &Edge, sample: Option<Sample>) -> Vec<u8> {
    let total = edge.metrics.total();
    let numbers = sample.iter().flat_map(|it| names().zip(it.numbers.map(short)));
    let json = FeedJson {
        at: sample.map(|it| it.at.0 / 1_000),
        numbers: numbers.collect(),
        ready: health::answer(edge).1,
        refusals: counted(Reject::KINDS, |kind| (Reject::CODES[kind], total.rejects(kind))),
        closes: counted(Close::KINDS, |kind| (Close::REASONS[kind], total.closes(kind))),
        shards: edge.metrics.shards.iter().map(|shard| shard_json(&shard.read())).collect(),
    };
    let mut text = b"event: sample\ndata: ".to_vec();
    text.extend_from_slice(&json::line(&json));
    text.push(b'\n');
    text
}

fn counted(
    kinds: usize,
    count: impl Fn(usize) -> (&'static str, u64),
) -> BTreeMap<&'static str, u64> {
    (0..kinds).map(count).filter(|(_, count)| *count > 0).collect()
}

fn shard_json(counts: &Counts) -> ShardJson {
    ShardJson {
        members: counts.get(Metric::Members),
        spaces: counts.get(Metric::Spaces),
        sends: counts.get(Metric::Sends),
        log_bytes: counts.get(Metric::LogBytes),
    }
}
