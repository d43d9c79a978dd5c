//! Until when members are let be: those that came by a token, which ends.
//!
//! Owns when each of them is to be told, or closed. The edge has read the token; the heart knows
//! its end and nothing else of it. Members that nobody asked who they are cost nothing here.

use std::collections::{BTreeMap, BTreeSet};

use super::event::MemberKey;
use crate::limits::EXPIRY_NOTICE;
use crate::wire::time::Micros;

/// The ends of members' tokens.
#[derive(Default, Debug)]
pub(super) struct Grants {
    members: BTreeMap<MemberKey, End>,
    /// When something is next to be done about each.
    next: BTreeSet<(Micros, MemberKey)>,
}

#[derive(Clone, Copy, Debug)]
struct End {
    until: Micros,
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
    /// A member is let be until then; it is told before if its dialect has words for it.
    pub(super) fn set(&mut self, key: MemberKey, until: Micros, is_told: bool) {
        self.forget(key);
        let notice = if is_told { EXPIRY_NOTICE } else { 0 };
        let next = Micros(until.0.saturating_sub(notice));
        self.members.insert(key, End { until, next });
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
        self.members.contains_key(&key)
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

    #[test]
    fn a_member_is_told_once_and_closed_at_its_end_unless_it_is_renewed() {
        use Expiry::{End, Notice};
        let mut grants = Grants::default();
        grants.set(key(1), Micros(2 * MINUTE), true);
        grants.set(key(2), Micros(2 * MINUTE), false);
        grants.set(key(3), Micros(MINUTE / 2), true);
        grants.set(key(4), Micros(2 * MINUTE), true);
        grants.forget(key(4));
        assert_eq!(due(&mut grants, 0), [(3, Notice(30_000))]);
        assert_eq!(due(&mut grants, MINUTE / 2), [(3, End)]);
        assert_eq!(due(&mut grants, MINUTE + 1_000), [(1, Notice(59_999))]);
        assert_eq!(due(&mut grants, 2 * MINUTE - 1), []);
        grants.set(key(1), Micros(5 * MINUTE), true);
        assert_eq!(due(&mut grants, 2 * MINUTE), [(2, End)]);
        assert_eq!((grants.has(key(1)), grants.has(key(2))), (true, false));
        // A clock that was set forward over both.
        assert_eq!(due(&mut grants, 9 * MINUTE), [(1, End)]);
        assert!(grants.members.is_empty() && grants.next.is_empty());
    }
}
