//! The batcher against a sink that fails in every way, over runs of changing shard counts: each
//! accepted record is stored once or dead-lettered, and each space's ids ascend.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::super::batcher::batch::BatchLimits;
use super::super::batcher::{
    Batcher, DeadRows, Ends, JournalSources, NO_SPACE, NonceFiles, Retrials, Stop, Truth, Unstored,
};
use super::super::data_dir::bound::{Remembered, Target};
use super::super::data_dir::holes::Holes;
use super::super::data_dir::trimmed::Trimmed;
use super::super::dead_letters::file::DEAD_LETTERS_FILE;
use super::super::journal::tests::{LIMITS, one, reopen};
use super::super::journal::{JournalLimits, Opened};
use super::super::reader::Readers;
use super::super::{Count, Parts, Reader, StoreConfig, StoreState, missing, start};
use super::rough::{Bug, Rough};
use super::{Dice, NONCES, block_on, clock, config};
use crate::conditions::{Condition, Conditions, Effect};
use crate::metrics::{Metric, Metrics};
use crate::wire::{Id, SpaceId};

/// Nobody asks for dead letters to be tried again.
pub(super) fn nobody() -> Retrials {
    mpsc::channel(1).1
}

/// One run of the hub: appends `ids` and stores; drained, or killed at some point.
pub(super) struct Run {
    pub(super) metrics: Arc<Metrics>,
    pub(super) conditions: Conditions,
    pub(super) batcher: Batcher<Rough>,
    pub(super) states: watch::Receiver<StoreState>,
}

fn truth(config: &StoreConfig) -> Truth {
    let (folder, faults) = (&config.data_dir, &config.faults);
    let target = Target { database: "model".into(), store: Some("model".into()) };
    let remembered = Remembered::read(folder).expect("it reads");
    Truth {
        bound: remembered.bind(target, Id::MIN, None).expect("it writes"),
        trimmed: Trimmed::open(folder).expect("it opens"),
        holes: Holes::open(folder, faults.conditions(), faults.metrics()).expect("it opens"),
    }
}

fn nonces(folder: &Path) -> NonceFiles {
    let opened = NonceFiles::open(folder, Vec::new(), 1, NONCES, clock().now());
    opened.expect("it opens").0
}

pub(super) fn run(folder: &Path, sink: &Rough, opened: &mut Opened, batch: BatchLimits) -> Run {
    let config = StoreConfig { batch, ..config(folder, 1) };
    let sources =
        JournalSources::new(std::mem::take(&mut opened.found), std::mem::take(&mut opened.own));
    let (state, states) = watch::channel(StoreState::Connecting);
    let ends = Ends {
        sink: sink.clone(),
        sources,
        nonces: nonces(folder),
        dead: DeadRows::new(&config).0,
        truth: truth(&config),
        state,
    };
    let batcher = Batcher::new(&config, ends, 1);
    let (metrics, conditions) = (config.faults.metrics(), config.faults.conditions());
    Run { metrics: metrics.clone(), conditions: conditions.clone(), batcher, states }
}

pub(super) fn append(opened: &mut Opened, id: u128) {
    // A space's records are all in one journal, as the hub has it.
    let shard = (id % 3) as usize % opened.writers.len();
    let (record, writer) = (one(id, 200 + id as usize % 300), &mut opened.writers[shard]);
    while writer.room() < record.len() as u64 {
        std::thread::yield_now();
    }
    writer.append(&record, Id(id)).expect("the room was promised");
}

/// Serves a while, then drains.
pub(super) async fn drained(run: Run, turns: u64) -> Unstored {
    let ((stop, stopped), (answer, answered)) = (oneshot::channel(), oneshot::channel());
    let teller = async {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        stop.send(Stop { wait: Duration::from_secs(60), answer }).expect("it runs");
        answered.await.expect("it answers")
    };
    let mut none = nobody();
    tokio::join!(run.batcher.run(stopped, &mut none), teller).1
}

