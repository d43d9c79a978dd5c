//! What sends traces while the server runs, where they are collected, and how that ends: last, so
//! that nothing else waits for a collector, and within its time.

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Fault, spawn_watched};
use crate::clock::Clock;
use crate::config::Config;
use crate::faults::Faults;
use crate::telemetry::{Exporter, Traces};

/// What sends traces.
pub(super) struct Exporting {
    /// Dropped or cancelled, it has what is left sent.
    stop: CancellationToken,
    /// `None`: there is no collector.
    task: Option<JoinHandle<()>>,
}

impl Exporting {
    /// Begins to send what is traced by what this gives, if there is a collector. The number tells
    /// this run of the hub from others.
    pub(super) fn begin(
        config: &Config,
        (clock, instance): (&Clock, u128),
        faults: &Faults,
        threads: &Handle,
    ) -> Result<(Traces, Exporting), Fault> {
        let stop = CancellationToken::new();
        let Some(plan) = &config.telemetry else {
            return Ok((Traces::default(), Exporting { stop, task: None }));
        };
        let made = Exporter::new(plan, instance, clock.clone(), faults);
        let (traces, exporter) = made.map_err(Fault::Telemetry)?;
        let sending = exporter.run(stop.clone());
        let task = spawn_watched(threads, (faults, "the sender of traces"), &stop, sending);
        Ok((traces, Exporting { stop, task: Some(task) }))
    }

    /// Sends what is left.
    pub(super) async fn end(self) {
        self.stop.cancel();
        if let Some(task) = self.task {
            _ = task.await;
        }
    }
}
