//! The hub: N pinned shard threads, and the handle by which the edge reaches them: hand a
//! connection over, post, kick, push, ask.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::faults::Faults;
use crate::limits::Limits;
use crate::metrics::{Metric, Metrics};
use crate::shard::event::{
    AddressKey, Fetch, Grant, HotSpace, Join, Post, Renewal, Revocation, Stretch, Verdict,
};
use crate::shard::{Accept, ShardSetup};
use crate::store::journal::Writer;
use crate::store::latest::Latest;
use crate::telemetry::Span;
use crate::wire::close::Close;
use crate::wire::nonce::First;
use crate::wire::reject::Reject;
use crate::wire::time::{Micros, MonoMs, Now};
use crate::wire::{Id, SpaceId, SpaceKey, UserId};

mod askers;
mod command;
mod directory;
mod inbox;
mod offences;
mod places;
mod socket;
mod thread;

use askers::{Askers, Asking};
use command::{Command, PostAccepted, PostReplies, Queued};
pub(crate) use command::{Life, Question};
use directory::{Directory, Reference};
pub(crate) use directory::{Permit, address_number, address_text};
use inbox::Inbox;
pub(crate) use places::{Begun, Place, Places};
pub(crate) use socket::{Link, Session};
use thread::ShardThread;
pub(crate) use thread::{Coming, Sought};

/// Reads again what was published once, as far as it may be of this shard.
pub(crate) type Remembered = Arc<dyn Fn(usize) -> std::io::Result<Vec<First>> + Send + Sync>;

/// What the hub is started with.
pub(crate) struct HubSetup {
    /// Every bound. `logs_bytes_max` is that of all shards together.
    pub limits: Limits,
    /// Where time is read.
    pub clock: Clock,
    /// The numbers of the hub, with a part for each shard.
    pub metrics: Arc<Metrics>,
    /// The store's side of each shard.
    pub stores: Vec<ShardStore>,
    /// The highest id that any journal or the store holds.
    pub highest: Id,
    /// What earlier runs have published once, oldest first.
    pub published: Vec<First>,
    /// The same at any later time, for a shard that begins anew.
    pub remembered: Remembered,
    /// Makes ids and jitter.
    pub seed: u64,
    /// Where shards ask for what the log no longer holds, one page at a time for a member; each is
    /// answered by [`Hub::give`].
    pub pages: mpsc::Sender<PageRequest>,
    /// Where members' tokens are judged; each is answered by [`Hub::grant`].
    pub renewals: mpsc::Sender<RenewalRequest>,
    /// When a chat is accepted.
    pub accept: Accept,
    /// Whether shards get cores of their own.
    pub pinned: bool,
    /// Where a shard that ends before a drain is told.
    pub faults: Faults,
}

/// A shard's side of the store.
#[derive(Debug)]
pub(crate) struct ShardStore {
    /// Where the shard's records go.
    pub journal: Writer,
    /// The offset up to which the store has committed them; `None`: it has not committed all of
    /// earlier runs yet.
    pub committed: Arc<Latest<Option<u64>>>,
    /// What it says of records that it refuses, before they count as committed.
    pub verdicts: mpsc::Receiver<Verdict>,
}

/// A connection whose upgrade was answered with 101, on its way to its shard.
#[derive(Debug)]
pub(crate) struct Admission {
    /// The member to be, and its space.
    pub join: Join,
    /// Its socket, and its TLS.
    pub link: Link,
    /// What had been read behind the request's head.
    pub first_bytes: Bytes,
    /// From [`Hub::reserve`], with the connection's place.
    pub permit: Permit,
    /// The id of its request, if it came with one; for the log.
    pub request: Option<Box<str>>,
    /// When its handshake was whole, or its first message, where that shows who it is.
    pub begun: Now,
    /// The trace of its handshake, which ends when it is in.
    pub span: Option<Span>,
}

/// A member's question for a page of history.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageRequest {
    pub(crate) shard: usize,
    pub(crate) life: Life,
    /// What it needs.
    pub fetch: Fetch,
}

/// A token that a member shows.
#[derive(Debug)]
pub(crate) struct RenewalRequest {
    pub(crate) shard: usize,
    pub(crate) life: Life,
    /// The token, and whose it is to be.
    pub renewal: Renewal,
}

