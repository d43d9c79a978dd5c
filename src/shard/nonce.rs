//! Publish once: what a shard remembers of the nonces that its messages came with (P7, WIRE C).

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::wire::time::{Micros, MonoMs};
use crate::wire::{Id, SpaceId, UserId};

/// A nonce counts per user and space: a hash of the three, so wide that no two meet, for a fixed
/// size and no allocation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NonceKey(u128);

impl NonceKey {
    /// The key of what a client made up.
    pub fn new(user: UserId, space: SpaceId, nonce: &str) -> NonceKey {
        let half = |which: u8| {
            let mut hasher = DefaultHasher::new();
            (which, user, space, nonce).hash(&mut hasher);
            u128::from(hasher.finish())
        };
        NonceKey(half(0) << 64 | half(1))
    }
}

/// The first message of a nonce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct First {
    /// Its id.
    pub id: Id,
    /// Its instant.
    pub at: Micros,
    /// The number of its record: durable when that many are committed.
    pub record: u64,
    /// What it said, as [`content_hash`] has it.
    pub content: u64,
}

/// The nonces of the last `window` ms, at most so many.
#[derive(Debug)]
pub struct Nonces {
    known: HashMap<NonceKey, First>,
    oldest: VecDeque<(MonoMs, NonceKey)>,
    max: usize,
    window: u64,
}

/// Tells whether a repeat says the same.
pub fn content_hash(content: &str, image: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (content, image).hash(&mut hasher);
    hasher.finish()
}

impl Nonces {
    /// None yet.
    pub fn new(max: usize, window: u64) -> Nonces {
        Nonces { known: HashMap::new(), oldest: VecDeque::new(), max, window }
    }

    /// The first message of this nonce, if it is remembered.
    pub fn find(&self, key: &NonceKey) -> Option<First> {
        self.known.get(key).copied()
    }

    /// Remembers a first message.
    pub fn remember(&mut self, now: MonoMs, key: NonceKey, first: First) {
        if self.oldest.len() >= self.max {
            self.forget_oldest();
        }
        self.oldest.push_back((now, key));
        let earlier = self.known.insert(key, first);
        assert!(earlier.is_none(), "a known nonce makes no new message");
    }

    /// Forgets what is older than the window.
    pub fn expire(&mut self, now: MonoMs) {
        while self.oldest.front().is_some_and(|(at, _)| now.since(*at) > self.window) {
            self.forget_oldest();
        }
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

    fn key(nonce: &str) -> NonceKey {
        NonceKey::new(UserId(1), SpaceId(2), nonce)
    }

    #[test]
    fn a_nonce_is_known_for_its_window_and_within_the_bound() {
        let mut nonces = Nonces::new(2, 1_000);
        let first = First { id: Id(5), at: Micros(1), record: 1, content: 7 };
        nonces.remember(MonoMs(0), key("a"), first);
        nonces.remember(MonoMs(500), key("b"), first);
        assert_eq!(nonces.find(&key("a")), Some(first));
        nonces.expire(MonoMs(1_001));
        assert_eq!(nonces.find(&key("a")), None);
        nonces.remember(MonoMs(1_100), key("c"), first);
        nonces.remember(MonoMs(1_200), key("d"), first);
        assert_eq!(nonces.find(&key("b")), None);
        assert_eq!(nonces.find(&key("d")), Some(first));
    }
}
