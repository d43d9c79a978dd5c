//! A segment's bytes, as pure functions, and its file's name and making.
//!
//! A segment is a header, then blocks, then zeros. A block is one append: `crc u32 | length u32
//! | offset u64 | synced u64 | records`, little-endian; the checksum covers the journal's id,
//! what follows it in the header, and the records, so that no block passes for one of another
//! place or journal. Offsets are logical: they count the bytes of blocks, over all segments.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::store::files::sync_folder;
use crate::wire::Id;

/// Bytes of a segment's header.
pub(crate) const HEADER_BYTES: usize = 80;
/// Bytes of a block's header.
pub(crate) const BLOCK_HEADER_BYTES: usize = 24;
/// Records of one block, in bytes; more are cut into several blocks.
pub(crate) const BLOCK_BYTES_MAX: usize = 1 << 20;

const MAGIC: &[u8; 8] = b"cpi-hubJ";
/// Records of version 2 may have nonces; those of version 1 are read as they are.
const VERSION: u32 = 2;
const CRC_AT: usize = 64;

/// Names a journal for ever: random at its opening, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct JournalId(pub u128);

impl fmt::Display for JournalId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

impl JournalId {
    /// What checksums of this journal begin with.
    pub(crate) fn crc_seed(self) -> u32 {
        crc32c::crc32c(&self.0.to_le_bytes())
    }
}

/// The first bytes of a segment in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    /// The journal that the segment belongs to.
    pub(crate) journal: JournalId,
    /// Counts a journal's segments from 0.
    pub(crate) index: u32,
    /// The logical offset of its first block.
    pub(crate) base: u64,
    /// What was known to be synced when it was begun.
    pub(crate) synced: u64,
    /// The highest id of any journal when it was begun.
    pub(crate) highest: Id,
}

/// What a segment's first bytes turn out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeaderRead {
    /// A header.
    Used(SegmentHeader),
    /// Zeros: a spare that was never used.
    Unused,
    /// A header of a version that this program does not know.
    Newer,
    /// Anything else.
    Damaged,
}

impl SegmentHeader {
    /// The header's bytes.
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.index.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.journal.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.base.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.synced.to_le_bytes());
        bytes[48..64].copy_from_slice(&self.highest.0.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a segment's first bytes.
    pub(crate) fn decode(bytes: &[u8]) -> HeaderRead {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return HeaderRead::Damaged;
        };
        if bytes.iter().all(|byte| *byte == 0) {
            return HeaderRead::Unused;
        }
        if bytes[..8] != *MAGIC {
            return HeaderRead::Damaged;
        }
        if u32_at(bytes, CRC_AT) != crc32c::crc32c(&bytes[..CRC_AT]) {
            return HeaderRead::Damaged;
        }
        // Only behind the checksum: a flipped bit is damage, not a newer version.
        if !(1..=VERSION).contains(&u32_at(bytes, 8)) {
            return HeaderRead::Newer;
        }
        HeaderRead::Used(SegmentHeader {
            index: u32_at(bytes, 12),
            journal: JournalId(u128_at(bytes, 16)),
            base: u64_at(bytes, 32),
            synced: u64_at(bytes, 40),
            highest: Id(u128_at(bytes, 48)),
        })
    }
}

/// A block whose checksum holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Block<'a> {
    /// Its logical offset.
    pub(crate) offset: u64,
    /// What was known to be synced when it was written.
    pub(crate) synced: u64,
    /// Encoded records.
    pub(crate) records: &'a [u8],
}

impl<'a> Block<'a> {
    /// The logical offset behind it.
    pub(crate) fn end(&self) -> u64 {
        self.offset + (BLOCK_HEADER_BYTES + self.records.len()) as u64
    }

