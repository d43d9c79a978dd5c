//! The rules of the house, each a function from a source file to what it finds there.
//!
//! A finding is one line, `file:line: what is wrong and what is asked instead`. Rules read; what
//! they hold is written in src/ARCHITECTURE.md, and changed there first.

use super::source::{Source, line_of, words};

/// Floors of the house, from the ground up. A file imports from its own floor or a lower one.
const FLOORS: [&[&str]; 6] = [
    &["wire", "limits", "clock", "metrics"],
    &["shard"],
    &["conditions", "faults", "shares", "store"],
    &["hub"],
    &["edge", "console"],
    &["config", "cli", "server"],
];

/// What floor 3 may use of floor 2: the journal's writer and the latest-value cell.
const HUB_USES_OF_STORE: [&str; 2] = ["journal", "latest"];

/// Packages that floors 0 and 1 may use: no runtime, no logging.
const LOW_PACKAGES: [&str; 10] = [
    "bytes",
    "foldhash",
    "hashbrown",
    "serde",
    "serde_json",
    "simd_json",
    "simdutf8",
    "siphasher",
    "thiserror",
    "tungstenite",
];

/// Where threads may share state.
const SHARING_FILES: [&str; 5] = [
    "src/hub/inbox.rs",
    "src/hub/directory.rs",
    "src/hub/places.rs",
    "src/metrics.rs",
    "src/store/latest.rs",
];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_COLUMNS_MAX: usize = 100;
const PARAMETERS_MAX: usize = 5;

fn finding(source: &Source, line: usize, what: &str) -> String {
    format!("{}:{line}: {what}", source.path)
}

fn floor_of(top: &str) -> Option<usize> {
    FLOORS.iter().position(|names| names.contains(&top))
}

/// The floor of a file; the crate's roots stand on top.
fn floor(source: &Source) -> Option<usize> {
    match source.module().first() {
        None => Some(FLOORS.len() - 1),
        Some(top) => floor_of(top),
    }
}

/// The path from the crate's root, where it leads into this crate.
fn from_root<'a>(source: &'a Source, segments: &'a [String]) -> Option<Vec<&'a str>> {
    let mut segments = segments.iter().map(String::as_str).peekable();
    let mut base = source.module();
    match *segments.peek()? {
        "crate" | "cpi_hub" => {
            base.clear();
            segments.next();
        }
        "super" => {
            while segments.next_if_eq(&"super").is_some() {
                base.pop();
            }
        }
        _ => return None,
    }
    base.extend(segments);
    Some(base)
}

/// Imports go down only.
pub fn imports_up(source: &Source) -> Vec<String> {
    let Some(own) = floor(source) else {
        let ask = "this module stands on no floor: give it one in tests/tidy/rules.rs";
        return vec![finding(source, 1, ask)];
    };
    let mut found = Vec::new();
    for used in source.paths() {
        let Some(path) = from_root(source, &used.segments) else { continue };
        let Some((top, inner)) = path.split_first() else { continue };
        let Some(theirs) = floor_of(top) else { continue };
        if theirs > own {
            let what = format!("floor {own} uses `{top}` of floor {theirs}: imports go down only");
            found.push(finding(source, used.line, &what));
        }
        let from_hub = source.module().first() == Some(&"hub");
        let allowed = inner.first().is_some_and(|name| HUB_USES_OF_STORE.contains(name));
        if from_hub && *top == "store" && !allowed {
            let what = "the hub uses only `store::journal` and `store::latest`: let `server` hand \
                        it in";
            found.push(finding(source, used.line, what));
        }
    }
    found
}

/// Floors 0 and 1 use few packages. `dependencies` are the manifest's, with underscores.
pub fn low_floor_packages(source: &Source, dependencies: &[String]) -> Vec<String> {
    if floor(source).is_none_or(|floor| floor > 1) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for used in source.paths() {
        let package = used.segments[0].as_str();
        let padded = package == "crossbeam_utils" && source.path == "src/metrics.rs";
        if dependencies.iter().any(|name| name == package)
            && !LOW_PACKAGES.contains(&package)
            && !padded
        {
            let what = format!("`{package}` has no place in floors 0 and 1: pure and synchronous");
            found.push(finding(source, used.line, &what));
        }
    }
    found
}

/// A file says first what it is.
pub fn missing_header(source: &Source) -> Vec<String> {
    if source.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![finding(source, 1, "begin with `//!`: what lives here, what it owns, what it never does")]
}

