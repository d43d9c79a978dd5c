//! A task beside the sink: watched, and ended with whoever holds it.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::faults::Faults;

/// The task.
#[derive(Debug)]
pub(super) struct Aside {
    task: JoinHandle<()>,
    /// The task's end is meant, from then on.
    stop: CancellationToken,
}

impl Aside {
    /// Begins some work that `faults` is told of, under this name, if it dies.
    pub(super) fn begin(
        part: &'static str,
        faults: &Faults,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Aside {
        let stop = CancellationToken::new();
        let part = faults.watch(part).until(stop.clone());
        let task = tokio::spawn(async move {
            work.await;
            part.ended();
        });
        Aside { task, stop }
    }

    /// Whether the work is done.
    pub(super) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Ends it, and waits until it does nothing more.
    pub(super) async fn stop(mut self) {
        self.abort();
        // An end that is meant is no fault, and a panic was told when it happened.
        _ = (&mut self.task).await;
    }

    fn abort(&self) {
        self.stop.cancel();
        self.task.abort();
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.abort();
    }
}
