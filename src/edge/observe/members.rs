//! How the members of a space stand (WIRE E).

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Extension, RawQuery, State};
use axum::response::Response;
use serde::Serialize;

use super::comings::{dialect_text, id_text};
use crate::edge::Edge;
use crate::edge::http::peer::Peer;
use crate::edge::http::problem::Refusal;
use crate::edge::http::query::{PathText, Query, limit, parse_user, path_space, path_text};
use crate::hub::{Question, Sought, address_text};
use crate::limits::{COMINGS_MAX, LISTED_MEMBERS_MAX};
use crate::metrics::Metric;
use crate::shard::event::{MemberKey, Seen};
use crate::wire::time::{Micros, TimeFormat};
use crate::wire::{SpaceId, SpaceKey, UserId};

/// How many are listed where the query does not say.
const MEMBERS: u32 = 100;

/// `GET /v1/spaces/{id}/members`: the members of a space by user, from `from_user` on.
pub(super) async fn list(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    path: PathText,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    edge.metrics.edge.add(Metric::OperatorRequests, 1);
    let space = path_space(&path_text(path))?;
    let query = Query::parse(query.as_deref());
    let limit = limit(&query, MEMBERS, LISTED_MEMBERS_MAX)?;
    let from = match query.get("from_user") {
        value if value.is_empty() => UserId(i32::MIN),
        value => parse_user(value.text())
            .map_err(|_| Refusal::field("from_user", "from_user debe ser un número"))?,
    };
    let _begun = edge.answers.begin(peer, 0)?;
    let question = Question::how_they_stand(space, from, limit as usize);
    let seen = edge.hub.ask(question, peer.key()).await.map_err(Refusal::passed_on)?;
    // When each came is known of those that came of late.
    let here =
        Sought { space: Some(SpaceKey::Chat(space)), ended: Some(false), ..Sought::default() };
    let came = edge.hub.comings(here, COMINGS_MAX).await.map_err(Refusal::passed_on)?;
    let shard = edge.hub.shard_of(space);
    let since = came.into_iter().map(|it| (it.member, it.at)).collect();
    let listed = Listed { space, shard, seen, since };
    edge.answers.json(peer, &list_json(&listed, edge.limits.utc_offset))
}

/// What is known of a stretch of members.
struct Listed {
    space: SpaceId,
    shard: usize,
    seen: Seen,
    since: HashMap<MemberKey, Micros>,
}

#[derive(Serialize)]
struct MemberJson {
    id: String,
    user_id: i32,
    username: String,
    /// `null`: an address where limits do not hold.
    address: Option<String>,
    dialect: &'static str,
    /// `null`: it came before those that are remembered.
    since: Option<String>,
    behind_bytes: u64,
    private_bytes: usize,
    blocked: bool,
    silent_ms: u64,
}

fn list_json(listed: &Listed, utc_offset: i32) -> impl Serialize + use<> {
    #[derive(Serialize)]
    struct Members {
        space_id: i32,
        members: usize,
        data: Vec<MemberJson>,
        next_user: Option<i32>,
    }
    let Listed { space, shard, seen, since } = listed;
    let mut times = TimeFormat::new(utc_offset);
    let data = seen.listed.iter().map(|it| MemberJson {
        id: id_text(*shard, it.key),
        user_id: it.user.0,
        username: it.username.to_string(),
        address: it.address.map(address_text),
        dialect: dialect_text(it.dialect),
        since: since.get(&it.key).map(|at| times.string(*at)),
        behind_bytes: it.behind_bytes,
        private_bytes: it.private_bytes,
        blocked: it.is_blocked,
        silent_ms: it.silent_ms,
    });
    let last = seen.listed.last().filter(|_| seen.more);
    Members {
        space_id: space.0,
        members: seen.members,
        data: data.collect(),
        next_user: last.and_then(|last| last.user.0.checked_add(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::http::json;
    use crate::shard::event::SeenMember;
    use crate::wire::Dialect;

    #[test]
    fn answers_have_the_bytes_of_the_wire_contract() {
        let key = MemberKey { slot: 41, generation: 9 };
        let member = SeenMember {
            key,
            user: UserId(7),
            username: "Ana Paz".into(),
            dialect: Dialect::Seed,
            address: None,
            behind_bytes: 512,
            private_bytes: 0,
            is_blocked: true,
            silent_ms: 1_200,
        };
        let seen = Seen { members: 12, listed: vec![member], more: true };
        let since = HashMap::from([(key, Micros(1_767_323_045_678_901))]);
        let listed = Listed { space: SpaceId(5), shard: 1, seen, since };
        let line = json::line(&list_json(&listed, -10_800));
        assert_eq!(
            String::from_utf8(line).expect("JSON is UTF-8"),
            "{\"space_id\":5,\"members\":12,\"data\":[{\"id\":\"1-41-9\",\"user_id\":7,\
             \"username\":\"Ana Paz\",\"address\":null,\"dialect\":\"seed\",\
             \"since\":\"2026-01-02T00:04:05.678901-03:00\",\"behind_bytes\":512,\
             \"private_bytes\":0,\"blocked\":true,\"silent_ms\":1200}],\"next_user\":8}\n"
        );
    }
}
