//! What stands in pages and is made of something else: the table of bounds, files of `deploy/`, the
//! hub's own words on each condition. `UPDATE_DOCS=1` writes it anew.

use cpi_hub::conditions::{Condition, Effect};
use cpi_hub::config::MAIN;

use super::codes;
use super::documents::{file, metrics_page, read, with_settings_table};

/// Holds a page against what it is to be, or writes it.
fn hold(name: &str, expected: &str) {
    let page = read(name);
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        if page != expected {
            std::fs::write(file(name), expected).expect("it is writable");
        }
        return;
    }
    let differing = expected.lines().zip(page.lines()).find(|(new, old)| new != old);
    assert!(
        expected == page,
        "{name} differs from what it is made of: {differing:?}\n\
         run UPDATE_DOCS=1 cargo test --test tidy"
    );
}

/// A page with each file put in that its marks name.
fn with_files(page: &str, read: impl Fn(&str) -> String) -> String {
    const BEGIN: &str = "<!-- file: ";
    const END: &str = "```\n<!-- file: end -->\n";
    let mut made = String::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (name, after) = after.split_once(" -->\n").expect("a mark is a line");
        let (language, after) = after.split_once('\n').expect("a fence behind the mark");
        let (_, after) = after.split_once(END).expect("each mark has its end");
        made.push_str(&format!("{before}{BEGIN}{name} -->\n{language}\n{}{END}", read(name)));
        rest = after;
    }
    made + rest
}

/// What the page says first of a condition.
fn words(condition: Condition) -> String {
    let effect = match condition.effect() {
        Effect::Noted => "Noted, ready",
        Effect::Degraded => "Degraded",
        Effect::Refusing => "Not ready (503)",
    };
    format!("*{effect}.* {}. **Do:** {}.\n", condition.meaning(), condition.remedy())
}

/// The page of troubles with the hub's own words on each condition; one that has no heading gets it
/// behind those that have.
fn with_conditions(page: &str) -> String {
    let mut page = page.to_owned();
    for condition in Condition::ALL {
        let heading = format!("\n### {}\n", condition.name());
        match page.find(&heading) {
            Some(at) => {
                let begin = at + heading.len();
                let end = page[begin..].find('\n').map_or(page.len(), |length| begin + length + 1);
                page.replace_range(begin..end, &words(*condition));
            }
            None => {
                let at = page.find("\n## Closes\n").expect("a part on closes");
                page.insert_str(at, &format!("{heading}{}", words(*condition)));
            }
        }
    }
    page
}

#[test]
fn the_page_of_metrics_has_each_as_it_is() {
    hold("docs/METRICS.md", &metrics_page());
}

#[test]
fn the_page_of_settings_has_every_bound_as_it_is() {
    let page = "docs/CONFIGURATION.md";
    hold(page, &with_settings_table(&read(page)).expect("the marks of the table"));
}

#[test]
fn the_page_of_settings_has_every_setting_that_is_no_bound() {
    let page = read("docs/CONFIGURATION.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let first: String = rows.filter_map(|row| row.split(" | ").next()).collect();
    let missing = MAIN.iter().filter(|main| !first.contains(&format!("`{}`", main.name)));
    let missing: Vec<_> = missing.map(|main| main.name).collect();
    assert!(missing.is_empty(), "docs/CONFIGURATION.md has no line on {missing:?}");
}

#[test]
fn the_page_of_proxies_has_their_files_as_they_are() {
    hold("docs/PROXIES.md", &with_files(&read("docs/PROXIES.md"), read));
}

#[test]
fn the_page_of_troubles_has_the_hubs_own_words_on_each_condition() {
    let page = "docs/TROUBLESHOOTING.md";
    hold(page, &with_conditions(&read(page)));
}

#[test]
fn the_page_of_troubles_has_an_anchor_for_each_condition_and_close_and_no_other() {
    let conditions = Condition::ALL.iter().map(|condition| condition.name().to_owned());
    let all: Vec<String> = conditions.chain(codes::closes()).collect();
    let found = codes::without_heading(&all, &read("docs/TROUBLESHOOTING.md"));
    assert!(found.is_empty(), "docs/TROUBLESHOOTING.md: {}", found.join(", "));
}

#[test]
fn planted_pieces_are_replaced() {
    let planted = "a\n<!-- file: x -->\n```ini\nold\n```\n<!-- file: end -->\nb\n";
    let made = with_files(planted, |name| format!("{name} is new\n"));
    assert_eq!(made, planted.replace("old", "x is new"));
    let known = Condition::ALL[0];
    let planted = format!("# T\n\n### {}\nstale\nnote\n\n## Closes\n", known.name());
    let made = with_conditions(&planted);
    assert!(made.contains(&format!("### {}\n{}note\n", known.name(), words(known))), "{made}");
    for condition in Condition::ALL {
        assert_eq!(made.matches(&words(*condition)).count(), 1, "{}", condition.name());
    }
}