    /// Reads the block that should begin `bytes` at logical `offset`. `None`: there is none.
    pub(crate) fn read(seed: u32, offset: u64, bytes: &'a [u8]) -> Option<Block<'a>> {
        let header = bytes.first_chunk::<BLOCK_HEADER_BYTES>()?;
        if u64_at(header, 8) != offset {
            return None;
        }
        let length = block_length(header)?;
        let records = bytes[BLOCK_HEADER_BYTES..].get(..length)?;
        let crc = crc32c::crc32c_append(crc32c::crc32c_append(seed, &header[4..]), records);
        (crc == u32_at(header, 0)).then_some(Block { offset, synced: u64_at(header, 16), records })
    }
}

/// The length that a block's header claims; `None`: no block is that long, or none is there.
pub(crate) fn block_length(header: &[u8; BLOCK_HEADER_BYTES]) -> Option<usize> {
    let length = u32_at(header, 4) as usize;
    (1..=BLOCK_BYTES_MAX).contains(&length).then_some(length)
}

/// What blocks are written under.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockPlace {
    /// [`JournalId::crc_seed`].
    pub(crate) seed: u32,
    /// The logical offset of the first block.
    pub(crate) offset: u64,
    /// What is known to be synced.
    pub(crate) synced: u64,
}

/// Adds `records` to `out` as blocks of whole records that take `bytes_max` at most; how many
/// of the records' bytes went in.
pub(crate) fn put_blocks(
    out: &mut Vec<u8>,
    place: BlockPlace,
    records: &[u8],
    bytes_max: usize,
) -> usize {
    let begin = out.len();
    let mut taken = 0;
    while taken < records.len() {
        let free = (bytes_max + begin).saturating_sub(out.len() + BLOCK_HEADER_BYTES);
        let length = whole_records(&records[taken..], free.min(BLOCK_BYTES_MAX));
        if length == 0 {
            break;
        }
        let offset = place.offset + (out.len() - begin) as u64;
        put_block(out, BlockPlace { offset, ..place }, &records[taken..taken + length]);
        taken += length;
    }
    taken
}

fn put_block(out: &mut Vec<u8>, place: BlockPlace, records: &[u8]) {
    let length = u32::try_from(records.len()).expect("at most BLOCK_BYTES_MAX");
    let mut header = [0; BLOCK_HEADER_BYTES];
    header[4..8].copy_from_slice(&length.to_le_bytes());
    header[8..16].copy_from_slice(&place.offset.to_le_bytes());
    header[16..24].copy_from_slice(&place.synced.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(place.seed, &header[4..]), records);
    header[..4].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(records);
}

/// How many of the first `bytes_max` bytes are whole records.
pub(crate) fn whole_records(records: &[u8], bytes_max: usize) -> usize {
    if records.len() <= bytes_max {
        return records.len();
    }
    let mut whole = 0;
    while let Some(length) = records[whole..].first_chunk::<4>() {
        let next = whole + 4 + u32::from_le_bytes(*length) as usize;
        if next > bytes_max {
            break;
        }
        whole = next;
    }
    whole
}

/// The file of a journal's segment.
pub(crate) fn segment_path(folder: &Path, journal: JournalId, index: u32) -> PathBuf {
    folder.join(format!("{journal}.{index:08x}.segment"))
}

/// The segments of a journal that have files, ascending.
pub(super) fn indices(folder: &Path, journal: JournalId) -> io::Result<Vec<u32>> {
    let mut there = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let named = name.to_str().and_then(parse_segment_name);
        there.extend(named.filter(|(it, _)| *it == journal).map(|(_, index)| index));
    }
    there.sort_unstable();
    Ok(there)
}

/// Reads a segment's file name; `None`: it is not one.
pub(crate) fn parse_segment_name(name: &str) -> Option<(JournalId, u32)> {
    let (journal, rest) = name.split_once('.')?;
    let index = rest.strip_suffix(".segment")?;
    let hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if journal.len() != 32 || index.len() != 8 || !hex(journal) || !hex(index) {
        return None;
    }
    let journal = u128::from_str_radix(journal, 16).ok()?;
    Some((JournalId(journal), u32::from_str_radix(index, 16).ok()?))
}

const ZEROS: &[u8] = &[0; 64 << 10];

