//! The samples of the last hour, and who takes them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::sample::{Look, NUMBERS, sample};
use crate::clock::Clock;
use crate::edge::api::process::usage;
use crate::limits::{PAST_SAMPLES_MAX, SAMPLE_PERIOD};
use crate::metrics::Metrics;
use crate::wire::time::Micros;

/// How often a sample is taken.
pub(in crate::edge) const PERIOD: Duration = Duration::from_millis(SAMPLE_PERIOD);

/// One sample.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Sample {
    /// When it was taken.
    pub at: Micros,
    /// Its numbers, in the order of their names.
    pub numbers: [f32; NUMBERS],
}

/// Samples, oldest first; one each [`SAMPLE_PERIOD`], as long as the hub was not hindered.
#[derive(Default, Debug)]
pub(in crate::edge) struct Past(VecDeque<Sample>);

impl Past {
    fn push(&mut self, sample: Sample) {
        if self.0.len() >= PAST_SAMPLES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    /// All of them.
    pub(super) fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.0.iter()
    }

    /// The newest.
    pub(super) fn newest(&self) -> Option<Sample> {
        self.0.back().copied()
    }
}

/// What samples are kept in, and the work of taking them.
pub(in crate::edge) fn keep(
    metrics: Arc<Metrics>,
    clock: Clock,
    period: Duration,
) -> (watch::Receiver<Past>, impl Future<Output = ()>) {
    let (kept, shown) = watch::channel(Past::default());
    let taking = async move {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let mut before = look(&metrics, &clock);
        loop {
            ticks.tick().await;
            let now = look(&metrics, &clock);
            let numbers = sample(&before, &now);
            kept.send_modify(|past| past.push(Sample { at: now.at.unix, numbers }));
            before = now;
        }
    };
    (shown, taking)
}

fn look(metrics: &Metrics, clock: &Clock) -> Look {
    let (cpu_seconds, resident_bytes) = usage();
    Look { at: clock.now(), counts: metrics.total(), cpu_seconds, resident_bytes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Counts, Metric};

    #[test]
    fn the_oldest_sample_makes_room_for_the_newest() {
        let mut past = Past::default();
        for at in 0..PAST_SAMPLES_MAX as i64 + 5 {
            past.push(Sample { at: Micros(at), numbers: [0.0; NUMBERS] });
        }
        let kept: Vec<i64> = past.samples().map(|it| it.at.0).collect();
        assert_eq!((kept.len(), kept[0]), (PAST_SAMPLES_MAX, 5));
        assert_eq!(past.newest().map(|it| it.at.0), kept.last().copied());
    }

    #[tokio::test]
    async fn a_sample_is_taken_each_period_of_what_was_counted_since() {
        let metrics = Arc::new(Metrics::new(1));
        let (mut shown, taking) =
            keep(Arc::clone(&metrics), Clock::start(), Duration::from_millis(5));
        let counting = async {
            for round in 1..=3 {
                let mut counts = Counts::default();
                counts.set(Metric::Members, round);
                metrics.shards[0].publish(&counts);
                shown.changed().await.expect("samples are taken");
                let newest = shown.borrow_and_update().newest().expect("there is one");
                assert_eq!(newest.numbers[0], round as f32, "members come first");
            }
        };
        tokio::select! {
            () = taking => unreachable!("it never ends"),
            () = counting => {}
        }
    }
}
