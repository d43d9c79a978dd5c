//! Who is where: spaces by size, the people of one, and closing someone's sockets (WIRE E).

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::{PathText, limit, path_space, path_text, path_user};
use crate::edge::http::peer::Peer;
use crate::edge::http::problem::Refusal;
use crate::edge::http::query::Query;
use crate::edge::{Edge, http::door};
use crate::shard::event::Present;
use crate::wire::SpaceId;

const SPACES: u32 = 100;
const SPACES_MAX: u32 = 1_000;
const PRESENCE_USERS_MAX: usize = 500;

/// `GET /v1/spaces?limit=`: the chat spaces that have members, largest first.
pub(in crate::edge) async fn list(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let limit = limit(&Query::parse(query.as_deref()), SPACES, SPACES_MAX)?;
    let (spaces, total) = edge.hub.spaces(limit as usize);
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

/// `GET /v1/spaces/{id}/presence`: who is there, by user.
pub(in crate::edge) async fn presence(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    path: PathText,
) -> Result<Response, Refusal> {
    let space = path_space(&path_text(path))?;
    // Before a shard is asked: whoever has no room for an answer asks for none.
    let _begun = edge.answers.begin(peer, 0)?;
    let present = edge.hub.presence(space, PRESENCE_USERS_MAX, peer.key()).await;
    edge.answers.json(peer, &presence_json(space, &present.map_err(Refusal::passed_on)?))
}

fn presence_json(space: SpaceId, present: &Present) -> impl Serialize {
    #[derive(Serialize)]
    struct User<'a> {
        user_id: i32,
        username: &'a str,
        connections: u32,
    }
    #[derive(Serialize)]
    struct Presence<'a> {
        space_id: i32,
        members: usize,
        users: Vec<User<'a>>,
        truncated: bool,
    }
    let users = present.users.iter().map(|user| User {
        user_id: user.user.0,
        username: &user.username,
        connections: user.connections,
    });
    let (members, truncated) = (present.members, present.truncated);
    Presence { space_id: space.0, members, users: users.collect(), truncated }
}

/// `DELETE /v1/spaces/{id}/members/{user_id}`: closes a user's sockets there.
pub(in crate::edge) async fn kick(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct Kicked {
        closed: u32,
    }
    let (space, user) = path.map_or_else(|_| Default::default(), |Path(segments)| segments);
    let (space, user) = (path_space(&space)?, path_user(&user)?);
    let closed = edge.hub.kick(space, user, peer.key()).await.map_err(Refusal::passed_on)?;
    tracing::info!(%space, %user, closed, "a user's sockets were closed by request");
    Ok(door::json(StatusCode::OK, &Kicked { closed }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::event::PresentUser;
    use crate::wire::UserId;

    fn text(value: impl Serialize) -> String {
        let line = crate::edge::http::problem::line(&value);
        String::from_utf8(line).expect("JSON is UTF-8")
    }

    #[test]
    fn answers_have_the_bytes_of_the_wire_contract() {
        let listed = text(list_json(&[(SpaceId(1), 12)], 1));
        assert_eq!(listed, "{\"data\":[{\"space_id\":1,\"members\":12}],\"total\":1}\n");
        let user = PresentUser { user: UserId(1), username: "Ana Paz".into(), connections: 2 };
        let present = Present { members: 3, users: vec![user], truncated: false };
        assert_eq!(
            text(presence_json(SpaceId(1), &present)),
            "{\"space_id\":1,\"members\":3,\"users\":[{\"user_id\":1,\"username\":\"Ana Paz\",\
             \"connections\":2}],\"truncated\":false}\n"
        );
    }
}
