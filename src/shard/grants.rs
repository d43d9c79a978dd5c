//! Until when members are let be: those that came by a token, which ends.
//!
//! Owns when each of them is to be told, or closed. The edge has read the token; the heart knows
//! its end and nothing else of it. Members that nobody asked who they are cost nothing here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::event::{Grant, MemberKey, Revocation, TokenMark};
use crate::limits::{EXPIRY_NOTICE, REVOCATIONS_MAX};
use crate::wire::UserId;
use crate::wire::time::{Micros, MonoMs};

/// The ends of members' tokens.
#[derive(Default, Debug)]
pub(super) struct Grants {
    members: BTreeMap<MemberKey, End>,
    /// When something is next to be done about each.
    next: BTreeSet<(Micros, MemberKey)>,
    /// What was called back of late: who was let in before may still be on the way here.
    revoked: VecDeque<(MonoMs, Revocation)>,
}

/// How long a connection may be on its way from the edge, in milliseconds, at the very most.
const ON_ITS_WAY: u64 = 60_000;
/// The end of what has none.
const NEVER: Micros = Micros(i64::MAX);

#[derive(Clone, Copy, Debug)]
struct End {
    until: Micros,
    mark: TokenMark,
    /// When something is next to be done.
    next: Micros,
}

/// What is to be done about a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expiry {
    /// It is told that its token ends in this number of milliseconds.
    Notice(u64),
    /// Its token has ended.
    End,
}

impl Grants {
    /// A member is let be by this grant; it is told before its end if its dialect has words for it.
    pub(super) fn set(&mut self, key: MemberKey, grant: Grant, is_told: bool) {
        self.forget(key);
        if grant == (Grant { may_say: grant.may_say, ..Grant::ALL }) {
            return;
        }
        let (until, mark) = (grant.until.unwrap_or(NEVER), grant.mark);
        let notice = if is_told && until != NEVER { EXPIRY_NOTICE } else { 0 };
        let next = Micros(until.0.saturating_sub(notice));
        self.members.insert(key, End { until, mark, next });
        self.next.insert((next, key));
    }

    /// A member is no more, or is let be for good.
    pub(super) fn forget(&mut self, key: MemberKey) {
        if let Some(end) = self.members.remove(&key) {
            self.next.remove(&(end.next, key));
        }
    }

    /// Whether a member's token has an end.
    pub(super) fn has(&self, key: MemberKey) -> bool {
        self.members.get(&key).is_some_and(|end| end.until != NEVER)
    }

    /// Notes what is called back.
    pub(super) fn revoke(&mut self, now: MonoMs, revocation: Revocation) {
        let is_past = |(at, _): &(MonoMs, Revocation)| now.since(*at) > ON_ITS_WAY;
        while self.revoked.front().is_some_and(is_past) || self.revoked.len() >= REVOCATIONS_MAX {
            self.revoked.pop_front();
        }
        self.revoked.push_back((now, revocation));
    }

    /// What was called back of late.
    pub(super) fn revoked(&self) -> &VecDeque<(MonoMs, Revocation)> {
        &self.revoked
    }

    /// Takes over what was called back before this shard began anew.
    pub(super) fn inherit(&mut self, revoked: VecDeque<(MonoMs, Revocation)>) {
        self.revoked = revoked;
    }

    /// Whether what a connection was let in by was called back while it was on its way.
    pub(super) fn is_revoked(&self, now: MonoMs, user: UserId, mark: TokenMark) -> bool {
        let mut late = self.revoked.iter().filter(|(at, _)| now.since(*at) <= ON_ITS_WAY);
        late.any(|(_, revocation)| revocation.is_of(user, mark))
    }

    /// The members that came by a token, with what tells it from others.
    pub(super) fn marks(&self) -> impl Iterator<Item = (MemberKey, TokenMark)> {
        self.members.iter().map(|(key, end)| (*key, end.mark))
    }

