//! How long things take: histograms with the same few bounds for all, counted in whole
//! microseconds and shown in seconds.
//!
//! A shard counts in its own [`Latencies`] and publishes them with its other numbers, if there is
//! something new; the edge and the store count straight into [`PublishedLatencies`].

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::table::Latency;

/// Upper ends of the buckets, in microseconds: 1, 2.5 and 5 of each power of ten, from what a send
/// to a few members takes to what a client waits for at most. One more bucket has all beyond.
pub const BOUNDS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];
const BUCKETS: usize = BOUNDS.len() + 1;
const ALL: usize = Latency::ALL.len();

/// One histogram.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Histogram {
    /// What took up to each of the [`BOUNDS`] and longer than the one before, then what took longer
    /// than all.
    pub buckets: [u64; BUCKETS],
    /// All times together, in microseconds.
    pub sum: u64,
}

impl Histogram {
    /// How many times it holds.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |all, bucket| all.wrapping_add(*bucket))
    }
}

/// The bucket of a time.
fn bucket_of(micros: u64) -> usize {
    BOUNDS.partition_point(|bound| *bound < micros)
}

/// The histograms of one source, in plain memory.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Latencies {
    all: [Histogram; ALL],
    /// How often something was counted.
    changes: u64,
}

impl Latencies {
    /// This number of things took so long.
    pub(super) fn observe(&mut self, latency: Latency, micros: u64, times: u64) {
        let histogram = &mut self.all[latency as usize];
        let bucket = &mut histogram.buckets[bucket_of(micros)];
        *bucket = bucket.wrapping_add(times);
        histogram.sum = histogram.sum.wrapping_add(micros.saturating_mul(times));
        self.changes = self.changes.wrapping_add(1);
    }

    pub(super) fn get(&self, latency: Latency) -> &Histogram {
        &self.all[latency as usize]
    }

    /// Adds another source's.
    pub(super) fn merge(&mut self, other: &Latencies) {
        for (mine, theirs) in self.all.iter_mut().zip(&other.all) {
            mine.sum = mine.sum.wrapping_add(theirs.sum);
            for (mine, theirs) in mine.buckets.iter_mut().zip(theirs.buckets) {
                *mine = mine.wrapping_add(theirs);
            }
        }
    }
}

/// One histogram, where other threads can read it.
#[derive(Default, Debug)]
struct Cells {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

/// The histograms of one source, where other threads can read them.
#[derive(Default, Debug)]
pub(super) struct PublishedLatencies {
    all: [Cells; ALL],
    /// The changes that a shard has shown.
    changes: AtomicU64,
}

impl PublishedLatencies {
    /// Shows a shard's histograms, if there is something new; the shard is the only writer.
    pub(super) fn publish(&self, latencies: &Latencies) {
        if self.changes.load(Relaxed) == latencies.changes {
            return;
        }
        for (cells, histogram) in self.all.iter().zip(&latencies.all) {
            for (cell, value) in cells.buckets.iter().zip(histogram.buckets) {
                cell.store(value, Relaxed);
            }
            cells.sum.store(histogram.sum, Relaxed);
        }
        self.changes.store(latencies.changes, Relaxed);
    }

    /// Something took so long; from any thread.
    pub(super) fn observe(&self, latency: Latency, micros: u64) {
        let cells = &self.all[latency as usize];
        cells.buckets[bucket_of(micros)].fetch_add(1, Relaxed);
        cells.sum.fetch_add(micros, Relaxed);
    }

    /// The histograms as they are now, each number by itself.
    pub(super) fn read(&self) -> Latencies {
        let mut latencies = Latencies::default();
        for (histogram, cells) in latencies.all.iter_mut().zip(&self.all) {
            histogram.buckets = std::array::from_fn(|at| cells.buckets[at].load(Relaxed));
            histogram.sum = cells.sum.load(Relaxed);
        }
        latencies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_first_bucket_whose_bound_it_does_not_pass() {
        assert!(BOUNDS.is_sorted_by(|one, next| one < next));
        for (micros, bucket) in [(0, 0), (100, 0), (101, 1), (250, 1), (10_000_000, 15)] {
            assert_eq!(bucket_of(micros), bucket, "{micros}");
        }
        assert_eq!((bucket_of(10_000_001), bucket_of(u64::MAX)), (16, 16));
    }

    #[test]
    fn what_a_shard_has_counted_is_shown_and_added_to_others() {
        let (mut latencies, published) = (Latencies::default(), PublishedLatencies::default());
        latencies.observe(Latency::DurableAck, 300, 5);
        latencies.observe(Latency::DurableAck, 20_000_000, 1);
        published.publish(&latencies);
        published.publish(&latencies);
        let shown = *published.read().get(Latency::DurableAck);
        assert_eq!((shown.count(), shown.sum), (6, 20_001_500));
        assert_eq!((shown.buckets[2], shown.buckets[16]), (5, 1));
        published.observe(Latency::DurableAck, 1);
        let mut all = published.read();
        all.merge(&latencies);
        assert_eq!(all.get(Latency::DurableAck).count(), 13);
        assert_eq!(all.get(Latency::Resume), &Histogram::default());
    }
}
