//! A sample: the hub's numbers at one instant, as people watch them. Pure.

use crate::metrics::Latency::{AcceptToSent, DurableAck};
use crate::metrics::latency::BOUNDS;
use crate::metrics::{Counts, Latency, Metric};
use crate::wire::close::Close;
use crate::wire::reject::Reject;
use crate::wire::time::Now;

/// How a number of a sample comes from the metrics.
#[derive(Clone, Copy)]
enum Source {
    /// The metric as it stands.
    Now(Metric),
    /// How much the metric grew in a second.
    PerSecond(Metric),
    /// What a function says of two looks.
    Both(fn(&Look, &Look) -> f64),
}

/// The numbers of a sample, by the names that readers of the feed know.
const SERIES: [(&str, Source); 28] = [
    ("members", Source::Now(Metric::Members)),
    ("spaces", Source::Now(Metric::Spaces)),
    ("joins", Source::PerSecond(Metric::Joins)),
    ("leaves", Source::PerSecond(Metric::Leaves)),
    ("received", Source::PerSecond(Metric::MessagesReceived)),
    ("chats", Source::PerSecond(Metric::ChatsAccepted)),
    ("frames", Source::PerSecond(Metric::FramesAppended)),
    ("sends", Source::PerSecond(Metric::Sends)),
    ("sent_bytes", Source::PerSecond(Metric::SentBytes)),
    ("blocked", Source::Now(Metric::MembersBlocked)),
    ("pauses", Source::PerSecond(Metric::SpacePauses)),
    ("log_bytes", Source::Now(Metric::LogBytes)),
    ("journal_bytes", Source::Now(Metric::JournalBytes)),
    ("stored", Source::PerSecond(Metric::RowsStored)),
    ("batches", Source::PerSecond(Metric::Batches)),
    ("batch_ms", Source::Both(batch_ms)),
    ("accept_p50_ms", Source::Both(|before, now| quantile(AcceptToSent, 0.5, [before, now]))),
    ("accept_p99_ms", Source::Both(|before, now| quantile(AcceptToSent, 0.99, [before, now]))),
    ("durable_p50_ms", Source::Both(|before, now| quantile(DurableAck, 0.5, [before, now]))),
    ("durable_p99_ms", Source::Both(|before, now| quantile(DurableAck, 0.99, [before, now]))),
    ("dead_letters", Source::Now(Metric::DeadLetters)),
    ("evictions", Source::Both(evictions)),
    ("refusals", Source::Both(refusals)),
    ("requests", Source::PerSecond(Metric::HttpRequests)),
    ("faults", Source::PerSecond(Metric::HttpFaults)),
    ("handshakes", Source::PerSecond(Metric::HandshakesAccepted)),
    (
        "cpu",
        Source::Both(|before, now| (now.cpu_seconds - before.cpu_seconds) / seconds(before, now)),
    ),
    ("resident_bytes", Source::Both(|_, now| now.resident_bytes)),
];

/// How many numbers a sample has.
pub(super) const NUMBERS: usize = SERIES.len();

/// The names of a sample's numbers, in order.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SERIES.iter().map(|(name, _)| *name)
}

/// What is read at one instant.
#[derive(Clone, Default, Debug)]
pub(super) struct Look {
    pub at: Now,
    pub counts: Counts,
    /// What the process has taken of the processors since its start.
    pub cpu_seconds: f64,
    pub resident_bytes: f64,
}

/// The numbers between two looks.
pub(super) fn sample(before: &Look, now: &Look) -> [f32; NUMBERS] {
    SERIES.map(|(_, source)| {
        let number = match source {
            Source::Now(metric) => now.counts.get(metric) as f64,
            Source::PerSecond(metric) => per_second(before, now, |counts| counts.get(metric)),
            Source::Both(number) => number(before, now),
        };
        number as f32
    })
}

/// A thousandth at least, so that no number becomes infinite.
fn seconds(before: &Look, now: &Look) -> f64 {
    (now.at.mono.since(before.at.mono) as f64 / 1_000.0).max(0.001)
}

/// How much something grew in a second. A shard that begins anew begins its counters anew.
fn per_second(before: &Look, now: &Look, count: impl Fn(&Counts) -> u64) -> f64 {
    count(&now.counts).saturating_sub(count(&before.counts)) as f64 / seconds(before, now)
}

