//! The fault matrix: its table has each row, names tests that are there, and docs/FAULTS.md was
//! made from it and shows no row that failed.

use toml::Table;

use super::documents::missing_tests;
use super::source::Source;

/// How many rows the matrix has.
pub const ROWS: i64 = 82;

/// What is wrong with the table, or with the page that was made from it.
pub fn unlisted(table: &str, page: &str, sources: &[Source]) -> Vec<String> {
    let table: Table = table.parse().expect("the table is TOML");
    let rows = table["fault"].as_array().expect("rows");
    let number = |row: &toml::Value| row.get("row").and_then(toml::Value::as_integer);
    let numbers: Vec<Option<i64>> = rows.iter().map(number).collect();
    let mut found = Vec::new();
    if numbers != (1..=ROWS).map(Some).collect::<Vec<_>>() {
        found.push(format!("rows are 1 to {ROWS}, each once and in order: {numbers:?}"));
    }
    for row in rows {
        let text = |key: &str| row.get(key).and_then(toml::Value::as_str).unwrap_or_default();
        let number = number(row).unwrap_or_default();
        let tests = text("tests");
        found.extend(missing_tests(&format!("| {number} | {tests} |"), sources));
        if text("not_run").is_empty() && !tests.contains('`') {
            found.push(format!("row {number}: no test, and no reason why not"));
        }
        let begin = format!("| {number} | {} | {} | {tests} | ", text("fault"), text("by"));
        let Some(line) = page.lines().find(|line| line.starts_with(&begin)) else {
            found.push(format!(
                "row {number}: the page has another text; run scripts/faults report"
            ));
            continue;
        };
        let outcome = &line[begin.len()..];
        let is_not_run = outcome.starts_with("not run: ");
        let has_passed = outcome.split(' ').nth(1).is_some_and(|word| word.starts_with("passed"));
        if !(has_passed || is_not_run) || is_not_run != row.get("not_run").is_some() {
            found.push(format!("row {number}: {outcome}"));
        }
    }
    found
}
