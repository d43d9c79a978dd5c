//! What expressions of Prometheus name: metrics, their labels, and the values that those are held
//! against. Reads only as much of the language as the files in `deploy/` use, and fails at a word
//! that it does not know: a metric that is misspelled must not pass for a function.

/// A metric in an expression, and what is asked of its labels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selector {
    /// Its name.
    pub name: String,
    /// Label, operator, value.
    pub matchers: Vec<(String, String, String)>,
}

/// Words that are no metrics: functions, operators, and labels behind `by` and `without`.
const WORDS: &[&str] = &[
    "sum",
    "max",
    "min",
    "avg",
    "count",
    "rate",
    "increase",
    "histogram_quantile",
    "clamp_min",
    "time",
    "topk",
    "by",
    "without",
    "and",
    "or",
    "unless",
    "on",
    "ignoring",
    "le",
    "code",
    "reason",
    "part",
    "state",
    "name",
    "effect",
    "instance",
    "job",
    "version",
    "commit",
];

/// The metrics of an expression.
pub fn selectors(expression: &str) -> Vec<Selector> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
            let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
            rest = behind;
            if WORDS.contains(&word) {
                continue;
            }
            let is_metric =
                word == "up" || ["hub_", "process_"].iter().any(|it| word.starts_with(it));
            assert!(is_metric, "what is `{word}` in `{expression}`?");
            let matchers = match rest.strip_prefix('{') {
                Some(inner) => {
                    let (inner, behind) = inner.split_once('}').expect("an end");
                    rest = behind;
                    matchers(inner)
                }
                None => Vec::new(),
            };
            found.push(Selector { name: word.to_owned(), matchers });
        } else if first == '[' {
            rest = rest.split_once(']').expect("an end").1;
        } else if first.is_ascii_digit() {
            // A number, or a duration.
            rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
        } else {
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

fn matchers(inner: &str) -> Vec<(String, String, String)> {
    let parts = inner.split("\",").map(str::trim).filter(|part| !part.is_empty());
    let matchers = parts.map(|part| {
        let at = part.find(['=', '!']).expect("an operator");
        let (label, rest) = part.split_at(at);
        let (operator, value) = rest.split_once('"').expect("a value");
        let value = value.trim_end_matches('"');
        (label.to_owned(), operator.to_owned(), value.to_owned())
    });
    matchers.collect()
}

/// The expressions behind `expr:` in a file of rules, with the name of each alert.
pub fn alerts(rules: &str) -> Vec<(String, String)> {
    let mut alerts: Vec<(String, String)> = Vec::new();
    let mut lines = rules.lines().peekable();
    while let Some(line) = lines.next() {
        let line = line.trim_start();
        if let Some(name) = line.strip_prefix("- alert: ") {
            alerts.push((name.to_owned(), String::new()));
        } else if let Some(first) = line.strip_prefix("expr: ") {
            let (_, expression) = alerts.last_mut().expect("an alert's name comes first");
            if first != ">-" {
                *expression = first.to_owned();
                continue;
            }
            // A folded text: its lines lie deeper than the key.
            while let Some(more) = lines.next_if(|line| line.starts_with("          ")) {
                expression.push_str(more.trim());
                expression.push(' ');
            }
        }
    }
    assert!(alerts.iter().all(|(_, expression)| !expression.is_empty()), "{alerts:?}");
    alerts
}
