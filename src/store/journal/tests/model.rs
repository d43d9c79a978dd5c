//! Journals against a plain model: what was appended, what is read, what a damaged disk leaves.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{LIMITS, ids, one, reopen, segments};
use crate::store::journal::writer::JournalError;
use crate::store::journal::{JournalLimits, JournalOpenError, Writer};
use crate::wire::Id;
use crate::wire::record::records;

fn append(writer: &mut Writer, id: u128, length: usize) -> u64 {
    writer.append(&one(id, length), Id(id)).expect("there is room")
}

/// Waits for the keeper: a spare is only a matter of time.
fn append_when_room(writer: &mut Writer, id: u128, length: usize) -> u64 {
    let record = one(id, length);
    while writer.room() < record.len() as u64 {
        std::thread::yield_now();
    }
    writer.append(&record, Id(id)).expect("the room was promised")
}

#[test]
fn what_was_appended_is_read_now_and_after_a_reopening() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut opened = reopen(folder.path(), 2, &LIMITS, 0).expect("it opens");
    for id in 1..=500 {
        append_when_room(&mut opened.writers[id as usize % 2], id, id as usize);
    }
    let expected = |shard: u128| (1..=500).filter(move |id| id % 2 == shard).collect::<Vec<u128>>();
    assert_eq!(ids(&mut opened.own[0]), expected(0));
    assert_eq!(ids(&mut opened.own[1]), expected(1));
    assert_eq!(opened.own[0].position(), opened.writers[0].end());
    drop(opened);
    let mut opened = reopen(folder.path(), 1, &LIMITS, 100).expect("it opens");
    assert_eq!(opened.highest, Id(500));
    assert_eq!(opened.found.len(), 2);
    assert_eq!(ids(&mut opened.found[0]), expected(1), "first ids decide the order");
    assert_eq!(ids(&mut opened.found[1]), expected(0));
    for mut found in opened.found {
        found.remove().expect("it goes");
    }
    drop((opened.writers, opened.own, opened.journals));
    let opened = reopen(folder.path(), 1, &LIMITS, 200).expect("it opens");
    assert_eq!(opened.highest, Id(500), "headers remember what has been drained");
}

#[test]
fn a_second_hub_is_locked_out_and_the_lock_ends_with_the_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let opened = reopen(folder.path(), 1, &LIMITS, 0).expect("it opens");
    let second = reopen(folder.path(), 1, &LIMITS, 10);
    assert!(matches!(second, Err(JournalOpenError::Locked { .. })), "{second:?}");
    drop(opened);
    reopen(folder.path(), 1, &LIMITS, 20).expect("it opens again");
}

#[test]
fn a_full_journal_refuses_and_takes_again_when_it_is_trimmed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut opened = reopen(folder.path(), 1, &LIMITS, 0).expect("it opens");
    let writer = &mut opened.writers[0];
    let (record, mut last) = (one(1, 3000), 0);
    // Full is final here: nothing is trimmed, so the bound is reached.
    let in_all = LIMITS.bytes_max / record.len() as u64;
    while last + 1 < in_all * 8 / 10 {
        last += 1;
        append_when_room(writer, last.into(), 3000);
    }
    loop {
        let room = writer.room();
        match writer.append(&one(last.into(), 3000), Id(1)) {
            Ok(_) => last += 1,
            Err(error) => {
                assert!(matches!(error, JournalError::Full) && room < record.len() as u64);
                break;
            }
        }
    }
    let files: u64 = segments(folder.path()).iter().map(|p| p.metadata().expect("it").len()).sum();
    assert!(files <= LIMITS.bytes_max);
    let tail = &mut opened.own[0];
    ids(tail);
    tail.trim(tail.position()).expect("it trims");
    for id in 1000..1060 {
        append_when_room(writer, id, 3000);
    }
    assert_eq!(ids(tail), (1000..1060).collect::<Vec<u128>>());
}

#[test]
fn found_journals_count_against_the_bound() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = JournalLimits { bytes_max: 96 << 10, ..LIMITS };
    let mut opened = reopen(folder.path(), 1, &limits, 0).expect("it opens");
    let mut id = 0;
    let writer = &mut opened.writers[0];
    // To the end of the sixth segment: what a journal does not need is given back.
    while writer.wires.begun.get() < 6 || writer.room() > 4000 {
        id += 1;
        append_when_room(writer, id, 3000);
    }
    drop(opened);
    let mut opened = reopen(folder.path(), 1, &limits, 100).expect("it opens");
    assert_eq!(opened.writers[0].room(), 0);
    assert!(matches!(opened.writers[0].append(&one(1, 1), Id(1)), Err(JournalError::Full)));
    let mut found = opened.found.remove(0);
    assert_eq!(ids(&mut found).len() as u128, id);
    found.remove().expect("it goes");
    append_when_room(&mut opened.writers[0], 1000, 3000);
    assert_eq!(ids(&mut opened.own[0]), [1000]);
}

