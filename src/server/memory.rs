//! Looks after the memory that this process may use: before it is used up, members that take
//! nothing make room, and where that is not enough nobody else is let in. What is accepted, and
//! who is there and reads, stays.

use std::time::Duration;

use crate::conditions::{Condition, Conditions};
use crate::config::memory::MemoryBound;
use crate::hub::Hub;
use crate::limits::{MEMORY_FREE_PERCENT, MEMORY_FULL_PERCENT};

/// Between two rounds, and from the time on when half of the bound is used.
const ROUND: Duration = Duration::from_millis(250);
const SHORT_ROUND: Duration = Duration::from_millis(25);

/// Who looks after it.
pub(super) struct Memory {
    pub(super) bound: MemoryBound,
    pub(super) hub: Hub,
    pub(super) conditions: Conditions,
}

impl Memory {
    /// Goes its rounds for ever.
    pub(super) async fn run(self) {
        let mut shortage = Shortage::default();
        let mut round = ROUND;
        loop {
            tokio::time::sleep(round).await;
            let Some(used) = self.bound.used() else { continue };
            round = if used > self.bound.bytes / 2 { SHORT_ROUND } else { ROUND };
            let relief = shortage.look(used, self.bound.bytes);
            if relief > 0 {
                self.hub.relieve(relief);
            }
            self.hub.set_full(shortage.is_full);
            self.conditions.set(Condition::MemoryFull, shortage.told(used, self.bound.bytes));
        }
    }
}

/// What is known of a shortage.
#[derive(Default, Debug)]
struct Shortage {
    /// More was used than may be.
    is_over: bool,
    /// Nobody is let in.
    is_full: bool,
}

impl Shortage {
    /// Takes a look; how many bytes are to be freed.
    fn look(&mut self, used: u64, bytes: u64) -> u64 {
        let (full, free) = (part(bytes, MEMORY_FULL_PERCENT), part(bytes, MEMORY_FREE_PERCENT));
        if used <= free {
            *self = Shortage::default();
        } else if used > full {
            // Those who hold most go first; what that frees is seen in the next round.
            self.is_full = self.is_over;
            self.is_over = true;
        }
        if self.is_over { used - free } else { 0 }
    }

    fn told(&self, used: u64, bytes: u64) -> Option<String> {
        let closed = if self.is_full { "nobody else is let in" } else { "idle readers make room" };
        let told = || format!("{} of {} MiB are used: {closed}", used >> 20, bytes >> 20);
        self.is_over.then(told)
    }
}

fn part(bytes: u64, percent: u64) -> u64 {
    bytes / 100 * percent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_go_before_newcomers_are_refused_and_both_end_well_below() {
        let mut shortage = Shortage::default();
        let mut look = |used| (shortage.look(used, 1_000), shortage.is_over, shortage.is_full);
        assert_eq!(look(750), (0, false, false));
        assert_eq!(look(760), (60, true, false));
        assert_eq!(look(720), (20, true, false), "it was not enough yet");
        assert_eq!(look(770), (70, true, true), "those who hold most were not enough");
        assert_eq!(look(740), (40, true, true));
        assert_eq!(look(700), (0, false, false));
        assert_eq!(look(720), (0, false, false));
        assert_eq!(look(751), (51, true, false));
    }
}