/// Serves a while, then is killed.
pub(super) async fn killed(run: Run, turns: u64) {
    let (stop, stopped) = oneshot::channel();
    let killer = async {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        drop(stop);
    };
    let mut none = nobody();
    tokio::join!(run.batcher.run(stopped, &mut none), killer);
}

/// The bound leaves this number of shards room beside what killed runs have left.
fn room_beside(journal: &Path, shards: usize) -> JournalLimits {
    let files = std::fs::read_dir(journal).into_iter().flatten().flatten();
    let left: u64 = files.flat_map(|file| file.metadata()).map(|file| file.len()).sum();
    JournalLimits { bytes_max: left + shards as u64 * (128 << 10), ..LIMITS }
}

fn check(seed: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut dice = Dice::new(seed);
    let sink = Rough::new(seed ^ 77, dice.below(60));
    if dice.below(3) == 0 {
        sink.with(|model| model.absent = Some(SpaceId(dice.below(3) as i32)));
    }
    let (mut next, mut accepted) = (1u128, Vec::new());
    for round in 0..6u128 {
        let shards = 1 + dice.below(3) as usize;
        let journal = folder.path().join("journal");
        let opened = reopen(&journal, shards, &room_beside(&journal, shards), round * 100);
        let mut opened = opened.expect("it opens");
        assert!(opened.highest.0 < next);
        for _ in 0..dice.below(60) {
            append(&mut opened, next);
            accepted.push(next);
            if dice.below(20) == 0 {
                sink.with(|model| model.poison.insert(next));
            }
            next += 1 + u128::from(dice.below(3));
        }
        let rows_max = 1 + dice.below(20) as usize;
        let limits = BatchLimits { rows_max, bytes_max: 4000, wait: dice.below(2) };
        let run = run(folder.path(), &sink, &mut opened, limits);
        let turns = dice.below(80);
        match round < 5 && dice.below(2) == 0 {
            true => block_on(killed(run, turns)),
            false => assert_eq!(block_on(drained(run, turns)), Unstored::default()),
        }
    }
    sink.with(|model| {
        let mut stored: Vec<u128> = model.rows.iter().map(|(_, id)| *id).collect();
        for space in 0..3 {
            let ids = model.rows.iter().filter(|row| row.0 == space).map(|row| row.1);
            assert!(ids.is_sorted(), "ids of a space ascend from commit to commit");
        }
        stored.sort_unstable();
        let orphans = accepted.iter().filter(|id| model.absent == Some(SpaceId((**id % 3) as i32)));
        model.poison.extend(orphans);
        accepted.retain(|id| !model.poison.contains(id));
        assert_eq!(stored, accepted, "each record is stored once");
        let dead: BTreeSet<u128> = dead_letters(folder.path()).into_iter().collect();
        assert_eq!(dead, model.poison, "the others are dead letters");
    });
}

pub(super) fn dead_letters(folder: &Path) -> Vec<u128> {
    let text = std::fs::read_to_string(folder.join(DEAD_LETTERS_FILE)).unwrap_or_default();
    let id = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        assert!(line["reason"] == "poison" || line["reason"].as_str() == Some(NO_SPACE));
        Id::parse(line["id"].as_str().expect("an id")).expect("an id").0
    };
    text.lines().map(id).collect()
}

