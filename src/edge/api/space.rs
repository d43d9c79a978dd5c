//! What a space is called, and whether it can be searched (WIRE E).

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::Response;
use serde::Serialize;

use super::history::refused;
use crate::edge::Edge;
use crate::edge::auth::{Access, Caller};
use crate::edge::http::peer::Peer;
use crate::edge::http::problem::Refusal;
use crate::edge::http::query::{PathText, path_space, path_text};
use crate::wire::SpaceId;

/// `GET /v1/spaces/{id}`: the name that the database has for it, or ""; and whether what is said
/// there is found by its words.
pub(super) async fn space(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    Extension(caller): Extension<Arc<Caller>>,
    path: PathText,
) -> Result<Response, Refusal> {
    let space = path_space(&path_text(path))?;
    caller.may(space, Access::Read)?;
    // Before the database is asked: whoever has no room for an answer asks for none.
    let _begun = edge.answers.begin(peer, 0)?;
    let name = edge.reader.name(space, peer.number()).await.map_err(refused)?;
    edge.answers.json(peer, &space_json(space, name.as_deref().unwrap_or_default(), edge.search))
}

fn space_json(space: SpaceId, name: &str, search: bool) -> impl Serialize {
    #[derive(Serialize)]
    struct Space<'a> {
        space_id: i32,
        name: &'a str,
        search: bool,
    }
    Space { space_id: space.0, name, search }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::http::json;

    #[test]
    fn answers_have_the_bytes_of_the_wire_contract() {
        let line = json::line(&space_json(SpaceId(1), "Física II", true));
        let named = String::from_utf8(line).expect("JSON is UTF-8");
        assert_eq!(named, "{\"space_id\":1,\"name\":\"Física II\",\"search\":true}\n");
    }
}