#[test]
fn room_is_a_promise_for_one_append_of_any_records() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut opened = reopen(folder.path(), 1, &LIMITS, 0).expect("it opens");
    let (writer, tail) = (&mut opened.writers[0], &mut opened.own[0]);
    let mut expected = Vec::new();
    for turn in 0..60u128 {
        let (mut records, mut id) = (Vec::new(), turn * 1000);
        while writer.room() == 0 {
            std::thread::yield_now();
        }
        // The longest records waste most where segments end.
        let room = writer.room();
        while let next = one(id, (4000 - (turn as usize * 67) % 4000).max(1))
            && (records.len() + next.len()) as u64 <= room
        {
            records.extend(next);
            expected.push(id);
            id += 1;
        }
        writer.append(&records, Id(id)).expect("the room was promised");
        let got = ids(tail);
        assert_eq!(got, expected.split_off(expected.len() - got.len()));
        assert!(expected.is_empty());
        tail.trim(tail.position()).expect("it trims");
    }
}

#[test]
fn too_many_shards_for_the_bound_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let opened = reopen(folder.path(), 9, &LIMITS, 0);
    assert!(matches!(opened, Err(JournalOpenError::TooSmall { shards: 9 })), "{opened:?}");
}

#[test]
fn a_tail_goes_on_within_a_block_and_behind_trimmed_segments() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut opened = reopen(folder.path(), 1, &LIMITS, 0).expect("it opens");
    for turn in 0..40u128 {
        let ids = turn * 10..turn * 10 + 5;
        let records: Vec<u8> = ids.clone().flat_map(|id| one(id, 500)).collect();
        while opened.writers[0].room() < records.len() as u64 {
            std::thread::yield_now();
        }
        opened.writers[0].append(&records, Id(ids.end - 1)).expect("there is room");
    }
    // Each record's id and the position behind it.
    let mut places = Vec::new();
    while let Some(stretch) = opened.own[0].read().expect("it reads") {
        let mut end = stretch.offset;
        for record in records(stretch.records) {
            end += record.encoded_bytes() as u64;
            places.push((record.id.0, end));
        }
    }
    assert_eq!(places.len(), 200);
    opened.own[0].trim(places[60].1).expect("it trims");
    drop(opened);
    let mut opened = reopen(folder.path(), 1, &LIMITS, 1000).expect("it opens");
    let found = opened.found.remove(0);
    for (n, (_, place)) in places.iter().enumerate().skip(60) {
        let mut tail = found.again();
        tail.start_at(*place);
        let rest: Vec<u128> = places[n + 1..].iter().map(|(id, _)| *id).collect();
        assert_eq!(ids(&mut tail), rest);
        assert!(!tail.has_more() && tail.position() >= *place);
    }
    let mut tail = found.again();
    tail.start_at(places[199].1 + 1000);
    assert!(!tail.has_more(), "a cut journal counts as stored up to the committed position");
}

#[test]
fn an_append_across_segments_that_was_cut_short_counts_for_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut opened = reopen(folder.path(), 1, &LIMITS, 0).expect("it opens");
    let mut id = 0;
    let first = segments(folder.path()).remove(0);
    let mut before;
    loop {
        id += 1;
        before = fs::read(&first).expect("the segment");
        append_when_room(&mut opened.writers[0], id * 10, 3000);
        if fs::read(&first).expect("the segment") == before {
            break;
        }
        let mut two = one(id * 10 + 1, 2000);
        two.extend(one(id * 10 + 2, 3900));
        let end = opened.writers[0].end();
        while opened.writers[0].room() < two.len() as u64 {
            std::thread::yield_now();
        }
        before = fs::read(&first).expect("the segment");
        opened.writers[0].append(&two, Id(id * 10 + 2)).expect("there is room");
        let changed = fs::read(&first).expect("the segment") != before;
        if changed && opened.writers[0].end() > end && segments_used(folder.path()) == 2 {
            break;
        }
    }
    // As if the process had been killed between the two writes: the later one was first.
    drop(opened);
    fs::write(&first, &before).expect("it writes");
    let mut opened = reopen(folder.path(), 1, &LIMITS, 100).expect("it opens");
    let read = ids(&mut opened.found[0]);
    assert_eq!(read.last(), Some(&(id * 10)), "neither record of the last append");
    assert_eq!(opened.highest, Id(id * 10 + 2), "but its ids are not used again");
}

fn segments_used(folder: &Path) -> usize {
    let used = |path: &PathBuf| fs::read(path).expect("it").iter().take(80).any(|b| *b != 0);
    segments(folder).iter().filter(|path| used(path)).count()
}