#[test]
fn every_record_is_stored_once_and_in_order_whatever_fails() {
    let slow = std::env::var_os("HUB_SLOW_TESTS").is_some_and(|value| value == "1");
    for seed in 0..if slow { 400 } else { 24 } {
        let outcome = std::panic::catch_unwind(|| check(seed));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

/// A store that becomes what it was, at any moment, beside all other faults.
fn check_returns(seed: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut dice = Dice::new(seed);
    let sink = Rough::new(seed ^ 78, dice.below(40));
    sink.with(|model| model.changed());
    let (mut next, mut accepted) = (1u128, Vec::new());
    for round in 0..6u128 {
        let shards = 1 + dice.below(3) as usize;
        let journal = folder.path().join("journal");
        let opened = reopen(&journal, shards, &room_beside(&journal, shards), round * 100);
        let mut opened = opened.expect("it opens");
        for _ in 0..dice.below(120) {
            append(&mut opened, next);
            accepted.push(next);
            next += 1 + u128::from(dice.below(3));
        }
        let rows_max = 1 + dice.below(20) as usize;
        let limits = BatchLimits { rows_max, bytes_max: 4000, wait: dice.below(2) };
        let run = run(folder.path(), &sink, &mut opened, limits);
        sink.with(|model| model.returns = if round < 5 { dice.below(15) } else { 0 });
        let turns = dice.below(200);
        match round < 5 && dice.below(2) == 0 {
            true => block_on(killed(run, turns)),
            false => {
                let returns = sink.clone();
                block_on(async {
                    let calm = async {
                        for _ in 0..turns {
                            tokio::task::yield_now().await;
                        }
                        returns.with(|model| model.returns = 0);
                    };
                    let (left, ()) = tokio::join!(drained(run, turns), calm);
                    assert_eq!(left, Unstored::default());
                });
            }
        }
    }
    let stored: Vec<u128> = sink.with(|model| {
        for space in 0..3 {
            let ids = model.rows.iter().filter(|row| row.0 == space).map(|row| row.1);
            assert!(ids.is_sorted(), "ids of a space ascend from commit to commit");
        }
        model.rows.iter().map(|(_, id)| *id).collect()
    });
    let once: BTreeSet<u128> = stored.iter().copied().collect();
    assert_eq!(once.len(), stored.len(), "nothing is stored twice");
    let lost: Vec<u128> = accepted.iter().copied().filter(|id| !once.contains(id)).collect();
    let named = missing(folder.path()).expect("it reads");
    match (named, lost.first().zip(lost.last())) {
        (None, None) => {}
        (Some(named), Some((first, last))) => {
            assert_eq!((named.records, named.count), (lost.len() as u64, Count::Exact), "{lost:?}");
            assert_eq!((named.ids.0.0, named.ids.1.0), (*first, *last));
        }
        (named, _) => panic!("{named:?} {lost:?}"),
    }
}

#[test]
fn a_store_that_goes_back_is_given_again_what_journals_hold_and_the_rest_is_named() {
    let slow = std::env::var_os("HUB_SLOW_TESTS").is_some_and(|value| value == "1");
    for seed in 0..if slow { 400 } else { 24 } {
        let outcome = std::panic::catch_unwind(|| check_returns(seed));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

#[test]
fn a_store_that_refuses_keeps_the_records_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = Rough::new(1, 100);
    let mut opened = reopen(folder.path(), 1, &LIMITS, 0).expect("it opens");
    (1..=9).for_each(|id| append(&mut opened, id));
    let limits = BatchLimits { rows_max: 4, bytes_max: 4000, wait: 0 };
    let Run { metrics, batcher, states, .. } = run(folder.path(), &sink, &mut opened, limits);
    let ((stop, stopped), (answer, answered)) = (oneshot::channel(), oneshot::channel());
    stop.send(Stop { wait: Duration::ZERO, answer }).expect("it listens");
    let mut none = nobody();
    let left = block_on(async { tokio::join!(batcher.run(stopped, &mut none), answered).1 });
    let left = left.expect("it answers");
    assert_eq!((left.records, left.bytes), (9, opened.writers[0].end()));
    assert!(matches!(*states.borrow(), StoreState::Connecting | StoreState::Refused));
    assert_eq!(metrics.store.read().get(Metric::RowsStored), 0);
}

#[test]
fn a_row_that_comes_alone_is_stored_at_once_and_rows_that_come_together_wait_for_more() {
    let (folder, sink) = (tempfile::tempdir().expect("a folder"), Rough::new(1, 0));
    let mut opened = reopen(folder.path(), 1, &LIMITS, 0).expect("it opens");
    // The clock stands, so that a batch which waits does so for good.
    let limits = BatchLimits { rows_max: 100, bytes_max: 64 << 10, wait: 5 };
    let run = run(folder.path(), &sink, &mut opened, limits);
    let ((stop, stopped), (answer, answered)) = (oneshot::channel(), oneshot::channel());
    let rows = || sink.with(|model| model.rows.len());
    let teller = async {
        for alone in 1..=3 {
            append(&mut opened, alone);
            while rows() < alone as usize {
                tokio::task::yield_now().await;
            }
        }
        (4..=5).for_each(|id| append(&mut opened, id));
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(rows(), 3, "two that came together wait");
        stop.send(Stop { wait: Duration::from_secs(60), answer }).expect("it runs");
        answered.await.expect("it answers")
    };
    let mut none = nobody();
    let left = block_on(async { tokio::join!(run.batcher.run(stopped, &mut none), teller).1 });
    assert_eq!((left.records, rows()), (0, 5));
}

/// Runs a batcher whose rows linger, while `teller` looks on.
fn lingering(rows_max: usize, teller: impl AsyncFnOnce(&mut Opened, &dyn Fn() -> usize)) {
    let (folder, sink) = (tempfile::tempdir().expect("a folder"), Rough::new(1, 0));
    let mut opened = reopen(folder.path(), 1, &LIMITS, 0).expect("it opens");
    let limits = BatchLimits { rows_max, bytes_max: 64 << 10, wait: 0 };
    let mut run = run(folder.path(), &sink, &mut opened, limits);
    run.batcher.linger_for(100);
    let ((stop, stopped), (answer, answered)) = (oneshot::channel(), oneshot::channel());
    let teller = async {
        teller(&mut opened, &|| sink.with(|model| model.rows.len())).await;
        stop.send(Stop { wait: Duration::from_secs(60), answer }).expect("it runs");
        answered.await.expect("it answers")
    };
    let mut none = nobody();
    let left = block_on(async { tokio::join!(run.batcher.run(stopped, &mut none), teller).1 });
    assert_eq!(left.records, 0);
}

/// Lets the batcher do all that it can do without time.
async fn yields() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn rows_that_nobody_waits_for_linger_until_somebody_does() {
    // The clock stands, so that a batch which lingers does so for good.
    lingering(100, async |opened, rows| {
        // The transaction before this row was long ago.
        append(opened, 1);
        while rows() < 1 {
            tokio::task::yield_now().await;
        }
        append(opened, 2);
        yields().await;
        (3..=4).for_each(|id| append(opened, id));
        yields().await;
        assert_eq!(rows(), 1);
        opened.writers[0].want();
        while rows() < 4 {
            tokio::task::yield_now().await;
        }
        append(opened, 5);
        yields().await;
        assert_eq!(rows(), 4, "what was wanted is stored, and this was not");
    });
}

#[test]
fn rows_that_nobody_waits_for_linger_no_longer_once_they_fill_a_batch() {
    lingering(4, async |opened, rows| {
        (1..=9).for_each(|id| append(opened, id));
        while rows() < 8 {
            tokio::task::yield_now().await;
        }
        yields().await;
        assert_eq!(rows(), 8);
    });
}

fn parts(config: &StoreConfig, sink: &Rough, opened: Opened) -> Parts<Rough> {
    let readers =
        Readers { reader: Reader::begin(config.clock.clone(), 0, false).0, threads: Vec::new() };
    let (sink, nonces, published) = (sink.clone(), nonces(&config.data_dir), Vec::new());
    let (truth, seed, database) = (truth(config), 1, None);
    let again = sink.clone();
    let reopen = Box::new(move || Ok(again.clone()));
    Parts { opened, sink, reopen, truth, readers, nonces, published, seed, database }
}

#[test]
fn a_batcher_that_panics_again_and_again_is_told_and_a_stop_says_that_it_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = Rough::new(1, 0);
    sink.with(|model| model.panics = true);
    let config = config(folder.path(), 1);
    let opened = reopen(&folder.path().join("journal"), 1, &LIMITS, 0).expect("it opens");
    let store = start(&config, parts(&config, &sink, opened)).expect("it starts");
    assert_eq!(block_on(config.faults.wait()), "hub-store has ended in a panic");
    assert!(config.faults.conditions().holds(Condition::PartEnded));
    assert_eq!(config.faults.conditions().effect(), Some(Effect::Refusing));
    assert_eq!(block_on(store.handle.stop(Duration::from_secs(60))), None);
}

#[test]
fn a_batcher_that_panics_begins_anew_and_stores_each_record_once_and_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = Rough::new(1, 0);
    let mut config = config(folder.path(), 2);
    // Segments of a few records, so that stored ones go while it lives and dies.
    config.journal = LIMITS;
    config.batch.rows_max = 3;
    let opened = reopen(&folder.path().join("journal"), 2, &LIMITS, 0).expect("it opens");
    let mut store = start(&config, parts(&config, &sink, opened)).expect("it starts");
    for id in 1..=200u128 {
        let bug = [(50, Bug::Before), (150, Bug::Behind)].into_iter().find(|(at, _)| *at == id);
        sink.with(|model| model.bug = bug.map(|(_, bug)| bug));
        let shard = (id % 2) as usize;
        let end = store.writers[shard].append(&one(id, 100), Id(id)).expect("there is room");
        let shown = block_on(store.committed[shard].changed(Some(end - 1)));
        assert_eq!(shown, Some(end), "{id}");
    }
    assert_eq!(config.faults.first(), None);
    let panics = config.faults.metrics().panics().find(|(part, _)| *part == "store");
    assert_eq!(panics, Some(("store", 2)));
    assert!(config.faults.conditions().holds(Condition::PartPanicked));
    assert_eq!(block_on(store.handle.stop(Duration::from_secs(60))), Some(Unstored::default()));
    let stored: Vec<u128> = sink.with(|model| model.rows.iter().map(|(_, id)| *id).collect());
    assert_eq!(stored, (1..=200).collect::<Vec<_>>());
}

#[test]
fn shards_are_shown_what_is_stored_and_the_books_balance() {
    let folder = tempfile::tempdir().expect("a folder");
    let sink = Rough::new(1, 0);
    sink.with(|model| model.poison.insert(7));
    let mut config = config(folder.path(), 2);
    config.batch.rows_max = 4;
    let opened = reopen(&folder.path().join("journal"), 2, &LIMITS, 0).expect("it opens");
    let parts = parts(&config, &sink, opened);
    let mut store = start(&config, parts).expect("it starts");
    for id in 1..=20u128 {
        let shard = (id % 3) as usize % 2;
        let end = store.writers[shard].append(&one(id, 100), Id(id)).expect("there is room");
        let shown = block_on(store.committed[shard].changed(Some(end - 1)));
        assert_eq!(shown, Some(end));
    }
    let caught_up = store.state.wait_for(|state| *state == StoreState::Ready);
    block_on(caught_up).expect("records of 1970 are late, but none is left");
    assert_eq!(block_on(store.handle.stop(Duration::from_secs(60))), Some(Unstored::default()));
    let counts = config.faults.metrics().total();
    assert_eq!(counts.get(Metric::RowsStored) + counts.get(Metric::RowsDead), 20);
    assert_eq!((counts.get(Metric::RowsDead), counts.get(Metric::JournalBytes)), (1, 0));
    assert_eq!(dead_letters(folder.path()), [7]);
}
