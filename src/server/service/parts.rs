//! Whether the parts that serve people still do: each shard's thread, by the ticks that it counts,
//! and the edge's threads, by a task that one of them takes up.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::metrics::{Metric, Metrics};

/// A part that has not moved for so long hangs.
const HANGS: Duration = Duration::from_secs(10);

/// The parts, as they were at the last look.
pub(crate) struct Parts {
    metrics: Arc<Metrics>,
    edge: Handle,
    asked: Option<JoinHandle<()>>,
    edge_still: Still,
    shards: Vec<(u64, Still)>,
}

impl Parts {
    /// Parts at which nobody has looked yet.
    pub(crate) fn new(metrics: Arc<Metrics>, edge: Handle) -> Parts {
        // A build that does not count knows nothing of its shards.
        let counted = if cfg!(measure_no_metrics) { 0 } else { metrics.shards.len() };
        let shards = (0..counted).map(|_| (0, Still::default())).collect();
        Parts { metrics, edge, asked: None, edge_still: Still::default(), shards }
    }

    /// Looks at all; which of them hang. Time counts by rounds: a process that stood still as a
    /// whole has lost one.
    pub(crate) fn look(&mut self, round: Duration) -> Option<String> {
        let mut hanging = Vec::new();
        for (number, (before, still)) in self.shards.iter_mut().enumerate() {
            let ticks = self.metrics.shards[number].read().get(Metric::Ticks);
            if still.look(ticks != *before, round) {
                hanging.push(format!("shard-{number}"));
            }
            *before = ticks;
        }
        let answers = self.asked.as_ref().is_none_or(JoinHandle::is_finished);
        if answers {
            self.asked = Some(self.edge.spawn(async {}));
        }
        if self.edge_still.look(answers, round) {
            hanging.push("the edge".into());
        }
        let wait = HANGS.as_secs();
        (!hanging.is_empty())
            .then(|| format!("{}: without a sign for {wait} s or more", hanging.join(", ")))
    }
}

/// How long a part has not moved.
#[derive(Default)]
struct Still(Duration);

impl Still {
    /// Whether it hangs.
    fn look(&mut self, has_moved: bool, round: Duration) -> bool {
        self.0 = if has_moved { Duration::ZERO } else { self.0 + round };
        self.0 >= HANGS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_without_ticks_hangs_until_it_has_one() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
        let runtime = runtime.expect("a runtime");
        let metrics = Arc::new(Metrics::new(2));
        let mut parts = Parts::new(Arc::clone(&metrics), runtime.handle().clone());
        let second = Duration::from_secs(1);
        let mut counts = crate::metrics::Counts::default();
        let mut round = |ticks: bool| {
            while parts.asked.as_ref().is_some_and(|asked| !asked.is_finished()) {
                std::thread::yield_now();
            }
            counts.add(Metric::Ticks, 10);
            metrics.shards[0].publish(&counts);
            if ticks {
                metrics.shards[1].publish(&counts);
            }
            parts.look(second)
        };
        assert_eq!((0..9).find_map(|_| round(false)), None);
        let hangs = "shard-1: without a sign for 10 s or more";
        assert_eq!(round(false).as_deref(), Some(hangs));
        assert_eq!(round(true), None);
    }

    #[test]
    fn an_edge_whose_threads_are_all_held_hangs() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
        let runtime = runtime.expect("a runtime");
        let mut parts = Parts::new(Arc::new(Metrics::new(0)), runtime.handle().clone());
        let (begun, begins) = std::sync::mpsc::sync_channel(1);
        let (go_on, held) = std::sync::mpsc::sync_channel::<()>(1);
        runtime.spawn(async move {
            begun.send(()).expect("it waits");
            _ = held.recv();
        });
        begins.recv().expect("it has begun");
        let second = Duration::from_secs(1);
        assert_eq!((0..10).find_map(|_| parts.look(second)), None);
        let hangs = "the edge: without a sign for 10 s or more";
        assert_eq!(parts.look(second).as_deref(), Some(hangs));
        drop(go_on);
        while parts.asked.as_ref().is_some_and(|asked| !asked.is_finished()) {
            std::thread::yield_now();
        }
        assert_eq!(parts.look(second), None);
    }
}
