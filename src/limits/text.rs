//! How a setting's value is written, by people and for them: read, held against its range, shown.

use std::fmt;

use super::{BadLimit, GIB, HOUR, KIB, MIB, Rate, SECOND, Setting, Unit, Value};

impl Setting {
    /// Reads a value as its unit is written.
    pub fn parse(&self, text: &str) -> Result<Value, BadLimit> {
        let value = match self.unit {
            Unit::Bytes => scaled(text, &[("B", 1), ("KiB", KIB), ("MiB", MIB), ("GiB", GIB)], 1),
            Unit::Millis => parse_time(text),
            Unit::Count => text.parse().ok(),
            Unit::Offset => parse_offset(text),
            Unit::Rate => return self.parse_rate(text),
        };
        let value = value.ok_or_else(|| self.bad(format!("`{text}` is not {}", self.form())))?;
        self.check(Value::Number(value))?;
        Ok(Value::Number(value))
    }

    /// How a value is written, for messages: `a time such as 10s`.
    pub fn form(&self) -> &'static str {
        match self.unit {
            Unit::Bytes => "a size such as 512 or 64KiB",
            Unit::Millis => "a time such as 250ms, 10s or 5m",
            Unit::Count => "a number",
            Unit::Rate => "a rate such as 50/100 (per second/burst) or off",
            Unit::Offset => "an offset such as -03:00",
        }
    }

    fn parse_rate(&self, text: &str) -> Result<Value, BadLimit> {
        let rate = if text == "off" {
            Some(Rate::new(0, 0))
        } else if let Some((rate, burst)) = text.split_once('/') {
            rate.parse().ok().zip(burst.parse().ok()).map(|(rate, burst)| Rate::new(rate, burst))
        } else {
            text.parse().ok().map(|rate: u32| Rate::new(rate, rate.saturating_mul(2)))
        };
        let rate = rate.ok_or_else(|| self.bad(format!("`{text}` is not {}", self.form())))?;
        self.check(Value::Rate(rate))?;
        Ok(Value::Rate(rate))
    }

    pub(super) fn check(&self, value: Value) -> Result<(), BadLimit> {
        let number = match value {
            Value::Number(number) => number,
            Value::Rate(rate) if rate.per_second > 0 && rate.burst == 0 => {
                return Err(self.bad("a burst of 0 lets nothing through; `off` is no limit".into()));
            }
            Value::Rate(rate) => rate.per_second.into(),
        };
        if (self.min..=self.max).contains(&number) {
            return Ok(());
        }
        let show = |number| self.show(Value::Number(number));
        Err(self.bad(format!(
            "{} is out of range: {} to {}",
            show(number),
            show(self.min),
            show(self.max)
        )))
    }

    /// Writes a value as [`parse`](Setting::parse) reads it.
    pub fn show(&self, value: Value) -> String {
        match value {
            Value::Rate(Rate { per_second: 0, .. }) => "off".into(),
            Value::Rate(rate) => format!("{}/{}", rate.per_second, rate.burst),
            Value::Number(number) => match self.unit {
                Unit::Bytes => show_scaled(number, &[("GiB", GIB), ("MiB", MIB), ("KiB", KIB)], ""),
                Unit::Millis => {
                    show_scaled(number, &[("h", HOUR), ("m", 60_000), ("s", 1_000)], "ms")
                }
                Unit::Offset => {
                    let sign = if number < 0 { '-' } else { '+' };
                    let minutes = number.abs() / 60;
                    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
                }
                Unit::Count | Unit::Rate => number.to_string(),
            },
        }
    }

    fn bad(&self, problem: String) -> BadLimit {
        BadLimit { name: self.name, problem }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} = {}", self.name, self.show(self.default))
    }
}

/// A time in milliseconds: `250ms`, `10s`, `5m`, `1h`; a bare number is seconds.
pub fn parse_time(text: &str) -> Option<i64> {
    scaled(text, &[("ms", 1), ("s", SECOND), ("m", 60 * SECOND), ("h", HOUR)], SECOND)
}

fn scaled(text: &str, units: &[(&str, i64)], bare: i64) -> Option<i64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let scale = match unit {
        "" => bare,
        _ => units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1,
    };
    digits.parse::<i64>().ok()?.checked_mul(scale)
}

fn show_scaled(number: i64, units: &[(&str, i64)], least: &str) -> String {
    match units.iter().find(|(_, scale)| number != 0 && number % scale == 0) {
        Some((name, scale)) => format!("{}{name}", number / scale),
        None => format!("{number}{least}"),
    }
}

fn parse_offset(text: &str) -> Option<i64> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("-", rest) => (-1, rest),
        ("+", rest) => (1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 15 && minutes < 60).then(|| sign * i64::from(hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::settings;

    #[test]
    fn a_value_is_read_as_its_unit_is_written() {
        let all = settings();
        let parse = |name: &str, text: &str| {
            let setting = all.iter().find(|setting| setting.name == name).expect("a setting");
            setting.parse(text).ok()
        };
        assert_eq!(parse("message_bytes_max", "64KiB"), Some(Value::Number(65_536)));
        assert_eq!(parse("write_wait", "10"), Some(Value::Number(10_000)));
        assert_eq!(parse("write_wait", "250ms"), Some(Value::Number(250)));
        assert_eq!(parse("message_rate", "off"), Some(Value::Rate(Rate::new(0, 0))));
        assert_eq!(parse("message_rate", "10/20"), Some(Value::Rate(Rate::new(10, 20))));
        assert_eq!(parse("utc_offset", "+05:30"), Some(Value::Number(19_800)));
        for (name, junk) in [
            ("message_bytes_max", "65KiB"),
            ("message_bytes_max", "1e3"),
            ("write_wait", "ten"),
            ("write_wait", "10 s"),
            ("message_rate", "10/0"),
            ("message_rate", "-1"),
            ("utc_offset", "3"),
            ("write_wait", "9999999999999999h"),
        ] {
            assert_eq!(parse(name, junk), None, "{name} {junk}");
        }
    }
}
