//! Figures of the fault matrix, in the one form that `scripts/faults` gathers.

use std::fmt::Display;

/// Tells a figure of a row; `bound` is what it is held against, or empty where nothing is.
pub fn figure(row: u32, name: &str, value: impl Display, bound: impl Display) {
    eprintln!("figure: row={row} name={name} value={value} bound={bound}");
}

/// Whether the long variants of faults are to run: `HUB_TEST_LONG_FAULTS=1`, which
/// `scripts/faults` sets.
pub fn is_long() -> bool {
    std::env::var_os("HUB_TEST_LONG_FAULTS").is_some_and(|value| value == "1")
}
