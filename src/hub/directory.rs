//! What the edge may know of the shards without asking them: which spaces have how many members,
//! and how many a user has. How many connections there are is kept in `places`.
//!
//! Shards write when membership changed in a turn, the edge reads. Nothing here is on a message's
//! path. No guard leaves this file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::offences::Offences;
use super::places::{MemberPlace, Place, Places};
use crate::clock::Clock;
use crate::limits::{EXISTS_WAIT, Limits, MISSING_WAIT, REFERENCES_MAX, Rate};
use crate::shard::event::AddressKey;
use crate::shard::rate::Gcra;
use crate::wire::close::Close;
use crate::wire::reject::Reject;
use crate::wire::time::MonoMs;
use crate::wire::{SpaceId, SpaceKey, UserId};

/// Counts of connections and members, shared by all threads.
#[derive(Debug)]
pub(super) struct Directory {
    spaces: DashMap<SpaceId, usize>,
    places: Places,
    of_user: DashMap<UserId, u32>,
    /// New connections, by address; those of the whole hub under [`WHOLE_HUB`].
    rates: DashMap<u64, Gcra>,
    /// Users and spaces that were asked for, whether they exist, and until when that holds.
    references: DashMap<Reference, (bool, MonoMs)>,
    offences: Offences,
    /// Nobody else may be a member: memory is short.
    is_full: AtomicBool,
    limits: Limits,
    clock: Clock,
}

/// What a message refers to, and the store has to know.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Reference {
    User(UserId),
    Space(SpaceId),
}

/// No address hashes to it: see [`address_number`].
const WHOLE_HUB: u64 = 0;

/// As whom those are remembered for what they did who are no user.
const NOBODY: UserId = UserId(0);

/// What an address counts as: IPv4 whole, IPv6 by /64.
pub(crate) fn address_number(address: IpAddr) -> u64 {
    match address.to_canonical() {
        // A prefix that no IPv6 source address has.
        IpAddr::V4(address) => 0xFFFF_FFFF << 32 | u64::from(u32::from(address)),
        IpAddr::V6(address) => ((u128::from(address) >> 64) as u64).max(1),
    }
}

/// What an address that counts as this number is called: an IPv4 address, or an IPv6 network.
pub(crate) fn address_text(number: u64) -> String {
    match (number >> 32) as u32 {
        0xFFFF_FFFF => Ipv4Addr::from(number as u32).to_string(),
        _ => format!("{}/64", Ipv6Addr::from(u128::from(number) << 64)),
    }
}

impl Directory {
    pub(super) fn new(limits: Limits, clock: Clock) -> Arc<Directory> {
        Arc::new(Directory {
            spaces: DashMap::new(),
            places: Places::new(&limits),
            of_user: DashMap::new(),
            rates: DashMap::new(),
            references: DashMap::new(),
            offences: Offences::default(),
            is_full: AtomicBool::new(false),
            limits,
            clock,
        })
    }

    pub(super) fn set_members(&self, key: SpaceKey, members: usize) {
        let SpaceKey::Chat(space) = key else { return };
        if members == 0 {
            self.spaces.remove(&space);
        } else {
            self.spaces.insert(space, members);
        }
    }

    /// A shard has lost its members.
    pub(super) fn forget(&self, shard: usize, shards: usize) {
        self.spaces.retain(|space, _| SpaceKey::Chat(*space).shard(shards) != shard);
    }

    /// The spaces with members, largest first, from behind the first `offset` of them, and how many
    /// there are.
    pub(super) fn spaces(&self, offset: usize, limit: usize) -> (Vec<(SpaceId, usize)>, usize) {
        let mut spaces: Vec<(SpaceId, usize)> =
            self.spaces.iter().map(|entry| (*entry.key(), *entry.value())).collect();
        let total = spaces.len();
        spaces.sort_unstable_by_key(|(space, members)| (std::cmp::Reverse(*members), *space));
        (spaces.into_iter().skip(offset).take(limit).collect(), total)
    }

