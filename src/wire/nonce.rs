//! Publish once: what a nonce is known by, in memory, in the journal and in the file that outlives
//! a restart (P7, WIRE C).

use std::hash::Hasher;

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher13 as SipHasher128};

use super::time::Micros;
use super::{Id, SpaceId, UserId};

/// A nonce counts per user and space: a hash of the three, so wide that no two meet, for a fixed
/// size and no allocation. Files keep it, so it is the same in every version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NonceKey(pub u128);

impl NonceKey {
    /// The key of what a client made up.
    pub fn new(user: UserId, space: SpaceId, nonce: &str) -> NonceKey {
        let mut hasher = SipHasher128::new();
        hasher.write(&user.0.to_le_bytes());
        hasher.write(&space.0.to_le_bytes());
        hasher.write(nonce.as_bytes());
        NonceKey(hasher.finish128().as_u128())
    }
}

/// A nonce, and what was said under it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Nonce {
    /// Stands for the user, the space and the nonce.
    pub key: NonceKey,
    /// Tells whether a repeat says the same, as [`content_hash`] has it.
    pub content: u64,
}

/// The first message of a nonce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct First {
    /// The nonce.
    pub nonce: Nonce,
    /// The message's space.
    pub space: SpaceId,
    /// The message's id.
    pub id: Id,
    /// The message's instant.
    pub at: Micros,
}

/// A hash of what a message says, which tells whether a repeat says the same.
pub fn content_hash(content: &str, image: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(content.as_bytes());
    // A separator: UTF-8 has no such byte.
    hasher.write(&[0xFF]);
    hasher.write(image.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_for_ever() {
        let key = NonceKey::new(UserId(1), SpaceId(-2), "a1");
        assert_eq!(key.0, 92_059_509_016_222_799_057_421_068_342_027_478_600);
        assert_eq!(content_hash("hola", ""), 16_932_280_430_917_767_489);
    }

    #[test]
    fn user_space_nonce_and_content_all_count() {
        let key = |user, space, nonce| NonceKey::new(UserId(user), SpaceId(space), nonce);
        let all = [key(1, 2, "a"), key(2, 1, "a"), key(1, 2, "b"), key(1, 2, "a\0")];
        assert!((1..all.len()).all(|n| !all[..n].contains(&all[n])));
        assert_ne!(content_hash("ab", "c"), content_hash("a", "bc"));
    }
}
