//! The hub: N pinned shard threads, and the handle by which the edge reaches them: hand a
//! connection over, post, kick, push, ask.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::faults::Faults;
use crate::limits::Limits;
use crate::metrics::{Metric, Metrics};
use crate::shard::ShardSetup;
use crate::shard::event::{AddressKey, Fetch, Join, Notification, Post, Present, Stretch, Verdict};
use crate::store::journal::Writer;
use crate::store::latest::Latest;
use crate::wire::close::Close;
use crate::wire::nonce::First;
use crate::wire::reject::Reject;
use crate::wire::time::{Micros, MonoMs};
use crate::wire::{Id, SpaceId, SpaceKey, UserId};

mod askers;
mod command;
mod directory;
mod inbox;
mod places;
mod socket;
mod thread;

use askers::{Askers, Asking};
use command::{Command, Queued, Waiting};
use directory::{Directory, Person};
pub use directory::{Permit, address_key, address_number};
use inbox::Inbox;
pub use places::{Begun, CONNECTION_BYTES, Place, Places, members_of, places_for};
use thread::ShardThread;

/// What the hub is started with.
#[derive(Debug)]
pub struct HubSetup {
    /// Every bound. `logs_bytes_max` is that of all shards together.
    pub limits: Limits,
    /// Where time is read.
    pub clock: Clock,
    /// One shard each; its numbers.
    pub metrics: Arc<Metrics>,
    /// One a shard.
    pub stores: Vec<ShardStore>,
    /// The highest id that any journal or the store holds.
    pub highest: Id,
    /// What earlier runs have published once, oldest first.
    pub published: Vec<First>,
    /// Makes ids and jitter.
    pub seed: u64,
    /// Where shards ask for what the log no longer holds; each is answered by [`Hub::give`].
    pub pages: mpsc::Sender<PageRequest>,
    /// Whether shards get cores of their own.
    pub pinned: bool,
    /// Where a shard that ends before a drain is told.
    pub faults: Faults,
}

/// A shard's side of the store.
#[derive(Debug)]
pub struct ShardStore {
    /// Where its records go.
    pub journal: Writer,
    /// What of them the store has committed: 0, or 1 + the offset, with all of earlier runs.
    pub committed: Arc<Latest>,
    /// What it says of records that it refuses, before they count as committed.
    pub verdicts: mpsc::Receiver<Verdict>,
}

/// A connection whose upgrade was answered with 101, on its way to its shard.
#[derive(Debug)]
pub struct Admission {
    /// Who joins what.
    pub join: Join,
    /// The socket, non-blocking.
    pub stream: std::net::TcpStream,
    /// What had been read behind the request's head.
    pub first_bytes: Bytes,
    /// From [`Hub::reserve`], with the connection's place.
    pub permit: Permit,
}

/// A member's question for a page of history.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest {
    pub(crate) shard: usize,
    /// What it needs.
    pub fetch: Fetch,
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
pub struct Hub {
    inboxes: Arc<[Arc<Inbox<Queued>>]>,
    askers: Arc<Askers>,
    directory: Arc<Directory>,
    metrics: Arc<Metrics>,
    drain: Arc<Latest>,
}

/// The shards' threads.
#[derive(Debug)]
pub struct HubThreads(Vec<std::thread::JoinHandle<std::io::Result<()>>>);

