//! Publish once: what a shard remembers of the nonces that its messages came with (P7, WIRE C).
//!
//! Entries stand in the order in which they came; an index of their numbers alone is small enough
//! for the cache, where a table of the entries would miss it several times a message.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::wire::Id;
use crate::wire::nonce::{First, Nonce, NonceKey};
use crate::wire::time::{Micros, MonoMs, Now};

/// The first message of a nonce, as the shard knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Known {
    /// Its id.
    pub id: Id,
    /// Its instant.
    pub at: Micros,
    /// The number of its record: durable when that many are committed.
    pub record: u64,
    /// What it said, as [`content_hash`](crate::wire::nonce::content_hash) has it.
    pub content: u64,
}

/// The nonces of the last `window` ms, at most `max` of them.
#[derive(Debug)]
pub(super) struct Nonces {
    entries: VecDeque<Entry>,
    /// The number of the first entry; they count on, and around.
    first: u32,
    /// Numbers of entries, by the hashes of their keys.
    index: HashTable<u32>,
    /// What nobody outside can know, so that nobody can have them meet.
    hasher: FixedState,
    max: usize,
    window: u64,
}

#[derive(Debug)]
struct Entry {
    /// When it is forgotten.
    until: MonoMs,
    key: NonceKey,
    known: Known,
}

impl Nonces {
    /// None yet.
    pub(super) fn new(max: usize, window: u64, seed: u64) -> Nonces {
        Nonces {
            entries: VecDeque::new(),
            first: 0,
            index: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            max,
            window,
        }
    }

    /// The first message of this nonce, if it is remembered.
    pub(super) fn find(&self, key: &NonceKey) -> Option<Known> {
        let number = self.index.find(self.hasher.hash_one(key), |number| self.is(*number, key))?;
        self.entry(*number).map(|entry| entry.known)
    }

    fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.get(number.wrapping_sub(self.first) as usize)
    }

    fn is(&self, number: u32, key: &NonceKey) -> bool {
        self.entry(number).is_some_and(|entry| entry.key == *key)
    }

    /// Remembers a first message.
    pub(super) fn remember(&mut self, now: MonoMs, key: NonceKey, known: Known) {
        self.keep(MonoMs(now.0 + self.window), key, known);
    }

    /// Remembers a message of an earlier run, for what is left of its window. Those that were
    /// said earlier come first. `record` stands for all that earlier runs have left.
    pub(super) fn restore(&mut self, now: Now, first: &First, record: u64) {
        let Nonce { key, content } = first.nonce;
        // Used anew, the newer one counts, and if it is too old, none does.
        self.forget(&key);
        let age = (now.unix.0 - first.at.0).max(0) as u64 / 1_000;
        let Some(left) = self.window.checked_sub(age) else { return };
        let known = Known { id: first.id, at: first.at, record, content };
        self.keep(MonoMs(now.mono.0 + left), key, known);
    }

    fn keep(&mut self, until: MonoMs, key: NonceKey, known: Known) {
        if self.entries.len() >= self.max {
            self.forget_oldest();
        }
        debug_assert!(self.find(&key).is_none(), "a known nonce makes no new message");
        let number = self.first.wrapping_add(self.entries.len() as u32);
        self.entries.push_back(Entry { until, key, known });
        let Nonces { entries, first, index, hasher, .. } = self;
        let hash = |number: &u32| {
            let entry = entries.get(number.wrapping_sub(*first) as usize);
            hasher.hash_one(entry.expect("the index has only what is there").key)
        };
        index.insert_unique(hasher.hash_one(key), number, hash);
    }

    /// Forgets what is older than the window.
    pub(super) fn expire(&mut self, now: MonoMs) {
        while self.entries.front().is_some_and(|entry| entry.until < now) {
            self.forget_oldest();
        }
    }

    /// Forgets one whose message the store has refused: said again, it is new.
    pub(super) fn forget(&mut self, key: &NonceKey) {
        let Nonces { entries, first, index, hasher, .. } = self;
        let is = |number: &u32| {
            let entry = entries.get(number.wrapping_sub(*first) as usize);
            entry.is_some_and(|entry| entry.key == *key)
        };
        if let Ok(found) = index.find_entry(hasher.hash_one(key), is) {
            found.remove();
        }
    }

    /// Forgets everything: their messages were taken back.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.index.clear();
    }

    fn forget_oldest(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        let oldest = self.first;
        self.first = self.first.wrapping_add(1);
        // One whose message was refused is not in the index any more.
        if let Ok(found) =
            self.index.find_entry(self.hasher.hash_one(entry.key), |it| *it == oldest)
        {
            found.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{SpaceId, UserId};
    use proptest::prelude::*;

    fn key(nonce: &str) -> NonceKey {
        NonceKey::new(UserId(1), SpaceId(2), nonce)
    }

    const KNOWN: Known = Known { id: Id(5), at: Micros(1), record: 1, content: 7 };

    #[test]
    fn a_nonce_is_known_for_its_window_and_within_the_bound() {
        let mut nonces = Nonces::new(2, 1_000, 7);
        nonces.remember(MonoMs(0), key("a"), KNOWN);
        nonces.remember(MonoMs(500), key("b"), KNOWN);
        assert_eq!(nonces.find(&key("a")), Some(KNOWN));
        nonces.expire(MonoMs(1_001));
        assert_eq!(nonces.find(&key("a")), None);
        nonces.remember(MonoMs(1_100), key("c"), KNOWN);
        nonces.remember(MonoMs(1_200), key("d"), KNOWN);
        assert_eq!(nonces.find(&key("b")), None);
        assert_eq!(nonces.find(&key("d")), Some(KNOWN));
    }

    #[test]
    fn a_nonce_that_was_forgotten_for_a_refusal_can_be_used_anew() {
        let mut nonces = Nonces::new(3, 1_000, 7);
        let again = Known { id: Id(6), ..KNOWN };
        nonces.remember(MonoMs(0), key("a"), KNOWN);
        nonces.forget(&key("a"));
        assert_eq!(nonces.find(&key("a")), None);
        nonces.remember(MonoMs(500), key("a"), again);
        nonces.expire(MonoMs(1_001));
        assert_eq!(nonces.find(&key("a")), Some(again), "the first one's end is not its own");
        nonces.expire(MonoMs(1_501));
        assert_eq!(nonces.find(&key("a")), None);
    }

    proptest! {
        #[test]
        fn the_same_is_known_as_by_a_plain_list(
            steps in proptest::collection::vec((0u8..12, 0u64..300), 1..200), max in 1usize..9,
        ) {
            let (mut nonces, mut list) = (Nonces::new(max, 1_000, 7), Vec::new());
            // The numbers come around within the run.
            nonces.first = u32::MAX - 20;
            let mut now = MonoMs(0);
            for (n, (name, pass)) in steps.into_iter().enumerate() {
                now.0 += pass;
                nonces.expire(now);
                list.retain(|(until, _, _): &(u64, NonceKey, Option<Known>)| *until >= now.0);
                let key = key(&name.to_string());
                let known = list.iter().find_map(|(_, it, known)| (*it == key).then_some(*known)?);
                prop_assert_eq!(nonces.find(&key), known);
                if known.is_some() && pass % 3 == 0 {
                    nonces.forget(&key);
                    list.iter_mut().filter(|it| it.1 == key).for_each(|it| it.2 = None);
                } else if known.is_none() {
                    let known = Known { id: Id(n as u128), ..KNOWN };
                    nonces.remember(now, key, known);
                    if list.len() >= max {
                        list.remove(0);
                    }
                    list.push((now.0 + 1_000, key, Some(known)));
                }
            }
        }
    }

    #[test]
    fn after_a_restart_a_nonce_is_known_for_what_is_left_of_its_window() {
        let mut nonces = Nonces::new(9, 1_000, 7);
        let now = Now { mono: MonoMs(3), unix: Micros(10_000_000) };
        let said = |nonce, at| First {
            nonce: Nonce { key: key(nonce), content: 7 },
            space: SpaceId(2),
            id: Id(5),
            at: Micros(at),
        };
        // The last one comes from a clock that was set back since.
        for (nonce, at) in [("a", 8_999_000), ("b", 9_000_000), ("c", 9_600_000), ("d", 99_000_000)]
        {
            nonces.restore(now, &said(nonce, at), 1);
        }
        let known =
            |nonces: &Nonces| ["a", "b", "c", "d"].map(|it| nonces.find(&key(it)).is_some());
        assert_eq!(known(&nonces), [false, true, true, true]);
        nonces.expire(MonoMs(4));
        assert_eq!(known(&nonces), [false, false, true, true]);
        nonces.expire(MonoMs(604));
        assert_eq!(known(&nonces), [false, false, false, true]);
        nonces.expire(MonoMs(1_004));
        assert_eq!(known(&nonces), [false; 4]);
    }
    #[test]
    fn a_message_from_a_clock_that_was_ahead_is_not_known_again_for_a_later_one_of_its_nonce() {
        let mut nonces = Nonces::new(9, 1_000, 7);
        let now = Now { mono: MonoMs(3), unix: Micros(10_000_000) };
        let said = |at| First {
            nonce: Nonce { key: key("a"), content: 7 },
            space: SpaceId(2),
            id: Id(5),
            at: Micros(at),
        };
        nonces.restore(now, &said(99_000_000), 1);
        assert!(nonces.find(&key("a")).is_some());
        nonces.restore(now, &said(1_000_000), 1);
        assert_eq!(nonces.find(&key("a")), None, "the later one is out of its window");
    }
}
