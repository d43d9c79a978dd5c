//! Who came to a shard and who went of late, and why: what an operator asks when somebody says that
//! they were thrown out.
//!
//! A shard's thread writes its own, and looks things up itself; the oldest go first. Nothing here
//! is on a message's way.

use std::collections::{HashMap, VecDeque};

use crate::limits::COMINGS_MAX;
use crate::shard::event::{AddressKey, Join, MemberKey};
use crate::wire::close::Close;
use crate::wire::time::Micros;
use crate::wire::{Dialect, SpaceKey, UserId};

/// A connection that came to a shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Coming {
    /// Its shard.
    pub shard: usize,
    /// The member that it became.
    pub member: MemberKey,
    /// When.
    pub at: Micros,
    /// Who.
    pub user: UserId,
    /// Where to.
    pub space: SpaceKey,
    /// Which messages it understands.
    pub dialect: Dialect,
    /// It asked for what it had missed.
    pub resumes: bool,
    /// Whence; `None`: from where limits do not hold.
    pub address: AddressKey,
    /// When it ended, and why.
    pub end: Option<(Micros, Close)>,
}

/// Which connections are asked for: those that fit all that is given.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Sought {
    /// Those of a user.
    pub user: Option<UserId>,
    /// Those in a space.
    pub space: Option<SpaceKey>,
    /// Those from an address.
    pub address: Option<u64>,
    /// The one that became this member of this shard.
    pub member: Option<(usize, MemberKey)>,
    /// Only those that have ended, or have not.
    pub ended: Option<bool>,
}

impl Sought {
    fn fits(&self, it: &Coming) -> bool {
        self.user.is_none_or(|user| it.user == user)
            && self.space.is_none_or(|space| it.space == space)
            && self.address.is_none_or(|address| it.address == Some(address))
            && self.member.is_none_or(|member| (it.shard, it.member) == member)
            && self.ended.is_none_or(|ended| it.end.is_some() == ended)
    }
}

/// The comings of one shard.
#[derive(Default, Debug)]
pub(super) struct Comings {
    shard: usize,
    entries: VecDeque<Coming>,
    /// The number of the first entry; they count on.
    first: u64,
    /// Those that are here, by their members.
    here: HashMap<MemberKey, u64>,
}

impl Comings {
    pub(super) fn of_shard(shard: usize) -> Comings {
        Comings { shard, ..Comings::default() }
    }

    /// What is to be noted of a connection once it is a member.
    pub(super) fn coming(&self, join: &Join, at: Micros) -> Coming {
        let &Join { user, space, dialect, after, address, .. } = join;
        let (shard, resumes) = (self.shard, after.is_some());
        let member = MemberKey { slot: 0, generation: 0 };
        Coming { shard, member, at, user, space, dialect, resumes, address, end: None }
    }

    /// It became this member.
    pub(super) fn came(&mut self, coming: Coming, member: MemberKey) {
        if self.entries.len() >= COMINGS_MAX
            && let Some(oldest) = self.entries.pop_front()
        {
            let number = self.first;
            self.first += 1;
            if self.here.get(&oldest.member) == Some(&number) {
                self.here.remove(&oldest.member);
            }
        }
        self.here.insert(member, self.first + self.entries.len() as u64);
        self.entries.push_back(Coming { member, ..coming });
    }

    /// A member is gone.
    pub(super) fn went(&mut self, member: MemberKey, at: Micros, close: Close) {
        let Some(number) = self.here.remove(&member) else { return };
        let entry = number.checked_sub(self.first).and_then(|at| self.entries.get_mut(at as usize));
        if let Some(entry) = entry {
            entry.end = Some((at, close));
        }
    }

    /// All that are here are gone: their shard has ended.
    pub(super) fn all_went(&mut self, at: Micros, close: Close) {
        for number in std::mem::take(&mut self.here).into_values() {
            let entry = number.checked_sub(self.first).map(|at| at as usize);
            if let Some(entry) = entry.and_then(|at| self.entries.get_mut(at)) {
                entry.end = Some((at, close));
            }
        }
    }