/// A file fits in one reading.
pub fn long_file(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    if lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    let what = format!("{lines} lines, at most {FILE_LINES_MAX}: split it by idea");
    vec![finding(source, FILE_LINES_MAX + 1, &what)]
}

/// A function fits on a screen.
pub fn long_functions(source: &Source) -> Vec<String> {
    let long = source.functions().into_iter().filter(|one| one.lines > FUNCTION_LINES_MAX);
    long.map(|one| {
        let what = format!("`{}` has {} lines, at most {FUNCTION_LINES_MAX}", one.name, one.lines);
        finding(source, one.line, &what)
    })
    .collect()
}

/// A function takes few parameters.
pub fn many_parameters(source: &Source) -> Vec<String> {
    let many = source.functions().into_iter().filter(|one| one.parameters > PARAMETERS_MAX);
    many.map(|one| {
        let what = format!(
            "`{}` takes {} parameters, at most {PARAMETERS_MAX}: make a struct of some",
            one.name, one.parameters
        );
        finding(source, one.line, &what)
    })
    .collect()
}

/// A line fits. In tests the exact bytes of the wire may stand in one literal, however long.
pub fn wide_lines(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let lines = source.text.lines().zip(source.code.lines()).zip(source.live.lines());
    for (number, ((text, code), live)) in lines.enumerate() {
        let columns = text.chars().count();
        let is_test = live.trim().is_empty();
        let without_literals = code.split_whitespace().map(str::len).sum::<usize>();
        let exempt = is_test && code.contains('"') && without_literals <= LINE_COLUMNS_MAX / 2;
        if columns > LINE_COLUMNS_MAX && !exempt {
            let what = format!("{columns} columns, at most {LINE_COLUMNS_MAX}");
            found.push(finding(source, number + 1, &what));
        }
    }
    found
}

/// The clock is read in one file; everywhere else time is an argument.
pub fn hidden_clocks(source: &Source) -> Vec<String> {
    if source.path == "src/clock.rs" || source.path.starts_with("perf/") {
        return Vec::new();
    }
    let what = "the clock is read in src/clock.rs only: take the time as an argument";
    let mut found = Vec::new();
    for used in source.paths() {
        let reads = used
            .segments
            .windows(2)
            .any(|pair| matches!(pair[0].as_str(), "Instant" | "SystemTime") && pair[1] == "now");
        if reads {
            found.push(finding(source, used.line, what));
        }
    }
    for (at, word) in words(&source.live) {
        let before = source.live[..at].trim_end();
        if word == "elapsed" && before.ends_with('.') {
            found.push(finding(source, line_of(&source.live, at), what));
        }
    }
    found
}

/// One owner for each piece of state; few files share it between threads.
pub fn shared_state(source: &Source) -> Vec<String> {
    if SHARING_FILES.contains(&source.path.as_str()) || source.path.starts_with("perf/") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (at, word) in words(&source.live) {
        let shares = matches!(
            word,
            "DashMap" | "DashSet" | "Mutex" | "RwLock" | "OnceLock" | "LazyLock" | "OnceCell"
        ) || word.starts_with("Atomic")
            || word == "thread_local";
        let allocator = source.path == "src/main.rs" && source.live.contains("global_allocator");
        if shares || (word == "static" && !allocator) {
            let what = format!("`{word}`: state has one owner; it is shared in {SHARING_FILES:?}");
            found.push(finding(source, line_of(&source.live, at), &what));
        }
    }
    found
}

/// No unsafe code, in tests neither.
pub fn unsafe_code(source: &Source) -> Vec<String> {
    let unsafe_words = words(&source.code).into_iter().filter(|(_, word)| *word == "unsafe");
    unsafe_words
        .map(|(at, _)| finding(source, line_of(&source.code, at), "`unsafe` has no place here"))
        .collect()
}

/// A test runs or is not there.
pub fn ignored_tests(source: &Source) -> Vec<String> {
    let lines = source.code.lines().enumerate();
    let ignored = lines.filter(|(_, line)| line.trim_start().starts_with("#[ignore"));
    let what = "no `#[ignore]`: a slow test waits behind HUB_SLOW_TESTS=1, a missing server is \
                reported by the harness";
    ignored.map(|(number, _)| finding(source, number + 1, what)).collect()
}
