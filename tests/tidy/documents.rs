//! The documents that are held to the code: the table of bounds, the page of metrics, that of
//! dependencies, and the tests that `docs/BAD_INPUT.md` and `docs/BAD_DAYS.md` name.

use std::fs;
use std::path::{Path, PathBuf};

use cpi_hub::limits::{Setting, Unit, settings};
use cpi_hub::metrics::Kind;
use cpi_hub::metrics::latency::BOUNDS;
use cpi_hub::metrics::table::all as metrics;

use super::source::Source;

const BEGIN: &str = "<!-- settings: written by `UPDATE_DOCS=1 cargo test --test tidy` -->\n";
const END: &str = "<!-- settings: end -->";

/// A file of the package.
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The text of a file of the package.
pub fn read(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The table of all bounds, as `docs/CONFIGURATION.md` shows it.
pub fn settings_table() -> String {
    let mut table = String::from("| setting | default | range | what it bounds |\n");
    table.push_str("| --- | --- | --- | --- |\n");
    for setting in settings() {
        let (default, help) = (setting.show(setting.default), setting.help);
        let range = range_text(&setting);
        table.push_str(&format!("| `{}` | {default} | {range} | {help} |\n", setting.name));
    }
    table
}

fn range_text(setting: &Setting) -> String {
    use cpi_hub::limits::{Rate, Value};
    let show = |number: i64| match setting.unit {
        Unit::Rate if number == 0 => setting.show(Value::Rate(Rate::new(0, 0))),
        Unit::Rate => format!("{number}/s"),
        _ => setting.show(Value::Number(number)),
    };
    format!("{} to {}", show(setting.min), show(setting.max))
}

/// A page with the table put in; `None` where the marks are missing.
pub fn with_settings_table(page: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{}{END}{after}", settings_table()))
}

/// The page of all metrics, as the tables of `src/metrics/table.rs` have them.
pub fn metrics_page() -> String {
    let mut page = String::from(METRICS_HEAD);
    let bounds = BOUNDS.iter().map(|bound| format!("{}", *bound as f64 / 1e6));
    let bounds = bounds.collect::<Vec<_>>().join(", ");
    page.push_str(&format!("Histograms have the same buckets, in seconds: {bounds} and more.\n\n"));
    page.push_str("| name | type | unit | labels | what it is | what to watch |\n");
    page.push_str("| --- | --- | --- | --- | --- | --- |\n");
    for about in metrics() {
        let (name, help, watch) = (about.shown(), about.help, about.watch);
        let kind = match about.kind {
            Kind::Counter => "counter",
            Kind::Gauge | Kind::Longest => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        };
        let unit = about.unit().unwrap_or_default();
        let labels: Vec<_> = about.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        let row = format!("| `{name}` | {kind} | {unit} | {labels} | {help} | {watch} |\n");
        page.push_str(&row.replace("|  |", "| |").replace("|  |", "| |"));
    }
    page
}

const METRICS_HEAD: &str = "\
# Metrics

<!-- written by `UPDATE_DOCS=1 cargo test --test tidy` from src/metrics/table.rs -->

What `GET /metrics` shows, for Prometheus and whatever reads its format: OpenMetrics text, or the \
older form where `Accept` prefers `text/plain`. Where keys are configured it takes a key of the \
scope `metrics`. No label holds a user, a space or an address. All numbers begin at 0 with the \
process; those of a part that begins anew after a panic go on.

[deploy/prometheus](../deploy/prometheus/prometheus.yml) has what Prometheus needs to read them, \
and [alerts](../deploy/prometheus/alerts.yml), each of which says what to do; \
[deploy/grafana](../deploy/grafana/cpi-hub.json) a dashboard.

";

/// The names under `[dependencies]` of a manifest, as it writes them.
pub fn dependencies(manifest: &str) -> Vec<String> {
    section(manifest, "[dependencies]")
}

/// The names under a heading of a manifest.
pub fn section(manifest: &str, heading: &str) -> Vec<String> {
    let lines = manifest.lines().skip_while(|line| *line != heading).skip(1);
    let own = lines.take_while(|line| !line.starts_with('['));
    own.filter_map(|line| line.split_once('=')).map(|(name, _)| name.trim().to_owned()).collect()
}

/// The tests that a table's last column names and that are nowhere: a name in backticks is a file's
/// or a module's, the words with an underscore behind it are parts of its tests' names. A file of
/// the browser's tests is named without its `.test.mjs`.
pub fn missing_tests(table: &str, sources: &[Source]) -> Vec<String> {
    let mut missing = Vec::new();
    for (number, line) in table.lines().enumerate() {
        if !line.starts_with('|') {
            continue;
        }
        let named = line.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap_or_default();
        let mut module = "";
        for word in named.split([' ', ',', ';', '(', ')']).filter(|word| !word.is_empty()) {
            let is_module = word.starts_with('`');
            if is_module {
                module = word.trim_matches('`');
            }
            let mut files = sources.iter().filter(|source| is_of(source, module));
            let is_there = match is_module {
                true => files.next().is_some(),
                false => {
                    files.any(|source| source.functions().iter().any(|f| f.name.contains(word)))
                }
            };
            if !is_there && (is_module || word.contains('_')) {
                missing.push(format!("line {}: no test {word} of {module}", number + 1));
            }
        }
    }
    missing
}

/// The browser's tests as if they were Rust's: the words of a test's title are its name.
pub fn browser_tests() -> Vec<Source> {
    let files = fs::read_dir(file("tests/browser")).expect("the browser's tests");
    let names = files.map(|entry| entry.expect("an entry").file_name().into_string());
    let sources = names.filter_map(|name| {
        let name = name.expect("a name in UTF-8");
        let module = name.strip_suffix(".test.mjs")?.to_owned();
        Some(titles(&format!("tests/browser/{module}"), &read(&format!("tests/browser/{name}"))))
    });
    sources.collect()
}

/// The files of the page, of `client.js` and of their tests: path and text.
pub fn web_files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for folder in
        ["src/console", "src/console/client", "src/console/operator", "sdk/js", "tests/browser"]
    {
        for entry in fs::read_dir(file(folder)).expect("a folder of the page's") {
            let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
            let path = format!("{folder}/{name}");
            if [".js", ".mjs", ".ts", ".css", ".html"].iter().any(|end| name.ends_with(end)) {
                files.push((path.clone(), read(&path)));
            }
        }
    }
    assert!(files.len() > 20, "{} files", files.len());
    files
}

/// The tests of one of the browser's files.
pub fn titles(path: &str, text: &str) -> Source {
    let titles = text.lines().filter_map(|line| line.strip_prefix("test('")?.split('\'').next());
    let functions = titles.map(|title| {
        let words = title.split(|c: char| !c.is_ascii_alphanumeric());
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        format!("fn {}() {{}}\n", words.join("_").to_ascii_lowercase())
    });
    Source::new(path, &functions.collect::<String>())
}

/// Whether a file has this path, or is of the module of this name.
fn is_of(source: &Source, module: &str) -> bool {
    let path = source.path.strip_suffix(".rs").unwrap_or(&source.path);
    source.path == module || path.split('/').any(|part| part == module)
}
