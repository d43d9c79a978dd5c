//! Instants as the existing database and clients have them: microseconds since 1970, written as
//! wall clock of one fixed offset with six digits (WIRE, form `T`).
//!
//! Nothing here reads a clock; `clock.rs` does, and passes the [`Now`] of a turn in.

/// Unix time in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Micros(pub i64);

/// Milliseconds of the monotonic clock since the process began: for timeouts and rates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct MonoMs(pub u64);

impl MonoMs {
    /// Milliseconds since `earlier`, 0 if that lies ahead.
    pub fn since(self, earlier: MonoMs) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The time of one turn, read once and passed in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// For timeouts and rates; never goes back.
    pub mono: MonoMs,
    /// For ids and timestamps; may jump.
    pub unix: Micros,
}

impl Now {
    /// Microseconds since `earlier`. The wall clock counts them, and is believed unless it has
    /// jumped; then it is the milliseconds of the monotonic clock.
    pub fn micros_since(self, earlier: Now) -> u64 {
        let mono = self.mono.since(earlier.mono) * 1000;
        let wall = u64::try_from(self.unix.0.saturating_sub(earlier.unix.0)).unwrap_or(0);
        if wall.abs_diff(mono) <= 2_000 { wall } else { mono }
    }
}

/// The length of form `T`, in bytes.
pub const TIME_BYTES: usize = 32;

/// Writes form `T`: `2026-01-02T03:04:05.678901-03:00`.
///
/// Keeps the text of the last second, so that most calls write six digits (measured: 5 ns).
#[derive(Clone, Debug)]
pub struct TimeFormat {
    offset_s: i32,
    second: i64,
    text: [u8; TIME_BYTES],
}

impl TimeFormat {
    /// A format for a fixed offset east of UTC, in seconds (-10800 is Buenos Aires).
    pub fn new(offset_s: i32) -> TimeFormat {
        let mut format =
            TimeFormat { offset_s, second: i64::MIN, text: *b"0000-00-00T00:00:00.000000+00:00" };
        let (sign, minutes) = (offset_s < 0, offset_s.unsigned_abs() / 60);
        format.text[26] = if sign { b'-' } else { b'+' };
        format.digits(27, 2, minutes / 60);
        format.digits(30, 2, minutes % 60);
        format
    }

    /// The text of an instant. Years are written with four digits: 0000 to 9999.
    pub fn text(&mut self, at: Micros) -> &[u8; TIME_BYTES] {
        let second = at.0.div_euclid(1_000_000);
        if second != self.second {
            self.set_second(second);
        }
        let micros = u32::try_from(at.0.rem_euclid(1_000_000)).expect("below a million");
        self.digits(20, 6, micros);
        &self.text
    }

    /// The text of an instant as an owned string, for what is not on a message's path.
    pub fn string(&mut self, at: Micros) -> String {
        String::from_utf8(self.text(at).to_vec()).expect("the text is ASCII")
    }

    fn set_second(&mut self, second: i64) {
        let wall = second.saturating_add(i64::from(self.offset_s));
        let (year, month, day) = civil(wall.div_euclid(86_400));
        let of_day = u32::try_from(wall.rem_euclid(86_400)).expect("below a day");
        self.digits(0, 4, year);
        self.digits(5, 2, month);
        self.digits(8, 2, day);
        self.digits(11, 2, of_day / 3600);
        self.digits(14, 2, of_day / 60 % 60);
        self.digits(17, 2, of_day % 60);
        self.second = second;
    }

    fn digits(&mut self, at: usize, count: usize, mut value: u32) {
        for slot in self.text[at..at + count].iter_mut().rev() {
            *slot = b'0' + (value % 10) as u8;
            value /= 10;
        }
    }
}

/// Year, month and day of a day number since 1970-01-01 (Howard Hinnant, "chrono-compatible
/// low-level date algorithms", civil_from_days). Years outside 0..=9999 are clamped.
fn civil(days: i64) -> (u32, u32, u32) {
    let shifted = days.clamp(-719_468, 2_932_896) + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let small = |value: i64| u32::try_from(value.max(0)).expect("clamped above");
    (small(year), small(month), small(day))
}

/// Day number since 1970-01-01 of a date: the inverse of [`civil`], for reading stored times.
pub fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_instant_is_written_as_wall_clock_of_its_offset() {
        let cases = [
            (-10_800, 1_767_333_845_678_901, "2026-01-02T03:04:05.678901-03:00"),
            (0, 0, "1970-01-01T00:00:00.000000+00:00"),
            (0, 951_782_400_000_000, "2000-02-29T00:00:00.000000+00:00"),
            (19_800, 0, "1970-01-01T05:30:00.000000+05:30"),
            (-10_800, 1_000, "1969-12-31T21:00:00.001000-03:00"),
        ];
        for (offset, at, expected) in cases {
            assert_eq!(TimeFormat::new(offset).string(Micros(at)), expected);
        }
    }

    #[test]
    fn a_stretch_of_time_is_counted_by_the_wall_clock_unless_that_has_jumped() {
        let at = |mono, unix| Now { mono: MonoMs(mono), unix: Micros(unix) };
        let begun = at(1_000, 5_000_000);
        assert_eq!(at(1_000, 5_000_250).micros_since(begun), 250);
        assert_eq!(at(1_003, 5_003_900).micros_since(begun), 3_900);
        for jumped in [0, 4_000_000, 5_010_000, i64::MAX] {
            assert_eq!(at(1_003, jumped).micros_since(begun), 3_000, "{jumped}");
        }
        assert_eq!(begun.micros_since(at(1_003, 5_003_900)), 0);
    }

    #[test]
    fn the_cached_second_is_renewed() {
        let mut format = TimeFormat::new(0);
        assert_eq!(&format.string(Micros(1_999_999))[17..26], "01.999999");
        assert_eq!(&format.string(Micros(2_000_000))[17..26], "02.000000");
        assert_eq!(&format.string(Micros(1_000_000))[17..26], "01.000000");
    }

    proptest! {
        #[test]
        fn dates_and_day_numbers_are_inverse(days in -719_468i64..2_932_896) {
            let (year, month, day) = civil(days);
            prop_assert_eq!(day_number(year.into(), month.into(), day.into()), days);
        }
    }
}
