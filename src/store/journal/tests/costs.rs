//! Tests of what journals cost: those without records nothing, the others what their records take.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::{LIMITS, ids, one, reopen, reopen_telling, segments};
use crate::conditions::Condition;
use crate::faults::Faults;
use crate::metrics::{Metric, Metrics};
use crate::store::journal::recover;
use crate::store::journal::segment::{HEADER_BYTES, JournalId, create_segment, segment_path};
use crate::store::journal::settle::Settled;
use crate::store::journal::{JournalLimits, Opened};
use crate::wire::Id;

fn bytes(folder: &Path) -> u64 {
    segments(folder).iter().map(|path| path.metadata().expect("it").len()).sum()
}

fn faults(shards: usize) -> (Faults, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new(shards));
    (Faults::unread(metrics.clone()), metrics)
}

fn until_spared(opened: &Opened) {
    while opened.writers.iter().any(|writer| writer.wires.made.get() < 2) {
        std::thread::yield_now();
    }
}

#[test]
fn runs_that_nobody_says_a_word_to_cost_nothing_and_forget_no_id() {
    for shards in [1, 4] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut opened = reopen(folder.path(), shards, &LIMITS, 0).expect("it opens");
        opened.writers[0].append(&one(70, 9), Id(70)).expect("there is room");
        ids(&mut opened.own[0]);
        drop(opened);
        let mut opened = reopen(folder.path(), shards, &LIMITS, 1000).expect("it opens");
        // Stored: from here on only headers know the id.
        opened.found.iter_mut().for_each(|found| found.remove().expect("it goes"));
        until_spared(&opened);
        let at_rest = bytes(folder.path());
        drop(opened);
        for run in 2..60 {
            let (faults, metrics) = faults(shards);
            let opened = reopen_telling(folder.path(), shards, &LIMITS, run * 1000, &faults);
            let opened = opened.expect("it opens");
            assert_eq!((opened.highest, opened.found.len()), (Id(70), 0));
            // Every second one is killed while its spares are being made.
            if run % 2 == 0 {
                until_spared(&opened);
                assert_eq!(bytes(folder.path()), at_rest);
                assert_eq!(metrics.store.read().get(Metric::JournalDiskBytes), at_rest);
            }
            assert_eq!(faults.conditions().all(), []);
        }
    }
}

#[test]
fn a_found_journal_costs_what_its_records_take() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut needed = 0;
    for run in 1..=40u128 {
        let mut opened = reopen(folder.path(), 2, &LIMITS, run * 1000).expect("it opens");
        assert_eq!(bytes_of(&opened, folder.path()), needed);
        until_spared(&opened);
        let end = opened.writers[1].append(&one(run, 100), Id(run)).expect("there is room");
        needed += HEADER_BYTES as u64 + end;
    }
    let mut opened = reopen(folder.path(), 2, &LIMITS, 50_000).expect("it opens");
    let found: Vec<u128> = opened.found.iter_mut().flat_map(ids).collect();
    assert_eq!(found, (1..=40).collect::<Vec<_>>());
}

/// Bytes of the journals that were found.
fn bytes_of(opened: &Opened, folder: &Path) -> u64 {
    let own: Vec<String> =
        opened.writers.iter().map(|writer| writer.journal().to_string()).collect();
    let files = segments(folder).into_iter().filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("ASCII");
        !own.iter().any(|journal| name.starts_with(journal))
    });
    files.map(|path| path.metadata().expect("it").len()).sum()
}

#[test]
fn a_torn_tail_keeps_its_bytes_and_a_torn_header_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(reopen(folder.path(), 1, &LIMITS, 0).expect("it opens"));
    let path = segment_path(folder.path(), JournalId(1), 0);
    let whole = fs::read(&path).expect("a segment");
    let with = |from: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[from] ^= byte;
        fs::write(&path, bytes).expect("it writes");
        let opened = reopen(folder.path(), 1, &LIMITS, 9).expect("it opens");
        (opened.found.len(), path.exists())
    };
    // A part of a block: what it was can't be known, and damage may be judged by it.
    assert_eq!(with(HEADER_BYTES + 30, 1), (1, true));
    assert_eq!(with(20, 1), (0, false));
}

#[test]
fn the_last_journal_that_knows_the_highest_id_stays_until_a_new_header_does() {
    let folder = tempfile::tempdir().expect("a folder");
    for run in 0..3 {
        let mut opened = reopen(folder.path(), 1, &LIMITS, run * 10).expect("it opens");
        opened.writers[0].append(&one(9, 1), Id(9)).expect("there is room");
        opened.found.iter_mut().for_each(|found| found.remove().expect("it goes"));
    }
    let mut opened = reopen(folder.path(), 3, &LIMITS, 100).expect("it opens");
    opened.found.iter_mut().for_each(|found| found.remove().expect("it goes"));
    drop(opened);
    let found = recover::find(folder.path(), 0).expect("it reads");
    assert_eq!(found.len(), 3);
    let mut settled = Settled::new(folder.path(), found, Id(9));
    let left = recover::find(folder.path(), 0).expect("it reads");
    let knows: Vec<Id> = left.iter().map(|journal| journal.highest).collect();
    assert_eq!((knows, settled.found.len(), settled.bytes()), (vec![Id(9)], 0, 0));
    // A full disk has not let a new one begin.
    assert_eq!(settled.end(folder.path(), false), bytes(folder.path()));
    assert_eq!(settled.found, left);
    let mut settled = Settled::new(folder.path(), left, Id(9));
    assert_eq!((settled.end(folder.path(), true), bytes(folder.path())), (0, 0));
}