    /// Whether a user or a space exists, if that was asked lately.
    pub(super) fn exists(&self, reference: Reference) -> Option<bool> {
        let now = self.clock.now().mono;
        let (exists, until) = *self.references.get(&reference)?;
        (now < until).then_some(exists)
    }

    /// Remembers whether a user or a space exists.
    pub(super) fn note(&self, reference: Reference, exists: bool) {
        if self.references.len() >= REFERENCES_MAX {
            self.references.clear();
        }
        let holds = if exists { EXISTS_WAIT } else { MISSING_WAIT };
        self.references.insert(reference, (exists, MonoMs(self.clock.now().mono.0 + holds)));
    }

    /// The places of all connections.
    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    /// Lets nobody be a member any more, or again.
    pub(super) fn set_full(&self, is_full: bool) {
        self.is_full.store(is_full, Relaxed);
    }

    /// Lets a connection be a member. One of nobody's counts under its address alone.
    pub(super) fn reserve(
        self: &Arc<Directory>,
        user: impl Into<Option<UserId>>,
        address: AddressKey,
    ) -> Result<Permit, Reject> {
        let user = user.into();
        if self.is_full.load(Relaxed) {
            return Err(Reject::Overloaded);
        }
        if let Some(retry_after_ms) =
            self.offences.wait(self.now(), address, user.unwrap_or(NOBODY))
        {
            return Err(Reject::RateLimited { retry_after_ms });
        }
        // The address first: what it is refused takes nothing from the others.
        if let Some(address) = address {
            self.take_rate(address, self.limits.address_connection_rate)?;
        }
        // That many come at once is none's doing.
        let whole = self.take_rate(WHOLE_HUB, self.limits.connection_rate);
        whole.map_err(|_| Reject::Overloaded)?;
        let member = self.places.member(address)?;
        if let Some(user) = user {
            take_one(&self.of_user, user, self.limits.user_connections_max)?;
        }
        let directory = Arc::clone(self);
        Ok(Permit { directory, user, member })
    }

    /// The time.
    pub(super) fn now(&self) -> MonoMs {
        self.clock.now().mono
    }

    fn take_rate(&self, key: u64, rate: Rate) -> Result<(), Reject> {
        if rate.per_second == 0 {
            return Ok(());
        }
        let now = self.now();
        if self.rates.len() > self.limits.rate_buckets_max {
            self.rates.retain(|_, bucket: &mut Gcra| !bucket.is_full(now));
        }
        let taken = self.rates.entry(key).or_default().take(MonoMs(now.0), rate);
        taken.map_err(|retry_after_ms| Reject::RateLimited { retry_after_ms })
    }
}

fn take_one(counts: &DashMap<UserId, u32>, user: UserId, max: u32) -> Result<(), Reject> {
    let mut count = counts.entry(user).or_insert(0);
    if max > 0 && *count >= max {
        return Err(Reject::TooManyConnections);
    }
    *count += 1;
    Ok(())
}

fn give_back(counts: &DashMap<UserId, u32>, user: UserId) {
    if let Entry::Occupied(mut entry) = counts.entry(user) {
        if *entry.get() <= 1 {
            entry.remove();
        } else {
            *entry.get_mut() -= 1;
        }
    }
}

/// A member's place among the connections, held as long as its socket lives. Dropping it frees
/// the place.
#[derive(Debug)]
pub(crate) struct Permit {
    directory: Arc<Directory>,
    user: Option<UserId>,
    member: MemberPlace,
}

impl Permit {
    /// Takes over the place that the connection has had since it was accepted.
    pub(crate) fn carry(&mut self, place: Place) {
        self.member.carry(place);
    }

    /// Notes that the connection is closed for what it did.
    pub(super) fn offend(&self, close: Close) {
        let (now, wait) = (self.directory.now(), self.directory.limits.offence_wait);
        let user = self.user.unwrap_or(NOBODY);
        self.directory.offences.note(now, wait, (self.member.address(), user), close);
    }

