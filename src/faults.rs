//! Faults that nothing mends, and the watch over threads and long tasks: one that ends unasked
//! is such a fault.
//!
//! Owns the first fault that was told, upon which the process ends with an error. Whoever tells
//! one raises its condition with it, so that `/readyz` says no from that moment on.

use std::any::Any;
use std::fmt::Display;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::conditions::{Condition, Conditions};
use crate::metrics::{Metric, Metrics};

/// Where a fault that nothing mends is told. Cheap to clone; all clones share it.
#[derive(Clone, Debug)]
pub struct Faults {
    told: Arc<watch::Sender<Option<String>>>,
    metrics: Arc<Metrics>,
    conditions: Conditions,
}

impl Faults {
    /// No fault was told yet.
    pub fn new(metrics: Arc<Metrics>, conditions: Conditions) -> Faults {
        Faults { told: Arc::new(watch::Sender::new(None)), metrics, conditions }
    }

    /// What else is wrong.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// Where faults are counted.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The first fault that was told.
    pub fn first(&self) -> Option<String> {
        self.told.borrow().clone()
    }

    /// Waits for the first fault.
    pub async fn wait(&self) -> String {
        let mut told = self.told.subscribe();
        match told.wait_for(Option::is_some).await.map(|told| told.clone()) {
            Ok(Some(fault)) => fault,
            // Not while this clone is there, and never without a fault.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Tells and counts a fault of the journal; the first fault told stays.
    pub fn report(&self, what: &str, error: &dyn std::error::Error) {
        self.metrics.store.add(Metric::JournalFaults, 1);
        self.tell(Condition::JournalBroken, format!("{what}: {error}"));
    }

    /// Tells a condition with which the hub can't go on; the first fault told stays.
    pub fn end(&self, condition: Condition, why: &dyn Display) {
        self.tell(condition, why.to_string());
    }

    /// Watches a thread or a task from here on, under this name.
    pub fn watch(&self, part: impl Into<String>) -> Watched {
        Watched { part: part.into(), faults: Some(self.clone()), until: None }
    }

    fn tell(&self, condition: Condition, fault: String) {
        self.conditions.raise(condition, &fault);
        self.told.send_if_modified(|told| {
            let first = told.is_none();
            told.get_or_insert(fault);
            first
        });
    }
}

/// A part that is watched. Dropped before it was [`ended`](Watched::ended), by a panic or by a
/// return that nobody meant, it tells the fault.
#[derive(Debug)]
#[must_use = "dropped at once it tells that the part has ended"]
pub struct Watched {
    part: String,
    /// `None` once it has ended as it was to.
    faults: Option<Faults>,
    until: Option<CancellationToken>,
}

impl Watched {
    /// The part may end from the moment that `stop` is cancelled.
    pub fn until(mut self, stop: CancellationToken) -> Watched {
        self.until = Some(stop);
        self
    }

    /// The part has ended as it was to.
    pub fn ended(mut self) {
        self.faults = None;
    }

    /// The part has ended: as it was to, or with an error.
    pub fn ended_with<T, E: Display>(mut self, outcome: &Result<T, E>) {
        match outcome {
            Ok(_) => self.faults = None,
            Err(error) => self.tell(&format!(": {error}")),
        }
    }

    fn tell(&mut self, why: &str) {
        if let Some(faults) = self.faults.take() {
            let fault = format!("{} has ended{why}", self.part);
            faults.tell(Condition::PartEnded, fault);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.until.as_ref().is_some_and(CancellationToken::is_cancelled) {
            return;
        }
        self.tell(if std::thread::panicking() { " in a panic" } else { "" });
    }
}

/// Where a part may be made to panic, by tests: if its name stands in the file that the variable
/// `CPI_HUB_TEST_PANIC` names. Builds without debug assertions have no such place.
#[inline]
pub(crate) fn panic_place(part: &str) {
    #[cfg(debug_assertions)]
    if let Some(file) = std::env::var_os("CPI_HUB_TEST_PANIC") {
        let named = std::fs::read_to_string(file).unwrap_or_default();
        assert!(named.trim() != part, "a test has {part} panic");
    }
    #[cfg(not(debug_assertions))]
    let _ = part;
}

/// Whether an error says that something is short now, be it descriptors, memory or room: that is
/// waited for, and never taken for damage.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, OutOfMemory, QuotaExceeded, StorageFull, WouldBlock};
    // The standard library has no kinds for too many open files.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.kind(), Interrupted | OutOfMemory | QuotaExceeded | StorageFull | WouldBlock)
        || matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

/// What a panic said, for the log; the hook has told where it was.
#[derive(Debug, thiserror::Error)]
#[error("a bug: {0}")]
pub(crate) struct Panicked(String);

impl Panicked {
    fn new(payload: &(dyn Any + Send)) -> Panicked {
        let text = payload.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Panicked(text.unwrap_or_else(|| "it panicked".into()))
    }
}

/// Does some work whose bugs end nothing but itself: what it was about to change is to be thrown
/// away after a panic.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|payload| Panicked::new(&*payload))
}

/// Does some work that waits, as [`caught`] does work that does not.
pub(crate) async fn caught_in<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = pin!(work);
    std::future::poll_fn(|context| match caught(|| work.as_mut().poll(context)) {
        Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}

#[cfg(any(test, fuzzing))]
impl Faults {
    /// Faults that nobody reads.
    pub(crate) fn unread(metrics: Arc<Metrics>) -> Faults {
        Faults::new(metrics, Conditions::new(crate::clock::Clock::start()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conditions::Effect;

    fn faults() -> Faults {
        Faults::unread(Arc::new(Metrics::new(1)))
    }

    fn detail(faults: &Faults) -> (Condition, Option<Effect>, String) {
        let [raised] = &faults.conditions().all()[..] else { panic!("{faults:?}") };
        (raised.condition, faults.conditions().effect(), raised.detail.clone())
    }

    #[test]
    fn a_thread_that_panics_is_told_by_its_name_before_anybody_joins_it() {
        let faults = faults();
        let part = faults.watch("shard-7");
        let thread = std::thread::spawn(move || {
            let _part = part;
            panic!("a bug");
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        assert_eq!(runtime.block_on(faults.wait()), "shard-7 has ended in a panic");
        let expected = "shard-7 has ended in a panic".to_owned();
        assert_eq!(detail(&faults), (Condition::PartEnded, Some(Effect::Refusing), expected));
        thread.join().expect_err("it has panicked");
    }

    #[test]
    fn a_part_that_returns_unasked_or_with_an_error_is_told_and_the_first_one_stays() {
        let faults = faults();
        faults.watch("a").ended();
        faults.watch("b").ended_with(&Ok::<_, String>(()));
        let stop = CancellationToken::new();
        let meant = faults.watch("c").until(stop.clone());
        stop.cancel();
        drop(meant);
        assert_eq!((faults.first(), faults.conditions().all()), (None, vec![]));
        faults.watch("d").ended_with(&Err::<(), _>("epoll"));
        drop(faults.watch("e").until(CancellationToken::new()));
        drop(faults.watch("f"));
        assert_eq!(faults.first().as_deref(), Some("d has ended: epoll"));
        assert_eq!(detail(&faults).2, "f has ended", "the last is what is known of the condition");
    }

    #[test]
    fn a_task_that_panics_is_told_while_its_runtime_goes_on() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let faults = faults();
        let part = faults.watch("listener").until(CancellationToken::new());
        runtime.block_on(async {
            let task = tokio::spawn(async move {
                let _part = part;
                tokio::task::yield_now().await;
                panic!("a bug");
            });
            assert_eq!(faults.wait().await, "listener has ended in a panic");
            assert!(task.await.is_err_and(|ended| ended.is_panic()));
        });
    }

    #[test]
    fn a_caught_panic_is_an_answer() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let work = async {
            tokio::task::yield_now().await;
            assert_eq!(1, 2, "numbers");
        };
        let panicked = runtime.block_on(caught_in(work)).expect_err("it panics").to_string();
        assert!(panicked.starts_with("a bug: ") && panicked.contains("numbers"), "{panicked}");
        assert_eq!(runtime.block_on(caught_in(async { 5 })).expect("it does not"), 5);
        assert_eq!(caught(|| 6).expect("it does not"), 6);
    }
}
