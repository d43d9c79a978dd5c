//! The walls of the house: a test over the source tree for each rule that a machine can hold.
//!
//! `rules` holds the rules, `source` reads the files, `documents` the texts beside the code,
//! `pages` what they take from it, `links` how they lead to each other, `codes` what clients are
//! told. Each rule is shown a planted fault as well, so that a rule that can't fail shows.

mod codes;
mod command_line;
mod contract;
mod documents;
mod faults;
mod health;
mod links;
mod pages;
mod rules;
mod source;

use cpi_hub::conditions::Condition;
use documents::{
    browser_tests, dependencies, missing_tests, read, section, settings_table, titles,
    with_settings_table,
};
use source::Source;

const EVERYWHERE: [&str; 5] = ["src", "tests", "benches", "perf/src", "perf/tests"];

fn hold(folders: &[&str], rule: impl Fn(&Source) -> Vec<String>) {
    let sources = Source::all(folders);
    assert!(!sources.is_empty(), "no source files under {folders:?}");
    let found: Vec<String> = sources.iter().flat_map(rule).collect();
    assert!(found.is_empty(), "{} found:\n{}", found.len(), found.join("\n"));
}

/// Checks on which lines of a planted file a rule finds something.
fn check(rule: impl Fn(&Source) -> Vec<String>, path: &str, text: &str, lines: &[usize]) {
    let found = rule(&Source::new(path, text));
    let expected: Vec<String> = lines.iter().map(|line| format!("{path}:{line}: ")).collect();
    assert_eq!(found.len(), lines.len(), "{path}: {found:#?}");
    for (finding, start) in found.iter().zip(expected) {
        assert!(finding.starts_with(&start), "{finding}, expected {start}");
    }
}

fn package_names() -> Vec<String> {
    dependencies(&read("Cargo.toml")).iter().map(|name| name.replace('-', "_")).collect()
}

#[test]
fn imports_go_down_only() {
    hold(&["src"], rules::imports_up);
}

#[test]
fn the_low_floors_use_no_runtime_and_no_logging() {
    let names = package_names();
    hold(&["src"], |source| rules::low_floor_packages(source, &names));
}

#[test]
fn every_file_says_first_what_it_is() {
    hold(&EVERYWHERE, rules::missing_header);
}

#[test]
fn no_file_is_longer_than_one_reading() {
    hold(&EVERYWHERE, rules::long_file);
}

#[test]
fn no_function_is_longer_than_a_screen() {
    hold(&EVERYWHERE, rules::long_functions);
}

#[test]
fn no_function_takes_more_than_five_parameters() {
    hold(&EVERYWHERE, rules::many_parameters);
}

#[test]
fn no_line_is_wider_than_100_columns() {
    hold(&EVERYWHERE, rules::wide_lines);
}

#[test]
fn the_pages_files_are_as_short_and_narrow_as_ours() {
    let mut found = Vec::new();
    for (path, text) in documents::web_files() {
        let source = Source::new(&path, &text);
        found.extend(rules::long_file(&source));
        found.extend(rules::wide_lines(&source).into_iter().filter(|_| !path.ends_with(".html")));
    }
    assert!(found.is_empty(), "{} found:\n{}", found.len(), found.join("\n"));
}

#[test]
fn the_clock_is_read_in_one_file() {
    hold(&["src"], rules::hidden_clocks);
}

#[test]
fn threads_share_state_in_few_files() {
    hold(&["src"], rules::shared_state);
}

#[test]
fn bounds_stand_in_one_file() {
    hold(&["src"], rules::bounds_elsewhere);
}

#[test]
fn somebody_waits_for_each_task() {
    hold(&["src"], rules::spawned_tasks);
}

#[test]
fn every_route_says_what_it_asks_for() {
    hold(&["src"], rules::unlisted_routes);
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let found = rules::circles(&Source::all(&["src"]));
    assert!(found.is_empty(), "{} found:\n{}", found.len(), found.join("\n"));
}

#[test]
fn there_is_no_unsafe_code() {
    hold(&EVERYWHERE, rules::unsafe_code);
}

#[test]
fn no_test_is_ignored() {
    hold(&EVERYWHERE, rules::ignored_tests);
}

#[test]
fn comments_name_their_subject() {
    hold(&EVERYWHERE, rules::riddles);
}

