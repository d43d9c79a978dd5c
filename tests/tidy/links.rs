//! The pages as a graph: every link between them leads to a file, and to a heading where it names
//! one; every page is reached from the README.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::documents::{file, read};

/// A page and what others may link to.
pub struct Page {
    /// Lines and targets of its links, web addresses left out.
    links: Vec<(usize, String)>,
    /// The anchors of its headings.
    anchors: BTreeSet<String>,
}

impl Page {
    /// Reads Markdown; what stands in code is no link and no heading.
    pub fn read(text: &str) -> Page {
        let mut page = Page { links: Vec::new(), anchors: BTreeSet::new() };
        let (mut fenced, mut counts) = (false, BTreeMap::<String, usize>::new());
        for (number, line) in text.lines().enumerate() {
            fenced ^= line.trim_start().starts_with("```");
            if fenced || line.starts_with("    ") {
                continue;
            }
            if let Some(heading) = heading(line) {
                let anchor = anchor(heading);
                let count = counts.entry(anchor.clone()).or_default();
                page.anchors.insert(match count {
                    0 => anchor,
                    _ => format!("{anchor}-{count}"),
                });
                *count += 1;
            }
            let targets = targets(line).into_iter().filter(|target| !target.contains("://"));
            page.links.extend(targets.map(|target| (number + 1, target)));
        }
        page
    }
}

/// The text of a heading, if the line is one.
fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    text.strip_prefix(' ').filter(|_| (1..=6).contains(&level))
}

/// The anchor that hosts of Markdown give a heading.
fn anchor(heading: &str) -> String {
    let letters = heading.trim().chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        _ if letter.is_alphanumeric() => Some(letter),
        _ => None,
    });
    letters.flat_map(char::to_lowercase).collect()
}

/// The targets of a line's links, those within code left out.
fn targets(line: &str) -> Vec<String> {
    let outside = line.split('`').enumerate().map(|(n, part)| match n % 2 {
        0 => part.to_owned(),
        _ => "x".repeat(part.len()),
    });
    let line: String = outside.collect();
    let parts = line.split("](").skip(1);
    parts.filter_map(|part| part.split(')').next()).map(str::to_owned).collect()
}

/// The path that a link of a page leads to, from the package's root.
fn resolve(page: &str, target: &str) -> String {
    let mut path = Path::new(page).parent().map_or(PathBuf::new(), Path::to_owned);
    if target.is_empty() {
        return page.to_owned();
    }
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => _ = path.pop(),
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    path.to_string_lossy().into_owned()
}

/// What is wrong with the graph of these pages; `is_there` says whether a path is a file or folder.
pub fn faults(pages: &BTreeMap<String, Page>, is_there: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (name, page) in pages {
        for (line, target) in &page.links {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = resolve(name, path);
            match pages.get(&path) {
                Some(other) if anchor.is_empty() || other.anchors.contains(anchor) => {}
                Some(_) => found.push(format!("{name}:{line}: {path} has no heading #{anchor}")),
                None if is_there(&path) => {}
                None => found.push(format!("{name}:{line}: leads nowhere: {target}")),
            }
        }
    }
    let mut reached = BTreeSet::from(["README.md".to_owned()]);
    let mut next = vec!["README.md".to_owned()];
    while let Some(name) = next.pop() {
        for (_, target) in pages.get(&name).map_or(&[][..], |page| &page.links) {
            let path = resolve(&name, target.split('#').next().unwrap_or_default());
            if pages.contains_key(&path) && reached.insert(path.clone()) {
                next.push(path);
            }
        }
    }
    let lost = pages.keys().filter(|name| !reached.contains(*name));
    found.extend(lost.map(|name| format!("{name}: no way leads there from README.md")));
    found
}

/// All pages of the package.
fn all() -> BTreeMap<String, Page> {
    let mut names: Vec<String> =
        ["README.md", "CHANGELOG.md", "SECURITY.md"].map(Into::into).into();
    for folder in ["docs", "deploy", "sdk", "src", "perf"] {
        find(folder, &mut names);
    }
    names.into_iter().map(|name| (name.clone(), Page::read(&read(&name)))).collect()
}

fn find(folder: &str, names: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(file(folder)) else { return };
    for entry in entries {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("UTF-8");
        let path = format!("{folder}/{name}");
        let is_ours = !name.starts_with('.') && !["node_modules", "target"].contains(&&*name);
        if entry.file_type().expect("a type").is_dir() {
            if is_ours {
                find(&path, names);
            }
        } else if name.ends_with(".md") {
            names.push(path);
        }
    }
}

#[test]
fn links_between_pages_lead_somewhere_and_every_page_is_reached() {
    let pages = all();
    assert!(pages.len() > 15, "{} pages", pages.len());
    let found = faults(&pages, |path| file(path).exists());
    assert!(found.is_empty(), "{} found:\n{}", found.len(), found.join("\n"));
}

#[test]
fn planted_faults_of_links_are_found() {
    let page = |text: &str| Page::read(text);
    let pages = BTreeMap::from([
        (
            "README.md".to_owned(),
            page("[a](docs/A.md#one-two) [b](docs/A.md#three)\n[c](Cargo.toml) [d](gone.md)\n"),
        ),
        (
            "docs/A.md".to_owned(),
            page(
                "# One, `two`\n## One two\n[x](#one-two-1) [up](../README.md)\n```\n# Three\n```\n\
                  `[in](code)` [w](https://example.org/#x)\n\n    [also](code)\n",
            ),
        ),
        ("docs/B.md".to_owned(), page("[back](A.md)")),
    ]);
    let expected = [
        "README.md:1: docs/A.md has no heading #three",
        "README.md:2: leads nowhere: gone.md",
        "docs/B.md: no way leads there from README.md",
    ];
    assert_eq!(faults(&pages, |path| path == "Cargo.toml"), expected);
}
