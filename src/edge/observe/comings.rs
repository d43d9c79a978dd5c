//! Who came and went of late, and why (WIRE E).

use std::sync::Arc;

use axum::extract::{Extension, RawQuery, State};
use axum::response::Response;
use serde::Serialize;

use crate::edge::Edge;
use crate::edge::http::peer::Peer;
use crate::edge::http::problem::Refusal;
use crate::edge::http::query::{Query, limit, parse_user, path_space};
use crate::hub::{Coming, Sought, address_number, address_text};
use crate::limits::LISTED_MEMBERS_MAX;
use crate::metrics::Metric;
use crate::shard::event::MemberKey;
use crate::wire::time::TimeFormat;
use crate::wire::{Dialect, SpaceKey};

/// How many are listed where the query does not say.
const COMINGS: u32 = 100;

/// `GET /v1/connections`: connections that came of late, the newest first, by user, space, address,
/// id, and whether they have ended.
pub(super) async fn list(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    edge.metrics.edge.add(Metric::OperatorRequests, 1);
    let query = Query::parse(query.as_deref());
    let limit = limit(&query, COMINGS, LISTED_MEMBERS_MAX)?;
    let sought = sought(&query)?;
    let _begun = edge.answers.begin(peer, 0)?;
    let found = edge.hub.comings(sought, limit as usize).await.map_err(Refusal::passed_on)?;
    edge.answers.json(peer, &list_json(&found, edge.limits.utc_offset))
}

fn sought(query: &Query) -> Result<Sought, Refusal> {
    let mut sought = Sought::default();
    let text = |name| Some(query.get(name)).filter(|value| !value.is_empty());
    if let Some(value) = text("user_id") {
        sought.user = Some(parse_user(value.text())?);
    }
    if let Some(value) = text("space_id") {
        let space = path_space(value.text().unwrap_or_default())?;
        sought.space = Some(SpaceKey::Chat(space));
    }
    if let Some(value) = text("address") {
        let bad = || Refusal::field("address", "address debe ser una dirección IP");
        let address = value.text().and_then(|text| text.parse().ok()).ok_or_else(bad)?;
        sought.address = Some(address_number(address));
    }
    if let Some(value) = text("id") {
        let bad = || Refusal::field("id", "id debe ser el de una conexión, como 0-12-3");
        sought.member = Some(value.text().and_then(parse_id).ok_or_else(bad)?);
    }
    if let Some(value) = text("ended") {
        sought.ended = Some(match value.text() {
            Some("true") => true,
            Some("false") => false,
            _ => return Err(Refusal::field("ended", "ended debe ser true o false")),
        });
    }
    Ok(sought)
}

/// A connection's id as a `welcome` has it: shard, slot, generation.
pub(super) fn id_text(shard: usize, member: MemberKey) -> String {
    format!("{shard}-{}-{}", member.slot, member.generation)
}

fn parse_id(text: &str) -> Option<(usize, MemberKey)> {
    let mut parts = text.splitn(3, '-');
    let shard = parts.next()?.parse().ok()?;
    let slot = parts.next()?.parse().ok()?;
    let generation = parts.next()?.parse().ok()?;
    Some((shard, MemberKey { slot, generation }))
}

/// A dialect as operators read it.
pub(super) fn dialect_text(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Seed => "seed",
        Dialect::V1 => "cpi-hub.v1",
    }
}

#[derive(Serialize)]
struct ComingJson {
    id: String,
    user_id: i32,
    place: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    space_id: Option<i32>,
    /// `null`: an address where limits do not hold.
    address: Option<String>,
    dialect: &'static str,
    resumed: bool,
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<EndJson>,
}

#[derive(Serialize)]
struct EndJson {
    at: String,
    reason: &'static str,
    code: Option<u16>,
}

fn list_json(found: &[Coming], utc_offset: i32) -> impl Serialize + use<> {
    #[derive(Serialize)]
    struct Comings {
        data: Vec<ComingJson>,
    }
    let mut times = TimeFormat::new(utc_offset);
    let data = found.iter().map(|coming| {
        let (place, space_id) = match coming.space {
            SpaceKey::Chat(space) => ("space", Some(space.0)),
            SpaceKey::Lobby => ("lobby", None),
            SpaceKey::Inbox(_) => ("notifications", None),
            SpaceKey::Echo => ("echo", None),
        };
        ComingJson {
            id: id_text(coming.shard, coming.member),
            user_id: coming.user.0,
            place,
            space_id,
            address: coming.address.map(address_text),
            dialect: dialect_text(coming.dialect),
            resumed: coming.resumes,
            since: times.string(coming.at),
            ended: coming.end.map(|(at, close)| EndJson {
                at: times.string(at),
                reason: close.name(),
                code: close.code(),
            }),
        }
    });
    Comings { data: data.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::http::json;
    use crate::wire::close::Close;
    use crate::wire::time::Micros;
    use crate::wire::{SpaceId, UserId};

    #[test]
    fn answers_have_the_bytes_of_the_wire_contract() {
        let coming = Coming {
            shard: 1,
            member: MemberKey { slot: 41, generation: 9 },
            at: Micros(1_767_323_045_678_901),
            user: UserId(7),
            space: SpaceKey::Chat(SpaceId(5)),
            dialect: Dialect::V1,
            resumes: true,
            address: Some(address_number("192.0.2.7".parse().expect("an address"))),
            end: Some((Micros(1_767_323_046_000_000), Close::TooSlow)),
        };
        let line = json::line(&list_json(&[coming], -10_800));
        assert_eq!(
            String::from_utf8(line).expect("JSON is UTF-8"),
            "{\"data\":[{\"id\":\"1-41-9\",\"user_id\":7,\"place\":\"space\",\"space_id\":5,\
             \"address\":\"192.0.2.7\",\"dialect\":\"cpi-hub.v1\",\"resumed\":true,\
             \"since\":\"2026-01-02T00:04:05.678901-03:00\",\"ended\":{\
             \"at\":\"2026-01-02T00:04:06.000000-03:00\",\"reason\":\"too_slow\",\"code\":4008}}]}\n"
        );
    }

    #[test]
    fn a_question_that_can_not_be_read_names_its_field() {
        let read = |query| sought(&Query::parse(Some(query)));
        let expected = Sought {
            user: Some(UserId(7)),
            address: Some(address_number("2001:db8::1".parse().expect("an address"))),
            member: Some((0, MemberKey { slot: 12, generation: 3 })),
            ended: Some(false),
            ..Sought::default()
        };
        let all = "user_id=7&address=2001:db8::1&id=0-12-3&ended=false&space_id=";
        assert_eq!(read(all).expect("it is sound"), expected);
        for (query, field) in [
            ("user_id=x", "user_id"),
            ("space_id=1e3", "space_id"),
            ("address=localhost", "address"),
            ("id=0-12", "id"),
            ("id=0-12-3-4", "id"),
            ("id=-1-2-3", "id"),
            ("ended=1", "ended"),
            ("user_id=%ff", "user_id"),
        ] {
            let refusal = read(query).expect_err(query);
            assert!(format!("{refusal:?}").contains(field), "{query}: {refusal:?}");
        }
    }
}
