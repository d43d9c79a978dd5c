//! What was said in a space, found by its words (WIRE E).

use std::sync::Arc;

use axum::extract::{Extension, RawQuery, State};
use axum::response::Response;

use super::history::{chat, refused};
use crate::edge::Edge;
use crate::edge::auth::{Access, Caller};
use crate::edge::http::answers::{self, Form};
use crate::edge::http::peer::Peer;
use crate::edge::http::problem::Refusal;
use crate::edge::http::query::{PathText, Query, limit, path_space, path_text, position};
use crate::limits::Limits;
use crate::metrics::Latency;
use crate::store::{BadTerms, SearchQuery, Terms};
use crate::wire::reject::Reject;

const LIMIT: u32 = 20;

/// `GET /v1/spaces/{id}/search?q=&before=&limit=`.
pub(super) async fn search(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    Extension(caller): Extension<Arc<Caller>>,
    path: PathText,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let query = search_query(&path_text(path), &Query::parse(query.as_deref()), &edge.limits)?;
    caller.may(query.space, Access::Read)?;
    if !edge.search {
        return Err(Reject::SearchOff.into());
    }
    let begun = edge.now();
    let room = edge.answers.begin(peer, query.limit)?;
    let (found, room) = edge.reader.search(query, room).await.map_err(refused)?;
    edge.time(Latency::HistoryQuery, begun);
    let (more, complete) = (found.has_more, found.is_complete);
    let end = format!("],\"has_more\":{more},\"complete\":{complete}}}\n");
    let form = Form { row: chat, end, utc_offset: edge.limits.utc_offset };
    answers::rows(found.rows, form, room)
}

fn search_query(path: &str, query: &Query, limits: &Limits) -> Result<SearchQuery, Refusal> {
    let space = path_space(path)?;
    let before = position(query, "before", "before no es una posición válida")?;
    let limit = limit(query, LIMIT, limits.page_size_max)?;
    let text = match query.get("q") {
        given if given.is_empty() => Err(BadTerms::Empty),
        given => given.text().ok_or(BadTerms::Nul).and_then(|text| Terms::parse(text)),
    };
    let terms = text.map_err(|bad| Refusal::field("q", told(bad)))?;
    Ok(SearchQuery { space, terms, before, limit })
}

fn told(bad: BadTerms) -> &'static str {
    match bad {
        BadTerms::Empty => "q debe tener al menos una palabra",
        BadTerms::TooLong => "q es demasiado largo (máximo 200 caracteres)",
        BadTerms::TooMany => "q tiene demasiadas palabras (máximo 16)",
        BadTerms::Nul => "q contiene caracteres no permitidos",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{SEARCH_CHARS_MAX, SEARCH_TERMS_MAX};
    use crate::wire::{Id, SpaceId};

    #[test]
    fn a_search_is_read_or_says_which_part_of_it_is_wrong() {
        let read = |path: &str, raw: &str| {
            let query = Query::parse(Some(raw));
            search_query(path, &query, &Limits::default()).map_err(|refusal| refusal.message)
        };
        let terms = Terms::parse("hola mundo").expect("words");
        let plain = SearchQuery { space: SpaceId(7), terms, before: None, limit: 20 };
        assert_eq!(read("007", "q=hola+mundo"), Ok(plain.clone()));
        let raw = format!("q=hola%20mundo&before={}&limit=1000", Id(77));
        assert_eq!(read("7", &raw), Ok(SearchQuery { before: Some(Id(77)), limit: 100, ..plain }));
        let long = format!("q={}", "x".repeat(201));
        let many = format!("q={}", "x+".repeat(17));
        for (path, raw, expected) in [
            ("x", "q=hola", "space_id debe ser un número"),
            ("7", "", "q debe tener al menos una palabra"),
            ("7", "q=", "q debe tener al menos una palabra"),
            ("7", "q=%2A", "q debe tener al menos una palabra"),
            ("7", "q=%ff", "q contiene caracteres no permitidos"),
            ("7", "q=a%00b", "q contiene caracteres no permitidos"),
            ("7", &long, "q es demasiado largo (máximo 200 caracteres)"),
            ("7", &many, "q tiene demasiadas palabras (máximo 16)"),
            ("7", "q=a&before=77", "before no es una posición válida"),
            ("7", "q=a&limit=0", "limit debe ser un número positivo"),
        ] {
            assert_eq!(read(path, raw), Err(expected), "{raw}");
        }
        let (long, many) = (told(BadTerms::TooLong), told(BadTerms::TooMany));
        assert!(long.contains(&SEARCH_CHARS_MAX.to_string()), "{long}");
        assert!(many.contains(&SEARCH_TERMS_MAX.to_string()), "{many}");
    }
}
