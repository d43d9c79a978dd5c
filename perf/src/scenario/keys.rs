//! The keys of a scenario file, taken out one by one: what is left in the end is unknown.
//!
//! A value out of its range is refused with one line that names the key.

use std::time::Duration;

use toml::{Table, Value};

/// Stamps count microseconds in 32 bits, which is 71 minutes.
pub const RUN_SECONDS_MAX: f64 = 3600.0;

const CONNECT_RATE: f64 = 1_500.0;
const COUNT_MAX: u64 = 10_000_000;

/// The times of a run that is measured between two moments.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// What is not measured.
    pub warm_up: Duration,
    /// What is measured.
    pub measure: Duration,
    /// How long the last messages, or leaves, may take.
    pub settle: Duration,
}

impl Times {
    pub(super) fn read(keys: &mut Keys) -> Result<Times, String> {
        let times = Times {
            warm_up: keys.time("warmup", 3.0)?,
            measure: keys.time("seconds", 10.0)?,
            settle: keys.time("settle", 5.0)?,
        };
        let all = times.warm_up + 2 * times.measure + times.settle;
        match all.as_secs_f64() <= RUN_SECONDS_MAX && !times.measure.is_zero() {
            true => Ok(times),
            false => Err("seconds: above 0, and with warmup and settle within an hour".into()),
        }
    }
}

/// The keys that are not read yet.
pub(super) struct Keys(pub(super) Table);

impl Keys {
    pub(super) fn text(&mut self, key: &str, default: &str) -> Result<String, String> {
        match self.0.remove(key) {
            None => Ok(default.into()),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(format!("{key}: expected a text in quotes")),
        }
    }

    fn number(&mut self, key: &str, default: Option<f64>) -> Result<f64, String> {
        match (self.0.remove(key), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(format!("{key}: missing")),
            (Some(Value::Integer(number)), _) => Ok(number as f64),
            (Some(Value::Float(number)), _) => Ok(number),
            (Some(_), _) => Err(format!("{key}: expected a number")),
        }
    }

    pub(super) fn positive(&mut self, key: &str, default: Option<f64>) -> Result<f64, String> {
        match self.number(key, default)? {
            number if number > 0.0 && number < 1e9 => Ok(number),
            _ => Err(format!("{key}: expected a number above 0")),
        }
    }

    /// New connections a second, where a kind opens them on a clock.
    pub(super) fn connect_rate(&mut self) -> Result<f64, String> {
        self.positive("connect_rate", Some(CONNECT_RATE))
    }

    pub(super) fn time(&mut self, key: &str, default: f64) -> Result<Duration, String> {
        match self.number(key, Some(default))? {
            seconds if (0.0..=RUN_SECONDS_MAX).contains(&seconds) => {
                Ok(Duration::from_secs_f64(seconds))
            }
            _ => Err(format!("{key}: expected seconds, an hour at most")),
        }
    }

    pub(super) fn count(&mut self, key: &str, default: Option<usize>) -> Result<usize, String> {
        let number = self.number(key, default.map(|default| default as f64))?;
        whole(number).ok_or(format!("{key}: expected a whole number from 1"))
    }

    /// A whole number, 0 unless it is set.
    pub(super) fn number_of(&mut self, key: &str) -> Result<u32, String> {
        let number = self.number(key, Some(0.0))?;
        let is_whole = number >= 0.0 && number <= COUNT_MAX as f64 && number.fract() == 0.0;
        is_whole.then_some(number as u32).ok_or(format!("{key}: expected a whole number"))
    }

    /// Texts, one at least.
    pub(super) fn texts(&mut self, key: &str) -> Result<Vec<String>, String> {
        let Some(Value::Array(values)) = self.0.remove(key) else {
            return Err(format!("{key}: expected texts, such as [\"a\", \"b\"]"));
        };
        let texts = values.iter().map(|value| value.as_str().map(String::from));
        let texts = texts.collect::<Option<Vec<String>>>().filter(|texts| !texts.is_empty());
        texts.ok_or(format!("{key}: expected texts, such as [\"a\", \"b\"]"))
    }

    /// A switch that is off unless it is set.
    pub(super) fn flag(&mut self, key: &str) -> Result<bool, String> {
        match self.0.remove(key) {
            None => Ok(false),
            Some(Value::Boolean(is_on)) => Ok(is_on),
            Some(_) => Err(format!("{key}: expected true or false")),
        }
    }

    pub(super) fn steps(&mut self, key: &str) -> Result<Vec<usize>, String> {
        let wrong = || format!("{key}: expected ascending whole numbers, such as [5000, 10000]");
        let Some(Value::Array(values)) = self.0.remove(key) else { return Err(wrong()) };
        let read = |value: &Value| value.as_integer().and_then(|number| whole(number as f64));
        let steps = values.iter().map(read).collect::<Option<Vec<usize>>>().ok_or_else(wrong)?;
        match steps.is_empty() || !steps.is_sorted_by(|a, b| a < b) {
            true => Err(wrong()),
            false => Ok(steps),
        }
    }

    pub(super) fn end(self) -> Result<(), String> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(key) => Err(format!("{key}: this kind of scenario has no such key")),
        }
    }
}

fn whole(number: f64) -> Option<usize> {
    let is_whole = number >= 1.0 && number <= COUNT_MAX as f64 && number.fract() == 0.0;
    is_whole.then_some(number as usize)
}
