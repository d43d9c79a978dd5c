//! Runs as they were written, one JSON object a line, and what the scripts noted beside them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The scenario's name.
    pub scenario: String,
    /// Its kind.
    pub kind: String,
    /// Its sentence.
    pub about: String,
    /// The server's name.
    pub server: String,
    /// Which round.
    pub round: u64,
    /// Why it could not be made.
    pub failed: Option<String>,
    /// Measured numbers and counts.
    pub numbers: BTreeMap<String, f64>,
    /// Words, such as which side was saturated.
    pub words: BTreeMap<String, String>,
    /// Curves.
    pub curves: BTreeMap<String, Vec<(f64, f64)>>,
}

/// A server that could not be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeftOut {
    /// Its name.
    pub server: String,
    /// Why.
    pub why: String,
}

/// What a folder holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) runs: Vec<Run>,
    pub(super) facts: Vec<(String, String)>,
    /// Servers in the order in which they are to be shown.
    pub(super) servers: Vec<String>,
    pub(super) left_out: Vec<LeftOut>,
}

pub(super) fn load(folder: &Path) -> Result<Found, String> {
    let told =
        |path: &Path, error: &dyn ToString| format!("{}: {}", path.display(), error.to_string());
    let runs = folder.join("runs");
    let mut files = Vec::new();
    for entry in fs::read_dir(&runs).map_err(|error| told(&runs, &error))? {
        let path = entry.map_err(|error| told(&runs, &error))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    let mut found = Found::default();
    for file in files {
        let text = fs::read_to_string(&file).map_err(|error| told(&file, &error))?;
        found.runs.extend(parse(&text).map_err(|error| told(&file, &error))?);
    }
    if found.runs.is_empty() {
        return Err(format!("{}: no runs", runs.display()));
    }
    // Both are notes of a script's, and may be missing.
    for [server, version, why] in table(&folder.join("servers.tsv")) {
        match why.is_empty() {
            true => {
                found.facts.push((server.clone(), version));
                found.servers.push(server);
            }
            false => found.left_out.push(LeftOut { server, why }),
        }
    }
    let machine = table(&folder.join("machine.tsv")).map(|[name, value, _]| (name, value));
    found.facts.splice(0..0, machine);
    Ok(found)
}

/// Lines of at most three fields.
fn table(path: &Path) -> impl Iterator<Item = [String; 3]> + use<> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<String> = text.lines().map(String::from).collect();
    lines.into_iter().filter(|line| !line.is_empty()).map(|line| {
        let mut fields = line.splitn(3, '\t').map(String::from);
        std::array::from_fn(|_| fields.next().unwrap_or_default())
    })
}

pub(super) fn parse(lines: &str) -> Result<Vec<Run>, String> {
    lines.lines().filter(|line| !line.trim().is_empty()).map(run).collect()
}

fn run(line: &str) -> Result<Run, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let text = |key: &str| value[key].as_str().map(String::from);
    let needed = |key: &str| text(key).ok_or_else(|| format!("a run without `{key}`"));
    let mut run = Run {
        scenario: needed("scenario")?,
        kind: needed("kind")?,
        about: text("about").unwrap_or_default(),
        server: needed("server")?,
        round: value["round"].as_u64().unwrap_or(1),
        failed: text("failed"),
        numbers: BTreeMap::new(),
        words: BTreeMap::new(),
        curves: BTreeMap::new(),
    };
    for (name, figure) in value["figures"].as_object().into_iter().flatten() {
        match figure {
            Value::Number(number) => {
                run.numbers.insert(name.clone(), number.as_f64().unwrap_or(0.0));
            }
            Value::String(word) => {
                run.words.insert(name.clone(), word.clone());
            }
            Value::Array(points) => {
                let points = points
                    .iter()
                    .filter_map(|point| Some((point.get(0)?.as_f64()?, point.get(1)?.as_f64()?)));
                run.curves.insert(name.clone(), points.collect());
            }
            _ => {}
        }
    }
    match run.failed.is_none() && run.numbers.is_empty() {
        true => Err("a run with neither `figures` nor `failed`".into()),
        false => Ok(run),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_read_with_numbers_words_and_curves() {
        let line = r#"{"scenario":"a","kind":"fanout","server":"hub","round":2,
            "figures":{"lost":0,"saturated":"hub","latency_ms":[[0.5,1],[0.9,2.5]]}}"#;
        let runs = parse(&line.replace('\n', "")).expect("good");
        let [run] = &runs[..] else { panic!("one run: {runs:?}") };
        assert_eq!((run.round, run.numbers["lost"]), (2, 0.0));
        assert_eq!(run.words["saturated"], "hub");
        assert_eq!(run.curves["latency_ms"], [(0.5, 1.0), (0.9, 2.5)]);
    }

    #[test]
    fn a_run_that_says_nothing_is_refused() {
        for line in ["{", "{}", r#"{"scenario":"a","kind":"b","server":"c"}"#] {
            assert!(parse(line).is_err(), "{line}");
        }
        let failed = r#"{"scenario":"a","kind":"b","server":"c","failed":"it died"}"#;
        let runs = parse(failed).expect("good");
        assert_eq!(runs[0].failed.as_deref(), Some("it died"));
    }
}
