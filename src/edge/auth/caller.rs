//! Whom a request speaks for, and what it may: what handlers ask.

use super::claims::{Access, Claims};
use super::keys::{Program, Scopes};
use super::secret::mark;
use crate::edge::http::problem::Refusal;
use crate::shard::event::{Grant, TokenMark};
use crate::wire::reject::Reject;
use crate::wire::{SpaceId, SpaceKey, UserId};

/// Whom a request speaks for.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// Whoever it says: nobody is asked who they are.
    Anyone,
    /// Nobody: it showed no token or key, or one that is none.
    Nobody,
    /// A user, by a token.
    User(Claims),
    /// A program, by a key: any user that it says.
    Program(Program),
}

impl Caller {
    /// The user whose token it is.
    pub(crate) fn user(&self) -> Option<UserId> {
        match self {
            Caller::User(claims) => Some(claims.user),
            _ => None,
        }
    }

    fn grant(&self, may_say: bool) -> Grant {
        match self {
            Caller::User(claims) => {
                let id = claims.id.as_deref().map_or(0, |id| mark(id.as_bytes()));
                let issued = claims.issued.unwrap_or(i64::MIN);
                let mark = TokenMark { id, issued, key: claims.key };
                Grant { may_say, until: Some(claims.until), mark }
            }
            // It is no user's: what is called back of those is none of its.
            Caller::Program(program) => {
                let mark = TokenMark { id: 0, issued: i64::MAX, key: program.mark };
                Grant { may_say, until: None, mark }
            }
            _ => Grant { may_say, ..Grant::ALL },
        }
    }

    /// Whether the request may speak for a user.
    pub(crate) fn speaks_for(&self, user: UserId) -> Result<(), Refusal> {
        match self {
            Caller::Anyone | Caller::Program(_) => Ok(()),
            Caller::Nobody => Err(Reject::Unauthorized.into()),
            Caller::User(claims) if claims.user == user => Ok(()),
            Caller::User(_) => Err(Reject::Forbidden.into()),
        }
    }

    /// Whether it may do this in a space.
    pub(crate) fn may(&self, space: SpaceId, access: Access) -> Result<(), Refusal> {
        let may = match self {
            Caller::Anyone => true,
            Caller::Nobody => return Err(Reject::Unauthorized.into()),
            Caller::User(claims) => claims.access(space) >= access,
            // A program that may say something need not be one that may read.
            Caller::Program(program) => program.scopes.has(match access {
                Access::Say => Scopes::SAY,
                Access::Read | Access::None => Scopes::READ,
            }),
        };
        if may { Ok(()) } else { Err(Reject::Forbidden.into()) }
    }

    /// What a connection may do that only watches a space, and says of no user that it is theirs.
    pub(crate) fn watches(&self, space: SpaceKey) -> Result<Grant, Refusal> {
        let SpaceKey::Chat(space) = space else { return Err(Reject::Forbidden.into()) };
        self.may(space, Access::Read)?;
        Ok(self.grant(false))
    }

    /// What a user's connection to a space may do there, if it is let in.
    pub(crate) fn joins(&self, user: UserId, space: SpaceKey) -> Result<Grant, Refusal> {
        self.speaks_for(user)?;
        match (space, self) {
            // Who may try the protocol has been judged by the route.
            (SpaceKey::Echo, _) => Ok(self.grant(false)),
            (SpaceKey::Chat(space), _) => {
                self.may(space, Access::Read)?;
                Ok(self.grant(self.may(space, Access::Say).is_ok()))
            }
            // Nothing is said there; who is told what is meant for a user is judged above.
            (_, Caller::Program(program)) if !program.scopes.has(Scopes::READ) => {
                Err(Reject::Forbidden.into())
            }
            (SpaceKey::Lobby | SpaceKey::Inbox(_), _) => Ok(self.grant(false)),
        }
    }
}
