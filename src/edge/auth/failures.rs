//! Who shows tokens and keys that nobody has made. After some of them within a minute nothing that
//! the same address shows is looked at for a while, right or wrong, so that none can be found by
//! trying.
//!
//! Owns a bucket for each address, as long as that holds something. Knows no token: whether what
//! was shown is a guess is `current`'s to say.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::edge::http::told::Told;
use crate::limits::Limits;
use crate::metrics::{Metric, Metrics};
use crate::shard::event::AddressKey;
use crate::shard::rate::{Gcra, Pace};
use crate::wire::time::MonoMs;

/// How long the buckets are left as they are once they were looked through, in milliseconds: who
/// has many addresses can't have that done for each guess.
const LOOK_WAIT: u64 = 1_000;

/// The failures of all addresses. Cheap to clone; all clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Failures {
    buckets: Arc<watch::Sender<Buckets>>,
    /// `None`: as many as anybody likes.
    pace: Option<Pace>,
    addresses_max: usize,
    metrics: Arc<Metrics>,
    told: Told,
}

#[derive(Default, Debug)]
struct Buckets {
    of_address: HashMap<u64, Gcra>,
    /// When those that hold nothing were thrown away.
    cleared: MonoMs,
}

impl Failures {
    /// None yet.
    pub(crate) fn new(limits: &Limits, metrics: &Arc<Metrics>) -> Failures {
        let max = limits.failed_logins_max;
        Failures {
            buckets: Arc::new(watch::Sender::new(Buckets::default())),
            pace: (max > 0).then(|| Pace::per_minute(max)),
            addresses_max: limits.rate_buckets_max,
            metrics: Arc::clone(metrics),
            told: Told::default(),
        }
    }

    /// For how many milliseconds nothing is looked at that an address shows.
    pub(super) fn wait(&self, now: MonoMs, address: AddressKey) -> Option<u32> {
        let (address, pace) = (address?, self.pace?);
        self.buckets.borrow().of_address.get(&address)?.wait(now, pace)
    }

    /// Notes that what an address has shown is nobody's.
    pub(super) fn note(&self, now: MonoMs, address: AddressKey) {
        self.metrics.edge.add(Metric::LoginsFailed, 1);
        let (Some(address), Some(pace)) = (address, self.pace) else { return };
        self.buckets.send_if_modified(|buckets| {
            buckets.take(now, address, pace, self.addresses_max);
            // Nobody is told by this: nobody waits.
            false
        });
    }

    /// Whether a line about an address is due, and how many were left out since the last about any.
    pub(super) fn is_to_be_told(&self, now: MonoMs, address: &str) -> Option<u64> {
        self.told.is_due(now, address)
    }
}

impl Buckets {
    /// With as many in memory as there may be, and none of them empty, an address that is not
    /// among them is not counted: whoever has as many addresses has enough of them to guess by.
    fn take(&mut self, now: MonoMs, address: u64, pace: Pace, max: usize) {
        let is_full = self.of_address.len() >= max;
        if is_full && now.since(self.cleared) >= LOOK_WAIT {
            self.of_address.retain(|_, bucket| !bucket.is_full(now));
            self.cleared = now;
        }
        if self.of_address.len() < max || self.of_address.contains_key(&address) {
            // One that was shown before another was judged may find the bucket empty.
            _ = self.of_address.entry(address).or_default().take_at(now, pace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(limits: Limits) -> (Failures, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new(1));
        (Failures::new(&limits, &metrics), metrics)
    }

    #[test]
    fn ten_in_a_minute_are_looked_at_and_nobody_else_waits_for_it() {
        let (failures, metrics) = failures(Limits::default());
        let now = MonoMs(1_000);
        for _ in 0..10 {
            assert_eq!(failures.wait(now, Some(7)), None);
            failures.note(now, Some(7));
        }
        assert_eq!(failures.wait(now, Some(7)), Some(6_000));
        for other in [Some(8), None] {
            assert_eq!(failures.wait(now, other), None);
        }
        let later = MonoMs(now.0 + 6_000);
        assert_eq!(failures.wait(later, Some(7)), None);
        failures.note(later, Some(7));
        assert_eq!(failures.wait(later, Some(7)), Some(6_000));
        assert_eq!(metrics.total().get(Metric::LoginsFailed), 11);
    }

    #[test]
    fn who_is_exempt_never_waits_nor_anybody_where_that_is_off() {
        let (bounded, metrics) = failures(Limits::default());
        let (unbounded, _) = failures(Limits { failed_logins_max: 0, ..Limits::default() });
        for _ in 0..100 {
            bounded.note(MonoMs(1), None);
            unbounded.note(MonoMs(1), Some(7));
        }
        assert_eq!(
            (bounded.wait(MonoMs(1), None), unbounded.wait(MonoMs(1), Some(7))),
            (None, None)
        );
        assert_eq!(metrics.total().get(Metric::LoginsFailed), 100, "all are counted");
    }

    #[test]
    fn memory_is_bounded_and_who_stopped_guessing_makes_room() {
        let max = 1_024;
        let (failures, _) =
            failures(Limits { failed_logins_max: 1, rate_buckets_max: max, ..Limits::default() });
        let now = MonoMs(1_000);
        (0..2 * max as u64).for_each(|address| failures.note(now, Some(address)));
        assert_eq!(failures.buckets.borrow().of_address.len(), max);
        assert!(failures.wait(now, Some(0)).is_some(), "who is known stays so");
        assert_eq!(failures.wait(now, Some(max as u64)), None);
        let later = MonoMs(now.0 + 60_000);
        failures.note(later, Some(max as u64));
        assert_eq!(failures.buckets.borrow().of_address.len(), 1);
        assert!(failures.wait(later, Some(max as u64)).is_some());
    }
}