    /// Those that are sought, the newest first, `max` of them.
    pub(super) fn find(&self, sought: &Sought, max: usize) -> Vec<Coming> {
        self.entries.iter().rev().filter(|it| sought.fits(it)).take(max).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::event::{Grant, Guise};
    use crate::wire::{Encoding, SpaceId};

    fn key(slot: u32, generation: u32) -> MemberKey {
        MemberKey { slot, generation }
    }

    fn come(comings: &mut Comings, user: i32, member: MemberKey) {
        let join = Join {
            opening: Default::default(),
            space: SpaceKey::Chat(SpaceId(user % 2)),
            user: UserId(user),
            username: "Ana".into(),
            dialect: Dialect::V1,
            encoding: Encoding::Frames,
            guise: Guise::Member,
            after: None,
            address: Some(9),
            grant: Grant::ALL,
        };
        let coming = comings.coming(&join, Micros(i64::from(user)));
        comings.came(coming, member);
    }

    fn users(found: &[Coming]) -> Vec<i32> {
        found.iter().map(|it| it.user.0).collect()
    }

    #[test]
    fn who_went_is_found_with_the_reason_and_the_newest_comes_first() {
        let mut comings = Comings::of_shard(3);
        come(&mut comings, 1, key(0, 0));
        come(&mut comings, 2, key(1, 0));
        comings.went(key(0, 0), Micros(50), Close::TooSlow);
        // The slot has a new tenant, and is no end of the first one's.
        come(&mut comings, 3, key(0, 1));
        let all = comings.find(&Sought::default(), 10);
        assert_eq!(users(&all), [3, 2, 1]);
        assert_eq!(all[2].end, Some((Micros(50), Close::TooSlow)));
        assert_eq!((all[0].end, all[1].end), (None, None));
        let sought = |sought| users(&comings.find(&sought, 10));
        assert_eq!(sought(Sought { user: Some(UserId(2)), ..Sought::default() }), [2]);
        let space = Some(SpaceKey::Chat(SpaceId(1)));
        assert_eq!(sought(Sought { space, ..Sought::default() }), [3, 1]);
        assert_eq!(sought(Sought { ended: Some(true), ..Sought::default() }), [1]);
        assert!(sought(Sought { address: Some(8), ..Sought::default() }).is_empty());
        assert_eq!(sought(Sought { member: Some((3, key(0, 1))), ..Sought::default() }), [3]);
        assert!(sought(Sought { member: Some((2, key(0, 1))), ..Sought::default() }).is_empty());
        assert_eq!(users(&comings.find(&Sought::default(), 1)), [3]);
        comings.all_went(Micros(60), Close::Restart);
        let ends: Vec<_> = comings.find(&Sought::default(), 9).iter().map(|it| it.end).collect();
        let restarted = Some((Micros(60), Close::Restart));
        assert_eq!(ends, [restarted, restarted, Some((Micros(50), Close::TooSlow))]);
    }

    #[test]
    fn the_oldest_go_first_and_an_end_of_theirs_is_nobodys() {
        let mut comings = Comings::of_shard(0);
        let times = COMINGS_MAX as i32 + 2;
        for user in 0..times {
            come(&mut comings, user, key(user as u32, 0));
        }
        comings.went(key(0, 0), Micros(1), Close::Gone);
        comings.went(key(2, 0), Micros(2), Close::Gone);
        let all = comings.find(&Sought::default(), usize::MAX);
        assert_eq!(all.len(), COMINGS_MAX);
        assert_eq!((all[0].user.0, all[COMINGS_MAX - 1].user.0), (times - 1, 2));
        let ended = Sought { ended: Some(true), ..Sought::default() };
        assert_eq!(users(&comings.find(&ended, 10)), [2]);
        assert_eq!(comings.here.len(), COMINGS_MAX - 1);
    }
}
