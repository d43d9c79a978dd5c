//! Finds the journals of earlier runs and settles how far each can be read.
//!
//! Here nothing is written: a torn tail is cut in memory, the same way at each start.
//! Damage is judged by the *synced mark*, the highest offset that any readable part of the
//! journal says was on the disk: at or beyond it, damage is what a power cut leaves (holes
//! included); before it, the disk has lost what was promised, and the start is refused.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::JournalOpenError;
use super::segment::{
    BLOCK_HEADER_BYTES, Block, HEADER_BYTES, HeaderRead, JournalId, SegmentHeader,
    parse_segment_name,
};
use crate::wire::Id;
use crate::wire::nonce::First;
use crate::wire::record::records;

/// A journal of an earlier run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FoundJournal {
    /// The journal.
    pub(crate) journal: JournalId,
    /// Each readable segment's index and logical base, ascending.
    pub(crate) segments: Vec<(u32, u64)>,
    /// All of its segments' indices, spares and cut ones included.
    pub(crate) files: Vec<u32>,
    /// Those of them that hold zeros alone: spares that were never used.
    pub(crate) blank: Vec<u32>,
    /// The logical offset behind the last record that counts.
    pub(crate) end: u64,
    /// The first record's id: journals of an earlier run have lower ones.
    pub(crate) first: Id,
    /// The highest id that it knows of, in records and headers, cut ones included.
    pub(crate) highest: Id,
    /// Bytes of its files.
    pub(crate) bytes: u64,
    /// Whether something behind `end` was cut.
    pub(crate) cut: bool,
    /// Whether any bytes but headers and blocks that count are in its files, zeros left out.
    pub(crate) noise: bool,
    /// What was published once, its last ones.
    pub(crate) published: VecDeque<First>,
    /// Records that count.
    pub(crate) records: u64,
    /// Bytes that were written behind `end`, and don't count.
    pub(crate) torn: u64,
    /// The first block that holds other than ascending records though its checksum holds.
    pub(crate) odd: Option<FilePlace>,
}

impl FoundJournal {
    /// Whether it never held a record, whole or torn: its headers are all there is.
    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0 && self.end == 0 && !self.noise
    }
}

/// All journals in `folder`, oldest run first, each with its last `nonces_max` nonces.
pub(crate) fn find(
    folder: &Path,
    nonces_max: usize,
) -> Result<Vec<FoundJournal>, JournalOpenError> {
    let judged = look(folder, nonces_max)?.into_iter();
    judged.map(|(found, verdict)| verdict.map(|()| found)).collect()
}

/// All journals in `folder`, those too that can't be used: with the reason, and as far as they were
/// read.
pub(crate) fn look(folder: &Path, nonces_max: usize) -> Result<Vec<Judged>, JournalOpenError> {
    let mut journals: BTreeMap<JournalId, Vec<(u32, PathBuf)>> = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(|error| JournalOpenError::io(folder, error))? {
        let entry = entry.map_err(|error| JournalOpenError::io(folder, error))?;
        if let Some((journal, index)) = entry.file_name().to_str().and_then(parse_segment_name) {
            journals.entry(journal).or_default().push((index, entry.path()));
        }
    }
    let mut found = Vec::new();
    for (journal, mut files) in journals {
        files.sort();
        found.push(recover(journal, &files, nonces_max));
    }
    // Each run's ids are above all of the runs before it, and a space's records of one run are
    // all in one journal: so by first id, each space's ids ascend over the whole sequence.
    found.sort_by_key(|(journal, _)| journal.first);
    Ok(found)
}

/// A journal, and whether it can be used.
pub(crate) type Judged = (FoundJournal, Result<(), JournalOpenError>);

/// A place in a segment's file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FilePlace {
    /// The segment's file.
    pub(crate) file: PathBuf,
    /// The place in it, in bytes.
    pub(crate) at: u64,
}

struct Recovery {
    found: FoundJournal,
    seed: u32,
    nonces_max: usize,
    synced: u64,
    /// Where the readable part stops, for naming damage. `None` while segments and blocks follow
    /// each other without a hole.
    stop: Option<FilePlace>,
    /// The last record's id.
    last: Option<Id>,
}

fn recover(journal: JournalId, files: &[(u32, PathBuf)], nonces_max: usize) -> Judged {
    let found = FoundJournal {
        journal,
        segments: Vec::new(),
        blank: Vec::new(),
        noise: false,
        files: files.iter().map(|(index, _)| *index).collect(),
        end: 0,
        first: Id::MAX,
        highest: Id::MIN,
        bytes: 0,
        cut: false,
        published: VecDeque::new(),
        records: 0,
        torn: 0,
        odd: None,
    };
    let seed = journal.crc_seed();
    let mut recovery = Recovery { found, seed, nonces_max, synced: 0, stop: None, last: None };
    let read = recovery.read(files);
    let damage = recovery.stop.filter(|_| recovery.found.end < recovery.synced);
    let verdict = read.and(match damage {
        Some(stop) => Err(JournalOpenError::Damaged { file: stop.file, offset: stop.at }),
        None => Ok(()),
    });
    (recovery.found, verdict)
}

impl Recovery {
    fn read(&mut self, files: &[(u32, PathBuf)]) -> Result<(), JournalOpenError> {
        for (index, path) in files {
            let bytes = match fs::read(path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(JournalOpenError::io(path, error)),
            };
            self.found.bytes += bytes.len() as u64;
            self.segment(*index, path, &bytes)?;
        }
        Ok(())
    }

