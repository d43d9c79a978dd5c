//! A latest-value cell: a value that only grows, read by others, with a wake for who waits.
//!
//! Carries journal ends from shards to the batcher and committed positions back.
//! Nothing is ever queued here: who comes late reads the latest value and misses none of it.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// A value that a cell can show: as a number that grows as the value does.
pub trait Shown: Copy {
    /// The value as a number; a cell begins with 0.
    fn number(self) -> u64;
    /// The inverse.
    fn of(number: u64) -> Self;
}

impl Shown for u64 {
    fn number(self) -> u64 {
        self
    }

    fn of(number: u64) -> u64 {
        number
    }
}

/// `None` is below every number.
impl Shown for Option<u64> {
    fn number(self) -> u64 {
        self.map_or(0, |value| value + 1)
    }

    fn of(number: u64) -> Option<u64> {
        number.checked_sub(1)
    }
}

/// A value that only grows. One thread publishes, any may read or wait.
#[derive(Debug)]
pub struct Latest<T = u64> {
    number: AtomicU64,
    // Shared by a group, so that one waiter can wait for any cell of it.
    wake: Arc<Notify>,
    kind: PhantomData<T>,
}

impl<T: Shown> Default for Latest<T> {
    fn default() -> Latest<T> {
        Latest::with(Arc::default())
    }
}

impl<T: Shown> Latest<T> {
    /// A cell with the lowest value.
    pub fn new() -> Latest<T> {
        Latest::default()
    }

    fn with(wake: Arc<Notify>) -> Latest<T> {
        Latest { number: AtomicU64::new(0), wake, kind: PhantomData }
    }

    /// Cells with the lowest value that wake each other's waiters: see [`until`](Latest::until).
    pub fn group(cells: usize) -> Vec<Arc<Latest<T>>> {
        let wake = Arc::new(Notify::new());
        (0..cells).map(|_| Arc::new(Latest::with(wake.clone()))).collect()
    }

    /// Shows `value`, unless a higher one is shown already. What the publisher wrote before is
    /// visible to whoever reads this value.
    pub fn publish(&self, value: T) {
        let number = value.number();
        if self.number.fetch_max(number, Ordering::AcqRel) < number {
            self.wake.notify_waiters();
        }
    }

    /// The latest value.
    pub fn get(&self) -> T {
        T::of(self.number.load(Ordering::Acquire))
    }

    /// Waits until the value is above `seen`.
    pub async fn changed(&self, seen: T) -> T {
        self.until(|| Some(self.get()).filter(|value| value.number() > seen.number())).await
    }

    /// Waits until `look` finds something; it looks now, and again whenever a cell of this
    /// one's group has grown.
    pub async fn until<F>(&self, mut look: impl FnMut() -> Option<F>) -> F {
        loop {
            let wake = self.wake.notified();
            tokio::pin!(wake);
            // Listen first, then look: a value published in between wakes us.
            wake.as_mut().enable();
            if let Some(found) = look() {
                return found;
            }
            wake.await;
        }
    }
}

/// A switch that one thread shuts and opens, as often as it likes, and any may look at.
#[derive(Clone, Default, Debug)]
pub(crate) struct Switch {
    /// How often it was moved: odd while it is shut.
    moves: Arc<Latest>,
}

impl Switch {
    /// Whether it is shut.
    pub(crate) fn is_shut(&self) -> bool {
        self.moves.get() % 2 == 1
    }

    /// Shuts it or opens it.
    pub(crate) fn set_shut(&self, shut: bool) {
        if self.is_shut() != shut {
            self.moves.publish(self.moves.get() + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_never_goes_back() {
        let cell = Latest::<u64>::new();
        cell.publish(5);
        cell.publish(3);
        assert_eq!(cell.get(), 5);
        let cell = Latest::<Option<u64>>::new();
        assert_eq!(cell.get(), None);
        cell.publish(Some(0));
        cell.publish(None);
        assert_eq!(cell.get(), Some(0));
    }

    #[test]
    fn who_waits_for_one_cell_is_woken_by_any_of_its_group() {
        let cells = Latest::<u64>::group(2);
        let second = cells[1].clone();
        let publisher = std::thread::spawn(move || second.publish(7));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let found = runtime.block_on(cells[0].until(|| Some(cells[1].get()).filter(|v| *v > 0)));
        publisher.join().expect("the publisher ends");
        assert_eq!((found, cells[0].get()), (7, 0));
        assert_eq!(runtime.block_on(cells[1].changed(6)), 7);
    }
}
