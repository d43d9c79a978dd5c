//! The edge while the hub serves, and how it ends: at once, or by leaving its socket to the process
//! that serves there next.

use std::convert::Infallible;
use std::io;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use super::spawn_watched;
use super::starting::Doors;
use crate::edge::{self, EdgeState, Leaving};
use crate::faults::Faults;

/// The edge.
pub(super) struct Serving {
    task: JoinHandle<()>,
    leaving: CancellationToken,
    /// Ends when whoever was accepted before it has been heard.
    heard: mpsc::Receiver<Infallible>,
    stop: CancellationToken,
    is_inherited: bool,
}

impl Serving {
    /// Serves from here on.
    pub(super) fn begin(
        threads: &Handle,
        doors: &Doors,
        state: EdgeState,
        faults: &Faults,
    ) -> io::Result<Serving> {
        let (stop, is_inherited) = (CancellationToken::new(), doors.is_inherited);
        let (all, heard) = mpsc::channel(1);
        let leaving = state.health.leaving.clone();
        let leave = Leaving { now: leaving.clone(), heard: all };
        let serving = edge::serve(doors.on(threads)?, state, (leave, stop.clone()));
        let task = spawn_watched(threads, (faults, "the listener"), &stop, serving);
        Ok(Serving { task, leaving, heard, stop, is_inherited })
    }

    /// The end begins. On a socket of its own the hub answers to its last moment that it ends. One
    /// that was handed over has a successor: whoever connects from here on waits for that, and
    /// whoever was accepted before is to be [`heard`](Serving::heard), so that the restart refuses
    /// nobody.
    pub(super) fn leave(&self) {
        if self.is_inherited {
            self.leaving.cancel();
        }
    }

    /// Waits until whoever was accepted before the hub left its socket has been heard.
    pub(super) async fn heard(&mut self) {
        if self.is_inherited {
            self.heard.recv().await;
        }
    }

    /// Ends what is left.
    pub(super) async fn end(self) -> Result<(), JoinError> {
        self.leaving.cancel();
        self.stop.cancel();
        self.task.await
    }
}
