//! Times by how long they are, in a table of a fixed size: exact below 32 µs, then within a
//! thirty-second part.

/// Cells of each doubling.
const CELLS: u64 = 32;
const CELL_BITS: u32 = 5;
/// An hour is in the last doubling.
const DOUBLINGS: usize = 32;

/// How many times were how long, in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    longest: u64,
}

impl Histogram {
    pub(super) fn new() -> Histogram {
        Histogram { counts: vec![0; DOUBLINGS * CELLS as usize], total: 0, longest: 0 }
    }

    /// Counts a time.
    pub(super) fn add(&mut self, micros: u64) {
        let last = self.counts.len() - 1;
        self.counts[cell(micros).min(last)] += 1;
        self.total += 1;
        self.longest = self.longest.max(micros);
    }

    /// Counts all that another one has counted.
    pub(super) fn merge(&mut self, other: &Histogram) {
        for (own, more) in self.counts.iter_mut().zip(&other.counts) {
            *own += more;
        }
        self.total += other.total;
        self.longest = self.longest.max(other.longest);
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn longest(&self) -> u64 {
        self.longest
    }

    /// The time that this share of all does not exceed; 0 where nothing was counted.
    pub(super) fn quantile(&self, share: f64) -> u64 {
        let rank = (share * self.total as f64).ceil() as u64;
        let mut seen = 0;
        for (cell, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= rank {
                return upper(cell as u64).min(self.longest);
            }
        }
        0
    }
}

fn cell(micros: u64) -> usize {
    if micros < CELLS {
        return micros as usize;
    }
    let doubling = micros.ilog2() - CELL_BITS;
    let within = (micros >> doubling) - CELLS;
    (u64::from(doubling + 1) * CELLS + within) as usize
}

/// The longest time of a cell.
fn upper(cell: u64) -> u64 {
    let (doubling, within) = (cell / CELLS, cell % CELLS);
    match doubling {
        0 => within,
        _ => ((CELLS + within + 1) << (doubling - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_the_cell_that_says_so() {
        for micros in (0..5_000).chain((5_000..100_000_000).step_by(7_919)) {
            let cell = cell(micros) as u64;
            assert!(micros <= upper(cell), "{micros}");
            assert!(cell == 0 || micros > upper(cell - 1), "{micros}");
            assert!(upper(cell) - micros <= micros / CELLS, "{micros}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_times() {
        let mut all = Histogram::new();
        assert_eq!((all.quantile(0.5), all.longest()), (0, 0));
        (1..=1_000).for_each(|micros| all.add(micros));
        let mut more = Histogram::new();
        more.add(9_000);
        all.merge(&more);
        assert_eq!((all.total(), all.longest(), all.quantile(1.0)), (1_001, 9_000, 9_000));
        let middle = all.quantile(0.5);
        assert!((490..=520).contains(&middle), "{middle}");
    }

    #[test]
    fn a_time_beyond_the_table_is_counted_in_its_last_cell() {
        let mut all = Histogram::new();
        all.add(u64::MAX);
        assert_eq!((all.total(), all.longest()), (1, u64::MAX));
    }
}
