//! History: numbered pages as the existing front end asks (WIRE A4), and stretches by position
//! (WIRE E).

use std::sync::Arc;

use axum::extract::{Extension, RawQuery, State};
use axum::response::Response;
use serde::Serialize;

use super::ChatJson;
use crate::edge::Edge;
use crate::edge::auth::{Access, Caller};
use crate::edge::http::answers::{self, Form};
use crate::edge::http::peer::Peer;
use crate::edge::http::problem::Refusal;
use crate::edge::http::query::{
    PathText, Query, QueryValue, limit, path_space, path_text, position,
};
use crate::limits::{Limits, PAGE_NUMBER_MAX};
use crate::metrics::Latency;
use crate::store::{PageOrder, PageQuery, RangeQuery, ReadFault, StoredMessage};
use crate::wire::reject::Reject;
use crate::wire::{SpaceId, parse_int};

const PAGE_SIZE: u32 = 25;
const RANGE_LIMIT: u32 = 50;

/// `GET /v1/messages?space_id=&page=&page_size=&order_by=&sort_direction=`.
pub(super) async fn pages(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    Extension(caller): Extension<Arc<Caller>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let query = page_query(&Query::parse(query.as_deref()), &edge.limits)?;
    caller.may(query.space, Access::Read)?;
    let asked = PageQuery { page: query.page.min(PAGE_NUMBER_MAX), ..query };
    let begun = edge.now();
    let (page, room) = edge
        .reader
        .page(asked, edge.answers.begin(peer, query.page_size)?)
        .await
        .map_err(refused)?;
    edge.time(Latency::HistoryQuery, begun);
    answers::rows(page.rows, page_form(query, page.total, &edge.limits), room)
}

/// `GET /v1/spaces/{id}/messages?after=&before=&limit=`.
pub(super) async fn range(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    Extension(caller): Extension<Arc<Caller>>,
    path: PathText,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let query = range_query(&path_text(path), &Query::parse(query.as_deref()), &edge.limits)?;
    caller.may(query.space, Access::Read)?;
    let begun = edge.now();
    let (range, room) =
        edge.reader.range(query, edge.answers.begin(peer, query.limit)?).await.map_err(refused)?;
    edge.time(Latency::HistoryQuery, begun);
    answers::rows(range.rows, range_form(range.has_more, &edge.limits), room)
}

pub(super) fn refused(fault: ReadFault) -> Refusal {
    match fault {
        ReadFault::Away => Reject::StoreUnavailable.into(),
        ReadFault::Full => Reject::Overloaded.into(),
    }
}

fn page_query(query: &Query, limits: &Limits) -> Result<PageQuery, Refusal> {
    let given = query.get("space_id");
    if given.is_empty() {
        return Err(Refusal::field("space_id", "space_id parameter is required"));
    }
    let positive = given.text().and_then(parse_int).filter(|number| *number > 0);
    let bad = "Invalid space_id parameter (must be positive integer)";
    let space = SpaceId(positive.ok_or_else(|| Refusal::field("space_id", bad))?);
    let page = positive_or(query.get("page"), 1);
    let size = positive_or(query.get("page_size"), PAGE_SIZE.into());
    let page_size = u32::try_from(size).unwrap_or(u32::MAX).min(limits.page_size_max);
    let (order, sorted) = match query.get("order_by") {
        QueryValue::Text("timestamp") => (PageOrder::Timestamp, true),
        QueryValue::Text("id") => (PageOrder::Id, true),
        _ => (PageOrder::Timestamp, false),
    };
    // Without a known order the existing server ignores the direction too.
    let ascending = !sorted || query.get("sort_direction") == QueryValue::Text("asc");
    let images_bytes_max = limits.page_images_bytes_max;
    Ok(PageQuery { space, page, page_size, order, ascending, images_bytes_max })
}

/// Junk is the default, as in the existing server.
fn positive_or(given: QueryValue<'_>, default: u64) -> u64 {
    let number = given.text().and_then(|text| text.parse::<i64>().ok());
    number.and_then(|number| u64::try_from(number).ok()).filter(|it| *it > 0).unwrap_or(default)
}

fn page_form(query: PageQuery, total: u64, limits: &Limits) -> Form {
    #[derive(Serialize)]
    struct RowJson<'a> {
        id: &'a str,
        content: &'a str,
        user_id: i32,
        username: &'a str,
        space_id: i32,
        created_at: &'a str,
        image: &'a str,
    }
    let row = |row: &StoredMessage, created_at: &str| {
        json(&RowJson {
            id: &row.id,
            content: &row.content,
            user_id: row.user.0,
            username: &row.username,
            space_id: row.space.0,
            created_at,
            image: "",
        })
    };
    let PageQuery { page, page_size, .. } = query;
    let end = format!("],\"page\":{page},\"page_size\":{page_size},\"total\":{total}}}\n");
    Form { row, end, utc_offset: limits.utc_offset }
}

fn json(row: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(row).expect("plain structs with string keys serialise")
}

fn range_query(path: &str, query: &Query, limits: &Limits) -> Result<RangeQuery, Refusal> {
    let space = path_space(path)?;
    let after = position(query, "after", "after no es una posición válida")?;
    let before = position(query, "before", "before no es una posición válida")?;
    let limit = limit(query, RANGE_LIMIT, limits.page_size_max)?;
    Ok(RangeQuery { space, after, before, newest_max: None, limit })
}

fn range_form(has_more: bool, limits: &Limits) -> Form {
    let end = format!("],\"has_more\":{has_more}}}\n");
    Form { row: chat, end, utc_offset: limits.utc_offset }
}

