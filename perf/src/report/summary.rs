//! Medians and ranges over rounds, and ratios between servers of the same round.

use std::collections::BTreeMap;

use super::columns;
use super::runs::Run;
use crate::measure::figures::MUST_BE_ZERO;

/// The server that the others are compared with.
pub(super) const OURS: &str = "hub";

/// Median and range.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Stats {
    /// For an even number of values the mean of both in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

/// One server's runs of one scenario.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// The server.
    pub server: String,
    /// How many runs could be made.
    pub runs: usize,
    /// What was measured, by figure.
    pub stats: BTreeMap<String, Stats>,
    /// The hub's figure over this server's, round by round.
    pub ratios: BTreeMap<String, Stats>,
    /// What had to be zero and wasn't, over all runs.
    pub faults: Vec<(String, u64)>,
    /// Why runs could not be made, each reason once.
    pub failed: Vec<String>,
    /// Words and how often they were said.
    pub words: BTreeMap<String, BTreeMap<String, usize>>,
    /// Curves: medians at each x.
    pub curves: BTreeMap<String, Vec<(f64, f64)>>,
}

/// One scenario's runs.
#[derive(Clone, Debug)]
pub struct Row {
    /// The scenario.
    pub scenario: String,
    /// Its kind.
    pub kind: String,
    /// Its sentence.
    pub about: String,
    /// One a server, ours first.
    pub cells: Vec<Cell>,
}

/// All runs.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// One a scenario: kinds in the order of their columns, then by size.
    pub rows: Vec<Row>,
    /// All servers, ours first.
    pub servers: Vec<String>,
}

impl Stats {
    /// Sums values up; `None` for none.
    pub fn of(mut values: Vec<f64>) -> Option<Stats> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let median = f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Stats { median, min, max })
    }
}

impl Summary {
    /// `order` names servers in the order in which they are to be shown; others come behind.
    pub(super) fn of(runs: &[Run], order: &[String]) -> Summary {
        let mut servers: Vec<String> = Vec::new();
        let ours = [OURS.to_string()];
        let named = ours.iter().chain(order).chain(runs.iter().map(|run| &run.server));
        for server in named {
            let is_there = runs.iter().any(|run| run.server == *server);
            if is_there && !servers.contains(server) {
                servers.push(server.clone());
            }
        }
        let mut names: Vec<&Run> = Vec::new();
        for run in runs {
            if !names.iter().any(|known| known.scenario == run.scenario) {
                names.push(run);
            }
        }
        names.sort_by_key(|run| (columns::rank(&run.kind), size(run), run.scenario.clone()));
        let rows = names.into_iter().map(|run| row(run, runs, &servers)).collect();
        Summary { rows, servers }
    }
}

impl Row {
    /// A server's cell.
    pub fn cell(&self, server: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.server == server)
    }
}

impl Cell {
    /// A figure's median.
    pub fn median(&self, figure: &str) -> Option<f64> {
        self.stats.get(figure).map(|stats| stats.median)
    }
}

/// What scenarios of one kind are sorted by.
fn size(run: &Run) -> u64 {
    let number = |name| run.numbers.get(name).copied();
    let members = number("members_per_space").or_else(|| number("members"));
    let found = number("connections").or(members).unwrap_or(0.0);
    found as u64
}

fn row(named: &Run, runs: &[Run], servers: &[String]) -> Row {
    let of = |server: &str| -> Vec<&Run> {
        let is_it = |run: &&Run| run.scenario == named.scenario && run.server == server;
        runs.iter().filter(is_it).collect()
    };
    let ours = of(OURS);
    let cells = servers.iter().map(|server| (server, of(server)));
    let cells = cells.filter(|(_, runs)| !runs.is_empty());
    Row {
        scenario: named.scenario.clone(),
        kind: named.kind.clone(),
        about: named.about.clone(),
        cells: cells.map(|(server, runs)| cell(server, &runs, &ours)).collect(),
    }
}

