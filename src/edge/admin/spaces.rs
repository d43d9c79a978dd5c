//! The chat spaces, by size (WIRE E).

use std::sync::Arc;

use axum::extract::{Extension, RawQuery, State};
use axum::response::Response;
use serde::Serialize;

use crate::edge::Edge;
use crate::edge::http::peer::Peer;
use crate::edge::http::problem::Refusal;
use crate::edge::http::query::{Query, limit, offset};
use crate::limits::SPACES_MAX;
use crate::metrics::Metric;
use crate::wire::SpaceId;

/// How many are listed where the query does not say.
const SPACES: u32 = 100;

/// `GET /v1/spaces?limit=&offset=`: the chat spaces that have members, largest first.
pub(super) async fn list(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    edge.metrics.edge.add(Metric::OperatorRequests, 1);
    let query = Query::parse(query.as_deref());
    let (offset, limit) = (offset(&query)?, limit(&query, SPACES, SPACES_MAX)?);
    let (spaces, total) = edge.hub.spaces(offset as usize, limit as usize);
    edge.answers.json(peer, &list_json(&spaces, total))
}

fn list_json(spaces: &[(SpaceId, usize)], total: usize) -> impl Serialize {
    #[derive(Serialize)]
    struct Space {
        space_id: i32,
        members: usize,
    }
    #[derive(Serialize)]
    struct Spaces {
        data: Vec<Space>,
        total: usize,
    }
    let space = |&(space, members): &(SpaceId, usize)| Space { space_id: space.0, members };
    Spaces { data: spaces.iter().map(space).collect(), total }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::http::json;

    #[test]
    fn answers_have_the_bytes_of_the_wire_contract() {
        let line = json::line(&list_json(&[(SpaceId(1), 12)], 1));
        let listed = String::from_utf8(line).expect("JSON is UTF-8");
        assert_eq!(listed, "{\"data\":[{\"space_id\":1,\"members\":12}],\"total\":1}\n");
    }
}
