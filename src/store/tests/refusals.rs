//! The batcher against a sink that refuses rows, some or all: what is stored, what is a dead
//! letter, and what waits until the sink is mended.

use std::path::Path;
use std::time::Duration;

use tokio::sync::oneshot;

use super::super::StoreState;
use super::super::batcher::batch::BatchLimits;
use super::super::batcher::{Stop, Unstored};
use super::super::journal::Opened;
use super::super::journal::tests::{LIMITS, reopen};
use super::batcher::{Run, append, dead_letters, drained, nobody, run};
use super::rough::Rough;
use super::{Dice, block_on};
use crate::conditions::Condition;
use crate::wire::record::Record;

const BATCH: BatchLimits = BatchLimits { rows_max: 40, bytes_max: 64 << 10, wait: 0 };

/// Lets the batcher go on until something is seen.
async fn until(is_seen: impl Fn() -> bool) {
    let seen = async {
        while !is_seen() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), seen).await.expect("it is seen");
}

/// Runs the batcher beside `play`, then drains it.
async fn beside<T>(run: Run, play: impl AsyncFnOnce() -> T) -> (T, Unstored) {
    let ((stop, stopped), (answer, answered)) = (oneshot::channel(), oneshot::channel());
    let player = async {
        let outcome = play().await;
        stop.send(Stop { wait: Duration::from_secs(60), answer }).expect("it runs");
        (outcome, answered.await.expect("it answers"))
    };
    let mut none = nobody();
    tokio::join!(run.batcher.run(stopped, &mut none), player).1
}

fn opened(folder: &Path) -> Opened {
    reopen(&folder.join("journal"), 1, &LIMITS, 0).expect("it opens")
}

#[test]
fn a_database_that_refuses_all_gets_all_once_it_is_mended() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = Rough::new(1, 0);
    sink.with(|model| model.refuses = |_| true);
    let mut opened = opened(folder.path());
    (1..=100).for_each(|id| append(&mut opened, id));
    let run = run(folder.path(), &sink, &mut opened, BATCH);
    let (conditions, states) = (run.conditions.clone(), run.states.clone());
    let refuses = || conditions.holds(Condition::DatabaseRefuses);
    let ((), left) = block_on(beside(run, async || {
        until(refuses).await;
        assert_eq!(*states.borrow(), StoreState::Refused);
        let before = sink.with(|model| model.calls);
        // Each round costs the same, however many rows wait.
        let rounds = 5 * (1 + 12 + 10);
        until(|| sink.with(|model| model.calls) > before + rounds).await;
        assert_eq!(dead_letters(folder.path()), [], "no row is to blame");
        assert_eq!(sink.with(|model| model.rows.len()), 0);
        sink.with(|model| model.refuses = |_| false);
        until(|| sink.with(|model| model.rows.len()) == 100).await;
    }));
    assert_eq!(left, Unstored::default());
    assert!(!refuses() && dead_letters(folder.path()).is_empty());
    let stored: Vec<u128> = sink.with(|model| model.rows.iter().map(|(_, id)| *id).collect());
    assert_eq!(stored, (1..=100).collect::<Vec<_>>(), "in order");
}

#[test]
fn a_lone_row_that_is_refused_waits_for_a_row_of_others_and_is_judged_by_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = Rough::new(1, 0);
    // Space 1, as a role that may not write there would meet it.
    sink.with(|model| model.refuses = |record| record.space.0 == 1);
    let mut opened = opened(folder.path());
    append(&mut opened, 1);
    let run = run(folder.path(), &sink, &mut opened, BatchLimits { rows_max: 1, ..BATCH });
    let conditions = run.conditions.clone();
    block_on(beside(run, async || {
        until(|| conditions.holds(Condition::DatabaseRefuses)).await;
        assert_eq!(dead_letters(folder.path()), [], "nothing says yet that it is the row");
        append(&mut opened, 2);
        until(|| sink.with(|model| model.rows.len()) == 1).await;
        until(|| !conditions.holds(Condition::DatabaseRefuses)).await;
        // From now on the last row that was stored is evidence enough.
        append(&mut opened, 4);
        until(|| dead_letters(folder.path()) == [1, 4]).await;
    }));
    assert_eq!(sink.with(|model| model.rows.clone()), [(2, 2)]);
}

#[test]
fn an_orphan_holds_up_nobody_where_nobody_can_be_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = Rough::new(1, 0);
    sink.with(|model| {
        model.tells_absent = false;
        model.refuses = |record| record.space.0 == 1;
    });
    let mut opened = opened(folder.path());
    (1..=30).for_each(|id| append(&mut opened, id));
    let run = run(folder.path(), &sink, &mut opened, BATCH);
    assert_eq!(block_on(drained(run, 5)), Unstored::default());
    let dead: Vec<u128> = (1..=30).filter(|id| id % 3 == 1).collect();
    assert_eq!(dead_letters(folder.path()), dead);
    assert_eq!(sink.with(|model| model.rows.len()), 20);
}

/// Rows and times of refusal at random; mended at the end.
fn check(seed: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut dice = Dice::new(seed);
    let sink = Rough::new(seed ^ 5, dice.below(30));
    let kinds: [fn(&Record<'_>) -> bool; 4] =
        [|_| true, |record| record.space.0 == 2, |record| record.at.0 > 60, |_| false];
    let mut opened = opened(folder.path());
    let rows_max = 1 + dice.below(50) as usize;
    let run = run(folder.path(), &sink, &mut opened, BatchLimits { rows_max, ..BATCH });
    let mut next = 0;
    let ((), left) = block_on(beside(run, async || {
        for _ in 0..8 {
            let kind = kinds[dice.below(4) as usize];
            sink.with(|model| model.refuses = kind);
            for _ in 0..dice.below(30) {
                next += 1;
                if dice.below(15) == 0 {
                    sink.with(|model| model.poison.insert(next));
                }
                append(&mut opened, next);
            }
            for _ in 0..dice.below(60) {
                tokio::task::yield_now().await;
            }
        }
        sink.with(|model| model.refuses = |_| false);
    }));
    assert_eq!(left, Unstored::default());
    let dead = dead_letters(folder.path());
    sink.with(|model| {
        let stored: Vec<u128> = model.rows.iter().map(|(_, id)| *id).collect();
        assert!(stored.is_sorted(), "one journal, in its order");
        let mut all = [stored, dead.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (1..=next).collect::<Vec<_>>(), "each once, stored or a dead letter");
        // Space 2 alone was refused at times beside others that were taken.
        let blameless = dead.iter().filter(|id| !model.poison.contains(id) && **id % 3 != 2);
        assert_eq!(blameless.count(), 0, "{dead:?}");
        assert!(model.poison.iter().all(|id| dead.contains(id)));
    });
}

#[test]
fn whatever_is_refused_each_row_is_stored_once_or_a_dead_letter_with_its_cause() {
    let slow = std::env::var_os("HUB_SLOW_TESTS").is_some_and(|value| value == "1");
    for seed in 0..if slow { 400 } else { 40 } {
        let outcome = std::panic::catch_unwind(|| check(seed));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}