    /// The next member about whom something is to be done by now; that counts as done.
    pub(super) fn due(&mut self, now: Micros) -> Option<(MemberKey, Expiry)> {
        let (next, key) = *self.next.first().filter(|(next, _)| *next <= now)?;
        let end = self.members.get_mut(&key)?;
        self.next.remove(&(next, key));
        if end.until <= now {
            self.members.remove(&key);
            return Some((key, Expiry::End));
        }
        end.next = end.until;
        self.next.insert((end.until, key));
        Some((key, Expiry::Notice((end.until.0 - now.0) as u64 / 1_000)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    fn key(slot: u32) -> MemberKey {
        MemberKey { slot, generation: 0 }
    }

    fn due(grants: &mut Grants, now: i64) -> Vec<(u32, Expiry)> {
        std::iter::from_fn(|| grants.due(Micros(now))).map(|(key, it)| (key.slot, it)).collect()
    }

    fn until(until: Micros) -> Grant {
        Grant { until: Some(until), ..Grant::ALL }
    }

    #[test]
    fn a_member_is_told_once_and_closed_at_its_end_unless_it_is_renewed() {
        use Expiry::{End, Notice};
        let mut grants = Grants::default();
        grants.set(key(1), until(Micros(2 * MINUTE)), true);
        grants.set(key(2), until(Micros(2 * MINUTE)), false);
        grants.set(key(3), until(Micros(MINUTE / 2)), true);
        grants.set(key(4), until(Micros(2 * MINUTE)), true);
        grants.forget(key(4));
        assert_eq!(due(&mut grants, 0), [(3, Notice(30_000))]);
        assert_eq!(due(&mut grants, MINUTE / 2), [(3, End)]);
        assert_eq!(due(&mut grants, MINUTE + 1_000), [(1, Notice(59_999))]);
        assert_eq!(due(&mut grants, 2 * MINUTE - 1), []);
        grants.set(key(1), until(Micros(5 * MINUTE)), true);
        assert_eq!(due(&mut grants, 2 * MINUTE), [(2, End)]);
        assert_eq!((grants.has(key(1)), grants.has(key(2))), (true, false));
        // A clock that was set forward over both.
        assert_eq!(due(&mut grants, 9 * MINUTE), [(1, End)]);
        assert!(grants.members.is_empty() && grants.next.is_empty());
    }

    #[test]
    fn what_is_called_back_is_known_for_as_long_as_a_connection_may_be_on_its_way() {
        let mut grants = Grants::default();
        let mark = TokenMark { id: 5, issued: 100, key: 9 };
        let is_revoked = |grants: &Grants, at: u64| grants.is_revoked(MonoMs(at), UserId(7), mark);
        for other in [Revocation::User(UserId(7), 99), Revocation::Key(8), Revocation::Token(4)] {
            grants.revoke(MonoMs(1), other);
            assert!(!is_revoked(&grants, 1), "{other:?}");
        }
        for (at, its) in [
            (1_000_000, Revocation::User(UserId(7), 100)),
            (2_000_000, Revocation::Key(9)),
            (3_000_000, Revocation::Token(5)),
        ] {
            grants.revoke(MonoMs(at), its);
            let seen = [at, at + 60_000, at + 60_001].map(|at| is_revoked(&grants, at));
            assert_eq!((seen, grants.revoked.len()), ([true, true, false], 1), "{its:?}");
        }
        // A key has no end, and nothing to renew.
        grants.set(key(1), Grant { mark, ..Grant::ALL }, true);
        assert!(!grants.has(key(1)) && due(&mut grants, i64::MAX - 1).is_empty());
        assert_eq!(grants.marks().collect::<Vec<_>>(), [(key(1), mark)]);
        grants.set(key(1), Grant::ALL, true);
        assert_eq!(grants.marks().count(), 0, "who came by nothing costs nothing");
    }
}
