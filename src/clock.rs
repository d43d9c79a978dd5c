//! Where time is read, and nowhere else: once a turn, then passed on.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::wire::time::{Micros, MonoMs, Now};

/// Tells the time. Cheap to copy; all copies share the same begin.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The machine's clocks.
    System {
        /// When monotonic time began.
        begin: Instant,
    },
    /// A clock that stands still, for tests.
    Standing(Now),
}

impl Clock {
    /// The machine's clocks; monotonic time begins now, at 1 ms: 0 stands for never.
    pub fn start() -> Clock {
        Clock::System { begin: Instant::now() }
    }

    /// The time of this turn.
    pub fn now(&self) -> Now {
        match self {
            Clock::System { begin } => {
                let mono = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
                Now { mono: MonoMs(1 + mono), unix: unix_now() }
            }
            Clock::Standing(now) => *now,
        }
    }
}

/// The wall clock in microseconds; 0 before 1970.
pub fn unix_now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
