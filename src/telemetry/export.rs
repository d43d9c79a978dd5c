//! Sends spans that have ended, some at a time, for as long as the hub runs; and at its end what is
//! left, for a short while.
//!
//! Owns those that are being sent. While the collector is away they wait, with what the queue has
//! room for; what comes beyond that is lost and counted.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Plan;
use super::collector::{Collector, NotTaken};
use super::proto::{Resource, encode};
use super::spans::{Queue, Told, Traces};
use crate::authorities::{self, BadAuthorities};
use crate::clock::Clock;
use crate::conditions::{Condition, Conditions};
use crate::faults::Faults;
use crate::limits::SPANS_SENT_MAX;

/// How often the queue is looked at.
const PERIOD: Duration = Duration::from_millis(500);
/// The wait after a first failure; it doubles with each further one.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest such wait.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// The longest that an end waits until the last spans are sent.
const FLUSH_WAIT: Duration = Duration::from_secs(2);
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Sends spans to the collector.
pub(crate) struct Exporter {
    queue: Arc<Queue>,
    collector: Collector,
    resource: Resource,
    conditions: Conditions,
    /// What is being sent.
    in_hand: Vec<Told>,
    /// Failures in a row.
    failures: u32,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl Exporter {
    /// What begins spans from here on, and what sends them. `instance` tells this run of the hub
    /// from others.
    pub(crate) fn new(
        plan: &Plan,
        instance: u128,
        clock: Clock,
        faults: &Faults,
    ) -> Result<(Traces, Exporter), BadAuthorities> {
        let ca = plan.ca.as_deref();
        let tls = plan.endpoint.is_tls.then(|| authorities::https(ca)).transpose()?;
        let collector = Collector::new(plan.endpoint.clone(), plan.headers.clone(), tls);
        let (traces, queue) = Traces::new(plan.ratio, clock, Arc::clone(faults.metrics()));
        let resource = Resource::of_hub(&plan.service, VERSION, format!("{instance:032x}"));
        let conditions = faults.conditions().clone();
        let in_hand = Vec::with_capacity(SPANS_SENT_MAX);
        let exporter = Exporter { queue, collector, resource, conditions, in_hand, failures: 0 };
        Ok((traces, exporter))
    }

    /// Sends until `stop`, and then what is left.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        // What is in hand when that ends is sent again, under the same numbers.
        stop.run_until_cancelled(self.serve()).await;
        _ = timeout(FLUSH_WAIT, self.flush()).await;
        let left = self.in_hand.len() + self.queue.ended.len();
        if left > 0 {
            self.queue.lose(left);
            tracing::warn!(spans = left, "spans are lost: the collector did not take them in time");
        }
    }

    async fn serve(&mut self) -> Infallible {
        let mut period = interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            period.tick().await;
            while self.fill() {
                if let Err(wait) = self.send().await {
                    sleep(wait).await;
                }
            }
        }
    }

    /// Sends all that is there, until something is not taken.
    async fn flush(&mut self) {
        while self.fill() {
            if self.send().await.is_err() {
                return;
            }
        }
    }

    /// Takes into hand what has ended; whether there is anything.
    fn fill(&mut self) -> bool {
        while self.in_hand.len() < SPANS_SENT_MAX
            && let Some(told) = self.queue.ended.pop()
        {
            self.in_hand.push(*told);
        }
        !self.in_hand.is_empty()
    }

    /// Sends what is in hand; how long it is to wait, where it is to be sent again.
    async fn send(&mut self) -> Result<(), Duration> {
        let spans = self.in_hand.len();
        let body = encode(&self.resource, VERSION, &self.in_hand);
        match self.collector.post(body).await {
            Ok(rejected) => {
                let lost = usize::try_from(rejected).unwrap_or(spans).min(spans);
                self.queue.count_sent(spans - lost);
                self.queue.lose(lost);
                self.conditions.clear(Condition::TracesUnsent);
            }
            Err(NotTaken::Ever(why)) => {
                self.queue.lose(spans);
                self.conditions.raise(Condition::TracesUnsent, why);
            }
            Err(NotTaken::Now(why, wait)) => {
                self.conditions.raise(Condition::TracesUnsent, why);
                let own = RETRY_MIN.saturating_mul(1 << self.failures.min(8)).min(RETRY_MAX);
                self.failures = self.failures.saturating_add(1);
                return Err(wait.unwrap_or(own));
            }
        }
        self.failures = 0;
        self.in_hand.clear();
        Ok(())
    }
}
