//! Every route of the hub, and what whoever asks has to show there.
//!
//! The one list: a route that is not in it is answered 404 as soon as anybody is asked who they
//! are, and fails the tests.

use axum::http::Method;

use super::caller::Caller;
use super::keys::Scopes;
use crate::wire::reject::Reject;

/// What a request to a route has to show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asks {
    /// Nothing.
    Nothing,
    /// A token, or a key that may read: judged by the handshake in its own order (WIRE A1).
    Socket,
    /// A token, or a key of this scope.
    Anybody(Scopes),
    /// A key of this scope.
    Program(Scopes),
}

/// A route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path, as it is routed.
    pub path: &'static str,
    /// What is to be shown there.
    pub asks: Asks,
}

const fn route(method: &'static str, path: &'static str, asks: Asks) -> Route {
    Route { method, path, asks }
}

/// All routes but the page's files, which show nothing that is anybody's.
pub const ROUTES: &[Route] = &[
    route("GET", "/livez", Asks::Nothing),
    route("GET", "/readyz", Asks::Nothing),
    route("GET", "/metrics", Asks::Program(Scopes::METRICS)),
    route("GET", "/v1/ws/spaces/{space_id}", Asks::Socket),
    route("GET", "/v1/ws/user-connection", Asks::Socket),
    route("GET", "/v1/ws/notifications", Asks::Socket),
    route("GET", "/v1/debug/echo", Asks::Program(Scopes::OPERATE)),
    route("POST", "/v1/ws/spaces/{space_id}/chat", Asks::Anybody(Scopes::SAY)),
    route("POST", "/v1/ws/spaces/{space_id}/broadcast", Asks::Anybody(Scopes::SAY)),
    route("GET", "/v1/messages", Asks::Anybody(Scopes::READ)),
    route("GET", "/v1/spaces/{space_id}/messages", Asks::Anybody(Scopes::READ)),
    route("GET", "/v1/spaces/{space_id}/search", Asks::Anybody(Scopes::READ)),
    route("GET", "/v1/spaces/{space_id}/presence", Asks::Anybody(Scopes::READ)),
    route("GET", "/v1/spaces/{space_id}/events", Asks::Anybody(Scopes::READ)),
    route("GET", "/v1/spaces/{space_id}", Asks::Anybody(Scopes::READ)),
    route("POST", "/v1/auth/revocations", Asks::Program(Scopes::OPERATE)),
    route("GET", "/v1/spaces", Asks::Program(Scopes::OPERATE)),
    route("GET", "/v1/spaces/{space_id}/members", Asks::Program(Scopes::OPERATE)),
    route("GET", "/v1/connections", Asks::Program(Scopes::OPERATE)),
    route("GET", "/v1/hub/past", Asks::Program(Scopes::OPERATE)),
    route("GET", "/v1/hub/feed", Asks::Program(Scopes::OPERATE)),
    route("GET", "/v1/hub/hottest", Asks::Program(Scopes::OPERATE)),
    route("GET", "/v1/hub/dead-letters", Asks::Program(Scopes::OPERATE)),
    route("POST", "/v1/hub/dead-letters/retry", Asks::Program(Scopes::OPERATE)),
    route("GET", "/v1/hub/backups", Asks::Program(Scopes::OPERATE)),
    route("POST", "/v1/hub/backups", Asks::Program(Scopes::OPERATE)),
    route("DELETE", "/v1/spaces/{space_id}/members/{user_id}", Asks::Program(Scopes::KICK)),
    route("POST", "/v1/users/{user_id}/notifications", Asks::Program(Scopes::NOTIFY)),
];

/// What a request to a route has to show; `None`: there is no such route. HEAD is asked what GET
/// is, whose answer it has a part of.
pub(super) fn asks(method: &Method, path: &str) -> Option<Asks> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    let route = ROUTES.iter().find(|it| it.path == path && it.method == method);
    route.map(|route| route.asks)
}

impl Asks {
    /// Whether a caller shows what is asked.
    pub(super) fn judge(self, caller: &Caller) -> Result<(), Reject> {
        match (self, caller) {
            (Asks::Nothing | Asks::Socket, _) | (_, Caller::Anyone) => Ok(()),
            (_, Caller::Nobody) => Err(Reject::Unauthorized),
            (Asks::Anybody(_), Caller::User(_)) => Ok(()),
            (Asks::Anybody(scope) | Asks::Program(scope), Caller::Program(program)) => {
                if program.scopes.has(scope) { Ok(()) } else { Err(Reject::Forbidden) }
            }
            (Asks::Program(_), Caller::User(_)) => Err(Reject::Forbidden),
        }
    }
}
