//! Places among the connections, of every sort: taken when a connection is accepted, carried by
//! it through HTTP into its space, and given back once, when its socket is closed.
//!
//! Owns all counts of connections but those of users. A part of the places is HTTP's: members
//! never take it, so that probes, posts and refusals are answered however many members there are.
//! Where all places are taken, the connection that has waited longest for its peer is asked to
//! leave.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, oneshot};

use crate::limits::{Limits, places_for};
use crate::shard::event::AddressKey;
use crate::wire::reject::Reject;

/// How long a connection that was asked to leave may take before the next is asked too.
const LEAVE_WAIT: Duration = Duration::from_millis(10);

/// All places. Cheap to clone; all clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Places(Arc<All>);

#[derive(Debug)]
struct All {
    /// Free places.
    free: Semaphore,
    /// How many more of them may be members'.
    free_members: Semaphore,
    /// Bytes that heads which are still coming may take, beyond what each has anyway.
    free_head_bytes: Arc<Semaphore>,
    /// Connections that wait for their peers between requests.
    waiting: LeaveQueue,
    /// Connections that have waited long within a request or an answer: asked only where no other
    /// waits.
    stalled: LeaveQueue,
    of_address: DashMap<u64, OfAddress>,
    address_max: usize,
}

/// The connections of one address.
#[derive(Default, Debug)]
struct OfAddress {
    all: usize,
    members: usize,
}

/// When a wait began, among all that wait.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Begun(u64);

/// A connection's place; dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Place {
    /// When it was taken: from then on its peer is waited for.
    pub taken: Begun,
    held: Held,
}

/// A member's right to its place, and that place too once it carries it; dropping it frees what
/// it holds, and lets another member in.
#[derive(Debug)]
pub(super) struct MemberPlace(Held);

/// What is held under one address. Each member has one as long as it is there, so that it names
/// the places and its address once, for both parts.
#[derive(Debug)]
struct Held {
    places: Places,
    address: Option<NonZeroU64>,
    /// A connection's place.
    place: Part,
    /// A member's right to one.
    member: Part,
}

/// How far something is held.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Part {
    #[default]
    None,
    /// It is counted among its address's, and waits for one that is free.
    Counted,
    /// It is one of those that were free.
    Whole,
}

impl Places {
    /// As many places as the limits say, all free.
    pub(crate) fn new(limits: &Limits) -> Places {
        Places(Arc::new(All {
            free: Semaphore::new(places_for(limits.connections_max)),
            free_members: Semaphore::new(limits.connections_max),
            free_head_bytes: Arc::new(Semaphore::new(limits.heads_bytes_max)),
            waiting: LeaveQueue::default(),
            stalled: LeaveQueue::default(),
            of_address: DashMap::new(),
            address_max: limits.address_connections_max as usize,
        }))
    }

    /// Takes a place, where need be by having another connection leave. `None`: the address has
    /// too many connections.
    pub(crate) async fn enter(&self, address: AddressKey) -> Option<Place> {
        let mut held = self.held(address);
        if !held.count_place(self.connections_of_address()) {
            return None;
        }
        let free = match self.0.free.try_acquire() {
            Ok(free) => free,
            Err(_) => self.make_room().await,
        };
        held.place = take(free);
        Some(Place { taken: self.begin(), held })
    }

    /// How many connections an address may have: beyond its members an eighth as many that are
    /// none, so that a full one is told so.
    fn connections_of_address(&self) -> usize {
        self.0.address_max + self.0.address_max.div_ceil(8)
    }

    /// Begins a wait for the peer, behind all that have begun before.
    pub(crate) fn begin(&self) -> Begun {
        let mut waiters = self.0.waiting.waiters();
        waiters.begun += 1;
        Begun(waiters.begun)
    }

