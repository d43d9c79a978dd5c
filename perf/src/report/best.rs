//! Which other server a figure of the hub's is to be held against: the best that is one.
//!
//! Pure: a scenario's row in, a server's cell out.

use super::columns::{Better, Column};
use super::summary::{Cell, OURS, Row, Stats};

/// What a row also holds and nobody would take instead: the hub itself, whole or without a part,
/// and what serves nobody.
const NOT_OTHERS: [&str; 6] = [OURS, "other", "one-shard", "no-journal", "no-metrics", "floor"];

/// The best other server by one figure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Best<'a> {
    pub(super) server: &'a str,
    /// The hub's figure over its.
    pub(super) ratio: &'a Stats,
}

/// The other server with the best median of this figure; `None` where the figure is not compared,
/// or where no other server ran without a fault.
pub(super) fn best<'a>(row: &'a Row, column: &Column) -> Option<Best<'a>> {
    let candidate = |cell: &'a Cell| {
        let ratio = cell.ratios.get(column.figure).filter(|_| counts(cell))?;
        Some((cell.median(column.figure)?, Best { server: &cell.server, ratio }))
    };
    let candidates = row.cells.iter().filter_map(candidate);
    let by_median = |(a, _): &(f64, Best), (b, _): &(f64, Best)| a.total_cmp(b);
    let found = match column.better {
        Better::Lower => candidates.min_by(by_median),
        Better::Higher => candidates.max_by(by_median),
        Better::Neither => None,
    };
    found.map(|(_, best)| best)
}

/// Whether a server's figures may stand for what others reach: one that lost messages, closed
/// members or died had less to do.
fn counts(cell: &Cell) -> bool {
    let is_other = !NOT_OTHERS.contains(&cell.server.as_str());
    is_other && cell.faults.is_empty() && cell.failed.is_empty()
}

#[cfg(test)]
mod tests {
    use super::super::columns;
    use super::super::summary::Summary;
    use super::*;
    use crate::report::runs::parse;

    /// What a server reached in one round: CPU a delivery, deliveries a second, messages lost.
    type Reached = (&'static str, u32, f64, f64, u32);

    fn row(runs: &[Reached], more: &str) -> Row {
        let line = |(server, round, ns, rate, lost): &Reached| {
            format!(
                "{{\"scenario\":\"a\",\"kind\":\"fanout\",\"server\":\"{server}\",\
                 \"round\":{round},\"figures\":{{\"hub_cpu_ns_per_delivery\":{ns},\
                 \"deliveries_per_s\":{rate},\"lost\":{lost}}}}}\n"
            )
        };
        let lines: String = runs.iter().map(line).chain([more.to_string()]).collect();
        Summary::of(&parse(&lines).expect("good"), &[]).rows.remove(0)
    }

    /// The best by CPU and by rate, with the hub's ratios to them.
    fn check(row: &Row, expected: [Option<(&str, f64)>; 2]) {
        let found = [0, 1].map(|index| {
            let best = best(row, &columns::of("fanout")[index]);
            best.map(|best| (best.server, best.ratio.median))
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn each_figure_has_its_own_best() {
        let runs = [
            ("hub", 1, 300.0, 900.0, 0),
            ("uws", 1, 400.0, 1_000.0, 0),
            ("bun", 1, 600.0, 1_200.0, 0),
        ];
        check(&row(&runs, ""), [Some(("uws", 0.75)), Some(("bun", 0.75))]);
    }

    #[test]
    fn medians_choose_and_ratios_stay_within_rounds() {
        // The machine was twice as slow in rounds 2 and 3, when `bun` had its one good moment.
        let runs = [
            ("hub", 1, 100.0, 1.0, 0),
            ("uws", 1, 200.0, 1.0, 0),
            ("bun", 1, 250.0, 1.0, 0),
            ("hub", 2, 200.0, 1.0, 0),
            ("uws", 2, 400.0, 1.0, 0),
            ("bun", 2, 190.0, 1.0, 0),
            ("hub", 3, 200.0, 1.0, 0),
            ("uws", 3, 200.0, 1.0, 0),
            ("bun", 3, 500.0, 1.0, 0),
        ];
        let row = row(&runs, "");
        let found = best(&row, &columns::of("fanout")[0]).expect("both count");
        assert_eq!(found.server, "uws");
        assert_eq!(*found.ratio, Stats { median: 0.5, min: 0.5, max: 1.0 });
    }

    #[test]
    fn the_hub_itself_and_the_floor_are_no_others() {
        let runs = NOT_OTHERS.map(|server| (server, 1, 100.0, 9.0, 0));
        check(&row(&runs, ""), [None, None]);
        let with_one = [&runs[..], &[("nats", 1, 800.0, 1.0, 0)]].concat();
        check(&row(&with_one, ""), [Some(("nats", 0.125)), Some(("nats", 9.0))]);
    }

    #[test]
    fn who_had_a_fault_or_a_failed_run_counts_for_nothing() {
        let died = "{\"scenario\":\"a\",\"kind\":\"fanout\",\"server\":\"ws\",\"round\":2,\
                    \"failed\":\"it died\"}\n";
        let runs = [
            ("hub", 1, 100.0, 5.0, 0),
            ("uws", 1, 50.0, 9.0, 1),
            ("ws", 1, 60.0, 8.0, 0),
            ("bun", 1, 200.0, 4.0, 0),
        ];
        check(&row(&runs, died), [Some(("bun", 0.5)), Some(("bun", 1.25))]);
    }

    #[test]
    fn without_the_hub_there_is_no_ratio_and_so_no_best() {
        check(&row(&[("uws", 1, 50.0, 9.0, 0)], ""), [None, None]);
    }
}
