//! Where time is read, and nowhere else: once a turn, then passed on.
//!
//! A process has its own wall clock, which begins with the machine's and goes on as monotonic time
//! does. Who looks after it has it follow the machine's: so a machine whose clock is set wrong for
//! a moment makes no message whose time is wrong for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::wire::time::{Micros, MonoMs, Now};

/// Tells the time. Cheap to clone; all clones share the same begin, and are set together.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The process's clocks.
    System {
        /// When monotonic time began.
        begin: Instant,
        /// What the wall clock showed then, in microseconds since 1970, as far as is known by now.
        unix: Arc<AtomicI64>,
    },
    /// A clock that stands still, for tests.
    Standing(Now),
}

impl Clock {
    /// The process's clocks; monotonic time begins now, at 1 ms: 0 stands for never.
    pub fn start() -> Clock {
        let unix = Arc::new(AtomicI64::new(unix_now().0));
        Clock::System { begin: Instant::now(), unix }
    }

    /// The time of this turn.
    pub fn now(&self) -> Now {
        match self {
            Clock::System { begin, unix } => {
                let since = begin.elapsed();
                let mono = u64::try_from(since.as_millis()).unwrap_or(u64::MAX - 1);
                let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
                let unix = Micros(unix.load(Relaxed).saturating_add(micros).max(0));
                Now { mono: MonoMs(1 + mono), unix }
            }
            Clock::Standing(now) => *now,
        }
    }

    /// The time, and how far the machine's wall clock is ahead of it, in microseconds.
    pub fn beside_the_machines(&self) -> (Now, i64) {
        let now = self.now();
        match self {
            Clock::System { .. } => (now, unix_now().0.saturating_sub(now.unix.0)),
            Clock::Standing(_) => (now, 0),
        }
    }

    /// Sets the wall clock forward by this number of microseconds, or back.
    pub fn set_forward(&self, micros: i64) {
        if let Clock::System { unix, .. } = self {
            unix.fetch_add(micros, Relaxed);
        }
    }
}

/// The machine's wall clock in microseconds; 0 before 1970.
pub fn unix_now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_begins_with_the_machines_and_is_set_for_all_clones() {
        let clock = Clock::start();
        let other = clock.clone();
        let (before, ahead) = clock.beside_the_machines();
        assert!(ahead.abs() < 60_000_000, "{ahead}");
        clock.set_forward(-86_400_000_000);
        let (after, ahead) = other.beside_the_machines();
        assert!(after.unix < before.unix && ahead > 86_000_000_000, "{ahead}");
        assert!(after.mono >= before.mono);
    }
}
