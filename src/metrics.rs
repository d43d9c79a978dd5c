//! Every metric, counted in plain numbers: what each is stands in [`table`].
//!
//! A shard counts in its own [`Counts`] and publishes them once a turn by relaxed stores; the
//! edge and the store count straight into a [`Published`]. The edge reads all of them when
//! `/metrics` is asked for. No label ever holds a user, a space or an address.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam_utils::CachePadded;

use crate::wire::close::Close;
use crate::wire::reject::Reject;

pub mod latency;
pub mod table;

use latency::{Histogram, Latencies, PublishedLatencies};
pub use table::{About, Kind, Latency, Metric, Part};

/// Not in a build that measures what counting costs.
const COUNTS: bool = !cfg!(measure_no_metrics);

const METRICS: usize = Metric::ALL.len();
const REJECTS: usize = METRICS + Reject::KINDS;
const NUMBERS: usize = REJECTS + Close::KINDS;

/// The numbers of one source, in plain memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    numbers: [u64; NUMBERS],
    latencies: Latencies,
}

impl Default for Counts {
    fn default() -> Counts {
        Counts { numbers: [0; NUMBERS], latencies: Latencies::default() }
    }
}

impl Counts {
    /// Adds to a counter or a gauge.
    pub fn add(&mut self, metric: Metric, amount: u64) {
        if COUNTS {
            self.numbers[metric as usize] = self.numbers[metric as usize].wrapping_add(amount);
        }
    }

    /// Takes from a gauge.
    pub fn sub(&mut self, metric: Metric, amount: u64) {
        if COUNTS {
            self.numbers[metric as usize] = self.numbers[metric as usize].wrapping_sub(amount);
        }
    }

    /// Sets a gauge.
    pub fn set(&mut self, metric: Metric, value: u64) {
        if COUNTS {
            self.numbers[metric as usize] = value;
        }
    }

    /// Counts a refusal.
    pub fn reject(&mut self, reject: Reject) {
        self.numbers[METRICS + reject.kind()] += 1;
    }

    /// Counts the end of a connection.
    pub fn close(&mut self, close: Close) {
        self.numbers[REJECTS + close.kind()] += 1;
    }

    /// One number.
    pub fn get(&self, metric: Metric) -> u64 {
        self.numbers[metric as usize]
    }

    /// Refusals of one kind.
    pub fn rejects(&self, kind: usize) -> u64 {
        self.numbers[METRICS..REJECTS][kind]
    }

    /// Closes of one kind.
    pub fn closes(&self, kind: usize) -> u64 {
        self.numbers[REJECTS..][kind]
    }

    /// Something took so long.
    pub fn observe(&mut self, latency: Latency, micros: u64) {
        self.observe_all(latency, micros, 1);
    }

    /// This number of things took so long.
    pub fn observe_all(&mut self, latency: Latency, micros: u64, times: u64) {
        if COUNTS {
            self.latencies.observe(latency, micros, times);
        }
    }

    /// How long things of a sort took.
    pub fn latency(&self, latency: Latency) -> &Histogram {
        self.latencies.get(latency)
    }

    /// Adds another source's numbers.
    pub fn merge(&mut self, other: &Counts) {
        for (at, (mine, theirs)) in self.numbers.iter_mut().zip(other.numbers).enumerate() {
            let is_longest = Metric::ABOUT.get(at).is_some_and(|about| about.kind == Kind::Longest);
            *mine = if is_longest { theirs.max(*mine) } else { mine.wrapping_add(theirs) };
        }
        self.latencies.merge(&other.latencies);
    }
}

/// The numbers of one source, where other threads can read them.
#[derive(Debug)]
pub struct Published {
    numbers: CachePadded<[AtomicU64; NUMBERS]>,
    latencies: CachePadded<PublishedLatencies>,
}

impl Default for Published {
    fn default() -> Published {
        let numbers = CachePadded::new([const { AtomicU64::new(0) }; NUMBERS]);
        Published { numbers, latencies: CachePadded::default() }
    }
}

impl Published {
    /// Shows a shard's numbers as they are now; the shard is the only writer.
    pub fn publish(&self, counts: &Counts) {
        if COUNTS {
            for (cell, value) in self.numbers.iter().zip(counts.numbers) {
                cell.store(value, Relaxed);
            }
            self.latencies.publish(&counts.latencies);
        }
    }

