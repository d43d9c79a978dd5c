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
}

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

    /// One line a figure.
    pub fn to_text(&self) -> String {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for (name, value) in &self.0 {
            let value = match value {
                Value::Count(count) => count.to_string(),
                Value::Number(number) => show(*number),
                Value::Text(word) => word.clone(),
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

fn quoted(text: &str) -> String {
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
        assert_eq!(figures.to_text(), "lost       0\np99_ms     12.3\nsaturated  ser\"ver\n");
        assert_eq!(
            figures.to_json(),
            "{\"lost\":0,\"p99_ms\":12.3,\"saturated\":\"ser\\\"ver\"}\n"
        );
    }
}