    async fn make_room(&self) -> SemaphorePermit<'_> {
        let mut free = std::pin::pin!(self.0.free.acquire());
        loop {
            if !self.0.waiting.ask_first() {
                self.0.stalled.ask_first();
            }
            if let Ok(taken) = tokio::time::timeout(LEAVE_WAIT, &mut free).await {
                return taken.expect("nobody closes this semaphore");
            }
        }
    }

    /// Takes a member's right to its place.
    pub(super) fn member(&self, address: AddressKey) -> Result<MemberPlace, Reject> {
        let free = self.0.free_members.try_acquire().map_err(|_| Reject::TooManyConnections)?;
        let mut held = self.held(address);
        if !held.count_member() {
            return Err(Reject::TooManyConnections);
        }
        held.member = take(free);
        Ok(MemberPlace(held))
    }

    /// Nothing yet, under this address.
    fn held(&self, address: AddressKey) -> Held {
        let address = address.and_then(NonZeroU64::new);
        Held { places: self.clone(), address, place: Part::None, member: Part::None }
    }

    /// Stands in the queue of those that wait for their peers, and comes back when the place is
    /// needed for another connection: then it has to be left. Dropping this leaves the queue.
    pub(crate) async fn wanted(&self, since: Begun) {
        self.0.waiting.stand(since).await;
    }

    /// As [`wanted`](Places::wanted), for a connection that waits within a request or an answer.
    pub(crate) async fn wanted_badly(&self) {
        self.0.stalled.stand(self.begin()).await;
    }

    /// Takes room for bytes of a head that is still coming, until they are dropped; where need be
    /// by having those leave who have waited longest, who may be the one that asks.
    pub(crate) async fn hold(&self, bytes: usize) -> OwnedSemaphorePermit {
        let mut free = std::pin::pin!(acquire(&self.0.free_head_bytes, bytes));
        loop {
            if let Ok(taken) = tokio::time::timeout(LEAVE_WAIT, &mut free).await {
                return taken;
            }
            self.0.waiting.ask_first();
        }
    }
}

impl Place {
    /// Counts the place under the address of whom its peer, a proxy, speaks for. `false`: that has
    /// too many connections.
    pub(crate) fn count_under(&mut self, address: AddressKey) -> bool {
        let max = self.held.places.connections_of_address();
        self.held.count_under(address.and_then(NonZeroU64::new), max)
    }
}

/// Takes one out of those that are free, until it is given back by hand.
fn take(free: SemaphorePermit<'_>) -> Part {
    free.forget();
    Part::Whole
}

impl MemberPlace {
    /// What the address of its connection counts as.
    pub(super) fn address(&self) -> AddressKey {
        self.0.address.map(NonZeroU64::get)
    }

    /// Takes over the place that its connection has had since it was accepted. From here on it
    /// counts as the member's, where a proxy had it before for whoever came through it.
    pub(super) fn carry(&mut self, mut place: Place) {
        debug_assert_eq!(self.0.place, Part::None, "a connection has one place");
        // There is a bound for members, which this one has passed.
        place.held.count_under(self.0.address, 0);
        self.0.place = std::mem::take(&mut place.held.place);
    }

    /// Gives that place back, if it has one, as if it was taken now.
    pub(super) fn part(&mut self) -> Option<Place> {
        if self.0.place == Part::None {
            return None;
        }
        let places = &self.0.places;
        let (taken, mut held) = (places.begin(), places.held(self.address()));
        held.place = std::mem::take(&mut self.0.place);
        Some(Place { taken, held })
    }
}

impl Held {
    /// Counts a connection of the address.
    fn count_place(&mut self, max: usize) -> bool {
        let is_in = self.count(max, |of| &mut of.all);
        self.place = if is_in { Part::Counted } else { Part::None };
        is_in
    }

    /// Counts its place under another address.
    fn count_under(&mut self, address: Option<NonZeroU64>, max: usize) -> bool {
        if self.address == address {
            return true;
        }
        let mut other = self.places.held(address.map(NonZeroU64::get));
        let is_in = other.count_place(max);
        if is_in {
            // The count under the address that it had goes with `other`.
            std::mem::swap(&mut self.address, &mut other.address);
        }
        is_in
    }

    fn count_member(&mut self) -> bool {
        let is_in = self.count(self.places.0.address_max, |of| &mut of.members);
        self.member = if is_in { Part::Counted } else { Part::None };
        is_in
    }

