//! A sample: the hub's numbers at one instant, as people watch them. Pure.

use crate::metrics::{Counts, Metric};
use crate::wire::close::Close;
use crate::wire::reject::Reject;

/// How a number of a sample comes from the metrics.
#[derive(Clone, Copy)]
enum Source {
    /// The metric as it stands.
    Now(Metric),
    /// How much the metric grew in a second.
    PerSecond(Metric),
    /// What a function says of the numbers before and now, and the seconds between them.
    Both(fn(&Counts, &Counts, f64) -> f64),
}

/// The numbers of a sample, by the names that readers of the feed know.
const SERIES: [(&str, Source); 22] = [
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
    ("dead_letters", Source::Now(Metric::DeadLetters)),
    ("evictions", Source::Both(evictions)),
    ("refusals", Source::Both(refusals)),
    ("requests", Source::PerSecond(Metric::HttpRequests)),
    ("faults", Source::PerSecond(Metric::HttpFaults)),
    ("handshakes", Source::PerSecond(Metric::HandshakesAccepted)),
];

/// How many numbers a sample has.
pub(super) const NUMBERS: usize = SERIES.len();

/// The names of a sample's numbers, in order.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SERIES.iter().map(|(name, _)| *name)
}

/// The numbers between two looks at the metrics.
pub(super) fn sample(before: &Counts, now: &Counts, seconds: f64) -> [f32; NUMBERS] {
    let seconds = seconds.max(0.001);
    SERIES.map(|(_, source)| {
        let number = match source {
            Source::Now(metric) => now.get(metric) as f64,
            Source::PerSecond(metric) => grown(before.get(metric), now.get(metric)) / seconds,
            Source::Both(number) => number(before, now, seconds),
        };
        number as f32
    })
}

/// A shard that begins anew begins its counters anew.
fn grown(before: u64, now: u64) -> f64 {
    now.saturating_sub(before) as f64
}

/// How long a committed batch took, in milliseconds.
fn batch_ms(before: &Counts, now: &Counts, _seconds: f64) -> f64 {
    let by = |metric| grown(before.get(metric), now.get(metric));
    let batches = by(Metric::Batches);
    if batches > 0.0 { by(Metric::BatchMicros) / batches / 1_000.0 } else { 0.0 }
}

/// Members closed because they took too little, or were silent.
fn evictions(before: &Counts, now: &Counts, seconds: f64) -> f64 {
    let kinds = [Close::TooSlow, Close::PongTimeout, Close::Overloaded].map(Close::kind);
    kinds.map(|kind| grown(before.closes(kind), now.closes(kind))).iter().sum::<f64>() / seconds
}

/// What was refused, whatever the code.
fn refusals(before: &Counts, now: &Counts, seconds: f64) -> f64 {
    let all = |counts: &Counts| (0..Reject::KINDS).map(|kind| counts.rejects(kind)).sum();
    grown(all(before), all(now)) / seconds
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
        let (mut before, mut now) = (Counts::default(), Counts::default());
        before.add(Metric::ChatsAccepted, 100);
        now.add(Metric::ChatsAccepted, 110);
        now.add(Metric::Members, 7);
        (0..3).for_each(|_| now.reject(Reject::Draining));
        now.close(Close::TooSlow);
        now.close(Close::Kicked);
        now.add(Metric::Batches, 2);
        now.add(Metric::BatchMicros, 5_000);
        let sample = sample(&before, &now, 2.0);
        for (name, expected) in [
            ("chats", 5.0),
            ("members", 7.0),
            ("refusals", 1.5),
            ("evictions", 0.5),
            ("batch_ms", 2.5),
            ("journal_bytes", 0.0),
        ] {
            assert_eq!(number(&sample, name), expected, "{name}");
        }
    }

    #[test]
    fn a_counter_that_begins_anew_and_an_instant_give_no_number_that_is_none() {
        let (mut before, now) = (Counts::default(), Counts::default());
        before.add(Metric::ChatsAccepted, 100);
        assert!(sample(&before, &now, 0.0).iter().all(|number| *number == 0.0));
    }

    #[test]
    fn each_number_has_a_name_of_its_own() {
        let all: std::collections::BTreeSet<_> = names().collect();
        assert_eq!(all.len(), NUMBERS);
    }
}
