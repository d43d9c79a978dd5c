//! What `/metrics` says, read as Prometheus reads it, and held to the rules of the format.

use std::collections::{BTreeMap, BTreeSet};

/// One family: all samples of one metric.
#[derive(Default, Clone, Debug)]
pub struct Family {
    /// What it is, for people.
    pub help: String,
    /// `counter`, `gauge`, `histogram`, `info`.
    pub kind: String,
    /// What `# UNIT` says.
    pub unit: String,
    /// In the order of the text.
    pub samples: Vec<Sample>,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Sample {
    /// With what its kind adds.
    pub name: String,
    /// In their order.
    pub labels: Vec<(String, String)>,
    /// The number as it is written.
    pub text: String,
}

impl Sample {
    /// A label's value.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(it, _)| it == name).map(|(_, value)| &**value)
    }

    /// The number.
    pub fn value(&self) -> f64 {
        self.text.parse().unwrap_or_else(|_| panic!("no number: {self:?}"))
    }

    fn read(line: &str) -> Sample {
        let (series, text) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("no end: {line}"));
        // No value of the hub's has a comma or a quote in it.
        let labels = labels.split(',').filter(|label| !label.is_empty()).map(|label| {
            let (name, value) = label.split_once('=').unwrap_or_else(|| panic!("{line}"));
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            (name.to_owned(), value.unwrap_or_else(|| panic!("no text: {line}")).to_owned())
        });
        Sample { name: name.to_owned(), labels: labels.collect(), text: text.to_owned() }
    }
}

/// The families of a text in the OpenMetrics format, by name; what is wrong with it fails.
pub fn families(text: &str) -> BTreeMap<String, Family> {
    let body = text.strip_suffix("# EOF\n").expect("the end of the text");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in body.lines() {
        if let Some(about) = line.strip_prefix("# ") {
            let mut words = about.splitn(3, ' ');
            let mut word = || words.next().unwrap_or_else(|| panic!("{line}")).to_owned();
            let (what, name, said) = (word(), word(), word());
            if what == "HELP" {
                assert!(!families.contains_key(&name), "{name} is there twice");
                current = name.clone();
            }
            assert_eq!(name, current, "one family after the other: {line}");
            let family = families.entry(name).or_default();
            let place = match &*what {
                "HELP" => &mut family.help,
                "TYPE" => &mut family.kind,
                "UNIT" => &mut family.unit,
                _ => panic!("{line}"),
            };
            assert!(place.is_empty() && family.samples.is_empty(), "once, and first: {line}");
            *place = said;
            continue;
        }
        let sample = Sample::read(line);
        let family = families.get_mut(&current).unwrap_or_else(|| panic!("of nothing: {line}"));
        assert!(sample.name.starts_with(&current), "{line} is none of {current}");
        family.samples.push(sample);
    }
    families
}

/// What is wrong by the rules that `promtool check metrics` and the formats have.
pub fn faults(families: &BTreeMap<String, Family>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, family) in families {
        let mut ask = |good: bool, what: &str| {
            if !good {
                found.push(format!("{name}: {what}"));
            }
        };
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        ask(name.chars().all(plain) && !name.contains("__"), "small letters and single lines");
        ask(["hub_", "process_"].iter().any(|it| name.starts_with(it)), "a prefix");
        ask(!family.help.is_empty(), "a help");
        for end in ["_total", "_count", "_sum", "_bucket", "_info", "_counter", "_gauge"] {
            ask(!name.ends_with(end), "a family's name ends with nothing that its kind adds");
        }
        for word in name.split('_') {
            let bad = ["milliseconds", "microseconds", "ms", "us", "secs", "kb", "kilobytes", "mb"];
            ask(!bad.contains(&word), "base units, in full");
        }
        let unit = ["bytes", "seconds"].into_iter().find(|unit| name.ends_with(unit));
        ask(family.unit == unit.unwrap_or_default(), "the unit that its name ends with");
        let adds: &[&str] = match &*family.kind {
            "counter" => &["_total"],
            "gauge" => &[""],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[],
        };
        let fits = |sample: &Sample| adds.iter().any(|end| sample.name == format!("{name}{end}"));
        ask(!family.samples.is_empty() && family.samples.iter().all(fits), "samples of its kind");
        let series: BTreeSet<_> =
            family.samples.iter().map(|sample| (&sample.name, &sample.labels)).collect();
        ask(series.len() == family.samples.len(), "each series once");
        if family.kind == "histogram" {
            ask(is_histogram(name, family), "buckets that ascend to +Inf, which has all");
        }
        if matches!(&*family.kind, "counter" | "histogram") {
            ask(family.samples.iter().all(|sample| sample.value() >= 0.0), "no negative count");
        }
    }
    found
}

fn is_histogram(name: &str, family: &Family) -> bool {
    let is_bucket = |sample: &&Sample| sample.name.ends_with("_bucket");
    let buckets: Vec<&Sample> = family.samples.iter().filter(is_bucket).collect();
    let bound = |sample: &&Sample| sample.label("le").and_then(|le| le.parse::<f64>().ok());
    let Some(bounds) = buckets.iter().map(bound).collect::<Option<Vec<f64>>>() else {
        return false;
    };
    let counts: Vec<f64> = buckets.iter().map(|sample| sample.value()).collect();
    let of = |end: &str| {
        family
            .samples
            .iter()
            .find(|sample| sample.name == format!("{name}{end}"))
            .map(Sample::value)
    };
    bounds.is_sorted_by(|one, next| one < next)
        && bounds.last() == Some(&f64::INFINITY)
        && counts.is_sorted()
        && counts.last().copied() == of("_count")
        && of("_sum").is_some()
}
