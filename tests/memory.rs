//! A hub that may hold 512 MiB, attacked from few addresses in all the ways that cost memory, one
//! after the other (P8, P9): it lives, holds less than 80 % of that, and serves the others.
//!
//! With `HUB_SLOW_TESTS=1` the crowds have their full size; without, a tenth of it, and the hub's
//! patience is shorter. Where no memory group can be made the tests show as ignored.

use std::process::ExitCode;

use support::trials::{self, Named, named};

#[path = "memory/attacks.rs"]
mod attacks;
mod support;
#[path = "memory/watched.rs"]
mod watched;

const TESTS: &[Named] = &named![
    attacks::slow_large_bodies,
    attacks::slow_readers_of_big_pages,
    attacks::pages_of_great_pictures,
    attacks::slow_heads,
];

fn main() -> ExitCode {
    // One at a time: each loads the whole machine.
    trials::run_with_postgres(TESTS, 1)
}