    /// Something took so long; from any thread.
    pub fn observe(&self, latency: Latency, micros: u64) {
        if COUNTS {
            self.latencies.observe(latency, micros);
        }
    }

    /// Adds to a counter or gauge, from any thread.
    pub fn add(&self, metric: Metric, amount: u64) {
        self.numbers[metric as usize].fetch_add(amount, Relaxed);
    }

    /// Takes from a gauge, from any thread.
    pub fn sub(&self, metric: Metric, amount: u64) {
        self.numbers[metric as usize].fetch_sub(amount, Relaxed);
    }

    /// Sets a gauge, from any thread.
    pub fn set(&self, metric: Metric, value: u64) {
        self.numbers[metric as usize].store(value, Relaxed);
    }

    /// Counts a refusal, from any thread.
    pub fn reject(&self, reject: Reject) {
        self.numbers[METRICS + reject.kind()].fetch_add(1, Relaxed);
    }

    /// Counts the end of a connection, from any thread.
    pub fn close(&self, close: Close) {
        self.numbers[REJECTS + close.kind()].fetch_add(1, Relaxed);
    }

    /// The numbers as they are now, each by itself.
    pub fn read(&self) -> Counts {
        let mut counts = Counts::default();
        for (value, cell) in counts.numbers.iter_mut().zip(self.numbers.iter()) {
            *value = cell.load(Relaxed);
        }
        counts.latencies = self.latencies.read();
        counts
    }
}

/// All sources: one a shard, one for the edge, one for the store.
#[derive(Debug, Default)]
pub struct Metrics {
    /// One a shard, in order.
    pub shards: Vec<Published>,
    /// Counted by the edge.
    pub edge: Published,
    /// Counted by the batcher and the journal's flusher.
    pub store: Published,
    panics: [AtomicU64; Part::ALL.len()],
}

impl Metrics {
    /// Numbers for this number of shards, all zero.
    pub fn new(shards: usize) -> Metrics {
        let shards = (0..shards).map(|_| Published::default()).collect();
        Metrics { shards, ..Metrics::default() }
    }

    /// Counts a panic, from any thread.
    pub fn panicked(&self, part: Part) {
        self.panics[part as usize].fetch_add(1, Relaxed);
    }

    /// How often each part has panicked.
    pub fn panics(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Part::ALL.iter().map(|part| (part.name(), self.panics[*part as usize].load(Relaxed)))
    }

    /// All sources added up.
    pub fn total(&self) -> Counts {
        let mut total = self.edge.read();
        total.merge(&self.store.read());
        for shard in &self.shards {
            total.merge(&shard.read());
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_add_up_and_kinds_stay_apart() {
        let metrics = Metrics::new(2);
        let mut counts = Counts::default();
        counts.add(Metric::Members, 3);
        counts.sub(Metric::Members, 1);
        counts.reject(Reject::Internal);
        counts.close(Close::Gone);
        metrics.shards[0].publish(&counts);
        metrics.shards[1].publish(&counts);
        metrics.edge.reject(Reject::Internal);
        let total = metrics.total();
        assert_eq!(total.get(Metric::Members), 4);
        assert_eq!(total.rejects(Reject::Internal.kind()), 3);
        assert_eq!(total.closes(Close::Gone.kind()), 2);
        assert_eq!(total.closes(Close::Kicked.kind()), 0);
    }

    #[test]
    fn of_ages_the_greatest_counts_and_of_times_all() {
        let metrics = Metrics::new(2);
        let mut counts = Counts::default();
        for (shard, age) in metrics.shards.iter().zip([7, 5]) {
            counts.set(Metric::StoreLag, age);
            counts.observe(Latency::Resume, 400);
            shard.publish(&counts);
        }
        metrics.edge.observe(Latency::Handshake, 1);
        let total = metrics.total();
        assert_eq!(total.get(Metric::StoreLag), 7);
        assert_eq!(total.latency(Latency::Resume).count(), 3);
        assert_eq!(total.latency(Latency::Handshake).count(), 1);
    }
}