/// A journal of one segment: where each record's block ends in the file, and its bytes.
struct Sample {
    folder: tempfile::TempDir,
    file: PathBuf,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// How many records were known to be synced when the last was written.
    synced: usize,
}

fn sample(records: usize, synced: usize) -> Sample {
    let folder = tempfile::tempdir().expect("a folder");
    let mut opened = reopen(folder.path(), 1, &LIMITS, 0).expect("it opens");
    let mut ends = Vec::new();
    for n in 0..records {
        if n == synced {
            let end = opened.writers[0].end();
            opened.writers[0].wires.synced.publish(end);
        }
        ends.push(80 + append(&mut opened.writers[0], n as u128 + 1, 40 + n) as usize);
    }
    drop(opened);
    let file = segments(folder.path()).remove(0);
    let bytes = fs::read(&file).expect("the segment");
    Sample { folder, file, bytes, ends, synced }
}

impl Sample {
    /// What is read when the file holds `bytes`.
    fn read(&self, bytes: &[u8]) -> Result<Vec<u128>, JournalOpenError> {
        segments(self.folder.path()).iter().for_each(|path| fs::remove_file(path).expect("it"));
        fs::write(&self.file, bytes).expect("it writes");
        let mut opened = reopen(self.folder.path(), 1, &LIMITS, 1 << 64)?;
        // Without a record it may be gone already.
        Ok(opened.found.first_mut().map(ids).unwrap_or_default())
    }

    fn check_damage(&self, bytes: &[u8], at: usize) -> Result<(), TestCaseError> {
        let intact = self.ends.iter().filter(|end| **end <= at).count();
        match self.read(bytes) {
            Ok(read) => {
                let expected: Vec<u128> = (1..=intact as u128).collect();
                prop_assert_eq!(read, expected);
                prop_assert!(intact >= self.synced, "synced records were cut");
            }
            Err(JournalOpenError::Damaged { file, offset }) => {
                prop_assert_eq!(&file, &self.file);
                prop_assert!(intact < self.synced, "a torn tail refused the start");
                let block = intact.checked_sub(1).map_or(80, |last| self.ends[last]);
                prop_assert_eq!(offset, if at < 80 { 0 } else { block as u64 });
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_bit_behind_the_mark_is_cut_and_before_it_is_refused(
        records in 1usize..12, synced in 1usize..12, at: prop::sample::Index, bit in 0u8..8,
    ) {
        let sample = sample(records, synced.min(records - 1));
        let mut bytes = sample.bytes.clone();
        // The header's last bytes are free.
        let at = at.index(sample.ends[records - 1] - 12);
        let at = if at < 68 { at } else { at + 12 };
        bytes[at] ^= 1 << bit;
        sample.check_damage(&bytes, at)?;
    }

    #[test]
    fn a_hole_behind_the_mark_is_cut_and_before_it_is_refused(
        records in 3usize..12, synced in 1usize..12, hole in 0usize..11,
    ) {
        let synced = synced.min(records - 1);
        let sample = sample(records, synced);
        let hole = hole.min(records - 2);
        let from = if hole == 0 { 80 } else { sample.ends[hole - 1] };
        let mut bytes = sample.bytes.clone();
        bytes[from..sample.ends[hole]].fill(0);
        sample.check_damage(&bytes, from)?;
    }

    #[test]
    fn a_file_cut_at_any_byte_gives_its_whole_records(
        records in 1usize..12, at: prop::sample::Index,
    ) {
        // Nothing but the cut part said what was synced.
        let sample = sample(records, records);
        let at = at.index(sample.bytes.len());
        let intact = sample.ends.iter().filter(|end| **end <= at).count() as u128;
        let read = sample.read(&sample.bytes[..at]).expect("the tail is cut");
        prop_assert_eq!(read, (1..=intact).collect::<Vec<_>>());
    }

    #[test]
    fn any_bytes_are_recovered_without_harm(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let sample = sample(1, 1);
        let _ = sample.read(&bytes);
        let mut garbage = sample.bytes[..80].to_vec();
        garbage.extend(&bytes);
        let _ = sample.read(&garbage);
    }
}

#[test]
fn what_is_written_is_synced_soon_after() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = JournalLimits { flush_period: Some(1), ..LIMITS };
    let mut opened = reopen(folder.path(), 1, &limits, 0).expect("it opens");
    for id in 1..100 {
        append_when_room(&mut opened.writers[0], id, 1000);
    }
    let writer = &opened.writers[0];
    while writer.wires.synced.get() < writer.end() {
        std::thread::yield_now();
    }
    assert_eq!(writer.wires.synced.get(), writer.end());
}