#[test]
fn the_page_of_the_command_line_has_every_command_and_option_as_it_is() {
    let page = read("docs/CLI.md");
    let expected = command_line::with_reference(&page).expect("docs/CLI.md has its marks");
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(documents::file("docs/CLI.md"), &expected).expect("it is writable");
        return;
    }
    let differing = expected.lines().zip(page.lines()).find(|(new, old)| new != old);
    assert!(
        expected == page,
        "docs/CLI.md differs from the command line: {differing:?}\n\
         run UPDATE_DOCS=1 cargo test --test tidy"
    );
    assert!(expected.contains("\n## cpi-hub tail\n") && expected.contains("`--after ID`"));
    assert_eq!(command_line::with_reference("no marks"), None);
}

#[test]
fn every_dependency_has_its_line_in_the_architecture() {
    let (manifest, map) = (read("Cargo.toml"), read("src/ARCHITECTURE.md"));
    let mut names = dependencies(&manifest);
    names.extend(section(&manifest, "[dev-dependencies]"));
    let missing: Vec<_> =
        names.iter().filter(|name| !map.contains(&format!("\n| `{name}` |"))).collect();
    assert!(
        missing.is_empty(),
        "src/ARCHITECTURE.md's dependency table lacks {missing:?}: what for, where, why not 50 \
         lines of our own"
    );
}

#[test]
fn tests_that_the_pages_of_bad_input_bad_days_and_threats_name_are_there() {
    let mut sources = Source::all(&["tests", "src"]);
    sources.extend(browser_tests());
    for page in ["docs/BAD_INPUT.md", "docs/BAD_DAYS.md", "SECURITY.md"] {
        let found = missing_tests(&read(page), &sources);
        assert!(found.is_empty(), "{page}:\n{}", found.join("\n"));
    }
}

#[test]
fn each_row_of_the_fault_matrix_has_its_tests_and_its_outcome() {
    let mut sources = Source::all(&["tests", "src"]);
    sources.extend(browser_tests());
    let found = faults::unlisted(&read("tests/faults.toml"), &read("docs/FAULTS.md"), &sources);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_row_of_the_fault_matrix_without_a_test_or_an_outcome_is_found() {
    let sources = [Source::new("tests/faults/links.rs", "pub fn a_link_breaks() {}")];
    let check = |tests: &str, line: &str| {
        let row = |n: i64| {
            let fields = format!("fault = \"f\"\nby = \"b\"\ntests = \"{tests}\"");
            format!("[[fault]]\nrow = {n}\n{fields}\n")
        };
        let table: String = (1..=faults::ROWS).map(row).collect();
        let page = |n: i64| format!("| {n} | f | b | {tests} | {line} |\n");
        let page: String = (1..=faults::ROWS).map(page).collect();
        faults::unlisted(&table, &page, &sources).len() as i64
    };
    assert_eq!(check("`links` a_link", "2 passed | -"), 0);
    assert_eq!(check("`links` a_link", "1 passed, 1 not run: no root | -"), 0);
    let each = faults::ROWS;
    assert_eq!(check("`links` no_such_test", "1 passed | -"), each);
    assert_eq!(check("-", "1 passed | -"), each);
    assert_eq!(check("`links` a_link", "failed | -"), each);
    assert_eq!(check("`links` a_link", "not run: no reason in the table | -"), each);
    assert_eq!(faults::unlisted("fault = []", "", &sources).len(), 1);
}

#[test]
fn each_code_of_a_refusal_or_close_has_its_heading() {
    let codes = codes::all(&Source::all(&["src"]));
    assert!(codes.len() > 30, "{codes:?}");
    let found = codes::without_heading(&codes, &read("docs/CODES.md"));
    assert!(found.is_empty(), "docs/CODES.md: {}", found.join(", "));
    let page = "# a\n### internal\n### internals\n`internal`: x\n";
    let codes = ["internal", "overloaded"].map(str::to_owned);
    let expected = ["no heading of overloaded", "no code is called internals"];
    assert_eq!(codes::without_heading(&codes, page), expected);
}

#[test]
fn the_contract_has_every_route_code_close_message_header_condition_and_limit() {
    let text = read("docs/openapi.json");
    let expected = contract::with_tables(&text).expect("docs/openapi.json ends with its tables");
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(documents::file("docs/openapi.json"), &expected).expect("it is writable");
        return;
    }
    let differing = expected.lines().zip(text.lines()).find(|(new, old)| new != old);
    assert!(
        expected == text,
        "docs/openapi.json differs from src/limits.rs or src/conditions.rs: {differing:?}\n\
         run UPDATE_DOCS=1 cargo test --test tidy"
    );
    let parsed = |name| serde_json::from_str::<serde_json::Value>(&read(name)).expect("JSON");
    let (http, sockets) = (parsed("docs/openapi.json"), parsed("docs/asyncapi.json"));
    let sources = Source::all(&["src"]);
    let codes = codes::all(&sources);
    let mut found = contract::routes(&http);
    found.extend(contract::codes(&codes, &http));
    found.extend(contract::closes(&sockets));
    let [written, heard, pushed] =
        ["src/wire/server_message.rs", "src/wire/client_message.rs", "src/edge/admin/notify.rs"]
            .map(read);
    found.extend(contract::Types::of(&written, &heard, &pushed).against(&sockets));
    let named = contract::headers_named(&Source::all(&["src/edge", "src/hub"]));
    assert!(named.len() > 20, "{named:?}");
    found.extend(contract::headers(&named, &http));
    assert!(found.is_empty(), "docs/openapi.json, docs/asyncapi.json:\n{}", found.join("\n"));
}