fn cell(server: &str, runs: &[&Run], ours: &[&Run]) -> Cell {
    let mut cell = Cell { server: server.into(), ..Cell::default() };
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut ratios: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut curves: BTreeMap<String, BTreeMap<u64, Vec<f64>>> = BTreeMap::new();
    for run in runs {
        if let Some(why) = &run.failed {
            if !cell.failed.contains(why) {
                cell.failed.push(why.clone());
            }
            continue;
        }
        cell.runs += 1;
        let same = ours.iter().find(|ours| ours.round == run.round);
        for (name, number) in &run.numbers {
            values.entry(name.clone()).or_default().push(*number);
            let our_number = same.and_then(|ours| ours.numbers.get(name));
            if let Some(ratio) = our_number.map(|ours| ours / number).filter(|r| r.is_finite()) {
                ratios.entry(name.clone()).or_default().push(ratio);
            }
        }
        for (name, word) in &run.words {
            *cell.words.entry(name.clone()).or_default().entry(word.clone()).or_default() += 1;
        }
        for (name, points) in &run.curves {
            let curve = curves.entry(name.clone()).or_default();
            for (x, y) in points {
                // All x are 0 or above, so their bits ascend with them.
                curve.entry(x.to_bits()).or_default().push(*y);
            }
        }
    }
    for name in MUST_BE_ZERO {
        let sum: f64 = values.get(name).into_iter().flatten().sum();
        if sum > 0.0 {
            cell.faults.push((name.into(), sum as u64));
        }
    }
    let stats = |values: BTreeMap<String, Vec<f64>>| {
        let stats = values.into_iter().filter_map(|(name, all)| Some((name, Stats::of(all)?)));
        stats.collect()
    };
    cell.stats = stats(values);
    cell.ratios = stats(ratios);
    cell.curves = curves.into_iter().map(|(name, curve)| (name, medians(curve))).collect();
    cell
}

fn medians(curve: BTreeMap<u64, Vec<f64>>) -> Vec<(f64, f64)> {
    let point = |(x, all)| Some((f64::from_bits(x), Stats::of(all)?.median));
    curve.into_iter().filter_map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::runs::parse;

    fn line(server: &str, round: u32, ns: f64, lost: u32) -> String {
        format!(
            "{{\"scenario\":\"a\",\"kind\":\"fanout\",\"server\":\"{server}\",\"round\":{round},\
             \"figures\":{{\"hub_cpu_ns_per_delivery\":{ns},\"lost\":{lost},\
             \"latency_ms\":[[0.5,{ns}]]}}}}\n"
        )
    }

    #[test]
    fn medians_of_odd_and_even_numbers_are_the_middle() {
        let median = |values: &[f64]| Stats::of(values.to_vec()).map(|stats| stats.median);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn ratios_are_made_within_rounds_and_faults_add_up() {
        // The machine was twice as slow in round 2: values move, the ratio doesn't.
        let lines = [
            line("uws", 1, 200.0, 1),
            line("hub", 1, 100.0, 0),
            line("uws", 2, 400.0, 2),
            line("hub", 2, 200.0, 0),
        ];
        let summary = Summary::of(&parse(&lines.concat()).expect("good"), &[]);
        assert_eq!(summary.servers, ["hub", "uws"], "ours first");
        let cell = summary.rows[0].cell("uws").expect("it ran");
        let name = "hub_cpu_ns_per_delivery";
        assert_eq!(cell.stats[name], Stats { median: 300.0, min: 200.0, max: 400.0 });
        assert_eq!(cell.ratios[name], Stats { median: 0.5, min: 0.5, max: 0.5 });
        assert_eq!(cell.faults, [("lost".to_string(), 3)]);
        assert_eq!(cell.curves["latency_ms"], [(0.5, 300.0)]);
        assert!(summary.rows[0].cell("hub").expect("it ran").faults.is_empty());
    }

    #[test]
    fn a_failed_run_gives_its_reason_and_no_number() {
        let failed =
            "{\"scenario\":\"a\",\"kind\":\"fanout\",\"server\":\"ws\",\"failed\":\"died\"}";
        let lines = format!("{}{failed}\n{failed}\n", line("hub", 1, 100.0, 0));
        let summary = Summary::of(&parse(&lines).expect("good"), &[]);
        let cell = summary.rows[0].cell("ws").expect("a cell all the same");
        assert_eq!((cell.runs, cell.failed.as_slice()), (0, &["died".to_string()][..]));
        assert!(cell.stats.is_empty() && cell.ratios.is_empty());
    }
}
