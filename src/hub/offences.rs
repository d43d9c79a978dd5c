//! Who was closed for what they did, and is not let in again for a while: floods, and readers that
//! held up their space.
//!
//! A user is remembered by its address, since nobody else is to be kept out by what it did. An
//! address from which many floods came is remembered as a whole, unless it is loopback, behind
//! which may stand everybody.

use dashmap::DashMap;

use crate::limits::{ADDRESS_FLOODS_MAX, OFFENCE_MEMORY, OFFENCE_WAIT_MAX, OFFENDERS_MAX};
use crate::wire::UserId;
use crate::wire::close::Close;
use crate::wire::time::MonoMs;

/// Somebody who is remembered: an address, 0 for loopback, and a user of it or all of them.
type Offender = (u64, Option<UserId>);

/// What an offender did of late.
#[derive(Clone, Copy, Default, Debug)]
struct Offence {
    times: u32,
    last: MonoMs,
    /// Until then it is not let in.
    until: MonoMs,
}

/// All that is remembered.
#[derive(Debug, Default)]
pub(super) struct Offences(DashMap<Offender, Offence>);

impl Offences {
    /// Notes that a connection was closed. `wait` is how long a first flood keeps its user out, in
    /// ms; 0: nobody is kept out.
    pub(super) fn note(
        &self,
        now: MonoMs,
        wait: u64,
        (address, user): (Option<u64>, UserId),
        close: Close,
    ) {
        // Who reads too little may have a bad line: only the second time counts.
        let pardoned = match close {
            Close::TooFast | Close::TooManyErrors => 0,
            Close::TooSlow => 1,
            _ => return,
        };
        self.add(now, wait, (address.unwrap_or(0), Some(user)), pardoned);
        if let Some(address) = address.filter(|_| pardoned == 0) {
            self.add(now, wait, (address, None), ADDRESS_FLOODS_MAX);
        }
    }

    fn add(&self, now: MonoMs, wait: u64, offender: Offender, pardoned: u32) {
        if self.0.len() >= OFFENDERS_MAX {
            self.0.retain(|_, it| now.since(it.last) < OFFENCE_MEMORY || now < it.until);
        }
        // With as many as there may be in memory the oldest still count, and new ones come back.
        if wait == 0 || self.0.len() >= OFFENDERS_MAX && !self.0.contains_key(&offender) {
            return;
        }
        let mut offence = self.0.entry(offender).or_default();
        if now.since(offence.last) >= OFFENCE_MEMORY {
            offence.times = 0;
        }
        offence.times = offence.times.saturating_add(1);
        offence.last = now;
        if let Some(again) = offence.times.checked_sub(pardoned + 1) {
            let wait = wait.saturating_mul(1 << again.min(20)).min(OFFENCE_WAIT_MAX.max(wait));
            offence.until = MonoMs(now.0 + wait);
        }
    }

    /// For how many milliseconds a user is still not let in from an address.
    pub(super) fn wait(&self, now: MonoMs, address: Option<u64>, user: UserId) -> Option<u32> {
        let address = address.unwrap_or(0);
        let until = |offender| self.0.get(&offender).map_or(MonoMs(0), |it| it.until);
        let until = until((address, Some(user))).max(until((address, None)));
        let left = until.0.saturating_sub(now.0);
        (left > 0).then(|| u32::try_from(left).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: UserId = UserId(1);
    const BETO: UserId = UserId(2);
    const WAIT: u64 = 10_000;

    #[test]
    fn who_floods_again_and_again_waits_longer_each_time_and_nobody_else_does() {
        let offences = Offences::default();
        let mut now = MonoMs(1_000);
        for expected in [10_000, 20_000, 40_000] {
            offences.note(now, WAIT, (None, ANA), Close::TooFast);
            assert_eq!(offences.wait(now, None, ANA), Some(expected));
            assert_eq!(offences.wait(now, None, BETO), None);
            assert_eq!(offences.wait(now, Some(7), ANA), None, "from elsewhere");
            now.0 += u64::from(expected);
            assert_eq!(offences.wait(now, None, ANA), None);
        }
        now.0 += OFFENCE_MEMORY;
        offences.note(now, WAIT, (None, ANA), Close::TooFast);
        assert_eq!(offences.wait(now, None, ANA), Some(10_000), "it is forgotten");
    }

    #[test]
    fn a_slow_reader_is_pardoned_once_and_other_ends_always() {
        let offences = Offences::default();
        let now = MonoMs(1_000);
        for close in [Close::Gone, Close::Kicked, Close::PongTimeout, Close::TooSlow] {
            offences.note(now, WAIT, (Some(7), ANA), close);
            assert_eq!(offences.wait(now, Some(7), ANA), None, "{close:?}");
        }
        offences.note(now, WAIT, (Some(7), ANA), Close::TooSlow);
        assert_eq!(offences.wait(now, Some(7), ANA), Some(10_000));
        assert_eq!(offences.wait(now, Some(7), BETO), None);
    }

    #[test]
    fn an_address_of_many_floods_is_kept_out_whole_but_loopback_is_not() {
        let offences = Offences::default();
        let now = MonoMs(1_000);
        for address in [None, Some(7)] {
            for user in 0..=ADDRESS_FLOODS_MAX as i32 {
                assert_eq!(offences.wait(now, address, UserId(-1)), None, "{user}");
                offences.note(now, WAIT, (address, UserId(user)), Close::TooFast);
            }
        }
        assert_eq!(offences.wait(now, Some(7), UserId(-1)), Some(10_000));
        assert_eq!(offences.wait(now, None, UserId(-1)), None);
        assert_eq!(offences.wait(now, Some(8), UserId(-1)), None);
    }

    #[test]
    fn memory_is_bounded_and_nobody_is_kept_out_where_that_is_off() {
        let offences = Offences::default();
        for user in 0..=OFFENDERS_MAX as i32 {
            offences.note(MonoMs(1), WAIT, (None, UserId(user)), Close::TooFast);
        }
        assert_eq!(offences.0.len(), OFFENDERS_MAX);
        let later = MonoMs(OFFENCE_MEMORY + WAIT);
        offences.note(later, WAIT, (None, UserId(-1)), Close::TooFast);
        assert_eq!(offences.0.len(), 1);
        offences.note(later, 0, (None, UserId(-2)), Close::TooFast);
        assert_eq!(offences.wait(later, None, UserId(-2)), None);
    }
}