impl HubThreads {
    /// Waits until every shard has closed its members. `Err`: one died before.
    pub fn join(self) -> std::io::Result<()> {
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

/// Starts the shards, one a journal.
pub fn start(setup: HubSetup) -> std::io::Result<(Hub, HubThreads)> {
    let shards = setup.stores.len();
    let directory = Directory::new(setup.limits.clone(), setup.clock);
    let inboxes: Arc<[_]> =
        (0..shards).map(|_| Arc::new(Inbox::new(setup.limits.inbox_commands_max))).collect();
    let drain = Arc::new(Latest::default());
    let cores = if setup.pinned { core_affinity::get_core_ids() } else { None };
    let mut threads = Vec::with_capacity(shards);
    for (number, store) in setup.stores.into_iter().enumerate() {
        let mut limits = setup.limits.clone();
        limits.logs_bytes_max /= shards;
        let thread = ShardThread {
            setup: ShardSetup {
                number: u16::try_from(number).expect("shards are bounded below 2^16"),
                limits,
                seed: setup.seed.wrapping_add((number as u64) << 32 | number as u64),
                highest: setup.highest,
                published: of_shard(&setup.published, number, shards),
                now: setup.clock.now(),
            },
            core: cores.as_ref().and_then(|cores| cores.get(number % cores.len()).copied()),
            inbox: Arc::clone(&inboxes[number]),
            directory: Arc::clone(&directory),
            metrics: Arc::clone(&setup.metrics),
            store,
            drain: Arc::clone(&drain),
            pages: setup.pages.clone(),
            clock: setup.clock,
        };
        let (name, faults) = (format!("shard-{number}"), setup.faults.clone());
        let work = move || {
            let part = faults.watch(format!("shard-{number}"));
            let outcome = thread.run();
            part.ended_with(&outcome);
            outcome
        };
        threads.push(std::thread::Builder::new().name(name).spawn(work)?);
    }
    let askers = Arc::new(Askers::new(setup.limits.inbox_commands_max));
    let hub = Hub { inboxes, askers, directory, metrics: setup.metrics, drain };
    Ok((hub, HubThreads(threads)))
}

fn of_shard(published: &[First], shard: usize, shards: usize) -> Vec<First> {
    let its = |first: &&First| shard_of(SpaceKey::Chat(first.space), shards) == shard;
    published.iter().filter(its).copied().collect()
}

/// Which of `shards` a space lives on: fixed for ever, so that tests and tools can tell.
pub fn shard_of(key: SpaceKey, shards: usize) -> usize {
    let (kind, number) = match key {
        SpaceKey::Chat(space) => (0, space.0),
        SpaceKey::Lobby => (1, 0),
        SpaceKey::Inbox(user) => (2, user.0),
    };
    // The finalizer of MurmurHash3, whose every output bit depends on every input bit.
    let mut word = kind << 32 | u64::from(number.cast_unsigned());
    word = (word ^ (word >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    word = (word ^ (word >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    word ^= word >> 33;
    (word % shards as u64) as usize
}

impl Hub {
    fn inbox(&self, key: SpaceKey) -> &Inbox<Queued> {
        &self.inboxes[shard_of(key, self.inboxes.len())]
    }

    /// The places of all connections, whose one count bounds them.
    pub fn places(&self) -> &Places {
        self.directory.places()
    }

    /// Lets a connection be a member: limits in all, of the user, of the address; rates of
    /// new connections; draining.
    pub fn reserve(&self, user: UserId, address: IpAddr) -> Result<Permit, Reject> {
        self.directory.reserve(user, address)
    }

    /// Hands a connection to the shard of its space. On refusal (its inbox is full, or its shard
    /// has ended) it comes back, with what to tell it.
    pub fn admit(&self, admission: Admission) -> Result<(), (Box<Admission>, Close)> {
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

    /// Accepts a chat: it is in the space's log and in the journal when this returns.
    pub async fn post(&self, post: Post) -> Result<Posted, Reject> {
        if self.is_draining() {
            return Err(Reject::Draining);
        }
        let key = SpaceKey::Chat(post.space);
        let (accepted, is_accepted) = oneshot::channel();
        let (durable, is_durable) = oneshot::channel();
        let waiting = Waiting::Post { accepted: Some(accepted), durable };
        let address = post.address;
        if self.offer(key, address, Command::Post(Box::new(post), waiting)).is_err() {
            return Err(self.refusal());
        }
        let accepted = is_accepted.await.unwrap_or_else(|_| Err(self.unanswered()));
        let (id, at, duplicate) = accepted?;
        Ok(Posted { id, at, duplicate, durable: is_durable })
    }

    /// The time, by the clock that members' waits are measured with.
    pub fn now(&self) -> MonoMs {
        self.directory.now()
    }

    /// Answers a member's question; `None`: the store could not be read.
    pub fn give(&self, request: &PageRequest, page: Option<Stretch>) {
        let Fetch { member, number, .. } = request.fetch;
        // If its shard is so busy that it does not take it, the member waits in vain and tries
        // again, or goes without.
        _ = self.inboxes[request.shard]
            .push(Queued(Command::Fetched(member, number, page), Asking::OURS));
    }

    /// Whether a user and a space exist, if both were asked for lately.
    pub fn exist(&self, user: UserId, space: SpaceId) -> Option<(bool, bool)> {
        let user = self.directory.exists(Person::User(user))?;
        Some((user, self.directory.exists(Person::Space(space))?))
    }

    /// Remembers whether a user and a space exist, for a while.
    pub fn note_existing(
        &self,
        (user, exists): (UserId, bool),
        (space, is_there): (SpaceId, bool),
    ) {
        self.directory.note(Person::User(user), exists);
        self.directory.note(Person::Space(space), is_there);
    }

    /// Closes a user's members of a space (4009); how many.
    pub async fn kick(
        &self,
        space: SpaceId,
        user: UserId,
        address: AddressKey,
    ) -> Result<u32, Reject> {
        let (count, counted) = oneshot::channel();
        let command = Command::Kick(space, user, Waiting::Count(count));
        self.ask(SpaceKey::Chat(space), address, command, counted).await
    }

    /// Pushes to each notification socket of a user; how many.
    pub async fn notify(
        &self,
        user: UserId,
        push: Notification,
        address: AddressKey,
    ) -> Result<u32, Reject> {
        let (count, counted) = oneshot::channel();
        let command = Command::Notify(user, Box::new(push), Waiting::Count(count));
        self.ask(SpaceKey::Inbox(user), address, command, counted).await
    }

    /// Who is in a space, at most so many users.
    pub async fn presence(
        &self,
        space: SpaceId,
        users_max: usize,
        address: AddressKey,
    ) -> Result<Present, Reject> {
        let (present, who) = oneshot::channel();
        let command = Command::Presence(space, users_max, Waiting::Presence(present));
        self.ask(SpaceKey::Chat(space), address, command, who).await
    }

    async fn ask<T>(
        &self,
        key: SpaceKey,
        address: AddressKey,
        command: Command,
        answer: oneshot::Receiver<T>,
    ) -> Result<T, Reject> {
        let asking = self.askers.take(address).ok_or_else(|| self.refusal())?;
        if self.inbox(key).push(Queued(command, asking)).is_err() {
            return Err(self.refusal());
        }
        answer.await.map_err(|_| self.unanswered())
    }

    /// The chat spaces with members, largest first, at most so many; and how many there are.
    pub fn spaces(&self, limit: usize) -> (Vec<(SpaceId, usize)>, usize) {
        self.directory.spaces(limit)
    }

    /// Whether shutdown has begun: handshakes and posts are answered `draining`.
    pub fn is_draining(&self) -> bool {
        self.directory.is_draining()
    }

    /// Begins shutdown: members are closed with 1012 over so many milliseconds.
    pub fn drain(&self, window_ms: u64) {
        self.directory.begin_drain();
        self.drain.publish(window_ms + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_lives_on_the_same_shard_for_ever() {
        let of = |key| shard_of(key, 7);
        let chats: Vec<usize> = (-1..6).map(|space| of(SpaceKey::Chat(SpaceId(space)))).collect();
        assert_eq!(chats, [3, 0, 0, 5, 2, 5, 5]);
        assert_eq!(of(SpaceKey::Lobby), 6);
        let inboxes: Vec<usize> = (1..4).map(|user| of(SpaceKey::Inbox(UserId(user)))).collect();
        assert_eq!(inboxes, [5, 3, 0]);
    }

    #[test]
    fn numbered_spaces_spread_evenly_over_the_shards() {
        let mut spaces = [0; 4];
        for space in 1..=10_000 {
            spaces[shard_of(SpaceKey::Chat(SpaceId(space)), 4)] += 1;
        }
        assert!(spaces.iter().all(|count| (2_300..2_700).contains(count)), "{spaces:?}");
    }
}
