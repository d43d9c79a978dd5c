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
use crate::limits::{PANICS_MAX, PANICS_WAIT};
use crate::metrics::{Metric, Metrics, Part};
use crate::wire::time::MonoMs;

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

/// Counts and tells a panic that did not end the hub.
pub(crate) fn note_panic(part: Part, metrics: &Metrics, conditions: &Conditions, detail: &str) {
    metrics.panicked(part);
    conditions.happened(Condition::PartPanicked, detail);
}

/// The lives of a part that begins anew after a panic: all that it was about to change is thrown
/// away whole, and made again from what is stored. It does so a few times: then the panic goes on,
/// and ends the hub.
#[derive(Debug)]
pub(crate) struct Lives {
    part: Part,
    name: String,
    faults: Faults,
    panics: Vec<MonoMs>,
}

impl Lives {
    /// A part that has not panicked yet, by its name for people.
    pub(crate) fn new(part: Part, name: impl Into<String>, faults: &Faults) -> Lives {
        Lives { part, name: name.into(), faults: faults.clone(), panics: Vec::new() }
    }

    /// Does the part's work until it ends by itself, each time from the beginning.
    pub(crate) fn live<T>(mut self, mut life: impl FnMut() -> T) -> T {
        loop {
            match caught(&mut life) {
                Ok(ended) => return ended,
                Err(panicked) => self.end(panicked),
            }
        }
    }

    /// A life has ended in a panic. Returns if there is to be another one, and panics if not.
    pub(crate) fn end(&mut self, panicked: Panicked) {
        let (name, now) = (&self.name, self.faults.conditions.clock().now().mono);
        self.panics.retain(|at| now.since(*at) < PANICS_WAIT);
        self.panics.push(now);
        let detail = format!("{name}: {panicked}");
        note_panic(self.part, &self.faults.metrics, &self.faults.conditions, &detail);
        if self.panics.len() >= PANICS_MAX {
            tracing::error!(part = name, "it panics again and again, and is not begun anew");
            panic::resume_unwind(Box::new(panicked.0));
        }
        tracing::error!(part = name, "it has panicked, and is begun anew");
    }
}

/// Where a part may be made to panic, by tests: if its name stands in the file that the variable
/// `CPI_HUB_TEST_PANIC` names. With `once` behind the name the file is removed by that. Builds
/// without debug assertions have no such place.
#[inline]
pub(crate) fn panic_place(part: &str) {
    #[cfg(debug_assertions)]
    if let Some(file) = std::env::var_os("CPI_HUB_TEST_PANIC") {
        let named = std::fs::read_to_string(&file).unwrap_or_default();
        let rest = named.trim().strip_prefix(part);
        // Several threads may be here at once: one of them removes the file.
        let is_meant =
            rest == Some("") || rest == Some(" once") && std::fs::remove_file(&file).is_ok();
        assert!(!is_meant, "a test has {part} panic");
    }
    #[cfg(not(debug_assertions))]
    let _ = part;
}

/// The same within a shard, whose number comes before the place.
#[inline]
pub(crate) fn panic_place_of_shard(shard: usize, place: &str) {
    #[cfg(debug_assertions)]
    if std::env::var_os("CPI_HUB_TEST_PANIC").is_some() {
        panic_place(&format!("shard-{shard} {place}"));
    }
    #[cfg(not(debug_assertions))]
    let _ = (shard, place);
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
    use crate::clock::Clock;
    use crate::conditions::Effect;
    use crate::wire::time::{Micros, Now};

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
    fn a_part_begins_anew_until_it_has_panicked_too_often_within_a_minute() {
        let at = |mono| Clock::Standing(Now { mono: MonoMs(mono), unix: Micros(0) });
        let metrics = Arc::new(Metrics::new(1));
        let lived = |panics: &[u64]| {
            let mut lives = Lives::new(Part::Flush, "hub-flush", &faults());
            panics
                .iter()
                .take_while(|mono| {
                    let conditions = Conditions::new(at(**mono));
                    lives.faults = Faults::new(Arc::clone(&metrics), conditions);
                    let ended = caught(|| lives.end(Panicked("a bug".into())));
                    assert!(lives.faults.conditions().holds(Condition::PartPanicked));
                    ended.is_ok()
                })
                .count()
        };
        assert_eq!(lived(&[1, 2, 3, 4]), PANICS_MAX - 1);
        assert_eq!(lived(&[1, 2, PANICS_WAIT + 1, PANICS_WAIT + 3, 3 * PANICS_WAIT]), 5);
        assert_eq!(metrics.panics().find(|(part, _)| *part == "flush"), Some(("flush", 8)));
        let mut left = 2;
        let lives = Lives::new(Part::Flush, "hub-flush", &faults());
        let ended = lives.live(|| {
            left -= 1;
            assert!(left == 0, "a bug");
            "it ends by itself"
        });
        assert_eq!(ended, "it ends by itself");
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
