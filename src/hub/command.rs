//! What the edge asks of a shard, and who waits for the answer.

use tokio::sync::oneshot;

use super::Admission;
use super::askers::Asking;
use crate::shard::event::{MemberKey, Notification, Post, Present, Reply, Stretch};
use crate::wire::reject::Reject;
use crate::wire::time::Micros;
use crate::wire::{Id, SpaceId, UserId};

/// Something for a shard to do.
#[derive(Debug)]
pub(super) enum Command {
    /// Take a connection in.
    Admit(Box<Admission>),
    /// Say something.
    Post(Box<Post>, Waiting),
    /// Close a user's members of a space.
    Kick(SpaceId, UserId, Waiting),
    /// Push to a user's sockets.
    Notify(UserId, Box<Notification>, Waiting),
    /// A page for a member that catches up.
    Fetched(MemberKey, u32, Option<Stretch>),
    /// Tell who is there.
    Presence(SpaceId, usize, Waiting),
}

/// A command in an inbox, and its place among those of its address.
#[derive(Debug)]
pub(super) struct Queued(
    pub Command,
    #[expect(dead_code, reason = "dropping it gives the place back")] pub Asking,
);

/// An accepted post: id, instant, whether it is a repeat.
pub(super) type Accepted = (Id, Micros, bool);

/// Whom an answer goes to.
#[derive(Debug)]
pub(super) enum Waiting {
    /// A post: twice.
    Post {
        /// When it is accepted or refused.
        accepted: Option<oneshot::Sender<Result<Accepted, Reject>>>,
        /// When it is durable.
        durable: oneshot::Sender<Result<(), Reject>>,
    },
    /// A kick or a push.
    Count(oneshot::Sender<u32>),
    /// A question for who is there.
    Presence(oneshot::Sender<Present>),
    /// Answered.
    Nobody,
}

impl Waiting {
    /// Passes an answer on. Whoever has given up waiting doesn't get it.
    pub(super) fn give(&mut self, reply: Reply) {
        match (self, reply) {
            (Waiting::Post { accepted, .. }, Reply::Posted { id, at, duplicate }) => {
                if let Some(accepted) = accepted.take() {
                    _ = accepted.send(Ok((id, at, duplicate)));
                }
            }
            (Waiting::Post { accepted, .. }, Reply::Rejected(reject)) => {
                if let Some(accepted) = accepted.take() {
                    _ = accepted.send(Err(reject));
                }
            }
            (waiting, reply) => match (std::mem::replace(waiting, Waiting::Nobody), reply) {
                (Waiting::Post { durable, .. }, Reply::Durable(result)) => {
                    _ = durable.send(result);
                }
                (Waiting::Count(count), Reply::Count(number)) => _ = count.send(number),
                (Waiting::Presence(present), Reply::Presence(who)) => _ = present.send(who),
                // A dropped sender tells the edge that there is no answer: a bug of ours.
                (_, reply) => debug_assert!(false, "no one waits for {reply:?}"),
            },
        }
    }

    /// Whether nobody waits any longer.
    pub(super) fn is_given_up(&self) -> bool {
        match self {
            Waiting::Post { durable, .. } => durable.is_closed(),
            Waiting::Count(count) => count.is_closed(),
            Waiting::Presence(present) => present.is_closed(),
            Waiting::Nobody => true,
        }
    }
}
