//! Where time is read, and nowhere else: once a turn, then passed on.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::wire::time::{Micros, MonoMs, Now};

/// Reads both clocks. Cheap to copy; all copies share the same begin.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    begin: Instant,
}

impl Clock {
    /// A clock whose monotonic time begins now, at 1 ms: 0 stands for never.
    pub fn start() -> Clock {
        Clock { begin: Instant::now() }
    }

    /// The time of this turn.
    pub fn now(&self) -> Now {
        let mono = self.begin.elapsed().as_millis();
        Now { mono: MonoMs(1 + u64::try_from(mono).unwrap_or(u64::MAX - 1)), unix: unix_now() }
    }
}

/// The wall clock in microseconds; 0 before 1970.
pub fn unix_now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