/// An accepted post.
#[derive(Debug)]
pub(crate) struct Posted {
    /// The message's id.
    pub id: Id,
    /// The instant of acceptance.
    pub at: Micros,
    /// Whether its nonce was used before, so that no new message was made.
    pub duplicate: bool,
    /// Resolves when the store has committed or refused it.
    pub durable: oneshot::Receiver<Result<(), Reject>>,
}

/// Whether a user and a space exist in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Existing {
    /// The user does.
    pub user: bool,
    /// The space does.
    pub space: bool,
}

/// The way to the shards; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Hub {
    inboxes: Arc<[Arc<Inbox<Queued>>]>,
    askers: Arc<Askers>,
    directory: Arc<Directory>,
    metrics: Arc<Metrics>,
    drain: Arc<Latest<Option<u64>>>,
    accept: Accept,
}

/// The shards' threads.
#[derive(Debug)]
pub(crate) struct HubThreads(Vec<std::thread::JoinHandle<std::io::Result<()>>>);

impl HubThreads {
    /// Waits until every shard has closed its members. `Err`: one died before.
    pub(crate) fn join(self) -> std::io::Result<()> {
        let mut result = Ok(());
        for thread in self.0 {
            let ended = thread
                .join()
                .unwrap_or_else(|_| Err(std::io::Error::other("a shard's thread panicked")));
            result = result.and(ended);
        }
        result
    }
}

/// Starts the shards, one a journal; each holds then what it needs of the system.
pub(crate) fn start(mut setup: HubSetup) -> std::io::Result<(Hub, HubThreads)> {
    let stores = std::mem::take(&mut setup.stores);
    let shards = stores.len();
    let directory = Directory::new(setup.limits.clone(), setup.clock.clone());
    let inboxes: Arc<[_]> =
        (0..shards).map(|_| Arc::new(Inbox::new(setup.limits.inbox_commands_max))).collect();
    let drain = Arc::new(Latest::default());
    let cores = if setup.pinned { core_affinity::get_core_ids() } else { None };
    let mut threads = Vec::with_capacity(shards);
    let (begun, begins) = std::sync::mpsc::sync_channel(shards);
    for (number, store) in stores.into_iter().enumerate() {
        let first = first_of(&setup, number, shards);
        let ShardStore { journal, committed, verdicts } = store;
        let remembered = Arc::clone(&setup.remembered);
        let thread = ShardThread {
            shards,
            published: Box::new(move || Ok(of_shard(&remembered(number)?, number, shards))),
            core: cores.as_ref().and_then(|cores| cores.get(number % cores.len()).copied()),
            inbox: Arc::clone(&inboxes[number]),
            directory: Arc::clone(&directory),
            metrics: Arc::clone(&setup.metrics),
            committed,
            verdicts,
            drain: Arc::clone(&drain),
            pages: setup.pages.clone(),
            renewals: setup.renewals.clone(),
            clock: setup.clock.clone(),
            faults: setup.faults.clone(),
        };
        let (name, faults) = (format!("shard-{number}"), setup.faults.clone());
        let begun = begun.clone();
        let work = move || {
            let part = faults.watch(format!("shard-{number}"));
            // Dropped when it ends before: then nobody is waited for.
            let outcome = thread.run(first, journal, move || _ = begun.send(()));
            part.ended_with(&outcome);
            outcome
        };
        threads.push(std::thread::Builder::new().name(name).spawn(work)?);
    }
    drop(begun);
    // One that can't begin tells its fault, and drops its end.
    begins.iter().take(shards).for_each(drop);
    let askers = Arc::new(Askers::new(setup.limits.inbox_commands_max));
    let HubSetup { metrics, accept, .. } = setup;
    let hub = Hub { inboxes, askers, directory, metrics, drain, accept };
    Ok((hub, HubThreads(threads)))
}

/// What a shard begins with when the hub starts.
fn first_of(setup: &HubSetup, number: usize, shards: usize) -> ShardSetup {
    let mut limits = setup.limits.clone();
    limits.logs_bytes_max /= shards;
    ShardSetup {
        number: u16::try_from(number).expect("shards are bounded below 2^16"),
        limits,
        accept: setup.accept,
        seed: setup.seed.wrapping_add((number as u64) << 32 | number as u64),
        highest: setup.highest,
        published: of_shard(&setup.published, number, shards),
        now: setup.clock.now(),
    }
}

