//! The results of a run, as text for people and as JSON for scripts.
//!
//! A figure's name ends in its unit, so that both forms say the same.

use std::fmt::Write;

/// One value.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// A count.
    Count(u64),
    /// A measured number.
    Number(f64),
    /// A word.
    Text(String),
    /// A curve: pairs of x and y.
    Curve(Vec<(f64, f64)>),
}

/// Counts that are 0 on a good run.
pub const MUST_BE_ZERO: [&str; 19] = [
    "lost",
    "late",
    "doubled",
    "reordered",
    "ids_not_ascending",
    "foreign",
    "errors",
    "members_ended",
    "acks_missing",
    "acks_extra",
    "acks_duplicate",
    "leaves_missing",
    "not_back",
    "refused_without_hint",
    "resume_gaps",
    "unanswered",
    "acked_unseen",
    "arrivals_refused",
    "not_told",
];

/// Named values in the order in which they are shown.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Figures(Vec<(&'static str, Value)>);

impl Figures {
    /// Adds a count.
    pub fn count(&mut self, name: &'static str, count: impl TryInto<u64>) -> &mut Figures {
        self.0.push((name, Value::Count(count.try_into().unwrap_or(u64::MAX))));
        self
    }

    /// Adds a measured number; what can't be measured (a division by zero) is left out.
    pub fn number(&mut self, name: &'static str, number: f64) -> &mut Figures {
        if number.is_finite() {
            self.0.push((name, Value::Number(number)));
        }
        self
    }

    /// Adds a word.
    pub fn text(&mut self, name: &'static str, text: impl Into<String>) -> &mut Figures {
        self.0.push((name, Value::Text(text.into())));
        self
    }

    /// Adds a curve. Its name says what y is.
    pub fn curve(&mut self, name: &'static str, points: Vec<(f64, f64)>) -> &mut Figures {
        self.0.push((name, Value::Curve(points)));
        self
    }

    /// Adds all of another's figures behind these.
    pub fn extend(&mut self, others: Figures) -> &mut Figures {
        self.0.extend(others.0);
        self
    }

    /// One value by name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// A count by name; 0 where there is none.
    pub fn get_count(&self, name: &str) -> u64 {
        match self.get(name) {
            Some(Value::Count(count)) => *count,
            _ => 0,
        }
    }

    /// The counts that should be 0 and aren't.
    pub fn faults(&self) -> Vec<(&'static str, u64)> {
        let counts = MUST_BE_ZERO.map(|name| (name, self.get_count(name)));
        counts.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// One line a figure.
    pub fn to_text(&self) -> String {
        // Curves are for charts.
        let shown = || self.0.iter().filter(|(_, value)| !matches!(value, Value::Curve(_)));
        let width = shown().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for (name, value) in shown() {
            let value = match value {
                Value::Count(count) => count.to_string(),
                Value::Number(number) => show(*number),
                Value::Text(word) => word.clone(),
                Value::Curve(_) => continue,
            };
            // Writing to a string can't fail.
            let _ = writeln!(text, "{name:width$}  {value}");
        }
        text
    }

    /// One JSON object.
    pub fn to_json(&self) -> String {
        let members = self.0.iter().map(|(name, value)| match value {
            Value::Count(count) => format!("\"{name}\":{count}"),
            Value::Number(number) => format!("\"{name}\":{}", show(*number)),
            Value::Text(word) => format!("\"{name}\":{}", quoted(word)),
            Value::Curve(points) => {
                let points = points.iter().map(|(x, y)| format!("[{},{}]", exact(*x), exact(*y)));
                format!("\"{name}\":[{}]", points.collect::<Vec<_>>().join(","))
            }
        });
        format!("{{{}}}\n", members.collect::<Vec<_>>().join(","))
    }
}

fn show(number: f64) -> String {
    match number.abs() {
        0.0..10.0 => format!("{number:.3}"),
        10.0..1000.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

/// Six digits behind the point, no more zeros than needed; never what JSON hasn't.
fn exact(number: f64) -> String {
    let number = if number.is_finite() { number } else { 0.0 };
    let text = format!("{number:.6}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}

/// A JSON string.
pub fn quoted(text: &str) -> String {
    let mut json = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => json.extend(['\\', letter]),
            control if control < ' ' => json.push_str(&format!("\\u{:04x}", control as u32)),
            other => json.push(other),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let mut figures = Figures::default();
        figures.count("lost", 0u32).number("p99_ms", 12.345).text("saturated", "ser\"ver");
        figures.number("ns_per_delivery", f64::NAN);
        figures.curve("p_ms", vec![(0.99, 1.5), (1.0, 20.0)]);
        assert_eq!(figures.to_text(), "lost       0\np99_ms     12.3\nsaturated  ser\"ver\n");
        assert_eq!(
            figures.to_json(),
            "{\"lost\":0,\"p99_ms\":12.3,\"saturated\":\"ser\\\"ver\",\
             \"p_ms\":[[0.99,1.5],[1,20]]}\n"
        );
    }
}
