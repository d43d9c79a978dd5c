//! What many draw from and nobody may use up: a pool with a bound in all, and a share of it for
//! each address.
//!
//! Owns the counts. A [`Part`] is what somebody holds of a pool; dropping it gives that back, so
//! that an end of any kind does. Never waits: what does not fit is refused.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::conditions::{Condition, Conditions};

/// Bytes, or places in a queue. Cheap to clone; all clones are the same pool.
#[derive(Clone, Debug)]
pub struct Pool {
    counts: Arc<watch::Sender<Held>>,
    /// Who is told where all is held, and the setting that bounds it.
    told: Option<(Conditions, &'static str)>,
}

#[derive(Debug)]
struct Held {
    free: usize,
    share: usize,
    /// What each address holds; no address that holds nothing.
    held: HashMap<u64, usize>,
}

/// What an address holds of a pool.
#[derive(Debug)]
pub struct Part {
    pool: Pool,
    address: u64,
    amount: usize,
}

impl Pool {
    /// A pool of `max`, of which one address may hold `share`.
    pub fn new(max: usize, share: usize) -> Pool {
        let held = Held { free: max, share, held: HashMap::new() };
        Pool { counts: Arc::new(watch::Sender::new(held)), told: None }
    }

    /// The same pool, of memory that this setting bounds: a shortage is told.
    #[must_use]
    pub fn telling(self, conditions: &Conditions, setting: &'static str) -> Pool {
        Pool { told: Some((conditions.clone(), setting)), ..self }
    }

    /// Takes an amount for an address. `None`: the pool has less left, or less for this address.
    pub fn take(&self, address: u64, amount: usize) -> Option<Part> {
        let mut place = Part { pool: self.clone(), address, amount: 0 };
        place.grow_to(amount).then_some(place)
    }

    fn change(&self, change: impl FnOnce(&mut Held)) {
        self.counts.send_if_modified(|counts| {
            change(counts);
            // Nobody is told: nobody waits.
            false
        });
    }
}

impl Part {
    /// The address that holds it.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// How much it is.
    pub fn amount(&self) -> usize {
        self.amount
    }

    /// Grows to at least this amount. `false`: there is not enough left, and it stays as it was.
    #[must_use]
    pub fn grow_to(&mut self, amount: usize) -> bool {
        let more = amount.saturating_sub(self.amount);
        let (mut fits, mut is_short) = (more == 0, false);
        if !fits {
            self.pool.change(|counts| {
                let held = counts.held.get(&self.address).copied().unwrap_or(0);
                is_short = more > counts.free;
                fits = !is_short && more <= counts.share.saturating_sub(held);
                if fits {
                    counts.free -= more;
                    counts.held.insert(self.address, held + more);
                }
            });
        }
        if fits {
            self.amount += more;
        }
        if is_short && let Some((conditions, setting)) = &self.pool.told {
            conditions.happened(Condition::MemoryShort, setting);
        }
        fits
    }

    /// Gives back what is beyond this amount.
    pub fn shrink_to(&mut self, amount: usize) {
        let less = self.amount.saturating_sub(amount);
        if less == 0 {
            return;
        }
        self.amount -= less;
        self.pool.change(|counts| {
            counts.free += less;
            let held = counts.held.get_mut(&self.address).expect("it holds what it took");
            *held -= less;
            if *held == 0 {
                counts.held.remove(&self.address);
            }
        });
    }

    /// Makes it exactly this amount. `false`: there is not enough left, and it stays
    /// as it was.
    #[must_use]
    pub fn set_to(&mut self, amount: usize) -> bool {
        self.shrink_to(amount);
        self.grow_to(amount)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(pool: &Pool) -> (usize, usize) {
        let counts = pool.counts.borrow();
        (counts.free, counts.held.len())
    }

    #[test]
    fn one_address_leaves_the_others_their_part() {
        let pool = Pool::new(100, 50);
        let mut mine = pool.take(1, 30).expect("free");
        assert!(!mine.grow_to(51) && mine.grow_to(50));
        assert!(pool.take(1, 1).is_none(), "its share is held");
        let theirs = pool.take(2, 50).expect("the other half");
        assert!(pool.take(3, 1).is_none(), "all is held");
        mine.shrink_to(40);
        assert_eq!(pool.take(3, 10).map(|place| place.amount()), Some(10));
        drop((mine, theirs));
        assert_eq!(counts(&pool), (100, 0));
    }

    proptest! {
        #[test]
        fn no_share_and_no_pool_is_exceeded_and_all_comes_back(
            steps in prop::collection::vec((0u64..4, 0usize..60, any::<bool>()), 1..200),
        ) {
            const MAX: usize = 100;
            const SHARE: usize = 40;
            let pool = Pool::new(MAX, SHARE);
            let mut places: Vec<Part> = Vec::new();
            for (address, amount, begins) in steps {
                let of = places.iter_mut().position(|place| place.address == address);
                match of {
                    Some(at) if !begins && amount % 5 == 0 => drop(places.swap_remove(at)),
                    Some(at) if !begins => {
                        let before = places[at].amount();
                        let least = places[at].set_to(amount);
                        let now = places[at].amount();
                        prop_assert_eq!(now, if least { amount } else { before });
                    }
                    _ => places.extend(pool.take(address, amount)),
                }
                let of = |address| -> usize {
                    let its = places.iter().filter(|place| place.address == address);
                    its.map(Part::amount).sum()
                };
                prop_assert!((0..4).all(|address| of(address) <= SHARE));
                let all: usize = (0..4).map(of).sum();
                prop_assert_eq!(counts(&pool).0, MAX - all);
            }
            drop(places);
            prop_assert_eq!(counts(&pool), (MAX, 0));
        }
    }
}
