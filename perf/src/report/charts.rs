//! Which charts a report's runs give.
//!
//! Each is made from what is there: a chart with no line of two points is left out.

use super::chart::{Axis, Chart, Line, Scale};
use super::summary::{Cell, Row, Summary};

const MEMBERS: Axis = Axis { label: "members of the space", scale: Scale::Log };
const CPU: Axis = Axis { label: "server CPU a delivery, ns", scale: Scale::Log };

/// Charts of costs: what grows with members and connections.
pub(super) fn growth(summary: &Summary) -> Vec<Chart> {
    let mut charts = Vec::new();
    let crowds: Vec<&Row> = summary.rows.iter().filter(|row| is_crowd(row)).collect();
    let by_members = |title: &str, y: Axis, figure: &str| Chart {
        title: title.into(),
        x: MEMBERS,
        y,
        lines: lines(summary, &crowds, ["members_per_space", figure]),
    };
    charts.push(by_members("CPU a delivery against members", CPU, "hub_cpu_ns_per_delivery"));
    let latency = Axis { label: "p99, ms", scale: Scale::Log };
    charts.push(by_members("99th percentile against members", latency, "p99_ms"));
    charts.extend(summary.rows.iter().filter(|row| row.kind == "idle").map(|row| Chart {
        title: format!("Memory against connections ({})", row.scenario),
        x: Axis { label: "connections", scale: Scale::Linear },
        y: Axis { label: "resident memory, MiB", scale: Scale::Linear },
        lines: curves(summary, row, "rss_bytes", 1.0 / f64::from(1 << 20)),
    }));
    let churns: Vec<&Row> = summary.rows.iter().filter(|row| row.kind == "churn").collect();
    charts.push(Chart {
        title: "CPU a join and leave against members".into(),
        x: MEMBERS,
        y: Axis { label: "server CPU, µs", scale: Scale::Linear },
        lines: lines(summary, &churns, ["members", "hub_cpu_us_per_join_and_leave"]),
    });
    charts.push(load(summary));
    charts.retain(Chart::is_worth_drawing);
    charts
}

/// A latency curve for each scenario that has one.
pub(super) fn latencies(summary: &Summary) -> Vec<Chart> {
    let chart = |row: &Row| Chart {
        title: row.scenario.clone(),
        x: Axis { label: "share of deliveries", scale: Scale::Nines },
        y: Axis { label: "latency, ms", scale: Scale::Log },
        lines: curves(summary, row, "latency_ms", 1.0),
    };
    let mut charts: Vec<Chart> = summary.rows.iter().map(chart).collect();
    charts.retain(Chart::is_worth_drawing);
    charts
}

/// Closed loops of one space that differ in nothing but its members.
fn is_crowd(row: &Row) -> bool {
    let has =
        |figure, number| row.cells.iter().any(|cell: &Cell| cell.median(figure) == Some(number));
    row.kind == "fanout" && has("spaces", 1.0) && has("in_flight", 4.0)
}

/// Latency against the rate of open loops in spaces of one size.
fn load(summary: &Summary) -> Chart {
    let rows: Vec<&Row> = summary.rows.iter().filter(|row| row.kind == "open").collect();
    let mut all = Vec::new();
    for (figure, name, is_dashed) in [("p99_ms", "p99", false), ("p50_ms", "p50", true)] {
        let mut lines = lines(summary, &rows, ["rate_per_s", figure]);
        for line in &mut lines {
            line.name = format!("{} {name}", line.name);
            line.is_dashed = is_dashed;
        }
        all.extend(lines);
    }
    Chart {
        title: "Latency against messages a second, open loop".into(),
        x: Axis { label: "messages a second", scale: Scale::Linear },
        y: Axis { label: "latency, ms", scale: Scale::Log },
        lines: if is_one_size(&rows) { all } else { Vec::new() },
    }
}

fn is_one_size(rows: &[&Row]) -> bool {
    let members = |row: &&Row| row.cells.iter().find_map(|cell| cell.median("members_per_space"));
    let mut sizes = rows.iter().filter_map(members);
    sizes.next().is_some_and(|first| sizes.all(|size| size == first))
}

/// One line a server through the medians of two figures.
fn lines(summary: &Summary, rows: &[&Row], [x, y]: [&str; 2]) -> Vec<Line> {
    let line = |(colour, server): (usize, &String)| {
        let cells = rows.iter().filter_map(|row| row.cell(server));
        let points = cells.filter_map(|cell| Some((cell.median(x)?, cell.median(y)?)));
        let mut points: Vec<(f64, f64)> = points.collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Line { name: server.clone(), colour, is_dashed: false, points }
    };
    let lines = summary.servers.iter().enumerate().map(line);
    lines.filter(|line| !line.points.is_empty()).collect()
}

/// One line a server: a curve of its runs.
fn curves(summary: &Summary, row: &Row, name: &str, times: f64) -> Vec<Line> {
    let line = |(colour, server): (usize, &String)| {
        let curve = row.cell(server)?.curves.get(name)?;
        let points = curve.iter().map(|(x, y)| (*x, y * times)).collect();
        Some(Line { name: server.clone(), colour, is_dashed: false, points })
    };
    summary.servers.iter().enumerate().filter_map(line).collect()
}
