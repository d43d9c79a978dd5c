//! The documents that are held to the code: the README's table of settings, the table of
//! dependencies, the tests that `docs/BAD_INPUT.md` and
//! `docs/BAD_DAYS.md` name, and links.
//!
//! Nothing is written but the table, and only when `UPDATE_DOCS=1` asks for it.

use std::fs;
use std::path::{Path, PathBuf};

use cpi_hub::limits::{Setting, Unit, settings};

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

/// The table of all settings, as the README shows it.
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

/// The README with its table put in; `None` where the marks are missing.
pub fn with_settings_table(readme: &str) -> Option<String> {
    let (before, rest) = readme.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{}{END}{after}", settings_table()))
}

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

/// The links of a Markdown file that lead to no file, web addresses and anchors apart.
pub fn broken_links(name: &str, text: &str) -> Vec<String> {
    let folder = file(name).parent().expect("a file has a folder").to_owned();
    let mut broken = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for part in line.split("](").skip(1) {
            let target = part.split([')', '#']).next().unwrap_or_default();
            let web = target.contains("://") || target.is_empty();
            if !web && !folder.join(target).exists() {
                broken.push(format!("{name}:{}: leads nowhere: {target}", number + 1));
            }
        }
    }
    broken
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
    for folder in ["src/console", "src/console/client", "sdk/js", "tests/browser"] {
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
