//! A latest-value cell: a number that only grows, read by others, with a wake for who waits.
//!
//! Carries journal ends from shards to the batcher and committed positions back.
//! Nothing is ever queued here: who comes late reads the latest value and misses none of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// A number that only grows. One thread publishes, any may read or wait.
#[derive(Debug, Default)]
pub struct Latest {
    value: AtomicU64,
    // Shared by a group, so that one waiter can wait for any cell of it.
    wake: Arc<Notify>,
}

impl Latest {
    /// A cell at 0.
    pub fn new() -> Latest {
        Latest::default()
    }

    /// Cells at 0 that wake each other's waiters: see [`until`](Latest::until).
    pub fn group(cells: usize) -> Vec<Arc<Latest>> {
        let wake = Arc::new(Notify::new());
        let cell = || Arc::new(Latest { value: AtomicU64::new(0), wake: wake.clone() });
        std::iter::repeat_with(cell).take(cells).collect()
    }

    /// Shows `value`, unless a higher one is shown already. What the publisher wrote before is
    /// visible to whoever reads this value.
    pub fn publish(&self, value: u64) {
        if self.value.fetch_max(value, Ordering::AcqRel) < value {
            self.wake.notify_waiters();
        }
    }

    /// The latest value.
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Acquire)
    }

    /// Waits until the value is above `seen`.
    pub async fn changed(&self, seen: u64) -> u64 {
        self.until(|| Some(self.get()).filter(|value| *value > seen)).await
    }

    /// Waits until `look` finds something; it looks now, and again whenever a cell of this
    /// one's group has grown.
    pub async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
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

/// A door that one thread shuts and opens, as often as it likes, and any may look at.
#[derive(Clone, Default, Debug)]
pub struct Door {
    /// How often it was moved: odd while it is shut.
    moves: Arc<Latest>,
}

impl Door {
    /// Whether it is shut.
    pub fn is_shut(&self) -> bool {
        self.moves.get() % 2 == 1
    }

    /// Shuts it or opens it.
    pub fn set_shut(&self, shut: bool) {
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
        let cell = Latest::new();
        cell.publish(5);
        cell.publish(3);
        assert_eq!(cell.get(), 5);
    }

    #[test]
    fn who_waits_for_one_cell_is_woken_by_any_of_its_group() {
        let cells = Latest::group(2);
        let second = cells[1].clone();
        let publisher = std::thread::spawn(move || second.publish(7));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let found = runtime.block_on(cells[0].until(|| Some(cells[1].get()).filter(|v| *v > 0)));
        publisher.join().expect("the publisher ends");
        assert_eq!((found, cells[0].get()), (7, 0));
        assert_eq!(runtime.block_on(cells[1].changed(6)), 7);
    }
}