    /// Gives that place back to who goes on serving the connection, if it has one.
    pub(crate) fn part(mut self) -> Option<Place> {
        self.member.part()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(user) = self.user {
            give_back(&self.directory.of_user, user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(limits: Limits) -> Arc<Directory> {
        Directory::new(limits, Clock::start())
    }

    #[test]
    fn places_are_bounded_per_user_address_and_in_all_and_come_back() {
        let limits = Limits {
            connections_max: 3,
            user_connections_max: 2,
            address_connections_max: 2,
            ..Limits::default()
        };
        let directory = directory(limits);
        let (far, near) = (Some(9), None);
        let reserve = |user, address| directory.reserve(UserId(user), address);
        let first = reserve(1, far).expect("free");
        let _second = reserve(1, far).expect("free");
        assert_eq!(reserve(1, near).err(), Some(Reject::TooManyConnections));
        assert_eq!(reserve(2, far).err(), Some(Reject::TooManyConnections));
        let _third = reserve(2, near).expect("who is exempt counts in all only");
        assert_eq!(reserve(3, near).err(), Some(Reject::TooManyConnections));
        drop(first);
        assert!(reserve(1, far).is_ok());
        assert_eq!(directory.of_user.len(), 2);
    }

    #[test]
    fn one_address_can_not_use_up_the_rate_of_the_others() {
        let limits = Limits {
            connection_rate: Rate::new(1, 2),
            address_connection_rate: Rate::new(1, 1),
            ..Limits::default()
        };
        let directory = directory(limits);
        let key = |text: &str| Some(address_number(text.parse().expect("an address")));
        let [one, same_64, other] = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"].map(key);
        let _held = directory.reserve(UserId(1), one).expect("free");
        for _ in 0..5 {
            let refused = directory.reserve(UserId(1), same_64);
            assert!(matches!(refused, Err(Reject::RateLimited { .. })));
        }
        assert!(directory.reserve(UserId(1), other).is_ok());
    }

    #[test]
    fn who_exists_is_remembered_and_bounded() {
        let directory = directory(Limits::default());
        let (ana, one) = (Reference::User(UserId(1)), Reference::Space(SpaceId(1)));
        assert_eq!(directory.exists(ana), None);
        directory.note(ana, true);
        directory.note(one, false);
        assert_eq!((directory.exists(ana), directory.exists(one)), (Some(true), Some(false)));
        for user in 2..=REFERENCES_MAX as i32 + 1 {
            directory.note(Reference::User(UserId(user)), true);
        }
        assert!(directory.references.len() <= REFERENCES_MAX);
    }

    #[test]
    fn the_largest_spaces_are_listed_first() {
        let directory = directory(Limits::default());
        for (space, members) in [(1, 2), (2, 9), (3, 2), (4, 1)] {
            directory.set_members(SpaceKey::Chat(SpaceId(space)), members);
        }
        directory.set_members(SpaceKey::Chat(SpaceId(4)), 0);
        directory.set_members(SpaceKey::Lobby, 50);
        let (spaces, total) = directory.spaces(0, 2);
        assert_eq!(spaces, [(SpaceId(2), 9), (SpaceId(1), 2)]);
        assert_eq!(directory.spaces(2, 2), (vec![(SpaceId(3), 2)], 3));
        assert_eq!(directory.spaces(3, 2), (vec![], 3));
        assert_eq!(total, 3);
    }

    #[test]
    fn an_address_is_called_what_it_counts_as() {
        let text =
            |address: &str| address_text(address_number(address.parse().expect("an address")));
        assert_eq!(text("192.0.2.77"), "192.0.2.77");
        assert_eq!(text("::ffff:192.0.2.77"), "192.0.2.77");
        assert_eq!(text("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
    }
}
