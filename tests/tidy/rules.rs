//! The rules of the house, each a function from a source file to what it finds there.
//!
//! A finding is one line, `file:line: what is wrong and what is asked instead`. Rules read; what
//! they hold is written in src/ARCHITECTURE.md, and changed there first.

use super::source::{PathUse, Source, line_of, words};

/// Floors of the house, from the ground up. A file imports from its own floor or a lower one.
const FLOORS: [&[&str]; 6] = [
    &["wire", "limits", "clock", "metrics"],
    &["shard"],
    &["authorities", "conditions", "faults", "shares", "store", "telemetry"],
    &["hub"],
    &["edge", "console"],
    &["config", "cli", "server", "fuzzing"],
];

/// What floor 3 may use of floor 2: the journal's writer and the latest-value cell.
const HUB_USES_OF_STORE: [&str; 2] = ["journal", "latest"];

/// Packages that floors 0 and 1 may use: no runtime, no logging.
const LOW_PACKAGES: [&str; 11] = [
    "bytes",
    "flate2",
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

/// Where threads and tasks may share state.
const SHARING_FILES: &[&str] = &[
    // What waits for the log's reader; the wall clock, which one sets and all read.
    "src/cli/lines.rs",
    "src/clock.rs",
    "src/hub/inbox.rs",
    "src/hub/directory.rs",
    "src/hub/places.rs",
    "src/hub/askers.rs",
    "src/hub/offences.rs",
    "src/metrics.rs",
    "src/metrics/latency.rs",
    "src/shares.rs",
    // What the log was told of lately.
    "src/edge/http/told.rs",
    "src/conditions.rs",
    "src/faults.rs",
    // The keys by which is known who is who, which SIGHUP replaces.
    "src/edge/auth/current.rs",
    // Who has shown what is nobody's.
    "src/edge/auth/failures.rs",
    // The certificate, which SIGHUP and its files replace.
    "src/edge/tls/mod.rs",
    // The hub's numbers of the last hour, which one task samples.
    "src/edge/observe/past.rs",
    // What is called back, which one task writes and all read.
    "src/edge/auth/revoked.rs",
    "src/store/latest.rs",
    // The questions that wait for its connections.
    "src/store/reader",
    // The store's state, which the batcher writes and `/readyz` reads.
    "src/store/mod.rs",
    "src/store/batcher",
    // How far a copy is, which the thread that makes it writes and operators read.
    "src/store/care/copies.rs",
];

/// Where tasks of one thread share state that is borrowed within a poll.
const BORROWING_FILES: [&str; 2] = ["src/hub/thread/", "src/store/postgres/reader.rs"];

/// Where tasks and threads are begun, each with who waits for its end.
const SPAWNING_FILES: &[&str] = &[
    // The set of connections awaits all at the end; the pager's set is awaited as it goes.
    "src/edge/http/accept.rs",
    "src/edge/catch_up.rs",
    // A scrape waits for the figures of the process.
    "src/edge/api/metrics.rs",
    // An operator's question waits for the disk.
    "src/edge/admin/store.rs",
    // The keeper of what is called back waits for its file.
    "src/edge/auth/revoked.rs",
    // `HubThreads::join`; the driver of a shard's sockets is awaited by its thread.
    "src/hub/mod.rs",
    "src/hub/thread/",
    // `Server::run`; a file that is read again hangs alone.
    "src/server",
    // Nobody: it writes until the process ends, though its reader may hang.
    "src/cli/lines.rs",
    "src/cli/mod.rs",
    // Nobody: a read of the terminal ends with the process.
    "src/cli/chat.rs",
    // The set of a part's members is awaited at its end.
    "src/cli/bench/scenarios.rs",
    // `StoreHandle::stop` and the parts that it stops.
    "src/store/mod.rs",
    "src/store/open.rs",
    "src/store/reader.rs",
    "src/store/sqlite/reader.rs",
    "src/store/sqlite/check.rs",
    "src/store/sqlite/checkpoint.rs",
    "src/store/care/copies.rs",
    "src/store/sqlite/search/fill.rs",
    "src/store/journal/",
    "src/store/data_dir/strayed.rs",
    // A connection's driver is aborted with it; the claim's renewal, before it is given up.
    "src/store/postgres/connect",
    "src/store/postgres/aside.rs",
    "src/store/postgres/reader.rs",
];

/// Where constants may be called `..._MAX` beside `limits`: facts of RFC 6455, of the journal's
/// format, of SQLite's batches and of the longest join frame.
const BOUND_FILES: [&str; 4] = [
    "src/wire/frame_reader.rs",
    "src/store/journal/segment.rs",
    "src/store/sqlite/mod.rs",
    "src/shard/space/presence.rs",
];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_COLUMNS_MAX: usize = 100;
const PARAMETERS_MAX: usize = 5;

fn finding(source: &Source, line: usize, what: &str) -> String {
    format!("{}:{line}: {what}", source.path)
}

/// Whether a list names the file, or the beginning of its path.
fn lists(files: &[&str], source: &Source) -> bool {
    source.path.starts_with("perf/") || files.iter().any(|file| source.path.starts_with(file))
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

/// One owner for each piece of state; few files share it between threads and tasks.
pub fn shared_state(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    if !lists(&BORROWING_FILES, source) {
        let what = "a cell: state is borrowed by the compiler's rules, but for a shard's tasks";
        let cells = words(&source.live).into_iter();
        let cells = cells.filter(|(_, word)| matches!(*word, "Cell" | "RefCell" | "UnsafeCell"));
        found.extend(cells.map(|(at, _)| finding(source, line_of(&source.live, at), what)));
    }
    if lists(SHARING_FILES, source) {
        return found;
    }
    let mut share = |line, word: &str| {
        let what = format!("`{word}`: state has one owner; it is shared in {SHARING_FILES:?}");
        found.push(finding(source, line, &what));
    };
    for (at, word) in words(&source.live) {
        let shares = matches!(
            word,
            "DashMap" | "DashSet" | "Mutex" | "RwLock" | "OnceLock" | "LazyLock" | "OnceCell"
        ) || matches!(word, "Semaphore" | "thread_local")
            || word.starts_with("Atomic");
        let allocator = source.path == "src/main.rs" && source.live.contains("global_allocator");
        if shares || (word == "static" && !allocator) {
            share(line_of(&source.live, at), word);
        }
    }
    for used in source.paths() {
        let names: Vec<&str> = used.segments.iter().map(String::as_str).collect();
        // A receiver only reads.
        let watch = |pair: &[&str]| pair[0] == "watch" && ["Sender", "channel"].contains(&pair[1]);
        let notify = names.starts_with(&["tokio", "sync"]) && names.contains(&"Notify");
        if names.windows(2).any(watch) || notify {
            share(used.line, &names.join("::"));
        }
    }
    found
}

/// A bound stands with the others, unless it is a time.
pub fn bounds_elsewhere(source: &Source) -> Vec<String> {
    if source.path.starts_with("src/limits") || lists(&BOUND_FILES, source) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for three in words(&source.live).windows(3) {
        let [(_, word), (at, name), (_, kind)] = three else { continue };
        if *word == "const" && name.ends_with("_MAX") && *kind != "Duration" {
            let what = format!("`{name}` is a bound: it belongs into src/limits.rs");
            found.push(finding(source, line_of(&source.live, *at), &what));
        }
    }
    found
}

/// Tasks and threads are begun in few files, where somebody waits for their end.
pub fn spawned_tasks(source: &Source) -> Vec<String> {
    if lists(SPAWNING_FILES, source) {
        return Vec::new();
    }
    let spawns = words(&source.live).into_iter().filter(|(at, word)| {
        let before = source.live[..*at].trim_end();
        let called = before.ends_with('.') || before.ends_with("::");
        called && matches!(*word, "spawn" | "spawn_local" | "spawn_blocking")
    });
    let what = "who waits for this task's end? say so in the list of tests/tidy/rules.rs";
    spawns.map(|(at, _)| finding(source, line_of(&source.live, at), what)).collect()
}

/// The files that import each other in a circle, each circle as one finding. A module and those
/// inside it are one idea: between them nothing counts.
pub fn circles(sources: &[Source]) -> Vec<String> {
    let modules: Vec<Vec<&str>> = sources.iter().map(Source::module).collect();
    let paths: Vec<Vec<PathUse>> = sources.iter().map(Source::paths).collect();
    let mut reached: Vec<Vec<bool>> = Vec::new();
    for (from, source) in sources.iter().enumerate() {
        let mut ends = vec![false; sources.len()];
        for used in &paths[from] {
            let Some(path) = from_root(source, &used.segments) else { continue };
            let Some(to) = file_of(&paths, &modules, &path) else { continue };
            let (own, other) = (&modules[from], &modules[to]);
            ends[to] |= !own.starts_with(other) && !other.starts_with(own);
        }
        reached.push(ends);
    }
    // What is reached over any number of files.
    for over in 0..sources.len() {
        let further = reached[over].clone();
        for ends in reached.iter_mut().filter(|ends| ends[over]) {
            ends.iter_mut().zip(&further).for_each(|(end, more)| *end |= more);
        }
    }
    let mut found = Vec::new();
    for first in 0..sources.len() {
        let circle: Vec<usize> =
            (0..sources.len()).filter(|to| reached[first][*to] && reached[*to][first]).collect();
        let paths: Vec<&str> = circle.iter().map(|file| sources[*file].path.as_str()).collect();
        if circle.first() == Some(&first) {
            let what = format!("imports in a circle: {}", paths.join(", "));
            found.push(finding(&sources[first], 1, &what));
        }
    }
    found
}

/// The file in which a path ends, through what the files on its way import by name.
fn file_of(paths: &[Vec<PathUse>], modules: &[Vec<&str>], path: &[&str]) -> Option<usize> {
    let longest = |path: &[&str]| {
        let inside = modules.iter().enumerate().filter(|(_, it)| path.starts_with(it));
        inside.filter(|(_, it)| !it.is_empty()).max_by_key(|(_, it)| it.len()).map(|(file, _)| file)
    };
    let file = longest(path)?;
    let base = &modules[file];
    let Some(name) = path.get(base.len()) else { return Some(file) };
    let passed_on = paths[file].iter().find_map(|used| {
        if used.segments.last().is_none_or(|last| last != name) {
            return None;
        }
        let segments: Vec<&str> = used.segments.iter().map(String::as_str).collect();
        let (_, inner) = segments.split_last()?;
        let to = longest(&[&base[..], inner].concat())?;
        (modules[to].len() > base.len()).then_some(to)
    });
    Some(passed_on.unwrap_or(file))
}

/// The routes of the edge, each as `.route("path", method(..))` has it, that no list names.
pub fn unlisted_routes(source: &Source) -> Vec<String> {
    // The page's files show nothing that is anybody's.
    if !source.path.starts_with("src/edge") || source.path == "src/edge/api/console.rs" {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, (text, live)) in source.text.lines().zip(source.live.lines()).enumerate() {
        let Some((_, route)) = text.split_once(".route(").filter(|_| live.contains(".route("))
        else {
            continue;
        };
        let (path, rest) = route.trim_start_matches('"').split_once('"').unwrap_or_default();
        let method = rest.trim_start_matches([',', ' ']).split('(').next().unwrap_or_default();
        let method = method.to_uppercase();
        if !cpi_hub::ROUTES.iter().any(|it| it.path == path && it.method == method) {
            let what = format!("`{method} {path}`: src/edge/auth/routes.rs says what it asks for");
            found.push(finding(source, number + 1, &what));
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

/// First words of a comment whose subject stands somewhere else.
const RIDDLES: [&str; 6] = ["Of ", "By ", "Whose ", "Does that", "The same of", "The same in"];

/// A comment names its subject, and a number is a number.
pub fn riddles(source: &Source) -> Vec<String> {
    let comment = |line: &str| {
        let text = line.trim_start().strip_prefix("//")?;
        Some(text.trim_start_matches(['/', '!']).trim().to_owned())
    };
    let lines: Vec<Option<String>> = source.text.lines().map(comment).collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(line) = line else { continue };
        let is_first = at.checked_sub(1).is_none_or(|before| lines[before].is_none());
        if is_first && RIDDLES.iter().any(|begin| line.starts_with(begin)) {
            let what = "name what the comment is about: its subject stands somewhere else";
            found.push(finding(source, at + 1, what));
        }
        for word in ["so many", "so much"] {
            let Some((_, behind)) = line.split_once(word) else { continue };
            let next = lines.get(at + 1).and_then(Option::as_deref).unwrap_or_default();
            let is_degree =
                behind.starts_with(" that") || behind.is_empty() && next.starts_with("that");
            if !is_degree {
                found.push(finding(source, at + 1, "say which number, not how many"));
            }
        }
    }
    found
}
