//! A report for a terminal, and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::best::best;
use super::columns::{self, Better, Column, show};
use super::summary::{Cell, OURS, Row, Stats};
use super::{LeftOut, Report};

const NAME_WIDTH: usize = 12;
const CELL_WIDTH: usize = 24;

/// Tables, one a scenario: what a server reached, and the hub's figure over it.
pub(super) fn write(report: &Report) -> String {
    let mut text = String::new();
    for row in &report.summary.rows {
        write_row(&mut text, row);
    }
    for LeftOut { server, why } in &report.left_out {
        let _ = writeln!(text, "left out: {server}: {why}");
    }
    if report.summary.servers.len() > 1 {
        text.push_str(
            "\nmedian (range) of the rounds; x: the hub's figure over the server's\n\
             best other: by each figure, of the servers that ran without a fault\n",
        );
    }
    text
}

fn write_row(text: &mut String, row: &Row) {
    let columns = columns::of(&row.kind);
    let _ = writeln!(text, "\n{}: {}", row.scenario, row.about);
    let mut head = format!("{:NAME_WIDTH$}", "");
    for column in columns {
        let width = width(column);
        let _ = write!(head, "{:<width$}", column.title);
    }
    let _ = writeln!(text, "{}", head.trim_end());
    for cell in &row.cells {
        let (mut values, mut ratios) = (String::new(), String::new());
        for column in columns {
            let value = cell.stats.get(column.figure).map(range).unwrap_or("-".into());
            let width = width(column);
            let _ = write!(values, "{value:<width$}");
            let is_compared = cell.server != OURS && column.better != Better::Neither;
            let ratio = cell.ratios.get(column.figure).filter(|_| is_compared);
            let ratio = ratio.map(|ratio| format!("x {}", range(ratio))).unwrap_or_default();
            let _ = write!(ratios, "{ratio:<width$}");
        }
        if cell.runs > 0 {
            let _ = writeln!(text, "{:NAME_WIDTH$}{}", cell.server, values.trim_end());
        }
        if !ratios.trim().is_empty() {
            let _ = writeln!(text, "{:NAME_WIDTH$}{}", "", ratios.trim_end());
        }
        for line in complaints(cell) {
            let _ = writeln!(text, "{:NAME_WIDTH$}! {line}", cell.server);
        }
    }
    write_best(text, row);
}

/// Who was best of the others by each figure, and the hub's over it.
fn write_best(text: &mut String, row: &Row) {
    let (mut servers, mut ratios) = (String::new(), String::new());
    for column in columns::of(&row.kind) {
        let best = best(row, column);
        let server = best.map(|best| best.server).unwrap_or_default();
        let ratio = best.map(|best| format!("x {}", range(best.ratio))).unwrap_or_default();
        let width = width(column);
        let _ = write!(servers, "{server:<width$}");
        let _ = write!(ratios, "{ratio:<width$}");
    }
    if !servers.trim().is_empty() {
        let _ = writeln!(text, "{:NAME_WIDTH$}{}", "best other", servers.trim_end());
        let _ = writeln!(text, "{:NAME_WIDTH$}{}", "", ratios.trim_end());
    }
}

fn width(column: &Column) -> usize {
    CELL_WIDTH.max(column.title.chars().count() + 2)
}

/// What is to be said of a cell beside its numbers.
pub(super) fn complaints(cell: &Cell) -> Vec<String> {
    let failed = cell.failed.iter().map(|why| format!("run failed: {why}"));
    let fault = |(name, count): &(String, u64)| match count {
        few @ 0..100 => format!("{few} {name}"),
        many => format!("{} {name}", show(*many as f64)),
    };
    let faults: Vec<String> = cell.faults.iter().map(fault).collect();
    let faults = (!faults.is_empty()).then(|| faults.join(", "));
    let ends = cell.words.get("first_end").map(|ends| {
        let ends: Vec<&str> = ends.keys().map(String::as_str).collect();
        format!("first end: {}", ends.join(", "))
    });
    failed.chain(faults).chain(ends).collect()
}

/// A median with its range, where there is one.
pub(super) fn range(stats: &Stats) -> String {
    match stats.max > stats.min {
        true => format!("{} ({}-{})", show(stats.median), show(stats.min), show(stats.max)),
        false => show(stats.median),
    }
}

/// Everything, for scripts.
pub(super) fn json(report: &Report) -> String {
    let facts = report.facts.iter().map(|(name, value)| (name.clone(), json!(value)));
    let left_out = report
        .left_out
        .iter()
        .map(|LeftOut { server, why }| json!({ "server": server, "why": why }));
    let scenarios = report.summary.rows.iter().map(|row| {
        let cells = row.cells.iter().map(cell_json);
        let best = columns::of(&row.kind).iter().filter_map(|column| {
            let best = best(row, column)?;
            let ratio = json!({ "server": best.server, "hub_over_this": stats_json(best.ratio) });
            Some((column.figure.to_string(), ratio))
        });
        json!({
            "scenario": row.scenario,
            "kind": row.kind,
            "about": row.about,
            "servers": cells.collect::<Vec<_>>(),
            "best_other": best.collect::<Map<_, _>>(),
        })
    });
    let all = json!({
        "facts": facts.collect::<Map<_, _>>(),
        "left_out": left_out.collect::<Vec<_>>(),
        "scenarios": scenarios.collect::<Vec<_>>(),
    });
    format!("{all:#}\n")
}

fn cell_json(cell: &Cell) -> Value {
    let stats = |all: &BTreeMap<String, Stats>| {
        let entry = |(name, stats): (&String, &Stats)| (name.clone(), stats_json(stats));
        all.iter().map(entry).collect::<Map<_, _>>()
    };
    let faults = cell.faults.iter().map(|(name, count)| (name.clone(), json!(count)));
    json!({
        "server": cell.server,
        "runs": cell.runs,
        "figures": stats(&cell.stats),
        "hub_over_this": stats(&cell.ratios),
        "words": cell.words,
        "curves": cell.curves,
        "faults": faults.collect::<Map<_, _>>(),
        "failed": cell.failed,
    })
}

fn stats_json(Stats { median, min, max }: &Stats) -> Value {
    json!({ "median": median, "min": min, "max": max })
}
