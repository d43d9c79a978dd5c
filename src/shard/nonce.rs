//! Publish once: what a shard remembers of the nonces that its messages came with (P7, WIRE C).

use std::collections::{HashMap, VecDeque};

use crate::wire::Id;
use crate::wire::nonce::{First, Nonce, NonceKey};
use crate::wire::time::{Micros, MonoMs, Now};

/// The first message of a nonce, as the shard knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Its id.
    pub id: Id,
    /// Its instant.
    pub at: Micros,
    /// The number of its record: durable when that many are committed.
    pub record: u64,
    /// What it said, as [`content_hash`](crate::wire::nonce::content_hash) has it.
    pub content: u64,
}

/// The nonces of the last `window` ms, at most so many.
#[derive(Debug)]
pub struct Nonces {
    known: HashMap<NonceKey, Known>,
    /// When each is forgotten, in the order in which they came.
    oldest: VecDeque<(MonoMs, NonceKey)>,
    max: usize,
    window: u64,
}

impl Nonces {
    /// None yet.
    pub fn new(max: usize, window: u64) -> Nonces {
        Nonces { known: HashMap::new(), oldest: VecDeque::new(), max, window }
    }

    /// The first message of this nonce, if it is remembered.
    pub fn find(&self, key: &NonceKey) -> Option<Known> {
        self.known.get(key).copied()
    }

    /// Remembers a first message.
    pub fn remember(&mut self, now: MonoMs, key: NonceKey, known: Known) {
        self.keep(MonoMs(now.0 + self.window), key, known);
    }

    /// Remembers a message of an earlier run, for what is left of its window. Those that were
    /// said earlier come first. `record` stands for all that earlier runs have left.
    pub fn restore(&mut self, now: Now, first: &First, record: u64) {
        let age = (now.unix.0 - first.at.0).max(0) as u64 / 1_000;
        let Some(left) = self.window.checked_sub(age) else { return };
        let Nonce { key, content } = first.nonce;
        if !self.known.contains_key(&key) {
            let known = Known { id: first.id, at: first.at, record, content };
            self.keep(MonoMs(now.mono.0 + left), key, known);
        }
    }

    fn keep(&mut self, until: MonoMs, key: NonceKey, known: Known) {
        if self.oldest.len() >= self.max {
            self.forget_oldest();
        }
        self.oldest.push_back((until, key));
        let earlier = self.known.insert(key, known);
        assert!(earlier.is_none(), "a known nonce makes no new message");
    }

    /// Forgets what is older than the window.
    pub fn expire(&mut self, now: MonoMs) {
        while self.oldest.front().is_some_and(|(until, _)| *until < now) {
            self.forget_oldest();
        }
    }

    /// Forgets one whose message the store has refused: said again, it is new.
    pub fn forget(&mut self, key: &NonceKey) {
        self.known.remove(key);
    }

    /// Forgets everything: their messages were taken back.
    pub fn clear(&mut self) {
        self.known.clear();
        self.oldest.clear();
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.oldest.pop_front() {
            self.known.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{SpaceId, UserId};

    fn key(nonce: &str) -> NonceKey {
        NonceKey::new(UserId(1), SpaceId(2), nonce)
    }

    const KNOWN: Known = Known { id: Id(5), at: Micros(1), record: 1, content: 7 };

    #[test]
    fn a_nonce_is_known_for_its_window_and_within_the_bound() {
        let mut nonces = Nonces::new(2, 1_000);
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
    fn after_a_restart_a_nonce_is_known_for_what_is_left_of_its_window() {
        let mut nonces = Nonces::new(9, 1_000);
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
}
