//! The HTTP API: chat posts, history, spaces, presence, kicks, notifications (WIRE A3, A4, E).
//!
//! A handler reads and checks what came (pure, tested here), asks hub or reader once, and writes
//! the answer.

pub(super) mod chat;
pub(super) mod console;
pub(super) mod health;
pub(super) mod history;
pub(super) mod metrics;
pub(super) mod post;
pub(super) mod presence;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use serde::Serialize;

use crate::edge::http::problem::Refusal;
use crate::edge::http::query::Query;
use crate::wire::{SpaceId, UserId, parse_int};

/// A path's only variable segment; an error if it can't be decoded.
pub(super) type PathText = Result<Path<String>, PathRejection>;

/// The segment, or text that no field takes.
pub(super) fn path_text(path: PathText) -> String {
    path.map_or_else(|_| String::new(), |Path(text)| text)
}

fn path_space(text: &str) -> Result<SpaceId, Refusal> {
    let bad = || Refusal::field("space_id", "space_id debe ser un número");
    parse_int(text).map(SpaceId).ok_or_else(bad)
}

pub(super) fn path_user(text: &str) -> Result<UserId, Refusal> {
    let bad = || Refusal::field("user_id", "user_id debe ser un número");
    parse_int(text).map(UserId).ok_or_else(bad)
}

/// A positive `limit`, cut to `most`; `default` without one.
fn limit(query: &Query, default: u32, most: u32) -> Result<u32, Refusal> {
    let given = query.get("limit");
    if given.is_empty() {
        return Ok(default.min(most));
    }
    let bad = || Refusal::field("limit", "limit debe ser un número positivo");
    let number = given.text().and_then(parse_int).and_then(|number| u32::try_from(number).ok());
    number.filter(|number| *number > 0).map(|number| number.min(most)).ok_or_else(bad)
}

/// A chat message as posts and history by position show it: the frame's `data`.
#[derive(Serialize)]
struct ChatJson<'a> {
    id: &'a str,
    content: &'a str,
    user_id: i32,
    username: &'a str,
    space_id: i32,
    timestamp: &'a str,
    image: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_positive_and_cut_to_what_is_allowed() {
        for (raw, expected) in [
            ("", Ok(50)),
            ("limit=", Ok(50)),
            ("limit=7", Ok(7)),
            ("limit=%2B7", Ok(7)),
            ("limit=100000", Ok(100)),
            ("limit=0", Err("limit")),
            ("limit=-1", Err("limit")),
            ("limit=x", Err("limit")),
            ("limit=99999999999", Err("limit")),
            ("limit=%zz", Err("limit")),
        ] {
            let read = limit(&Query::parse(Some(raw)), 50, 100);
            assert_eq!(
                read.map_err(|refusal| refusal.field.unwrap_or_default()),
                expected,
                "{raw}"
            );
        }
    }
}