    fn segment(&mut self, index: u32, path: &Path, bytes: &[u8]) -> Result<(), JournalOpenError> {
        let header = match SegmentHeader::decode(bytes) {
            HeaderRead::Newer => return Err(JournalOpenError::Newer { file: path.into() }),
            HeaderRead::Used(header) => {
                self.synced = self.synced.max(header.synced);
                self.found.highest = self.found.highest.max(header.highest);
                Some(header)
            }
            HeaderRead::Unused | HeaderRead::Damaged => None,
        };
        if let Some(header) = header.filter(|header| self.follows(index, header)) {
            self.found.end = header.base;
            self.found.segments.push((index, header.base));
            self.blocks(path, bytes);
            return Ok(());
        }
        if header.is_none() && is_zero(bytes) {
            self.found.blank.push(index);
        } else {
            let written = written(bytes);
            self.stop_at(path, 0);
            self.found.cut = true;
            self.found.noise |= written > HEADER_BYTES as u64;
            self.found.torn += written;
            self.marks(bytes, HEADER_BYTES, header.map(|header| header.base));
        }
        Ok(())
    }

    /// Whether a segment goes on where the ones before it end.
    fn follows(&self, index: u32, header: &SegmentHeader) -> bool {
        let own = header.journal == self.found.journal && header.index == index;
        let next = match self.found.segments.last() {
            Some((last, _)) => last.checked_add(1) == Some(index) && header.base == self.found.end,
            // The first one that is there: those before it have been trimmed.
            None => self.stop.is_none(),
        };
        own && next
    }

    fn blocks(&mut self, path: &Path, bytes: &[u8]) {
        // A damaged block earlier on is forgiven only if the next segment begins right there,
        // which `follows` has checked: then it was no block but the zeros behind the last one.
        self.stop = None;
        self.found.cut = false;
        self.found.torn = 0;
        let base = self.found.end;
        let mut at = HEADER_BYTES;
        while let Some(block) = Block::read(self.seed, self.found.end, &bytes[at..]) {
            self.synced = self.synced.max(block.synced);
            if let Some(first) = records(block.records).next() {
                self.found.first = self.found.first.min(first.id);
            }
            self.nonces(block.records);
            self.count(block.records, path, at as u64);
            self.found.end = block.end();
            at += BLOCK_HEADER_BYTES + block.records.len();
        }
        self.stop_at(path, at as u64);
        if !is_zero(&bytes[at..]) {
            self.found.cut = true;
            self.found.noise = true;
            self.found.torn = written(&bytes[at..]);
            self.marks(bytes, at, Some(base));
        }
    }

    /// Looks for whole blocks in bytes that don't count, for their marks and ids: members have
    /// seen those ids, and a mark beyond a hole tells that the hole is no torn tail.
    fn marks(&mut self, bytes: &[u8], from: usize, mut base: Option<u64>) {
        let mut at = from;
        while let Some(header) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            // Most of a segment is zeros, and no block's header is zeros.
            if bytes.get(at..at + ZEROS.len()).is_some_and(is_zero) {
                at += ZEROS.len() - BLOCK_HEADER_BYTES;
                continue;
            }
            let inside = (at - HEADER_BYTES) as u64;
            // The right offset stands in one place only, so a checksum is rarely tried in vain.
            let offset = base.map_or_else(|| likely_offset(header), |base| Some(base + inside));
            let block = offset.and_then(|offset| Block::read(self.seed, offset, &bytes[at..]));
            let Some(block) = block else {
                at += 1;
                continue;
            };
            base = base.or(block.offset.checked_sub(inside));
            self.synced = self.synced.max(block.synced);
            self.ids(block.records);
            at += BLOCK_HEADER_BYTES + block.records.len();
        }
    }

    fn ids(&mut self, bytes: &[u8]) {
        for record in records(bytes) {
            self.found.highest = self.found.highest.max(record.id);
        }
    }

    /// Counts a block's records, and looks at what its checksum does not promise.
    fn count(&mut self, bytes: &[u8], path: &Path, at: u64) {
        let (mut whole, mut ascend) = (0, true);
        for record in records(bytes) {
            self.found.records += 1;
            whole += record.encoded_bytes();
            self.found.highest = self.found.highest.max(record.id);
            ascend &= self.last.is_none_or(|last| last < record.id);
            self.last = Some(record.id);
        }
        if (whole != bytes.len() || !ascend) && self.found.odd.is_none() {
            self.found.odd = Some(FilePlace { file: path.into(), at });
        }
    }

    fn nonces(&mut self, bytes: &[u8]) {
        let published = &mut self.found.published;
        published.extend(records(bytes).filter_map(|record| record.first()));
        published.drain(..published.len().saturating_sub(self.nonces_max));
    }

    fn stop_at(&mut self, path: &Path, at: u64) {
        if self.stop.is_none() {
            self.stop = Some(FilePlace { file: path.into(), at });
        }
    }
}

const ZEROS: &[u8] = &[0; 4096];

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZEROS.len()).all(|chunk| *chunk == ZEROS[..chunk.len()])
}

/// How many of the bytes come before the zeros at their end.
fn written(bytes: &[u8]) -> u64 {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

/// The offset that a block's header claims, where no segment header says what it must be.
fn likely_offset(header: &[u8; BLOCK_HEADER_BYTES]) -> Option<u64> {
    let (_, rest) = header.split_first_chunk::<8>()?;
    let (offset, rest) = rest.split_first_chunk()?;
    let (offset, synced) = (u64::from_le_bytes(*offset), rest.first_chunk().copied()?);
    (offset < 1 << 48 && u64::from_le_bytes(synced) <= offset).then_some(offset)
}