fn of_shard(published: &[First], shard: usize, shards: usize) -> Vec<First> {
    let its = |first: &&First| SpaceKey::Chat(first.space).shard(shards) == shard;
    published.iter().filter(its).copied().collect()
}

impl Hub {
    fn inbox(&self, key: SpaceKey) -> &Inbox<Queued> {
        &self.inboxes[key.shard(self.inboxes.len())]
    }

    /// The places of all connections, whose one count bounds them.
    pub(crate) fn places(&self) -> &Places {
        self.directory.places()
    }

    /// Lets a connection be a member: limits in all, of the user, of the address; rates of
    /// new connections; draining.
    pub(crate) fn reserve(
        &self,
        user: Option<UserId>,
        address: AddressKey,
    ) -> Result<Permit, Reject> {
        if self.is_draining() {
            return Err(Reject::Draining);
        }
        self.directory.reserve(user, address)
    }

    /// Hands a connection to the shard of its space. On refusal (its inbox is full, or its shard
    /// has ended) it comes back, with what to tell it.
    pub(crate) fn admit(&self, admission: Admission) -> Result<(), (Box<Admission>, Close)> {
        let (key, address) = (admission.join.space, admission.join.address);
        match self.offer(key, address, Command::Admit(Box::new(admission))) {
            Ok(()) => Ok(()),
            Err(Command::Admit(admission)) => match self.refusal() {
                Reject::Draining => Err((admission, Close::Restart)),
                _ => Err((admission, Close::Overloaded)),
            },
            Err(_) => unreachable!("the inbox gives back what it was given"),
        }
    }

    /// Queues what may be refused, and gives it back if it is: its address has too many commands
    /// that wait, or all have.
    fn offer(&self, key: SpaceKey, address: AddressKey, command: Command) -> Result<(), Command> {
        let Some(asking) = self.askers.take(address) else { return Err(command) };
        self.inbox(key).offer(Queued(command, asking)).map_err(|Queued(command, _)| command)
    }

    /// Why an inbox takes nothing.
    fn refusal(&self) -> Reject {
        if self.is_draining() {
            return Reject::Draining;
        }
        self.metrics.edge.add(Metric::InboxRefused, 1);
        Reject::Overloaded
    }

    /// Why an answer never comes: its shard has ended.
    fn unanswered(&self) -> Reject {
        if self.is_draining() { Reject::Draining } else { Reject::Internal }
    }

    /// When a chat is accepted.
    pub(crate) fn accept(&self) -> Accept {
        self.accept
    }

    /// Accepts a chat: it is in the space's log and in the journal when this returns, or stored,
    /// where that is when chats are accepted.
    pub(crate) async fn post(&self, post: Post) -> Result<Posted, Reject> {
        if self.is_draining() {
            return Err(Reject::Draining);
        }
        let (key, address) = (SpaceKey::Chat(post.space), post.address);
        let (command, PostReplies { accepted, durable }) = command::post(post);
        if self.offer(key, address, command).is_err() {
            return Err(self.refusal());
        }
        let accepted = accepted.await.unwrap_or_else(|_| Err(self.unanswered()));
        let PostAccepted { id, at, is_duplicate } = accepted?;
        Ok(Posted { id, at, duplicate: is_duplicate, durable })
    }

    /// The time, by the clock that members' waits are measured with.
    pub(crate) fn now(&self) -> MonoMs {
        self.directory.now()
    }

    /// Answers a member's question; `None`: the store could not be read.
    pub(crate) fn give(&self, request: &PageRequest, page: Option<Stretch>) {
        let Fetch { member, number, .. } = request.fetch;
        // If its shard is so busy that it does not take it, the member waits in vain and tries
        // again, or goes without.
        let command = Command::Fetched(request.life, member, number, page);
        _ = self.inboxes[request.shard].push(Queued(command, Asking::OURS));
    }

    /// Tells a member what it may do by the token that it has shown.
    pub(crate) fn grant(&self, request: &RenewalRequest, grant: Option<Grant>) {
        // If its shard is so busy that it does not take it, the member shows it once more.
        let command = Command::Granted(request.life, request.renewal.member, grant);
        _ = self.inboxes[request.shard].push(Queued(command, Asking::OURS));
    }

