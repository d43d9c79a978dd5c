//! Rates by the generic cell rate algorithm: one number a bucket, no timer, no refill.
//!
//! The number is the *theoretical arrival time*: when the bucket would be empty again. A bucket
//! that has caught up with the clock holds no information and can be forgotten.

use std::collections::HashMap;
use std::hash::Hash;

use crate::limits::Rate;
use crate::wire::time::MonoMs;

/// One bucket.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Gcra(u64);

const MICROS: u64 = 1_000_000;

/// How often one may be taken from a bucket, in microseconds, and how many at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pace {
    interval: u64,
    burst: u64,
}

impl Pace {
    /// This many within a minute, all of them at once too. At least one.
    pub(crate) fn per_minute(count: u32) -> Pace {
        let burst = u64::from(count.max(1));
        Pace { interval: 60 * MICROS / burst, burst }
    }
}

impl Gcra {
    /// Takes one from the bucket, or says after how many milliseconds there will be one.
    pub(crate) fn take(&mut self, now: MonoMs, rate: Rate) -> Result<(), u32> {
        if rate.per_second == 0 {
            return Ok(());
        }
        let interval = MICROS / u64::from(rate.per_second);
        self.take_at(now, Pace { interval, burst: u64::from(rate.burst.max(1)) })
    }

    /// As [`take`](Gcra::take), at a pace of any length.
    pub(crate) fn take_at(&mut self, now: MonoMs, pace: Pace) -> Result<(), u32> {
        self.0 = self.taken(now, pace)?;
        Ok(())
    }

    /// After how many milliseconds there will be one to take, if there is none now.
    pub(crate) fn wait(self, now: MonoMs, pace: Pace) -> Option<u32> {
        self.taken(now, pace).err()
    }

    /// The bucket's number once one is taken.
    fn taken(self, now: MonoMs, Pace { interval, burst }: Pace) -> Result<u64, u32> {
        let now = now.0 * 1_000;
        let depth = interval * burst;
        let after = self.0.max(now) + interval;
        if after - now <= depth {
            return Ok(after);
        }
        let wait_ms = (after - now - depth).div_ceil(1_000);
        Err(u32::try_from(wait_ms).unwrap_or(u32::MAX))
    }

    /// Whether the bucket is full again: the same as a new one.
    pub(crate) fn is_full(self, now: MonoMs) -> bool {
        self.0 <= now.0 * 1_000
    }
}

/// Buckets by key, at most `max` of them.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    by_key: HashMap<K, Gcra>,
    max: usize,
}

impl<K: Hash + Eq> Buckets<K> {
    /// No buckets yet, at most `max`.
    pub(crate) fn new(max: usize) -> Buckets<K> {
        Buckets { by_key: HashMap::new(), max }
    }

    /// Takes one from the key's bucket. With every bucket in use the key is let through: its
    /// connection's own rate still holds, and forgetting another's would let that one flood.
    pub(crate) fn take(&mut self, key: K, now: MonoMs, rate: Rate) -> Result<(), u32> {
        if rate.per_second == 0 {
            return Ok(());
        }
        if self.by_key.len() >= self.max && !self.by_key.contains_key(&key) {
            // Which buckets go depends on the time alone, not on the map's order.
            self.by_key.retain(|_, bucket| !bucket.is_full(now));
            if self.by_key.len() >= self.max {
                return Ok(());
            }
        }
        self.by_key.entry(key).or_default().take(now, rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds_and_the_hint_is_true() {
        let rate = Rate::new(10, 5);
        let mut bucket = Gcra::default();
        let mut now = MonoMs(1_000);
        for _ in 0..5 {
            assert_eq!(bucket.take(now, rate), Ok(()));
        }
        let wait = bucket.take(now, rate).expect_err("the burst is used up");
        assert_eq!(wait, 100);
        now.0 += u64::from(wait);
        assert_eq!(bucket.take(now, rate), Ok(()));
        assert!(bucket.take(now, rate).is_err());
    }

    #[test]
    fn a_pace_of_a_minute_is_held_and_looking_takes_nothing() {
        let pace = Pace::per_minute(10);
        let mut bucket = Gcra::default();
        let mut now = MonoMs(1_000);
        for _ in 0..10 {
            assert_eq!((bucket.wait(now, pace), bucket.wait(now, pace)), (None, None));
            assert_eq!(bucket.take_at(now, pace), Ok(()));
        }
        assert_eq!((bucket.wait(now, pace), bucket.take_at(now, pace)), (Some(6_000), Err(6_000)));
        now.0 += 6_000;
        assert_eq!((bucket.take_at(now, pace), bucket.wait(now, pace)), (Ok(()), Some(6_000)));
        assert!(!bucket.is_full(MonoMs(now.0 + 59_999)) && bucket.is_full(MonoMs(now.0 + 60_000)));
    }

    #[test]
    fn buckets_stay_within_their_bound() {
        let mut buckets = Buckets::new(2);
        let rate = Rate::new(1, 1);
        for key in 0..10 {
            assert_eq!(buckets.take(key, MonoMs(5), rate), Ok(()));
        }
        assert_eq!(buckets.by_key.len(), 2);
        assert!(buckets.take(0, MonoMs(5), rate).is_err());
        assert_eq!(buckets.take(7, MonoMs(9_000), rate), Ok(()));
        assert!(buckets.take(7, MonoMs(9_000), rate).is_err());
    }

    proptest! {
        #[test]
        fn no_second_passes_more_than_rate_and_burst(
            per_second in 1u32..1000, burst in 1u32..100,
            steps in proptest::collection::vec(0u64..50, 1..400),
        ) {
            let rate = Rate::new(per_second, burst);
            let (mut bucket, mut now, mut passed) = (Gcra::default(), MonoMs(10_000), 0u64);
            let start = now;
            for step in steps {
                now.0 += step;
                passed += u64::from(bucket.take(now, rate).is_ok());
            }
            // The interval is rounded down to whole microseconds: at most 0.1 % too fast.
            let allowed = now.since(start) as f64 / 1000.0 * f64::from(per_second) * 1.001;
            prop_assert!(passed as f64 <= f64::from(burst) + allowed + 1.0);
        }
    }
}
