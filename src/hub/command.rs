//! What the edge gives a shard to do, and who waits for the answer.
//!
//! A [`Question`] says whose shard answers it, what the heart is asked, and which reply is the
//! answer. A new one is a function here, its input in `shard/event.rs`, and the endpoint that asks.

use std::fmt;

use tokio::sync::oneshot;

use super::Admission;
use super::askers::Asking;
use super::thread::{Coming, Sought};
use crate::shard::event::{
    Grant, HotSpace, Input, MemberKey, Notification, Post, Present, Reply, Revocation, Seen,
    Stretch, Ticket,
};
use crate::wire::reject::Reject;
use crate::wire::time::Micros;
use crate::wire::{Id, SpaceId, SpaceKey, UserId};

/// Gives the heart an input under a ticket, which its replies are to name.
type Ask = Box<dyn FnOnce(Ticket) -> Input<'static> + Send>;

/// Something that a shard is asked, and answers once.
pub(crate) struct Question<A> {
    pub(super) space: SpaceKey,
    ask: Ask,
    /// The answer in the heart's reply.
    answer: fn(Reply) -> Option<A>,
}

impl Question<u32> {
    /// Closes the members that a user has in a space (4009); answers how many.
    pub(crate) fn kick(space: SpaceId, user: UserId) -> Question<u32> {
        let ask = Box::new(move |ticket| Input::Kick(ticket, space, user));
        Question { space: SpaceKey::Chat(space), ask, answer: count }
    }

    /// Closes the members of a shard whose tokens are called back; answers how many.
    pub(super) fn revoke(revocation: Revocation) -> Question<u32> {
        let ask = Box::new(move |ticket| Input::Revoke(ticket, revocation));
        // All shards are asked, each by itself.
        Question { space: SpaceKey::Lobby, ask, answer: count }
    }

    /// Pushes to each notification socket of a user; answers how many.
    pub(crate) fn notify(user: UserId, push: Notification) -> Question<u32> {
        let ask = Box::new(move |ticket| Input::Notify(ticket, user, Box::new(push)));
        Question { space: SpaceKey::Inbox(user), ask, answer: count }
    }
}

impl Question<Present> {
    /// Asks who is in a space; at most `users_max` of them are told.
    pub(crate) fn who_is_there(space: SpaceId, users_max: usize) -> Question<Present> {
        let ask = Box::new(move |ticket| Input::Presence(ticket, space, users_max));
        let answer = |reply| if let Reply::Presence(who) = reply { Some(who) } else { None };
        Question { space: SpaceKey::Chat(space), ask, answer }
    }
}

impl Question<Seen> {
    /// Asks how a space's members stand, from a user on.
    pub(crate) fn how_they_stand(space: SpaceId, from: UserId, max: usize) -> Question<Seen> {
        let ask = Box::new(move |ticket| Input::Look(ticket, space, from, max));
        let answer = |reply| if let Reply::Seen(seen) = reply { Some(seen) } else { None };
        Question { space: SpaceKey::Chat(space), ask, answer }
    }
}

impl Question<Vec<HotSpace>> {
    /// Asks a shard in which of its spaces most is said; at most `max` are told.
    pub(super) fn hottest(max: usize) -> Question<Vec<HotSpace>> {
        let ask = Box::new(move |ticket| Input::Hottest(ticket, max));
        let answer = |reply| if let Reply::Hottest(spaces) = reply { Some(spaces) } else { None };
        // All shards are asked, each by itself.
        Question { space: SpaceKey::Lobby, ask, answer }
    }
}

impl<A: Send + 'static> Question<A> {
    /// The command that asks, and where the answer comes.
    pub(super) fn command(self) -> (Command, oneshot::Receiver<A>) {
        let (give, given) = oneshot::channel();
        let waiting = ForAnswer { give: Some(give), answer: self.answer };
        (Command::Ask(self.ask, Waiting(Box::new(waiting))), given)
    }
}

fn count(reply: Reply) -> Option<u32> {
    if let Reply::Count(count) = reply { Some(count) } else { None }
}

/// Counts the times that a shard has begun anew. Who was a member in an earlier life may have the
/// key of another one.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Life(u32);

impl Life {
    /// The one after it.
    pub(super) fn next(self) -> Life {
        Life(self.0.wrapping_add(1))
    }
}

/// Something for a shard to do.
pub(super) enum Command {
    /// Take a connection in.
    Admit(Box<Admission>),
    /// Give the heart an input under a new ticket, whose replies go to who waits.
    Ask(Ask, Waiting),
    /// Tell a member what it may do by the token that it has shown.
    Granted(Life, MemberKey, Option<Grant>),
    /// Give a member that catches up the page that it asked for.
    Fetched(Life, MemberKey, u32, Option<Stretch>),
    /// Close who holds most, until this many bytes are freed.
    Relieve(u64),
    /// Look up who came and went of late, up to a number of them.
    Find(Box<Sought>, usize, oneshot::Sender<Vec<Coming>>),
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

/// The waiting end of a question, to which its replies go.
pub(super) struct Waiting(Box<dyn Hears + Send>);

trait Hears {
    /// Passes a reply on.
    fn hear(&mut self, reply: Reply);

    /// Whether nobody waits any longer.
    fn is_given_up(&self) -> bool;
}

impl Waiting {
    /// Passes a reply on. Whoever has given up waiting doesn't get it.
    pub(super) fn give(&mut self, reply: Reply) {
        self.0.hear(reply);
    }

    /// Whether nobody waits any longer.
    pub(super) fn is_given_up(&self) -> bool {
        self.0.is_given_up()
    }
}

struct ForAnswer<A> {
    give: Option<oneshot::Sender<A>>,
    answer: fn(Reply) -> Option<A>,
}

impl<A> Hears for ForAnswer<A> {
    fn hear(&mut self, reply: Reply) {
        // A sender that is dropped tells the edge that there is no answer: a bug of ours.
        let (give, answer) = (self.give.take(), (self.answer)(reply));
        debug_assert!(answer.is_some(), "the reply is to another question");
        _ = give.zip(answer).map(|(give, answer)| give.send(answer));
    }

    fn is_given_up(&self) -> bool {
        self.give.as_ref().is_none_or(oneshot::Sender::is_closed)
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
