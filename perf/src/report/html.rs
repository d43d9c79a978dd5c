//! A report as one page: no script, no font, no picture from elsewhere.

use std::fmt::Write;

use super::best::best;
use super::chart::{Chart, escape};
use super::columns::{self, Better, Column};
use super::summary::{Cell, OURS, Row, Stats};
use super::text::{complaints, range};
use super::{LeftOut, Report, charts};

const STYLE: &str = include_str!("page.css");
const NOTES: &str = include_str!("notes.html");

/// The page.
pub(super) fn write(report: &Report) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>cpi-hub under load</title>\n\
         <style>\n{STYLE}</style>\n<main>\n<h1>cpi-hub under load</h1>\n"
    );
    write_facts(&mut html, report);
    write_glance(&mut html, report);
    write_charts(&mut html, "Growth", &charts::growth(&report.summary));
    write_charts(&mut html, "Latency", &charts::latencies(&report.summary));
    html.push_str("<section><h2>Scenarios</h2>\n");
    report.summary.rows.iter().for_each(|row| write_row(&mut html, row));
    html.push_str("</section>\n");
    write_left_out(&mut html, &report.left_out);
    html.push_str(NOTES);
    html.push_str("</main>\n</html>\n");
    html
}

fn write_facts(html: &mut String, report: &Report) {
    if report.facts.is_empty() {
        return;
    }
    html.push_str("<dl class=\"facts\">");
    for (name, value) in &report.facts {
        let _ = write!(html, "<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value));
    }
    html.push_str("</dl>\n");
}

/// The hub over each other server, one figure a scenario.
fn write_glance(html: &mut String, report: &Report) {
    let peers: Vec<&String> =
        report.summary.servers.iter().filter(|server| *server != OURS).collect();
    if peers.is_empty() {
        return;
    }
    html.push_str(
        "<section><h2>The hub over each, at a glance</h2>\n<p>The hub's figure divided by the \
         other's of the same round: 0.5 is half the cost. Median of the rounds, range \
         beneath. The best other, by each figure, is a server that ran without a fault; the floor \
         and other builds of the hub are none.</p>\n<div class=\"wide\"><table><thead><tr>\
         <th>scenario<th>figure<th class=\"number\">the best other",
    );
    for peer in &peers {
        let _ = write!(html, "<th class=\"number\">{}", escape(peer));
    }
    html.push_str("</thead><tbody>\n");
    for row in &report.summary.rows {
        let compared = columns::of(&row.kind).iter();
        let compared: Vec<&Column> =
            compared.filter(|column| column.better != Better::Neither).collect();
        for (index, column) in compared.iter().enumerate() {
            html.push_str("<tr>");
            if index == 0 {
                let (name, rows) = (escape(&row.scenario), compared.len());
                let _ = write!(html, "<th rowspan=\"{rows}\">{name}");
            }
            let _ = write!(html, "<td>{}", escape(column.title));
            write_best(html, row, column);
            for peer in &peers {
                write_ratio(html, row.cell(peer), column);
            }
            html.push('\n');
        }
    }
    html.push_str("</tbody></table></div></section>\n");
}

/// The hub over the best other server by this figure, which is named beneath.
fn write_best(html: &mut String, row: &Row, column: &Column) {
    let Some(best) = best(row, column) else {
        html.push_str("<td class=\"number dim\">none");
        return;
    };
    let (median, verdict) = (best.ratio.median, verdict(best.ratio, column));
    let server = escape(best.server);
    let _ =
        write!(html, "<td class=\"number {verdict}\"><b>{median:.2}</b><small>{server}</small>");
}

fn write_ratio(html: &mut String, cell: Option<&Cell>, column: &Column) {
    let ratio = cell.and_then(|cell| cell.ratios.get(column.figure));
    let (Some(cell), Some(ratio)) = (cell, ratio) else {
        let why = match cell {
            None => "not run",
            Some(cell) if cell.runs == 0 => "failed",
            Some(_) => "–",
        };
        let _ = write!(html, "<td class=\"number dim\">{why}");
        return;
    };
    let Stats { median, min, max } = ratio;
    let _ = write!(html, "<td class=\"number {}\"><b>{median:.2}</b>", verdict(ratio, column));
    if max > min {
        let _ = write!(html, "<small>{min:.2}–{max:.2}</small>");
    }
    // A server that dropped messages had less to do.
    if !cell.faults.is_empty() {
        html.push_str("<small>with faults</small>");
    }
}

/// Whether the hub is ahead: in all rounds, and by a tenth, since less means nothing.
fn verdict(ratio: &Stats, column: &Column) -> &'static str {
    const FAR: f64 = 0.9;
    let Stats { median, min, max } = match column.better {
        Better::Higher => {
            Stats { median: 1.0 / ratio.median, min: 1.0 / ratio.max, max: 1.0 / ratio.min }
        }
        _ => *ratio,
    };
    match (max < 1.0 && median <= FAR, min > 1.0 && median >= 1.0 / FAR) {
        (true, _) => "good",
        (_, true) => "bad",
        _ => "even",
    }
}

