//! A story that Prometheus is told: what a hub's `/metrics` said minute by minute, first while all
//! was well and then not. `promtool test rules` evaluates the alerts over it.
//!
//! Every sample is one that a real hub has shown; only the time between them is made shorter. What
//! Prometheus itself knows (`up`, `job`, `instance`) is added as it would be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::exposition::families;
use crate::support::trials::{Lack, Outcome};
use crate::support::{Answer, Hub};

/// Minutes that all is well before anything happens.
const WELL: usize = 6;

/// The series of one scrape and their values; `None`: nobody has answered.
type Scrape = Option<BTreeMap<String, String>>;

/// What was scraped, a minute apart.
#[derive(Default)]
pub struct Story {
    minutes: Vec<Scrape>,
}

fn read(answer: &Answer) -> Scrape {
    assert_eq!(answer.status, 200);
    let mut series = BTreeMap::new();
    for family in families(&answer.text()).into_values() {
        for sample in family.samples {
            let labels: String =
                sample.labels.iter().map(|(name, value)| format!("{name}=\"{value}\",")).collect();
            let own = r#"job="cpi-hub",instance="hub.example:8080""#;
            series.insert(format!("{}{{{labels}{own}}}", sample.name), sample.text);
        }
    }
    Some(series)
}

impl Story {
    /// Begins with some minutes of a hub that is well now.
    pub fn begin(hub: &Hub) -> Story {
        Story::begin_with(&hub.get("/metrics"))
    }

    /// Begins with what a hub says now.
    pub fn begin_with(answer: &Answer) -> Story {
        Story { minutes: vec![read(answer); WELL] }
    }

    /// The next minute is what the hub says now.
    pub fn goes_on(&mut self, hub: &Hub) {
        self.goes_on_with(&hub.get("/metrics"));
    }

    /// The next minute is this.
    pub fn goes_on_with(&mut self, answer: &Answer) {
        self.minutes.push(read(answer));
    }

    /// In the next minute nobody answers.
    pub fn is_silent(&mut self) {
        self.minutes.push(None);
    }

    /// All stays as it is for some minutes.
    pub fn stays(&mut self, minutes: usize) {
        let last = self.minutes.last().expect("it has begun").clone();
        self.minutes.resize(self.minutes.len() + minutes, last);
    }

    /// These alerts fire at the end, and did not while all was well.
    pub fn fires(&self, alerts: &[&str]) -> Outcome {
        let firing = |alert: &str| format!("alertname=\"{alert}\",");
        let asked = alerts.iter().flat_map(|alert| {
            [(firing(alert), WELL - 1, 0), (firing(alert), self.minutes.len() - 1, 1)]
        });
        self.check(&asked.collect::<Vec<_>>())
    }

    /// No alert fires, at no time.
    pub fn is_quiet(&self) -> Outcome {
        let minutes = 0..self.minutes.len();
        self.check(&minutes.map(|minute| (String::new(), minute, 0)).collect::<Vec<_>>())
    }

    /// Runs promtool. Asked are labels of alerts, a minute, and whether one of them fires then.
    fn check(&self, asked: &[(String, usize, u8)]) -> Outcome {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("story.yml");
        std::fs::write(&file, self.text(asked)).expect("it is written");
        promtool(&["test", "rules", file.to_str().expect("a text path")])
    }

    fn text(&self, asked: &[(String, usize, u8)]) -> String {
        let rules = deployed("alerts.yml");
        let mut text = format!(
            "rule_files: [{}]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  input_series:\n",
            rules.display()
        );
        let up = self.minutes.iter().map(|minute| if minute.is_some() { "1" } else { "0" });
        let up = up.collect::<Vec<_>>();
        write_series(&mut text, r#"up{job="cpi-hub",instance="hub.example:8080"}"#, &up);
        let all: BTreeSet<&String> =
            self.minutes.iter().flatten().flat_map(|it| it.keys()).collect();
        for series in all {
            let value = |minute: &'_ Scrape| match minute {
                Some(minute) => minute.get(series).cloned().unwrap_or_else(|| "_".to_owned()),
                None => "stale".to_owned(),
            };
            let values: Vec<String> = self.minutes.iter().map(value).collect();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            write_series(&mut text, series, &values);
        }
        text.push_str("  promql_expr_test:\n");
        for (labels, minute, fires) in asked {
            let firing = format!(r#"ALERTS{{{labels}alertstate="firing"}}"#);
            writeln!(
                text,
                "  - expr: 'count({firing}) > bool 0 or vector(0)'\n    eval_time: {minute}m\n    \
                 exp_samples: [{{labels: '{{}}', value: {fires}}}]"
            )
            .expect("a text");
        }
        text
    }
}

fn write_series(text: &mut String, series: &str, values: &[&str]) {
    let values = values.join(" ");
    writeln!(text, "  - series: '{series}'\n    values: '{values}'").expect("a text");
}

/// A file of `deploy/prometheus`.
pub fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus").join(name)
}

/// Runs Prometheus' own tool, which has to be content.
pub fn promtool(args: &[&str]) -> Outcome {
    let Ok(output) = Command::new("promtool").args(args).output() else {
        return Err(Lack("promtool is missing: `scripts/test` installs it".into()));
    };
    let said = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    assert!(output.status.success(), "promtool {args:?}:\n{}", said.concat());
    Ok(())
}
