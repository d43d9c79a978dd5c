//! What is counted and shown of one run.
//!
//! Reading order: `ledger` and `tally` (what came, and what was lost, doubled or reordered),
//! `process` and `marks` (what it cost), `figures` and `progress` (how it is shown). Nothing here
//! sends.

pub mod figures;
pub mod ledger;
pub mod marks;
pub mod process;
pub mod progress;
pub mod tally;
