//! The offset of a store's times. A database holds wall clock without one, so it remembers which
//! it is, beside the positions of journals: as a number of seconds, and a day, which is never 0.

use std::fmt;

const DAY: i64 = 86_400;

/// An offset as a database remembers it.
pub(crate) fn remembered(utc_offset: i32) -> i64 {
    DAY + i64::from(utc_offset)
}

/// A store whose times are of another offset than the one that is configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OtherOffset {
    ours: i64,
    theirs: i64,
}

impl OtherOffset {
    /// What a database remembers, if that is another one than the configured.
    pub(crate) fn of(utc_offset: i32, theirs: i64) -> Option<OtherOffset> {
        let ours = remembered(utc_offset);
        (theirs != ours).then_some(OtherOffset { ours, theirs })
    }
}

impl fmt::Display for OtherOffset {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |remembered: i64| {
            let minutes = (remembered - DAY) / 60;
            let sign = if minutes < 0 { '-' } else { '+' };
            format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
        };
        let (ours, theirs) = (text(self.ours), text(self.theirs));
        write!(
            out,
            "utc_offset: {ours}, and the store's times are of {theirs}, which they do not say \
             themselves: give --utc-offset {theirs} again"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_offset_is_named_with_the_way_out() {
        for offset in [-10_800, 0, 19_800] {
            assert_eq!(OtherOffset::of(offset, remembered(offset)), None);
        }
        let other = OtherOffset::of(19_800, remembered(-10_800)).expect("another").to_string();
        assert!(other.starts_with("utc_offset: +05:30, and the store's times are of -03:00"));
        assert!(other.ends_with("give --utc-offset -03:00 again"), "{other}");
    }
}
