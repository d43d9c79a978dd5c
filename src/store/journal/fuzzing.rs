//! What any bytes of a journal's segments are held to: for fuzzers, and for the tests beside this.
//! Compiled for these alone.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::thread;

use super::inspect::{JournalState, inspect};
use super::segment::{
    BlockPlace, HEADER_BYTES, JournalId, SegmentHeader, put_blocks, segment_path,
};
use super::{JournalLimits, JournalOpenError, take};
use crate::faults::Faults;
use crate::metrics::Metrics;
use crate::wire::record::{Record, records};
use crate::wire::time::Micros;
use crate::wire::{Id, SpaceId, UserId};

/// Small journals, flushed by nobody.
const LIMITS: JournalLimits = JournalLimits {
    bytes_max: 256 << 10,
    record_bytes_max: 4 << 10,
    flush_period: None,
    nonces_max: 9,
};

const JOURNAL: JournalId = JournalId(7);
/// Bytes of a segment: some blocks, and zeros behind them.
const SEGMENT_BYTES: usize = 300;

/// Three segments of some blocks each, and a spare; each block says that all before it is synced,
/// or that nothing is.
pub(super) fn segments(folder: &Path, synced: bool) -> Vec<(PathBuf, Vec<u8>)> {
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
pub(super) fn judge(folder: &Path, what: &str) -> Option<u64> {
    let faults = Faults::unread(Arc::new(Metrics::new(1)));
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

/// One record with this id and a content of this length in bytes.
fn one(id: u128, length: usize) -> Vec<u8> {
    let (content, mut out) = ("x".repeat(length), Vec::new());
    let record = Record {
        id: Id(id),
        at: Micros(id as i64),
        space: SpaceId((id % 3) as i32),
        user: UserId(2),
        username: "Ana",
        content: &content,
        nonce: None,
    };
    record.append_to(&mut out);
    out
}

/// Segments that are changed, cut, gone, or no segments at all. The first byte says what the
/// others do: change sound segments, in groups of three (where, how), or be one. Whoever reads a
/// journal judges it in the same way.
pub(crate) fn journal(bytes: &[u8]) {
    let Some((mode, bytes)) = bytes.split_first() else { return };
    let thread = thread::current().id();
    let folder = env::temp_dir().join(format!("cpi-hub-fuzz-{}-{thread:?}", process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let mut files = segments(&folder, mode & 1 != 0);
    if mode & 2 == 0 {
        change(&mut files, bytes);
    } else {
        let kept = if mode & 4 == 0 { 0 } else { HEADER_BYTES };
        files[0].1.truncate(kept);
        files[0].1.extend_from_slice(bytes);
        files.truncate(1 + usize::from(mode >> 3) % 4);
    }
    for (path, bytes) in &files {
        fs::write(path, bytes).expect("it writes");
    }
    judge(&folder, "any bytes");
    fs::remove_dir_all(&folder).expect("it goes");
}

/// Changes single bytes; or, where the first bit of a place is set, cuts a segment there.
fn change(files: &mut [(PathBuf, Vec<u8>)], how: &[u8]) {
    let (groups, _) = how.as_chunks();
    for [high, low, value] in groups {
        let at = usize::from(u16::from_be_bytes([*high & 0x7F, *low]));
        let (_, bytes) = &mut files[at / SEGMENT_BYTES % 4];
        let at = at % SEGMENT_BYTES;
        if high & 0x80 != 0 {
            bytes.truncate(at);
        } else if let Some(byte) = bytes.get_mut(at) {
            *byte ^= value;
        }
    }
}
