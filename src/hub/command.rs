//! What the edge gives a shard to do, and who waits for the answer.
//!
//! A [`Question`] says whose shard answers it, what the heart is asked, and which reply is the
//! answer. A new one is a struct here, its input in `shard/event.rs`, and the endpoint that asks.

use std::fmt;

use tokio::sync::oneshot;

use super::Admission;
use super::askers::Asking;
use crate::shard::event::{Input, MemberKey, Notification, Post, Present, Reply, Stretch, Ticket};
use crate::wire::reject::Reject;
use crate::wire::time::Micros;
use crate::wire::{Id, SpaceId, SpaceKey, UserId};

/// Something that one shard is asked, and answers once.
pub trait Question: Send + 'static {
    /// What it answers.
    type Answer: Send + 'static;

    /// The space whose shard is asked.
    fn space(&self) -> SpaceKey;

    /// What the heart is asked, under a ticket.
    fn input(self, ticket: Ticket) -> Input<'static>;

    /// The answer in the heart's reply.
    fn answer(reply: Reply) -> Option<Self::Answer>;
}

/// Closes the members that a user has in a space (4009); answers how many.
#[derive(Clone, Copy, Debug)]
pub struct Kick {
    /// The space.
    pub space: SpaceId,
    /// The user.
    pub user: UserId,
}

/// Pushes to each notification socket of a user; answers how many.
#[derive(Debug)]
pub struct Notify {
    /// The user.
    pub user: UserId,
    /// What they are told.
    pub push: Box<Notification>,
}

/// Asks who is in a space.
#[derive(Clone, Copy, Debug)]
pub struct WhoIsThere {
    /// The space.
    pub space: SpaceId,
    /// How many users are told at most.
    pub users_max: usize,
}

impl Question for Kick {
    type Answer = u32;

    fn space(&self) -> SpaceKey {
        SpaceKey::Chat(self.space)
    }

    fn input(self, ticket: Ticket) -> Input<'static> {
        Input::Kick(ticket, self.space, self.user)
    }

    fn answer(reply: Reply) -> Option<u32> {
        count(reply)
    }
}

impl Question for Notify {
    type Answer = u32;

    fn space(&self) -> SpaceKey {
        SpaceKey::Inbox(self.user)
    }

    fn input(self, ticket: Ticket) -> Input<'static> {
        Input::Notify(ticket, self.user, self.push)
    }

    fn answer(reply: Reply) -> Option<u32> {
        count(reply)
    }
}

impl Question for WhoIsThere {
    type Answer = Present;

    fn space(&self) -> SpaceKey {
        SpaceKey::Chat(self.space)
    }

    fn input(self, ticket: Ticket) -> Input<'static> {
        Input::Presence(ticket, self.space, self.users_max)
    }

    fn answer(reply: Reply) -> Option<Present> {
        if let Reply::Presence(present) = reply { Some(present) } else { None }
    }
}

fn count(reply: Reply) -> Option<u32> {
    if let Reply::Count(count) = reply { Some(count) } else { None }
}

/// Something for a shard to do.
pub(super) enum Command {
    /// Take a connection in.
    Admit(Box<Admission>),
    /// Give the heart an input under a new ticket, whose replies go to who waits.
    Ask(Box<dyn FnOnce(Ticket) -> Input<'static> + Send>, Waiting),
    /// Give a member that catches up the page that it asked for.
    Fetched(MemberKey, u32, Option<Stretch>),
}

/// A command in an inbox, and its place among those of its address.
pub(super) struct Queued(
    pub Command,
    #[expect(dead_code, reason = "dropping it gives the place back")] pub Asking,
);

impl fmt::Debug for Queued {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Queued").finish_non_exhaustive()
    }
}

/// Who waits for the replies to a question.
pub(super) struct Waiting(Box<dyn Hears + Send>);

trait Hears {
    /// Passes a reply on.
    fn hear(&mut self, reply: Reply);

    /// Whether nobody waits any longer.
    fn is_given_up(&self) -> bool;
}

impl Waiting {
    /// Somebody who waits for the answer to a question.
    pub(super) fn answer<Q: Question>() -> (Waiting, oneshot::Receiver<Q::Answer>) {
        let (give, answer) = oneshot::channel();
        (Waiting(Box::new(ForAnswer::<Q>(Some(give)))), answer)
    }

    /// Passes a reply on. Whoever has given up waiting doesn't get it.
    pub(super) fn give(&mut self, reply: Reply) {
        self.0.hear(reply);
    }

    /// Whether nobody waits any longer.
    pub(super) fn is_given_up(&self) -> bool {
        self.0.is_given_up()
    }
}

struct ForAnswer<Q: Question>(Option<oneshot::Sender<Q::Answer>>);

impl<Q: Question> Hears for ForAnswer<Q> {
    fn hear(&mut self, reply: Reply) {
        // A sender that is dropped tells the edge that there is no answer: a bug of ours.
        let (give, answer) = (self.0.take(), Q::answer(reply));
        debug_assert!(answer.is_some(), "the reply is to another question");
        if let Some((give, answer)) = give.zip(answer) {
            _ = give.send(answer);
        }
    }

    fn is_given_up(&self) -> bool {
        self.0.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

/// What the poster of a chat is told at once, if it is accepted.
#[derive(Debug)]
pub(super) struct PostAccepted {
    pub id: Id,
    pub at: Micros,
    pub is_duplicate: bool,
}

/// What the poster of a chat hears: whether it is accepted, then whether it is stored.
pub(super) struct PostReplies {
    pub accepted: oneshot::Receiver<Result<PostAccepted, Reject>>,
    pub durable: oneshot::Receiver<Result<(), Reject>>,
}

/// A chat that is posted, and its replies.
pub(super) fn post(post: Post) -> (Command, PostReplies) {
    let ((accept, accepted), (store, durable)) = (oneshot::channel(), oneshot::channel());
    let waiting = ForPost { accepted: Some(accept), durable: Some(store) };
    let ask = Box::new(|ticket| Input::Post(ticket, post));
    (Command::Ask(ask, Waiting(Box::new(waiting))), PostReplies { accepted, durable })
}

struct ForPost {
    accepted: Option<oneshot::Sender<Result<PostAccepted, Reject>>>,
    durable: Option<oneshot::Sender<Result<(), Reject>>>,
}

impl Hears for ForPost {
    fn hear(&mut self, reply: Reply) {
        let accepted = match reply {
            Reply::Posted { id, at, duplicate } => {
                Ok(PostAccepted { id, at, is_duplicate: duplicate })
            }
            Reply::Rejected(reject) => Err(reject),
            Reply::Durable(result) => {
                _ = self.durable.take().map(|durable| durable.send(result));
                return;
            }
            other => return debug_assert!(false, "no post is answered {other:?}"),
        };
        _ = self.accepted.take().map(|give| give.send(accepted));
    }

    fn is_given_up(&self) -> bool {
        self.durable.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}