fn write_charts(html: &mut String, title: &str, charts: &[Chart]) {
    if charts.is_empty() {
        return;
    }
    let _ = write!(html, "<section><h2>{title}</h2>\n<div class=\"charts\">\n");
    charts.iter().for_each(|chart| chart.write(html));
    html.push_str("</div></section>\n");
}

fn write_row(html: &mut String, row: &Row) {
    let columns = columns::of(&row.kind);
    let _ = write!(
        html,
        "<h3>{}</h3><p>{}</p>\n<div class=\"wide\"><table><thead><tr><th>server",
        escape(&row.scenario),
        escape(&row.about)
    );
    for column in columns {
        let _ = write!(html, "<th class=\"number\">{}", escape(column.title));
    }
    html.push_str("<th>saturated<th>faults</thead><tbody>\n");
    for cell in &row.cells {
        let ours = if cell.server == OURS { " class=\"ours\"" } else { "" };
        let _ = write!(html, "<tr{ours}><th>{}", escape(&cell.server));
        for column in columns {
            let value = cell.stats.get(column.figure).map(range).unwrap_or("–".into());
            let _ = write!(html, "<td class=\"number\">{value}");
        }
        let sides = cell.words.get("saturated").into_iter().flatten();
        let sides: Vec<&str> = sides.map(|(side, _)| side.as_str()).collect();
        let _ = write!(html, "<td>{}", sides.join(", "));
        let complaints = complaints(cell);
        let class = if complaints.is_empty() { "dim" } else { "bad" };
        let said = if complaints.is_empty() { "none".into() } else { complaints.join("; ") };
        let _ = writeln!(html, "<td class=\"{class}\">{}", escape(&said));
    }
    html.push_str("</tbody></table></div>\n");
    write_details(html, row);
}

/// Every number of a scenario, folded away.
fn write_details(html: &mut String, row: &Row) {
    let mut names: Vec<&String> = row.cells.iter().flat_map(|cell| cell.stats.keys()).collect();
    names.sort();
    names.dedup();
    html.push_str(
        "<details><summary>all figures</summary><div class=\"wide\"><table><thead><tr><th>",
    );
    for cell in &row.cells {
        let _ = write!(html, "<th class=\"number\">{}", escape(&cell.server));
    }
    html.push_str("</thead><tbody>\n");
    for name in names {
        let _ = write!(html, "<tr><th>{}", escape(name));
        for cell in &row.cells {
            let value = cell.stats.get(name).map(range).unwrap_or("–".into());
            let _ = write!(html, "<td class=\"number\">{value}");
        }
        html.push('\n');
    }
    html.push_str("</tbody></table></div></details>\n");
}

fn write_left_out(html: &mut String, left_out: &[LeftOut]) {
    if left_out.is_empty() {
        return;
    }
    html.push_str("<section><h2>Left out</h2>\n<ul>\n");
    for LeftOut { server, why } in left_out {
        let _ = writeln!(html, "<li><b>{}</b>: {}", escape(server), escape(why));
    }
    html.push_str("</ul></section>\n");
}
