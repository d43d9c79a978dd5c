//! Instants as the column `timestamp` holds them: wall clock of a fixed offset, without a zone.
//! Pure.

use crate::wire::time::{Micros, TimeFormat, day_number};

/// The length of what the hub writes: `2026-01-02 03:04:05.678901`.
pub(crate) const WALL_BYTES: usize = 26;

/// Where the time stands in it, behind a space.
const TIME_AT: usize = 11;

/// Writes and reads the column.
#[derive(Clone, Debug)]
pub(crate) struct WallFormat {
    offset_s: i32,
    time: TimeFormat,
    /// What was written last.
    text: [u8; WALL_BYTES],
}

impl WallFormat {
    /// For a fixed offset east of UTC, in seconds.
    pub(crate) fn new(offset_s: i32) -> WallFormat {
        WallFormat { offset_s, time: TimeFormat::new(offset_s), text: [b' '; WALL_BYTES] }
    }

    /// The column's text; texts are in the order of their instants.
    pub(crate) fn text(&mut self, at: Micros) -> &str {
        self.text.copy_from_slice(&self.time.text(at)[..WALL_BYTES]);
        self.text[TIME_AT - 1] = b' ';
        std::str::from_utf8(&self.text).expect("the text is ASCII")
    }

    /// Reads what the hub or an import wrote: a date, a time, 0 to 9 digits of a fraction.
    pub(crate) fn parse(&self, text: &str) -> Option<Micros> {
        let (date, time) = text.split_once([' ', 'T'])?;
        let mut date = date.splitn(3, '-').map(number);
        let (year, month, day) = (date.next()??, date.next()??, date.next()??);
        let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
        let mut clock = clock.splitn(3, ':').map(number);
        let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
        let in_range = (1..=12).contains(&month) && (1..=31).contains(&day);
        if !in_range || year > 9999 || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let seconds = day_number(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
        let micros = (seconds - i64::from(self.offset_s)) * 1_000_000;
        Some(Micros(micros + fraction_micros(fraction)?))
    }
}

fn fraction_micros(digits: &str) -> Option<i64> {
    if digits.len() > 9 {
        return None;
    }
    if digits.is_empty() {
        return Some(0);
    }
    let scale = 10i64.pow(9 - u32::try_from(digits.len()).ok()?);
    Some(number(digits)? * scale / 1000)
}

fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn imported_forms_are_read() {
        let wall = WallFormat::new(-10_800);
        let cases = [
            ("2026-01-02 03:04:05.678901", Some(1_767_333_845_678_901)),
            ("2026-01-02T03:04:05", Some(1_767_333_845_000_000)),
            ("2026-01-02 03:04:05.1", Some(1_767_333_845_100_000)),
            ("2026-01-02 03:04:05.123456789", Some(1_767_333_845_123_456)),
            ("2026-01-02", None),
            ("2026-13-02 03:04:05", None),
            ("2026-01-02 03:04:05.1234567890", None),
            ("2026-01-02 03:04:+5", None),
        ];
        for (text, expected) in cases {
            assert_eq!(wall.parse(text), expected.map(Micros), "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_instant_survives_its_text(
            a in -60_000_000_000_000_000i64..250_000_000_000_000_000, step in 1i64..9_000_000_000,
            offset in -50_400i32..50_400,
        ) {
            let mut wall = WallFormat::new(offset / 60 * 60);
            let first = wall.text(Micros(a)).to_owned();
            let second = wall.text(Micros(a + step)).to_owned();
            prop_assert_eq!(wall.parse(&first), Some(Micros(a)));
            prop_assert_eq!(first.len(), WALL_BYTES);
            prop_assert!(first < second);
        }

        #[test]
        fn any_text_is_read_without_harm(text in "\\PC{0,40}|[0-9 :.-]{0,40}") {
            let _ = WallFormat::new(0).parse(&text);
        }
    }
}
