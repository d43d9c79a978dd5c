//! Whatever byte of a set of segments is wrong: the start, `journal verify` and the batcher's tail
//! judge it the same way, so that no hub gets ready on a journal that it can't read.

use std::fs;
use std::path::{Path, PathBuf};

use super::{LIMITS, one};
use crate::faults::Faults;
use crate::limits::TAIL_WINDOW_BYTES;
use crate::metrics::Metrics;
use crate::store::journal::inspect::{JournalState, inspect};
use crate::store::journal::segment::{
    BlockPlace, HEADER_BYTES, JournalId, SegmentHeader, put_blocks, segment_path,
};
use crate::store::journal::{JournalOpenError, take};
use crate::wire::Id;
use crate::wire::record::records;

const JOURNAL: JournalId = JournalId(7);
/// Bytes of a segment: some blocks, and zeros behind them.
const SEGMENT_BYTES: usize = 300;

/// Three segments of some blocks each, and a spare; each block says that all before it is synced,
/// or that nothing is.
fn segments(folder: &Path, synced: bool) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut offset, mut id) = (0, 0);
    let segment = |index| {
        let mark = if synced { offset } else { 0 };
        let header =
            SegmentHeader { journal: JOURNAL, index, base: offset, synced: mark, highest: Id(id) };
        let mut bytes = header.encode().to_vec();
        for length in [20, 1] {
            id += 1;
            let synced = if synced { offset } else { 0 };
            let place = BlockPlace { seed: JOURNAL.crc_seed(), offset, synced };
            let before = bytes.len();
            put_blocks(&mut bytes, place, &one(id, length), SEGMENT_BYTES);
            offset += (bytes.len() - before) as u64;
        }
        assert!(bytes.len() + 30 < SEGMENT_BYTES, "{} leave room", bytes.len());
        bytes.resize(SEGMENT_BYTES, 0);
        (segment_path(folder, JOURNAL, index), bytes)
    };
    let mut segments: Vec<_> = (0..3).map(segment).collect();
    segments.push((segment_path(folder, JOURNAL, 3), vec![0; 100]));
    segments
}

fn is_usable(state: &JournalState) -> bool {
    matches!(state, JournalState::Sound | JournalState::Torn { .. })
}

/// What the start says, held against what the others do; whether it takes the journal, and how
/// many records that leaves.
fn judge(folder: &Path, what: &str) -> Option<u64> {
    let faults = Faults::unread(std::sync::Arc::new(Metrics::new(1)));
    let reports = inspect(folder).expect("it looks");
    let [report] = &reports.journals[..] else { panic!("{what}: {reports:?}") };
    let taken = match take(folder, 1, &LIMITS) {
        Ok(taken) => taken,
        Err(error) => {
            assert!(matches!(
                error,
                JournalOpenError::Damaged { .. } | JournalOpenError::Newer { .. }
            ));
            assert!(!is_usable(&report.state), "{what}: {error}, but {:?}", report.state);
            return None;
        }
    };
    assert!(is_usable(&report.state), "{what}: it is taken, but {:?}", report.state);
    let mut read = 0;
    for mut tail in taken.tails(&faults) {
        loop {
            match tail.read() {
                Ok(Some(stretch)) => read += records(stretch.records).count() as u64,
                Ok(None) => break,
                Err(fault) => panic!("{what}: it is taken, but: {fault}"),
            }
        }
    }
    assert_eq!(read, report.records, "{what}: all that counts is read");
    Some(read)
}

#[test]
fn start_verify_and_tail_agree_on_every_byte_that_is_wrong() {
    for synced in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let segments = segments(folder.path(), synced);
        segments.iter().for_each(|(path, bytes)| fs::write(path, bytes).expect("it writes"));
        assert_eq!(judge(folder.path(), "untouched"), Some(6));
        let mut refused = 0;
        for (n, (path, sound)) in segments.iter().enumerate() {
            for at in 0..sound.len() {
                let mask = [0x01, 0x80, 0xFF][at % 3];
                let mut bytes = sound.clone();
                bytes[at] ^= mask;
                fs::write(path, bytes).expect("it writes");
                let what = format!("segment {n}, byte {at} ^ {mask:#x}, synced: {synced}");
                refused += u32::from(judge(folder.path(), &what).is_none());
            }
            fs::write(path, sound).expect("it writes");
        }
        assert_eq!(refused > 0, synced, "only what was on the disk is missed");
    }
}

#[test]
fn bytes_behind_a_full_segments_last_block_are_no_damage() {
    let folder = tempfile::tempdir().expect("a folder");
    let segments = segments(folder.path(), true);
    segments.iter().for_each(|(path, bytes)| fs::write(path, bytes).expect("it writes"));
    let (path, sound) = &segments[0];
    let end = sound.iter().rposition(|byte| *byte != 0).expect("blocks") + 1;
    assert!(end > HEADER_BYTES);
    // Anything that looks like the beginning of a block: its length leads anywhere.
    for length in [1u32, 20, 60, 300, 1 << 20, u32::MAX] {
        let mut bytes = sound.clone();
        bytes[end + 4..end + 8].copy_from_slice(&length.to_le_bytes());
        fs::write(path, bytes).expect("it writes");
        assert_eq!(judge(folder.path(), &format!("length {length}")), Some(6));
    }
}

#[test]
fn start_verify_and_tail_agree_on_segments_that_are_cut_or_gone() {
    for synced in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let segments = segments(folder.path(), synced);
        segments.iter().for_each(|(path, bytes)| fs::write(path, bytes).expect("it writes"));
        for (n, (path, sound)) in segments.iter().enumerate() {
            for length in (0..sound.len()).step_by(3) {
                fs::write(path, &sound[..length]).expect("it writes");
                judge(folder.path(), &format!("segment {n} cut to {length}, synced: {synced}"));
            }
            fs::remove_file(path).expect("it goes");
            judge(folder.path(), &format!("segment {n} is gone, synced: {synced}"));
            fs::write(path, sound).expect("it writes");
        }
    }
}

#[test]
fn a_rest_that_is_longer_than_what_the_tail_reads_at_once_is_no_damage() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut segments = segments(folder.path(), true);
    let sound = segments[0].1.clone();
    let end = sound.iter().rposition(|byte| *byte != 0).expect("blocks") + 1;
    let rest = 3 * usize::try_from(TAIL_WINDOW_BYTES).expect("it fits");
    for length in [60, TAIL_WINDOW_BYTES as u32, 2 * TAIL_WINDOW_BYTES as u32, 1 << 20] {
        segments[0].1.resize(end + rest, 0xA5);
        segments[0].1[end + 4..end + 8].copy_from_slice(&length.to_le_bytes());
        segments.iter().for_each(|(path, bytes)| fs::write(path, bytes).expect("it writes"));
        assert_eq!(judge(folder.path(), &format!("length {length}")), Some(6));
    }
}