    /// Whether a user and a space exist, if both were asked for lately.
    pub(crate) fn exist(&self, user: UserId, space: SpaceId) -> Option<Existing> {
        let user = self.directory.exists(Reference::User(user))?;
        Some(Existing { user, space: self.directory.exists(Reference::Space(space))? })
    }

    /// Remembers whether a user and a space exist, for a while.
    pub(crate) fn note_existing(&self, user: UserId, space: SpaceId, existing: Existing) {
        self.directory.note(Reference::User(user), existing.user);
        self.directory.note(Reference::Space(space), existing.space);
    }

    /// Asks a shard something, for an address.
    pub(crate) async fn ask<A: Send + 'static>(
        &self,
        question: Question<A>,
        address: AddressKey,
    ) -> Result<A, Reject> {
        let asking = self.askers.take(address).ok_or_else(|| self.refusal())?;
        let inbox = self.inbox(question.space);
        let (command, answer) = question.command();
        if inbox.push(Queued(command, asking)).is_err() {
            return Err(self.refusal());
        }
        answer.await.map_err(|_| self.unanswered())
    }

    /// Closes all members whose tokens are called back, on all shards; answers how many.
    pub(crate) async fn revoke(&self, revocation: Revocation) -> Result<u32, Reject> {
        let mut closed = 0;
        for inbox in self.inboxes.iter() {
            let (command, answer) = Question::revoke(revocation).command();
            if inbox.push(Queued(command, Asking::OURS)).is_err() {
                return Err(self.refusal());
            }
            closed += answer.await.map_err(|_| self.unanswered())?;
        }
        Ok(closed)
    }

    /// The chat spaces in which most is said, on all shards, the hottest first, `max` of them.
    pub(crate) async fn hottest(&self, max: usize) -> Result<Vec<HotSpace>, Reject> {
        let mut found = Vec::new();
        for inbox in self.inboxes.iter() {
            let (command, answer) = Question::hottest(max).command();
            if inbox.push(Queued(command, Asking::OURS)).is_err() {
                return Err(self.refusal());
            }
            found.append(&mut answer.await.map_err(|_| self.unanswered())?);
        }
        found.sort_by_key(|it| (std::cmp::Reverse(it.heat()), it.space));
        found.truncate(max);
        Ok(found)
    }

    /// The shard of a space.
    pub(crate) fn shard_of(&self, space: SpaceId) -> usize {
        SpaceKey::Chat(space).shard(self.inboxes.len())
    }

    /// Connections that came of late, on all shards, the newest first, `max` of them.
    pub(crate) async fn comings(&self, sought: Sought, max: usize) -> Result<Vec<Coming>, Reject> {
        let mut found = Vec::new();
        for inbox in self.inboxes.iter() {
            let (give, given) = oneshot::channel();
            if inbox.push(Queued(Command::Find(Box::new(sought), max, give), Asking::OURS)).is_err()
            {
                return Err(self.refusal());
            }
            found.append(&mut given.await.map_err(|_| self.unanswered())?);
        }
        found.sort_by_key(|it| std::cmp::Reverse(it.at));
        found.truncate(max);
        Ok(found)
    }

    /// The chat spaces with members, largest first, `limit` of them behind the first `offset`; and
    /// how many there are.
    pub(crate) fn spaces(&self, offset: usize, limit: usize) -> (Vec<(SpaceId, usize)>, usize) {
        self.directory.spaces(offset, limit)
    }

    /// Whether shutdown has begun: handshakes and posts are answered `draining`.
    pub(crate) fn is_draining(&self) -> bool {
        self.drain.get().is_some()
    }

    /// Has members closed that take nothing, those first that hold most, until this many bytes are
    /// freed.
    pub(crate) fn relieve(&self, bytes: u64) {
        let share = bytes.div_ceil(self.inboxes.len() as u64);
        for inbox in self.inboxes.iter() {
            // One that is full will be asked again.
            _ = inbox.push(Queued(Command::Relieve(share), Asking::OURS));
        }
    }

    /// Lets nobody be a member any more, or again.
    pub(crate) fn set_full(&self, is_full: bool) {
        self.directory.set_full(is_full);
    }

    /// Begins shutdown: members are closed with 1012 over this window.
    pub(crate) fn drain(&self, window_ms: u64) {
        self.drain.publish(Some(window_ms));
    }
}