#[test]
fn what_the_contract_lacks_or_makes_up_is_found() {
    let nothing = serde_json::json!({});
    assert_eq!(contract::routes(&nothing).len(), cpi_hub::ROUTES.len());
    assert_eq!(contract::closes(&nothing).len(), codes::CLOSES.len());
    let made_up = serde_json::json!({
        "paths": {"/v1/none": {"get": {"security": []}}, "/livez": {"get": {"security": [{}]}}},
        "components": {"schemas": {"Code": {"enum": ["internal", "none"]}}},
    });
    let found = contract::routes(&made_up);
    assert!(found.contains(&"GET /v1/none is no route".to_owned()), "{found:?}");
    assert!(found.contains(&"GET /livez: what is shown there".to_owned()), "{found:?}");
    let codes = ["internal", "overloaded", "4001"].map(str::to_owned);
    assert_eq!(contract::codes(&codes, &made_up), ["code none", "code overloaded"]);
    assert_eq!(contract::with_tables("{}"), None);
    let written = r#"
fn one() { frame.raw("{\"type\":\"chat\",") }
fn two() { told(&mut frame, "join") }
fn told(frame: &mut F, kind: &str) { frame.raw("{\"type\":\"").raw(kind) }
#[cfg(test)] fn test() { raw("{\"type\":\"none\"") }"#;
    let types = contract::Types::of(written, r#"Some(Node::String("say"))"#, r#"None => "event","#);
    let expected = ["chat (receive)", "event (receive)", "join (receive)", "say (send)"];
    assert_eq!(types.against(&nothing), expected.map(|it| format!("message {it}")));
    let planted = "fn f() { get(header::IF_MATCH); }\n\
                   const A: HeaderName = HeaderName::from_static(\"x-a\");\n\
                   #[cfg(test)] mod t { fn g() { header::ETAG; } }\n";
    let named = contract::headers_named(&[Source::new("src/edge/x.rs", planted)]);
    assert_eq!(contract::headers(&named, &nothing), ["header if-match", "header x-a"]);
}

#[test]
fn each_condition_is_planted_and_mended_by_a_test() {
    let sources = Source::all(&["tests"]);
    let found = health::unplanted(Condition::ALL, health::PLANTED, &sources);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_condition_without_its_test_is_found() {
    let bodies = "fn seen() { planted(&hub, Condition::AnotherHub); mended(&hub, c); }\n\
                  fn half() { planted(&hub, Condition::AnotherHub); }\n\
                  fn other() { planted(&hub, Condition::ClaimLost); mended(&hub, c); }";
    let sources = [Source::new("tests/hub/x.rs", bodies)];
    let all = [Condition::AnotherHub];
    let check = |lines: &[health::Planted]| health::unplanted(&all, lines, &sources).len();
    assert_eq!(check(&[(Condition::AnotherHub, "hub/x", "seen")]), 0);
    assert_eq!(check(&[]), 1);
    for test in ["half", "other", "none"] {
        assert_eq!(check(&[(Condition::AnotherHub, "hub/x", test)]), 1, "{test}");
    }
    assert_eq!(check(&[(Condition::AnotherHub, "hub/y", "seen")]), 1);
}

#[test]
fn a_planted_import_upwards_is_found() {
    let rule = rules::imports_up;
    check(rule, "src/wire/x.rs", "use crate::limits::Limits;\nuse crate::shard::Shard;\n", &[2]);
    check(rule, "src/shard/x.rs", "use std::fmt;\nfn f() { crate::hub::start() }\n", &[2]);
    check(rule, "src/store/x.rs", "use crate::{wire::Id, hub::{Hub, inbox}};", &[1, 1]);
    check(rule, "src/limits.rs", "use super::edge::api;", &[1]);
    check(rule, "src/wire/mod.rs", "use super::store::Reader;", &[1]);
    check(rule, "src/wire/mod.rs", "mod time;\npub use self::time::Micros;", &[]);
    check(rule, "src/attic/x.rs", "", &[1]);
}

#[test]
fn of_the_store_the_hub_takes_the_journal_and_the_cell_only() {
    let rule = rules::imports_up;
    check(rule, "src/hub/x.rs", "use crate::store::{journal::Writer, latest::Latest};", &[]);
    check(rule, "src/hub/x.rs", "use crate::store::{journal, sqlite::Sqlite};", &[1]);
    check(rule, "src/hub/x.rs", "fn f(reader: &crate::store::Reader) {}", &[1]);
    check(rule, "src/edge/x.rs", "use crate::store::Reader;", &[]);
}

#[test]
fn imports_of_tests_and_in_comments_and_strings_are_free() {
    let text = "// use crate::edge::api;\nconst A: &str = \"crate::edge::api\";\n\
                const B: &str = r#\"\"crate::hub\"\"#;\n/* crate::cli /* crate::hub */ */\n\
                #[cfg(test)]\nmod tests {\n    use crate::edge::api;\n}\n";
    check(rules::imports_up, "src/wire/x.rs", text, &[]);
    let behind = format!("{text}use crate::hub::Hub;\n");
    check(rules::imports_up, "src/wire/x.rs", &behind, &[9]);
}

#[test]
fn a_planted_runtime_in_a_low_floor_is_found() {
    let names = package_names();
    let rule = |source: &Source| rules::low_floor_packages(source, &names);
    check(rule, "src/shard/x.rs", "use bytes::BytesMut;\nuse tokio::time;\n", &[2]);
    check(rule, "src/shard/x.rs", "fn f() {\n    tracing::info!(\"x\");\n}\n", &[2]);
    check(rule, "src/wire/x.rs", "use crossbeam_utils::CachePadded;", &[1]);
    check(rule, "src/metrics.rs", "use crossbeam_utils::CachePadded;", &[]);
    check(rule, "src/hub/x.rs", "use tokio::time;", &[]);
}

#[test]
fn planted_faults_of_shape_are_found() {
    check(rules::missing_header, "src/x.rs", "// no header\n", &[1]);
    check(rules::missing_header, "src/x.rs", "//! A header.\n", &[]);
    check(rules::long_file, "src/x.rs", &"//\n".repeat(501), &[501]);
    check(rules::long_file, "src/x.rs", &"//\n".repeat(500), &[]);
    let function = |lines| format!("\nfn f<F: Fn(u8) -> u8>() {{\n{}}}\n", "x();\n".repeat(lines));
    check(rules::long_functions, "src/x.rs", &function(69), &[2]);
    check(rules::long_functions, "src/x.rs", &function(68), &[]);
    let wide = format!("let x = {};\n", "y".repeat(100));
    check(rules::wide_lines, "src/x.rs", &wide, &[1]);
    check(rules::wide_lines, "src/x.rs", &format!("// {}\n", "ñ".repeat(97)), &[]);
    let bytes = format!("let x = r#\"{}\"#;\n", "y".repeat(100));
    check(rules::wide_lines, "src/x.rs", &bytes, &[1]);
    check(rules::wide_lines, "tests/x.rs", &bytes, &[]);
    check(rules::wide_lines, "tests/x.rs", &wide, &[1]);
}

#[test]
fn planted_parameters_are_counted_without_self() {
    let rule = rules::many_parameters;
    let six = "fn f(\n    a: u8,\n    b: [u8; 2],\n    c: (u8, u8),\n    d: Map<u8, u8>,\n    \
               e: fn(u8, u8) -> u8,\n    g: &str,\n) {}";
    check(rule, "src/x.rs", six, &[1]);
    check(rule, "src/x.rs", "fn f(&mut self, a: A, b: B, c: C, d: D, e: Map<A, B>) {}", &[]);
    check(rule, "src/x.rs", "fn f(self: &Arc<A>, a: A, b: B, c: C, d: D, e: E, f: F) {}", &[1]);
    check(rule, "src/x.rs", "type F = fn(A, B, C, D, E, F);\nfn f(&'a self) -> [u8; 2] {}", &[]);
}

#[test]
fn planted_clocks_are_found() {
    let rule = rules::hidden_clocks;
    check(rule, "src/hub/x.rs", "fn f() {\n    std::time::Instant::now();\n}", &[2]);
    check(rule, "src/hub/x.rs", "let x = SystemTime::now();\nlet y = then.elapsed();", &[1, 2]);
    check(rule, "src/hub/x.rs", "UNIX_EPOCH\n    .elapsed()", &[2]);
    check(rule, "src/clock.rs", "Instant::now()", &[]);
    check(rule, "src/hub/x.rs", "use std::time::Instant;\nfn f(now: Instant) {}", &[]);
}

#[test]
fn planted_shared_state_is_found() {
    let rule = rules::shared_state;
    check(rule, "src/hub/x.rs", "struct A {\n    b: Arc<AtomicBool>,\n}", &[2]);
    check(
        rule,
        "src/edge/x.rs",
        "fn f(a: &DashMap<u8, u8>, b: &tokio::sync::Mutex<u8>) {}",
        &[1, 1],
    );
    check(rule, "src/edge/x.rs", "fn f(a: &'static str) {}\nstatic A: u8 = 1;", &[2]);
    check(rule, "src/hub/inbox.rs", "use std::sync::atomic::AtomicU32;", &[]);
    check(rule, "src/main.rs", "#[global_allocator]\nstatic GLOBAL: MiMalloc = MiMalloc;", &[]);
    let in_test = "#[cfg(test)]\nmod tests {\n    use std::sync::Mutex;\n}";
    check(rule, "src/hub/x.rs", in_test, &[]);
    check(rule, "src/edge/x.rs", "struct A(Arc<Semaphore>);\nstruct B(Rc<RefCell<u8>>);", &[2, 1]);
    check(rule, "src/edge/x.rs", "use tokio::sync::{Notify, watch};\nInput::Notify(1);", &[1]);
    check(rule, "src/edge/x.rs", "fn f(a: watch::Receiver<u8>, b: watch::Sender<u8>) {}", &[1]);
    check(rule, "src/hub/thread/mod.rs", "Rc::new(RefCell::new(state))", &[]);
}

#[test]
fn planted_bounds_and_tasks_are_found() {
    let bound = "const A_MAX: usize = 1;\nconst B: usize = LIMITS_MAX;\npub const C_MAX: u8 = 2;";
    check(rules::bounds_elsewhere, "src/edge/x.rs", bound, &[1, 3]);
    check(rules::bounds_elsewhere, "src/limits.rs", bound, &[]);
    check(rules::bounds_elsewhere, "src/edge/x.rs", "const A_MAX: Duration = HOUR;", &[]);
    let spawn = "fn spawn() {\n    tokio::spawn(x);\n    set\n        .spawn(y);\n}";
    check(rules::spawned_tasks, "src/edge/x.rs", spawn, &[2, 4]);
    check(rules::spawned_tasks, "src/server.rs", spawn, &[]);
    let routes = "fn a() {\n    x.route(\"/livez\", get(y))\n    .route(\"/z\", get(y))\n    \
                  .route(\"/livez\", put(y))\n    .route(PATH, get(y));\n}";
    check(rules::unlisted_routes, "src/edge/api/mod.rs", routes, &[3, 4, 5]);
}

#[test]
fn a_planted_circle_is_found() {
    let planted = |files: &[(&str, &str)]| {
        let sources = files.iter().map(|(path, text)| Source::new(path, text));
        rules::circles(&sources.collect::<Vec<_>>())
    };
    let there = ("src/edge/a.rs", "use super::b::B;");
    let over = ("src/edge/b.rs", "use crate::{edge::c::C, wire::Id};");
    let back = ("src/edge/c.rs", "use crate::edge::A;");
    let passed_on = ("src/edge/mod.rs", "mod a;\npub use a::A;\nuse b::B;");
    let all = "src/edge/a.rs:1: imports in a circle: src/edge/a.rs, src/edge/b.rs, src/edge/c.rs";
    assert_eq!(planted(&[there, over, back, passed_on]), [all]);
    assert_eq!(planted(&[there, over, passed_on]), [""; 0], "a module and its files are one");
    let direct =
        [("src/edge/a.rs", "use super::b::B;"), ("src/edge/b.rs", "fn f(a: super::a::A) {}")];
    assert_eq!(planted(&direct).len(), 1);
    let tests = ("src/edge/b.rs", "#[cfg(test)]\nmod tests {\n    use crate::edge::a::A;\n}");
    assert_eq!(planted(&[there, tests]), [""; 0]);
}

#[test]
fn planted_riddles_are_found() {
    check(rules::riddles, "src/x.rs", "/// By user.\nfn f() {}\n// At most so many.\n", &[1, 3]);
    check(rules::riddles, "src/x.rs", "//! Sorted\n//! By user, so many\n//! that it takes.", &[]);
    check(rules::riddles, "tests/x.rs", "let a = \"so many\"; // so many\n", &[]);
}

#[test]
fn planted_unsafe_code_and_ignored_tests_are_found() {
    check(rules::unsafe_code, "tests/x.rs", "// unsafe\nunsafe { f() }", &[2]);
    check(rules::unsafe_code, "src/x.rs", "#![forbid(unsafe_code)]", &[]);
    let ignored = "#[test]\n#[ignore = \"slow\"]\nfn f() {}";
    check(rules::ignored_tests, "tests/x.rs", ignored, &[2]);
}

#[test]
fn literals_do_not_confuse_the_reader() {
    let text = "let a = '\"'; let b = '\\''; let c = \"\\\"\"; let d = b\"\\\\\"; let e = r\"\\\";\n\
                fn f<'a>(x: &'a str) -> char { '{' }\nuse crate::edge::x;\n";
    check(rules::imports_up, "src/wire/x.rs", text, &[3]);
    check(rules::unsafe_code, "src/x.rs", "let a = \"unsafe\"; let r#b = 'u';\nunsafe {}", &[2]);
}

#[test]
fn a_planted_table_of_settings_is_replaced() {
    let mark = "<!-- settings: written by `UPDATE_DOCS=1 cargo test --test tidy` -->\n";
    let old = format!("a\n{mark}stale\n<!-- settings: end -->\nb\n");
    let new = with_settings_table(&old).expect("the marks are there");
    assert!(new.starts_with("a\n") && new.ends_with("\nb\n") && !new.contains("stale"));
    assert!(new.contains(&settings_table()));
    assert_eq!(with_settings_table("no marks"), None);
}

#[test]
fn a_planted_name_of_no_test_is_found() {
    let sources = [Source::new("tests/hub/doors.rs", "fn row_9_is_refused() {}")];
    let good =
        "| 9 | `x` | no | `doors` row_9 and properties (raw); `tests/hub/doors.rs` refused |";
    assert_eq!(missing_tests(good, &sources), [""; 0]);
    let bad = "| row | what |\n| 9 | `x` | no | `doors` row_8 (raw); `gates` |";
    let expected = ["line 2: no test row_8 of doors", "line 2: no test `gates` of gates"];
    assert_eq!(missing_tests(bad, &sources), expected);
}

#[test]
fn a_planted_title_of_the_browsers_tests_is_found_by_its_words() {
    let text = "test('who’s back, goes at once', () => {});\nconst no = test;\n";
    let sources = [titles("tests/browser/client-link", text)];
    assert_eq!(missing_tests("| x | y | `client-link` who_s_back_goes |", &sources), [""; 0]);
    let expected = ["line 1: no test who_stays of client-link"];
    assert_eq!(missing_tests("| x | y | `client-link` who_stays |", &sources), expected);
}