#[test]
fn a_start_that_fails_leaves_no_segment() {
    let folder = tempfile::tempdir().expect("a folder");
    // Where the second of three is to be made.
    let taken = segment_path(folder.path(), JournalId(2), 0);
    drop(reopen(folder.path(), 1, &LIMITS, 8).expect("it opens"));
    let known = segment_path(folder.path(), JournalId(9), 0);
    fs::write(&taken, "something of others ".repeat(9)).expect("it writes");
    reopen(folder.path(), 3, &LIMITS, 0).expect_err("it can't be made");
    assert_eq!(segments(folder.path()), std::slice::from_ref(&taken), "no id was known to any");
    fs::remove_file(&taken).expect("it goes");
    let mut opened = reopen(folder.path(), 1, &LIMITS, 8).expect("it opens");
    opened.writers[0].append(&one(70, 9), Id(70)).expect("there is room");
    drop(opened);
    for round in 0..2 {
        // Once with its record, then with the headers of runs that nobody spoke in.
        fs::write(&taken, "something of others ".repeat(9)).expect("it writes");
        reopen(folder.path(), 3, &LIMITS, 0).expect_err("it can't be made");
        assert_eq!(segments(folder.path()).len(), 2, "{round}");
        fs::remove_file(&taken).expect("it goes");
        let mut opened = reopen(folder.path(), 1, &LIMITS, 20 + round).expect("it opens");
        assert_eq!(opened.highest, Id(70), "{round}");
        opened.found.iter_mut().for_each(|found| found.remove().expect("it goes"));
        opened.own.clear();
    }
    assert!(!known.exists());
}

#[test]
fn a_segment_that_a_failed_try_has_left_is_replaced_and_any_other_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a");
    for left in [&[][..], &[0; 100_000]] {
        fs::write(&path, left).expect("it writes");
        create_segment(&path, 70_000).expect("it is made");
        assert_eq!(fs::read(&path).expect("it reads"), vec![0; 70_000]);
    }
    fs::write(&path, [0, 0, 1]).expect("it writes");
    let refused = create_segment(&path, 70_000).expect_err("it holds something");
    assert_eq!(refused.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).expect("it reads"), [0, 0, 1]);
}

#[test]
fn journals_that_fill_are_told_until_they_are_trimmed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (faults, metrics) = faults(1);
    let mut opened = reopen_telling(folder.path(), 1, &LIMITS, 0, &faults).expect("it opens");
    let record = one(1, 3000);
    while !faults.conditions().holds(Condition::JournalFilling) {
        if opened.writers[0].room() > record.len() as u64 {
            opened.writers[0].append(&record, Id(1)).expect("the room was promised");
        }
    }
    let there = metrics.store.read().get(Metric::JournalDiskBytes);
    assert!(there * 10 >= LIMITS.bytes_max * 8 - 10_000, "{there}");
    let tail = &mut opened.own[0];
    ids(tail);
    tail.trim(tail.position()).expect("it trims");
    while faults.conditions().holds(Condition::JournalFilling) {
        std::thread::yield_now();
    }
    drop(opened.journals);
    assert_eq!(metrics.store.read().get(Metric::JournalDiskBytes), bytes(folder.path()));
}

#[test]
fn a_byte_behind_the_last_block_of_a_full_segment_is_no_damage_to_anybody() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = JournalLimits { bytes_max: 1 << 20, ..LIMITS };
    // Where in what lies behind: in the place of a block's header, and farther on.
    for (run, at) in [1, 5, 12, 30, 500].into_iter().enumerate() {
        let run = run as u128 * 1000;
        let mut opened = reopen(folder.path(), 1, &limits, run).expect("it opens");
        let (writer, record) = (&mut opened.writers[0], one(1, 3000));
        let mut id = run;
        while writer.wires.begun.get() < 3 {
            if writer.room() > record.len() as u64 {
                id += 1;
                writer.append(&one(id, 3000), Id(id)).expect("the room was promised");
            }
        }
        let path = segment_path(folder.path(), writer.journal(), 0);
        let mut segment = fs::read(&path).expect("a segment");
        let end = segment.iter().rposition(|byte| *byte != 0).expect("a block") + 1;
        segment[end + at] = 7;
        fs::write(&path, segment).expect("it writes");
        let expected: Vec<u128> = (run + 1..=id).collect();
        assert_eq!(ids(&mut opened.own[0]), expected, "{at} while it runs");
        drop(opened);
        let mut opened = reopen(folder.path(), 1, &limits, run + 500).expect("it opens");
        assert_eq!(ids(&mut opened.found[0]), expected, "{at} at the next start");
        opened.found[0].remove().expect("it goes");
    }
}