    /// Whether there is room for one more. An address that is exempt has room.
    fn count(&self, max: usize, count: fn(&mut OfAddress) -> &mut usize) -> bool {
        let Some(address) = self.address else { return true };
        let mut of = self.places.0.of_address.entry(address.get()).or_default();
        let count = count(&mut of);
        let is_in = max == 0 || *count < max;
        *count += usize::from(is_in);
        is_in
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let all = &self.places.0;
        if let Some(address) = self.address
            && let Entry::Occupied(mut entry) = all.of_address.entry(address.get())
        {
            let of = entry.get_mut();
            of.all -= usize::from(self.place != Part::None);
            of.members -= usize::from(self.member != Part::None);
            if of.all == 0 && of.members == 0 {
                entry.remove();
            }
        }
        for (part, free) in [(self.place, &all.free), (self.member, &all.free_members)] {
            free.add_permits(usize::from(part == Part::Whole));
        }
    }
}

async fn acquire(semaphore: &Arc<Semaphore>, permits: usize) -> OwnedSemaphorePermit {
    let permits = u32::try_from(permits).unwrap_or(u32::MAX);
    let acquired = Arc::clone(semaphore).acquire_many_owned(permits).await;
    acquired.expect("nobody closes this semaphore")
}

/// Connections that may be asked to leave, the one that has waited longest first. One that was
/// asked stays in the queue until it is gone, which shows that room is being made.
#[derive(Default, Debug)]
struct LeaveQueue(Mutex<Waiters>);

#[derive(Default, Debug)]
struct Waiters {
    /// How many waits have begun.
    begun: u64,
    /// `None`: was asked.
    all: BTreeMap<Begun, Option<oneshot::Sender<()>>>,
}

impl LeaveQueue {
    /// Stands in the queue until asked to leave.
    async fn stand(&self, since: Begun) {
        let (ask, asked) = oneshot::channel();
        self.waiters().all.insert(since, Some(ask));
        let _stand = Stand { queue: self, since };
        asked.await.expect("a connection in the queue is asked, or leaves it");
    }

