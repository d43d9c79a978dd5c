//! The hub's handle, as the edge sees it: hand a connection over, post, kick, push, ask.

use std::net::IpAddr;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::shard::event::{Join, Notification, Post, Present};
use crate::wire::reject::Reject;
use crate::wire::time::Micros;
use crate::wire::{Id, SpaceId, UserId};

/// A place among the connections, held as long as the socket lives. Dropping it frees the place.
#[derive(Debug)]
pub struct Permit(());

/// A connection whose upgrade was answered with 101, on its way to its shard.
#[derive(Debug)]
pub struct Admission {
    /// Who joins what.
    pub join: Join,
    /// The socket, non-blocking.
    pub stream: std::net::TcpStream,
    /// What had been read behind the request's head.
    pub first_bytes: Bytes,
    /// The place from [`Hub::reserve`].
    pub permit: Permit,
}

/// An accepted post.
#[derive(Debug)]
pub struct Posted {
    /// The message's id.
    pub id: Id,
    /// The instant of acceptance.
    pub at: Micros,
    /// Whether its nonce was used before, so that no new message was made.
    pub duplicate: bool,
    /// Resolves when the store has committed or refused it.
    pub durable: oneshot::Receiver<Result<(), Reject>>,
}

/// The way to the shards; cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub {}

impl Hub {
    /// Takes a place among the connections: limits in all, of the user, of the address; rates of
    /// new connections; draining.
    pub fn reserve(&self, _user: UserId, _address: IpAddr) -> Result<Permit, Reject> {
        unimplemented!()
    }

    /// Hands a connection to the shard of its space. On refusal (its inbox is full) the socket
    /// comes back, to be closed with 1013.
    pub fn admit(&self, _admission: Admission) -> Result<(), Box<Admission>> {
        unimplemented!()
    }

    /// Accepts a chat: it is in the space's log and in the journal when this returns.
    pub async fn post(&self, _post: Post) -> Result<Posted, Reject> {
        unimplemented!()
    }

    /// Closes a user's members of a space (4009); how many.
    pub async fn kick(&self, _space: SpaceId, _user: UserId) -> Result<u32, Reject> {
        unimplemented!()
    }

    /// Pushes to each notification socket of a user; how many.
    pub async fn notify(&self, _user: UserId, _push: Notification) -> Result<u32, Reject> {
        unimplemented!()
    }

    /// Who is in a space, at most so many users.
    pub async fn presence(&self, _space: SpaceId, _users_max: usize) -> Result<Present, Reject> {
        unimplemented!()
    }

    /// The chat spaces with members, largest first, at most so many; and how many there are.
    pub fn spaces(&self, _limit: usize) -> (Vec<(SpaceId, usize)>, usize) {
        unimplemented!()
    }

    /// Whether shutdown has begun: handshakes and posts are answered `draining`.
    pub fn is_draining(&self) -> bool {
        unimplemented!()
    }
}
