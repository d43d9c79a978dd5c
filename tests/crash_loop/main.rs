//! The promises of storage (P1, P4-P7), held by real processes that are killed under load.
//!
//! Clients write down what they sent, were told and received; hub and PostgreSQL, which syncs
//! its disk here, are killed at moments drawn from a seed; in the end the table is held against
//! what was written down. A second test takes PostgreSQL away for a while.
//!
//! `HUB_CRASH_HUB_KILLS`, `HUB_CRASH_DATABASE_KILLS`, `HUB_CRASH_SEED`, `HUB_CRASH_RATE`,
//! `HUB_OUTAGE_SECONDS` and `HUB_OUTAGE_RATE` change what is done; `scripts/crash-loop` and
//! `scripts/outage` set them.

use std::process::ExitCode;

use support::trials::{self, Named, named};

mod book;
mod kills;
mod link;
mod load;
mod outage;
mod plan;
mod poster;
mod reader;
#[path = "../support/mod.rs"]
mod support;
mod talker;
mod verdict;

const TESTS: &[Named] = &named![
    kills::kills_of_hub_and_database_lose_and_double_nothing,
    outage::the_database_away_stops_nobody_and_everything_is_stored_when_it_is_back,
];

fn main() -> ExitCode {
    // One at a time: each loads the whole machine.
    trials::run_with_postgres(TESTS, 1)
}