/// How long a committed batch took, in milliseconds.
fn batch_ms(before: &Look, now: &Look) -> f64 {
    let [before, now] = [before, now].map(|look| look.counts.latency(Latency::Batch));
    let batches = now.count().saturating_sub(before.count());
    let micros = now.sum.saturating_sub(before.sum);
    if batches > 0 { micros as f64 / batches as f64 / 1_000.0 } else { 0.0 }
}

/// How long at most this share of the things took that ended between two looks, in milliseconds; 0
/// where none did. Within a bucket they count as spread evenly.
fn quantile(latency: Latency, share: f64, looks: [&Look; 2]) -> f64 {
    let [before, now] = looks.map(|look| look.counts.latency(latency).buckets);
    let grown = before.iter().zip(now).map(|(before, now)| now.saturating_sub(*before) as f64);
    let buckets: Vec<f64> = grown.collect();
    let mut left = share * buckets.iter().sum::<f64>();
    let mut begin = 0.0;
    for (bucket, bound) in buckets.into_iter().zip(BOUNDS) {
        let end = bound as f64 / 1_000.0;
        if bucket > 0.0 && left <= bucket {
            return begin + (end - begin) * left / bucket;
        }
        left -= bucket;
        begin = end;
    }
    // Longer than the last bound, or nothing at all.
    if left > 0.0 { begin } else { 0.0 }
}

/// Members closed because they took too little, or were silent.
fn evictions(before: &Look, now: &Look) -> f64 {
    let kinds = [Close::TooSlow, Close::PongTimeout, Close::Overloaded].map(Close::kind);
    per_second(before, now, |counts| kinds.iter().map(|kind| counts.closes(*kind)).sum())
}

/// What was refused, whatever the code.
fn refusals(before: &Look, now: &Look) -> f64 {
    per_second(before, now, |counts| (0..Reject::KINDS).map(|kind| counts.rejects(kind)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(sample: &[f32; NUMBERS], name: &str) -> f32 {
        let at = names().position(|it| it == name).expect("there is such a number");
        sample[at]
    }

    #[test]
    fn counters_become_rates_and_gauges_stay_as_they_are() {
        let (mut before, mut now) = (Look::default(), Look::default());
        before.counts.add(Metric::ChatsAccepted, 100);
        now.at.mono.0 += 2_000;
        now.counts.add(Metric::ChatsAccepted, 110);
        now.counts.add(Metric::Members, 7);
        (0..3).for_each(|_| now.counts.reject(Reject::Draining));
        now.counts.close(Close::TooSlow);
        now.counts.close(Close::Kicked);
        now.counts.observe(Latency::Batch, 1_000);
        now.counts.observe(Latency::Batch, 4_000);
        before.counts.observe_all(Latency::DurableAck, 90_000, 50);
        now.counts.observe_all(Latency::DurableAck, 90_000, 50);
        now.counts.observe_all(Latency::DurableAck, 7_000, 50);
        now.counts.observe_all(Latency::DurableAck, 60_000_000, 50);
        (before.cpu_seconds, now.cpu_seconds) = (3.0, 4.0);
        let sample = sample(&before, &now);
        for (name, expected) in [
            ("chats", 5.0),
            ("members", 7.0),
            ("refusals", 1.5),
            ("evictions", 0.5),
            ("batch_ms", 2.5),
            ("accept_p99_ms", 0.0),
            ("durable_p50_ms", 10.0),
            ("durable_p99_ms", 10_000.0),
            ("cpu", 0.5),
            ("journal_bytes", 0.0),
        ] {
            assert_eq!(number(&sample, name), expected, "{name}");
        }
    }

    #[test]
    fn a_counter_that_begins_anew_and_an_instant_give_no_number_that_is_none() {
        let (mut before, now) = (Look::default(), Look::default());
        before.counts.add(Metric::ChatsAccepted, 100);
        assert!(sample(&before, &now).iter().all(|number| *number == 0.0));
    }

    #[test]
    fn each_number_has_a_name_of_its_own() {
        let all: std::collections::BTreeSet<_> = names().collect();
        assert_eq!(all.len(), NUMBERS);
    }
}
