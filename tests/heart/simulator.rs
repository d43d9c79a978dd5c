//! The seeded simulator of the heart: `HUB_SIM_SEEDS` seeds (200; 2,000 with `HUB_SLOW_TESTS=1`),
//! from `HUB_SIM_FIRST` (1) on, or one alone by `HUB_SIM_SEED`, which also prints every input.

use std::env;
use std::time::Instant;

use crate::sim::coverage::Coverage;
use crate::sim::plan::Mutant;
use crate::sim::world::World;

/// Prints the seed of a world that panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failing seed: run HUB_SIM_SEED={} cargo test --test heart", self.0);
        }
    }
}

fn run(seed: u64, trace: bool) -> Coverage {
    let _seed = Seed(seed);
    let mut world = World::new(seed, trace, None);
    world.run();
    world.book.coverage
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn no_member_sees_a_gap_a_double_a_reorder_or_a_leak() {
    if let Some(seed) = number("HUB_SIM_SEED") {
        run(seed, true);
        return;
    }
    let slow = env::var_os("HUB_SLOW_TESTS").is_some_and(|value| value == "1");
    let seeds = number("HUB_SIM_SEEDS").unwrap_or(if slow { 2_000 } else { 200 });
    let first = number("HUB_SIM_FIRST").unwrap_or(1);
    let begin = Instant::now();
    let mut total = Coverage::default();
    for seed in first..first + seeds {
        total.add(&run(seed, false));
    }
    let each = begin.elapsed().as_micros() as f64 / seeds as f64;
    eprintln!("{seeds} seeds, {each:.0} us each");
    for (name, count) in total.rows() {
        eprintln!("{count:>12} {name}");
        assert!(seeds < 2_000 || count > 0, "no seed reached {name}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 1..=20 {
        assert_eq!(run(seed, false), run(seed, false), "seed {seed}");
    }
}

/// What a run panics with, if it does.
fn found(seed: u64, mutant: Mutant) -> Option<String> {
    let run = || World::new(seed, false, Some(mutant)).run();
    let panic = std::panic::catch_unwind(run).err()?;
    let text = panic.downcast_ref::<String>().map(String::as_str);
    Some(text.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default().to_owned())
}

#[test]
fn a_hub_that_sends_acks_or_answers_before_the_store_has_it_is_found() {
    for mutant in [Mutant::SentBeforeStored, Mutant::ToldTooEarly] {
        let seeds = 1..=40;
        let found: Vec<String> = seeds.filter_map(|seed| found(seed, mutant)).collect();
        let named = found.iter().filter(|text| text.contains("not stored")).count();
        assert!(named >= 10, "{mutant:?}: {named} of {} say why: {found:#?}", found.len());
    }
}
