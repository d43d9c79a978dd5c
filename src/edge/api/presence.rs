//! The users in a space (WIRE E).

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::Response;
use serde::Serialize;

use crate::edge::Edge;
use crate::edge::auth::{Access, Caller};
use crate::edge::http::peer::Peer;
use crate::edge::http::problem::Refusal;
use crate::edge::http::query::{PathText, path_space, path_text};
use crate::hub::Question;
use crate::limits::PRESENCE_USERS_MAX;
use crate::shard::event::Present;
use crate::wire::SpaceId;

/// `GET /v1/spaces/{id}/presence`: who is there, by user.
pub(super) async fn presence(
    State(edge): State<Arc<Edge>>,
    Extension(peer): Extension<Peer>,
    Extension(caller): Extension<Arc<Caller>>,
    path: PathText,
) -> Result<Response, Refusal> {
    let space = path_space(&path_text(path))?;
    caller.may(space, Access::Read)?;
    // Before a shard is asked: whoever has no room for an answer asks for none.
    let _begun = edge.answers.begin(peer, 0)?;
    let question = Question::who_is_there(space, PRESENCE_USERS_MAX);
    let present = edge.hub.ask(question, peer.key()).await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::http::json;
    use crate::shard::event::PresentUser;
    use crate::wire::UserId;

    #[test]
    fn answers_have_the_bytes_of_the_wire_contract() {
        let user = PresentUser { user: UserId(1), username: "Ana Paz".into(), connections: 2 };
        let present = Present { members: 3, users: vec![user], truncated: false };
        let line = json::line(&presence_json(SpaceId(1), &present));
        assert_eq!(
            String::from_utf8(line).expect("JSON is UTF-8"),
            "{\"space_id\":1,\"members\":3,\"users\":[{\"user_id\":1,\"username\":\"Ana Paz\",\
             \"connections\":2}],\"truncated\":false}\n"
        );
    }
}
