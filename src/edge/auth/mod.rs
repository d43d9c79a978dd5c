//! Who asks, and what they may: tokens and API keys are read and judged here, and nowhere else.
//!
//! `guard` stands before every route of `routes`: it takes what a request shows out of it, judges
//! that, and leaves a [`Caller`] in its place, which handlers ask whom it speaks for and what it
//! may. Nothing behind the guard sees a token or a key.
//!
//! Owns what is configured, and is told when that changes. Where nothing is configured a person is
//! who the request says, as the existing server has it, and everybody is an operator.

mod caller;
mod claims;
mod current;
mod failures;
mod guard;
mod keys;
mod renew;
mod revoked;
mod routes;
mod secret;
mod token;

pub(crate) use caller::Caller;
pub(crate) use claims::Access;
pub(crate) use current::{Auth, Credentials, Replace};
pub(crate) use failures::Failures;
pub(crate) use guard::{NothingShown, guard, shown_by};
pub(crate) use keys::{KeyList, NewKey, Scopes, random_id};
pub(crate) use renew::{part, renew};
pub(crate) use revoked::{Keeper, NotRevoked, Revoked, Whose, revocation};
pub use routes::{Asks, ROUTES, Route};
pub(crate) use secret::{Secret, digest};
#[cfg(any(test, fuzzing))]
pub(crate) use token::fuzzing::token as token_fuzzing;
pub(crate) use token::{Algorithm, NewToken, TokenKeys, TokenRules};