/// Makes a segment of zeros that is on the disk, so that nothing written into it can meet a full
/// one. What was begun is undone on every error; where even that fails, the next try begins with
/// it.
pub(crate) fn create_segment(path: &Path, bytes: u64) -> io::Result<File> {
    let mut new = OpenOptions::new();
    new.read(true).write(true).create_new(true);
    let file = match new.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_blank(path)? => {
            fs::remove_file(path)?;
            new.open(path)?
        }
        opened => opened?,
    };
    let made = fill(&file, bytes).and_then(|()| path.parent().map_or(Ok(()), sync_folder));
    match made {
        Ok(()) => Ok(file),
        Err(error) => {
            let _ = fs::remove_file(path);
            Err(error)
        }
    }
}

fn fill(mut file: &File, bytes: u64) -> io::Result<()> {
    let mut left = bytes;
    while left > 0 {
        let piece = ZEROS.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.write_all(&ZEROS[..piece])?;
        left -= piece as u64;
    }
    file.sync_all()
}

/// Whether a file holds zeros alone, as a segment does that nobody has begun.
fn is_blank(path: &Path) -> io::Result<bool> {
    let (mut file, mut buffer) = (File::open(path)?, vec![0; ZEROS.len()]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(true),
            read if buffer[..read] == ZEROS[..read] => {}
            _ => return Ok(false),
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().copied().map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().copied().map_or(0, u64::from_le_bytes)
}

fn u128_at(bytes: &[u8], at: usize) -> u128 {
    bytes[at..].first_chunk().copied().map_or(0, u128::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::tests::record;
    use proptest::prelude::*;

    const PLACE: BlockPlace = BlockPlace { seed: 7, offset: 1000, synced: 900 };

    proptest! {
        #[test]
        fn blocks_hold_whole_records_and_read_back(
            lengths in proptest::collection::vec(0usize..300, 0..40), bytes_max in 0usize..6000,
        ) {
            let mut records = Vec::new();
            for (n, length) in lengths.iter().enumerate() {
                record(n as u128, *length, &mut records);
            }
            let mut out = vec![9; 3];
            let taken = put_blocks(&mut out, PLACE, &records, bytes_max);
            prop_assert!(out.len() - 3 <= bytes_max || taken == 0);
            prop_assert_eq!(whole_records(&records, taken), taken);
            let (mut rest, mut offset, mut back) = (&out[3..], PLACE.offset, Vec::new());
            while let Some(block) = Block::read(7, offset, rest) {
                prop_assert_eq!(block.synced, 900);
                back.extend_from_slice(block.records);
                rest = &rest[(block.end() - offset) as usize..];
                offset = block.end();
            }
            prop_assert!(rest.is_empty());
            prop_assert_eq!(&back[..], &records[..taken]);
        }

        #[test]
        fn a_flipped_bit_is_no_block(at in 0usize..80, bit in 0u8..8) {
            let (mut records, mut out) = (Vec::new(), Vec::new());
            record(5, 22, &mut records);
            put_blocks(&mut out, PLACE, &records, 1000);
            prop_assert!(Block::read(7, 1000, &out).is_some());
            prop_assert!(Block::read(8, 1000, &out).is_none(), "another journal's");
            prop_assert!(Block::read(7, 1001, &out).is_none(), "another place's");
            let at = at % out.len();
            out[at] ^= 1 << bit;
            prop_assert!(Block::read(7, 1000, &out).is_none());
        }

        #[test]
        fn a_header_reads_back_and_a_flipped_bit_is_damage(
            (index, journal, highest) in any::<(u32, u128, u128)>(),
            (base, synced) in any::<(u64, u64)>(),
            at in 0usize..CRC_AT + 4, bit in 0u8..8,
        ) {
            let (journal, highest) = (JournalId(journal), Id(highest));
            let header = SegmentHeader { journal, index, base, synced, highest };
            let mut bytes = header.encode();
            prop_assert_eq!(SegmentHeader::decode(&bytes), HeaderRead::Used(header));
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(SegmentHeader::decode(&bytes), HeaderRead::Damaged);
        }

        #[test]
        fn a_name_reads_back(journal: u128, index: u32, junk in "\\PC{0,50}") {
            let path = segment_path(Path::new("x"), JournalId(journal), index);
            let name = path.file_name().and_then(|name| name.to_str()).expect("ASCII");
            prop_assert_eq!(parse_segment_name(name), Some((JournalId(journal), index)));
            prop_assert_eq!(parse_segment_name(&junk), None);
        }
    }
}
