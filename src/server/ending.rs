//! The end of a server: each of its steps has its time, whatever hangs, and a signal takes what is
//! left of it.

use std::time::Duration;

use super::signals::Signals;
use crate::clock::Clock;
use crate::limits::STORE_WAIT;
use crate::wire::time::MonoMs;

/// The time that a step has when there is no time.
pub(super) const HURRY: Duration = Duration::from_millis(STORE_WAIT);

/// How a step has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step<T> {
    /// It is done.
    Done(T),
    /// It was not done in its time.
    Late,
    /// A signal has come, which is not to wait for it.
    Left,
}

/// How much time there is.
#[derive(Debug)]
pub(super) struct Ending {
    clock: Clock,
    /// When all should be over.
    deadline: MonoMs,
    is_hurried: bool,
}

impl Ending {
    /// One that begins now and should be over within `stop_wait`.
    pub(super) fn begin(clock: Clock, stop_wait: u64, is_hurried: bool) -> Ending {
        let now = clock.now().mono;
        let wait = if is_hurried { 0 } else { stop_wait };
        Ending { clock, deadline: MonoMs(now.0.saturating_add(wait)), is_hurried }
    }

    /// What is left of the time; enough for a step that has nothing to wait for.
    pub(super) fn left(&self) -> Duration {
        Duration::from_millis(self.deadline.since(self.clock.now().mono)).max(HURRY)
    }

    /// Whether nobody is to be waited for.
    pub(super) fn is_hurried(&self) -> bool {
        self.is_hurried
    }

    /// Waits for a step of the end, for the time that is left and `spare`.
    pub(super) async fn step<T>(
        &mut self,
        signals: &mut Signals,
        spare: Duration,
        step: impl Future<Output = T>,
    ) -> Step<T> {
        let late = tokio::time::sleep(self.left() + spare);
        tokio::select! {
            biased;
            done = step => Step::Done(done),
            () = signals.next_end() => {
                self.deadline = self.clock.now().mono;
                self.is_hurried = true;
                Step::Left
            }
            () = late => Step::Late,
        }
    }
}