    /// Asks the first that was not asked yet; whether any connection stands in the queue.
    fn ask_first(&self) -> bool {
        let mut waiters = self.waiters();
        if let Some(ask) = waiters.all.values_mut().find_map(Option::take) {
            // A connection that is just leaving does not hear it; the next is asked soon.
            _ = ask.send(());
        }
        !waiters.all.is_empty()
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that stands in a queue, until this is dropped.
struct Stand<'a> {
    queue: &'a LeaveQueue,
    since: Begun,
}

impl Drop for Stand<'_> {
    fn drop(&mut self) {
        self.queue.waiters().all.remove(&self.since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn places(members: usize, of_address: u32) -> Places {
        Places::new(&Limits {
            connections_max: members,
            address_connections_max: of_address,
            ..Limits::default()
        })
    }

    #[tokio::test]
    async fn who_has_waited_longest_makes_room_and_others_stay() {
        // Two for members and two for HTTP.
        let places = places(2, 0);
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(places.enter(None).await.expect("no address, no bound"));
        }
        let (older, newer) = (places.begin(), places.begin());
        let mut second = Box::pin(places.wanted(newer));
        assert_eq!(second.as_mut().now_or_never(), None);
        let mut first = Box::pin(places.wanted(older));
        assert_eq!((first.as_mut().now_or_never(), second.as_mut().now_or_never()), (None, None));
        let mut newcomer = Box::pin(places.enter(None));
        assert!(newcomer.as_mut().now_or_never().is_none());
        assert_eq!(
            (second.as_mut().now_or_never(), first.as_mut().now_or_never()),
            (None, Some(()))
        );
        held.pop();
        held.push(newcomer.await.expect("a place"));
        assert_eq!(second.as_mut().now_or_never(), None);
        // Nobody waits any more: who has stalled is next, and nobody is asked once there is room.
        drop(second);
        let mut stalled = Box::pin(places.wanted_badly());
        assert_eq!(stalled.as_mut().now_or_never(), None);
        let (_, newcomer) = tokio::join!(
            async {
                stalled.await;
                drop(held.pop());
            },
            places.enter(None)
        );
        assert!(newcomer.is_some());
        assert_eq!(places.wanted(places.begin()).now_or_never(), None);
        assert_eq!(places.wanted_badly().now_or_never(), None);
    }

    #[tokio::test]
    async fn an_address_has_one_count_of_all_its_connections() {
        let places = places(100, 8);
        let mut held = Vec::new();
        for _ in 0..9 {
            held.push(places.enter(Some(7)).await.expect("one more than members"));
        }
        let members: Vec<_> = (0..8).map(|_| places.member(Some(7)).expect("free")).collect();
        assert_eq!(places.member(Some(7)).err(), Some(Reject::TooManyConnections));
        assert!(places.enter(Some(7)).await.is_none());
        assert!(places.enter(Some(8)).await.is_some());
        drop((held, members));
        assert!(places.0.of_address.is_empty());
        assert!(places.enter(Some(7)).await.is_some());
    }

    #[tokio::test]
    async fn a_member_carries_its_connections_place_and_both_come_back_once() {
        let places = places(2, 8);
        let free =
            || (places.0.free.available_permits(), places.0.free_members.available_permits());
        let all = free();
        for is_taken in [true, false] {
            let place = places.enter(Some(7)).await.expect("free");
            let mut member = places.member(Some(7)).expect("free");
            member.carry(place);
            assert_eq!(free(), (all.0 - 1, all.1 - 1));
            // Its shard does not take it: its connection has its place again.
            let back = if is_taken { None } else { member.part() };
            assert!(is_taken || member.part().is_none(), "once");
            drop(member);
            assert_eq!(free(), (all.0 - usize::from(back.is_some()), all.1));
            assert_eq!(places.0.of_address.is_empty(), back.is_none());
        }
        assert_eq!(free(), all);
        assert!(places.0.of_address.is_empty());
        // Whoever gives up waiting for one leaves no count.
        let mut held = Vec::new();
        while let Some(Some(place)) = places.enter(None).now_or_never() {
            held.push(place);
        }
        assert!(places.enter(Some(7)).now_or_never().is_none());
        assert!(places.0.of_address.is_empty());
    }

    #[tokio::test]
    async fn a_proxys_connection_counts_as_theirs_for_whom_it_speaks() {
        let places = places(100, 8);
        let count = |address| places.0.of_address.get(&address).map_or(0, |of| of.all);
        // It has said so before the first request: as many as of any other address.
        let mut held = Vec::new();
        for number in 0..10 {
            let mut place = places.enter(None).await.expect("a proxy has no bound");
            assert_eq!(place.count_under(Some(7)), number < 9);
            held.push(place);
        }
        assert_eq!((count(7), places.enter(Some(7)).await.is_none()), (9, true));
        drop(held);
        assert!(places.0.of_address.is_empty());
        // It says so in the handshake.
        let place = places.enter(None).await.expect("free");
        let mut member = places.member(Some(7)).expect("free");
        member.carry(place);
        assert_eq!(count(7), 1);
        let back = member.part().expect("its place");
        drop(member);
        assert_eq!(count(7), 1);
        drop(back);
        assert!(places.0.of_address.is_empty());
        // From one address to another nothing is left behind.
        let mut place = places.enter(Some(6)).await.expect("free");
        assert!(place.count_under(Some(7)));
        assert_eq!((count(6), count(7)), (0, 1));
        drop(place);
        assert!(places.0.of_address.is_empty());
    }

    #[tokio::test]
    async fn a_head_takes_the_room_of_those_who_have_waited_longest() {
        let places = Places::new(&Limits { heads_bytes_max: 100, ..Limits::default() });
        let first = places.hold(80).await;
        let old = async {
            places.wanted(places.begin()).await;
            drop(first);
        };
        let ((), _second) = tokio::join!(old, places.hold(80));
    }
}