/// A message as it was fanned out: the store leaves longer pictures out (WIRE B21).
pub(super) fn chat(row: &StoredMessage, timestamp: &str) -> Vec<u8> {
    json(&ChatJson {
        id: &row.id,
        content: &row.content,
        user_id: row.user.0,
        username: &row.username,
        space_id: row.space.0,
        timestamp,
        image: "",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::time::Micros;
    use crate::wire::{Id, UserId};

    fn page(raw: &str) -> Result<PageQuery, &'static str> {
        let query = Query::parse(Some(raw));
        page_query(&query, &Limits::default()).map_err(|refusal| refusal.message)
    }

    fn row() -> StoredMessage {
        StoredMessage {
            id: "01".into(),
            content: "hola".into(),
            user: UserId(1),
            username: "Ana Paz".into(),
            space: SpaceId(1),
            at: Micros(1_767_333_845_678_901),
            image: "https://x".into(),
        }
    }

    async fn text(rows: Vec<StoredMessage>, form: Form) -> String {
        let room = crate::shares::Pool::new(1 << 20, 1 << 20).take(1, 0).expect("room");
        let response = answers::rows(rows, form, room).expect("there is room");
        let body = axum::body::to_bytes(response.into_body(), 8192).await.expect("a body");
        String::from_utf8(body.to_vec()).expect("JSON is UTF-8")
    }

    #[test]
    fn a_page_needs_a_positive_space() {
        let required = Err("space_id parameter is required");
        let bad = Err("Invalid space_id parameter (must be positive integer)");
        for raw in ["", "space_id=", "space=1"] {
            assert_eq!(page(raw), required, "{raw}");
        }
        for value in ["0", "-1", "abc", "1.5", "2147483648", "%00", "%zz", "1%00"] {
            assert_eq!(page(&format!("space_id={value}")), bad, "{value}");
        }
        assert_eq!(page("space_id=%2B07&space_id=x").map(|query| query.space), Ok(SpaceId(7)));
    }

    #[test]
    fn page_and_size_have_defaults_and_a_bound() {
        for (raw, expected) in [
            ("", (1, 25)),
            ("&page=3&page_size=50", (3, 50)),
            ("&page=0&page_size=0", (1, 25)),
            ("&page=-1&page_size=-5", (1, 25)),
            ("&page=x&page_size=1e3", (1, 25)),
            ("&page_size=1000000000", (1, 100)),
            ("&page_size=99999999999", (1, 100)),
            ("&page=9223372036854775807", (i64::MAX as u64, 25)),
            ("&page=9223372036854775808", (1, 25)),
        ] {
            let query = page(&format!("space_id=1{raw}")).expect("a sound query");
            assert_eq!((query.page, query.page_size), expected, "{raw}");
        }
    }

    #[test]
    fn a_known_order_descends_and_no_order_ascends() {
        use PageOrder::{Id, Timestamp};
        for (raw, expected) in [
            ("", (Timestamp, true)),
            ("&sort_direction=desc", (Timestamp, true)),
            ("&order_by=content&sort_direction=desc", (Timestamp, true)),
            ("&order_by=timestamp", (Timestamp, false)),
            ("&order_by=timestamp&sort_direction=desc", (Timestamp, false)),
            ("&order_by=timestamp&sort_direction=ASC", (Timestamp, false)),
            ("&order_by=timestamp&sort_direction=asc", (Timestamp, true)),
            ("&order_by=id", (Id, false)),
            ("&order_by=id&sort_direction=asc", (Id, true)),
        ] {
            let query = page(&format!("space_id=1{raw}")).expect("a sound query");
            assert_eq!((query.order, query.ascending), expected, "{raw}");
        }
    }

    #[tokio::test]
    async fn a_page_has_the_bytes_of_the_wire_contract() {
        let query = page("space_id=1&page=1").expect("a sound query");
        let form = || page_form(query, 10, &Limits::default());
        assert_eq!(
            text(vec![row()], form()).await,
            "{\"data\":[{\"id\":\"01\",\"content\":\"hola\",\"user_id\":1,\"username\":\"Ana Paz\",\
             \"space_id\":1,\"created_at\":\"2026-01-02T03:04:05.678901-03:00\",\
             \"image\":\"https://x\"}],\"page\":1,\"page_size\":25,\"total\":10}\n"
        );
        let empty = "{\"data\":[],\"page\":1,\"page_size\":25,\"total\":10}\n";
        assert_eq!(text(vec![], form()).await, empty);
    }

    #[tokio::test]
    async fn a_range_has_the_bytes_of_the_wire_contract() {
        assert_eq!(
            text(vec![row()], range_form(true, &Limits::default())).await,
            "{\"data\":[{\"id\":\"01\",\"content\":\"hola\",\"user_id\":1,\"username\":\"Ana Paz\",\
             \"space_id\":1,\"timestamp\":\"2026-01-02T03:04:05.678901-03:00\",\
             \"image\":\"https://x\"}],\"has_more\":true}\n"
        );
    }

    #[test]
    fn a_range_is_bounded_by_positions() {
        let read = |path: &str, raw: &str| {
            let query = Query::parse(Some(raw));
            range_query(path, &query, &Limits::default()).map_err(|refusal| refusal.message)
        };
        let id = Id(77);
        let all = RangeQuery {
            space: SpaceId(7),
            after: None,
            before: None,
            limit: 50,
            newest_max: None,
        };
        assert_eq!(read("007", ""), Ok(all));
        let raw = format!("after={id}&before={}&limit=1000", Id::MAX);
        let both = RangeQuery { after: Some(id), before: Some(Id::MAX), limit: 100, ..all };
        assert_eq!(read("7", &raw), Ok(both));
        assert_eq!(read("x", ""), Err("space_id debe ser un número"));
        assert_eq!(read("7", "after=77"), Err("after no es una posición válida"));
        assert_eq!(read("7", "before="), Err("before no es una posición válida"));
    }
}
