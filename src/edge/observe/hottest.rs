//! In which spaces most is said (WIRE E).

use std::sync::Arc;

use axum::extract::{Extension, RawQuery, State};
use axum::response::Response;
use serde::Serialize;

use crate::edge::Edge;
use crate::edge::http::peer::Peer;
use crate::edge::http::problem::Refusal;
use crate::edge::http::query::{Query, limit};
use crate::limits::HOTTEST_SPACES_MAX;
use crate::metrics::Metric;
use crate::shard::event::HotSpace;

/// How many are listed where the query does not say.
const SPACES: u32 = 20;

/// `GET /v1/hub/hottest`: the spaces in which most is said, by what that costs to send.
pub(super) async fn list(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    edge.metrics.edge.add(Metric::OperatorRequests, 1);
    let limit = limit(&Query::parse(query.as_deref()), SPACES, HOTTEST_SPACES_MAX as u32)?;
    let _begun = edge.answers.begin(peer, 0)?;
    let found = edge.hub.hottest(limit as usize).await.map_err(Refusal::passed_on)?;
    edge.answers.json(peer, &list_json(&found))
}

#[derive(Serialize)]
struct SpaceJson {
    space_id: i32,
    members: usize,
    chats_per_second: f64,
    bytes_per_second: u64,
    sent_bytes_per_second: u64,
}

fn list_json(found: &[HotSpace]) -> impl Serialize + use<> {
    #[derive(Serialize)]
    struct Spaces {
        data: Vec<SpaceJson>,
    }
    let data = found.iter().map(|it| SpaceJson {
        space_id: it.space.0,
        members: it.members,
        chats_per_second: it.chats_in_1000_s as f64 / 1_000.0,
        bytes_per_second: it.bytes_in_1000_s / 1_000,
        sent_bytes_per_second: it.bytes_in_1000_s.saturating_mul(it.readers as u64) / 1_000,
    });
    Spaces { data: data.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::http::json;
    use crate::wire::SpaceId;

    #[test]
    fn answers_have_the_bytes_of_the_wire_contract() {
        let space = HotSpace {
            space: SpaceId(5),
            members: 12,
            readers: 13,
            chats_in_1000_s: 1_500,
            bytes_in_1000_s: 300_000,
        };
        let line = json::line(&list_json(&[space]));
        assert_eq!(
            String::from_utf8(line).expect("JSON is UTF-8"),
            "{\"data\":[{\"space_id\":5,\"members\":12,\"chats_per_second\":1.5,\
             \"bytes_per_second\":300,\"sent_bytes_per_second\":3900}]}\n"
        );
    }
}
