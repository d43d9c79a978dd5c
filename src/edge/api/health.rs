//! `/livez` and `/readyz`: whether to restart the hub, and whether to send it people (WIRE E).

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::conditions::{Conditions, Effect, Raised};
use crate::edge::http::problem::Refusal;
use crate::edge::{Edge, Health, http::json};
use crate::hub::Hub;
use crate::limits::Limits;
use crate::metrics::{Counts, Metric};
use crate::store::StoreState;
use crate::wire::reject::Reject;
use crate::wire::time::TimeFormat;

/// How full the journals are, in percent, when the hub calls itself degraded.
const DEGRADED_PERCENT: u64 = 80;

/// What `/readyz` says.
#[derive(Serialize)]
pub(in crate::edge) struct Answer {
    status: &'static str,
    store: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conditions: Vec<ConditionJson>,
}

/// A condition that holds.
#[derive(Serialize)]
struct ConditionJson {
    name: &'static str,
    /// In UTC.
    since: String,
    meaning: &'static str,
    detail: String,
    #[serde(rename = "do")]
    remedy: &'static str,
}

fn conditions_json(raised: Vec<Raised>) -> Vec<ConditionJson> {
    let mut times = TimeFormat::new(0);
    let json = |it: Raised| ConditionJson {
        name: it.condition.name(),
        since: times.string(it.since),
        meaning: it.condition.meaning(),
        detail: it.detail,
        remedy: it.condition.remedy(),
    };
    raised.into_iter().map(json).collect()
}

/// The process answers.
pub(crate) async fn livez() -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], "ok").into_response()
}

/// Whether people can connect and chat now.
pub(super) async fn readyz(State(edge): State<Arc<Edge>>) -> Response {
    let (code, answer) = answer(&edge);
    json::answer(code, &answer)
}

/// Whether people can connect and chat now, and what is wrong.
pub(in crate::edge) fn answer(edge: &Edge) -> (StatusCode, Answer) {
    let Edge { health, hub, limits, metrics, .. } = edge;
    let (code, status) = standing(health, hub, limits, &metrics.total());
    let (store, conditions) =
        (store_name(health.store()), conditions_json(health.conditions.all()));
    (code, Answer { status, store, conditions })
}

/// What `/readyz` says, and the status of its answer.
pub(super) fn standing(health: &Health, hub: &Hub, limits: &Limits, total: &Counts) -> Readiness {
    let journal = Journal {
        bytes: total.get(Metric::JournalBytes),
        bytes_max: limits.journal_bytes_max,
        refuses: total.get(Metric::ShardsRefusing) > 0,
    };
    let is_ending = health.leaving.is_cancelled() || hub.is_draining();
    lessened(readiness(health.store(), is_ending, journal), health.conditions.effect())
}

/// The answer of `/readyz` while the store is not open.
pub(crate) async fn starting(State(conditions): State<Conditions>) -> Response {
    let store = store_name(StoreState::Connecting);
    let conditions = conditions_json(conditions.all());
    let answer = Answer { status: "starting", store, conditions };
    json::answer(StatusCode::SERVICE_UNAVAILABLE, &answer)
}

/// The answer to everything else while the store is not open.
pub(crate) async fn not_yet() -> Refusal {
    Reject::StoreUnavailable.into()
}

/// A store's state, as answers and metrics name it.
pub(super) fn store_name(state: StoreState) -> &'static str {
    match state {
        StoreState::Connecting => "connecting",
        StoreState::Ready => "ready",
        StoreState::Behind => "behind",
        StoreState::Refused => "refused",
    }
}

/// What waits for the store, and what may.
#[derive(Clone, Copy)]
struct Journal {
    bytes: u64,
    bytes_max: u64,
    /// A shard has no room for the longest record.
    refuses: bool,
}

impl Journal {
    fn is_filling(self) -> bool {
        self.bytes.saturating_mul(100) / self.bytes_max.max(1) >= DEGRADED_PERCENT
    }
}

/// The status of an answer, and the word in it.
pub(super) type Readiness = (StatusCode, &'static str);

fn readiness(store: StoreState, draining: bool, journal: Journal) -> Readiness {
    const NOT_NOW: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
    match store {
        _ if draining => (NOT_NOW, "draining"),
        _ if journal.refuses => (NOT_NOW, "refusing"),
        // Journals take what is said until the store does: a hub that has not reached it yet is
        // no worse off than one that has lost it.
        StoreState::Connecting | StoreState::Behind | StoreState::Refused => {
            (StatusCode::OK, "degraded")
        }
        StoreState::Ready if journal.is_filling() => (StatusCode::OK, "degraded"),
        StoreState::Ready => (StatusCode::OK, "ready"),
    }
}

/// What conditions leave of a readiness.
fn lessened(ready: Readiness, effect: Option<Effect>) -> Readiness {
    let (code, status) = ready;
    match effect {
        Some(Effect::Refusing) if code == StatusCode::OK => {
            (StatusCode::SERVICE_UNAVAILABLE, "refusing")
        }
        Some(Effect::Degraded) if status == "ready" => (code, "degraded"),
        _ => (code, status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_lessens_readiness_and_never_mends_it() {
        let (ok, not_now) = (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE);
        for (ready, effect, expected) in [
            ((ok, "ready"), None, (ok, "ready")),
            ((ok, "ready"), Some(Effect::Noted), (ok, "ready")),
            ((ok, "ready"), Some(Effect::Degraded), (ok, "degraded")),
            ((ok, "degraded"), Some(Effect::Degraded), (ok, "degraded")),
            ((ok, "ready"), Some(Effect::Refusing), (not_now, "refusing")),
            ((not_now, "draining"), Some(Effect::Degraded), (not_now, "draining")),
            ((not_now, "draining"), Some(Effect::Refusing), (not_now, "draining")),
        ] {
            assert_eq!(lessened(ready, effect), expected, "{ready:?} {effect:?}");
        }
    }

    #[test]
    fn readiness_tells_what_people_would_meet() {
        use StoreState::{Behind, Connecting, Ready, Refused};
        for (store, draining, (bytes, refuses), expected) in [
            (Ready, false, (0, false), (200, "ready")),
            (Ready, false, (799, false), (200, "ready")),
            (Ready, false, (800, false), (200, "degraded")),
            (Ready, false, (990, true), (503, "refusing")),
            (Behind, false, (0, false), (200, "degraded")),
            (Refused, false, (0, false), (200, "degraded")),
            (Refused, false, (0, true), (503, "refusing")),
            (Connecting, false, (0, false), (200, "degraded")),
            (Connecting, false, (0, true), (503, "refusing")),
            (Ready, true, (0, false), (503, "draining")),
            (Connecting, true, (2_000, true), (503, "draining")),
        ] {
            let journal = Journal { bytes, bytes_max: 1_000, refuses };
            let (code, status) = readiness(store, draining, journal);
            assert_eq!((code.as_u16(), status), expected, "{store:?} {draining} {bytes}");
        }
    }
}
