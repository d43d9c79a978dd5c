//! The batcher's end of a journal: reads blocks from the committed position to the published
//! end, and unlinks what lies behind the committed position.
//!
//! Owns a read window and the list of the journal's segments. Never reads beyond the published
//! end, so it never sees a block that is being written.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::keeper::Nudge;
use super::recover::FoundJournal;
use super::segment::{
    BLOCK_HEADER_BYTES, Block, HEADER_BYTES, HeaderRead, JournalId, SegmentHeader, block_length,
    indices, segment_path,
};
use crate::faults::is_passing;
use crate::limits::TAIL_WINDOW_BYTES;
use crate::store::files::sync_folder;
use crate::store::latest::Latest;
use crate::wire::Id;
use crate::wire::record::records;

/// A journal that can't be read though its end was published or recovered: a broken disk or a
/// bug, unless it [is passing](TailFault::is_passing).
#[derive(Debug, thiserror::Error)]
#[error("read the journal {} at byte {offset}", file.display())]
pub(crate) struct TailFault {
    /// The segment.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// The read's own error; `None`: what was read is no block.
    #[source]
    pub source: Option<io::Error>,
}

impl TailFault {
    /// Whether descriptors or memory were short: then nothing was changed, and reading again may
    /// go better.
    pub(crate) fn is_passing(&self) -> bool {
        self.source.as_ref().is_some_and(is_passing)
    }
}

/// A stretch of records; each of its bytes has its own logical offset, one by one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Records<'a> {
    /// The logical offset of the first byte.
    pub offset: u64,
    /// Encoded records, whole ones.
    pub records: &'a [u8],
}

/// What stretches of a journal held: known when the journal is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Piece {
    /// The journal.
    pub journal: JournalId,
    /// From this logical offset.
    pub from: u64,
    /// Up to this one.
    pub to: u64,
    /// How many records.
    pub records: u64,
    /// The lowest and the highest id of them.
    pub ids: (Id, Id),
}

impl Piece {
    fn of(journal: JournalId, from: u64, to: u64, block: &[u8]) -> Piece {
        let mut piece = Piece { journal, from, to, records: 0, ids: (Id::MAX, Id::MIN) };
        for record in records(block) {
            piece.records += 1;
            piece.ids = (piece.ids.0.min(record.id), piece.ids.1.max(record.id));
        }
        piece
    }
}

/// A journal as it was when this run began, from which tails of it can be made at any time.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    folder: PathBuf,
    journal: JournalId,
    end: Arc<Latest>,
    wanted: Arc<Latest>,
    nudge: Nudge,
    /// All segments of a journal of an earlier run.
    found: Option<VecDeque<(u32, u64)>>,
}

impl Origin {
    /// A tail that begins with what is still there; `None`: a found journal is gone.
    pub(crate) fn tail(&self) -> io::Result<Option<Tail>> {
        let (cells, nudge) = ((self.end.clone(), self.wanted.clone()), self.nudge.clone());
        let mut tail = Tail::own(&self.folder, self.journal, cells, nudge);
        let there = indices(&self.folder, self.journal)?;
        match &self.found {
            Some(_) if there.is_empty() => return Ok(None),
            Some(segments) => {
                let is_there = |(index, _): &&(u32, u64)| there.contains(index);
                tail.segments = segments.iter().filter(is_there).copied().collect();
                tail.found = Some(there);
            }
            None => {
                // The later ones are found as it reads on.
                if let Some(index) = there.first().copied().filter(|index| *index > 0) {
                    tail.segments.clear();
                    tail.look_up(index).map_err(io::Error::other)?;
                }
            }
        }
        tail.at = tail.segments.front().map_or(tail.end.get(), |(_, base)| *base);
        tail.window_at = tail.at;
        Ok(Some(tail))
    }
}

/// One journal, for reading.
#[derive(Debug)]
pub(crate) struct Tail {
    folder: PathBuf,
    journal: JournalId,
    seed: u32,
    end: Arc<Latest>,
    wanted: Arc<Latest>,
    nudge: Nudge,
    /// All files of a journal of an earlier run, whose last segments may go too; `None`: the
    /// journal is of this run.
    found: Option<Vec<u32>>,
    /// Segments not yet unlinked, ascending: index and logical base.
    segments: VecDeque<(u32, u64)>,
    /// The segment that is read, a place in `segments`.
    reading: usize,
    file: Option<File>,
    /// The logical offset that is read next.
    at: u64,
    /// The sink's position when this was last placed: what lies before is skipped.
    skip_to: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl Tail {
    /// The tail of a journal of this run, from the cells that show its end and what is wanted.
    pub(super) fn own(
        folder: &Path,
        journal: JournalId,
        (end, wanted): (Arc<Latest>, Arc<Latest>),
        nudge: Nudge,
    ) -> Tail {
        Tail {
            folder: folder.into(),
            journal,
            seed: journal.crc_seed(),
            end,
            wanted,
            nudge,
            found: None,
            segments: VecDeque::from([(0, 0)]),
            reading: 0,
            file: None,
            at: 0,
            skip_to: 0,
            window: Vec::new(),
            window_at: 0,
        }
    }

    /// The tail of a found journal, which does not grow.
    pub(super) fn found(folder: &Path, found: &FoundJournal, nudge: Nudge) -> Tail {
        let end = Arc::new(Latest::new());
        end.publish(found.end);
        // What an earlier run has left waits for nobody to want it.
        let mut tail = Tail::own(folder, found.journal, (end.clone(), end), nudge);
        tail.segments = found.segments.iter().copied().collect();
        tail.at = tail.segments.front().map_or(found.end, |(_, base)| *base);
        tail.found = Some(found.files.clone());
        tail
    }

    /// What further tails of this journal are made from; to be taken before it is read.
    pub(crate) fn origin(&self) -> Origin {
        Origin {
            folder: self.folder.clone(),
            journal: self.journal,
            end: self.end.clone(),
            wanted: self.wanted.clone(),
            nudge: self.nudge.clone(),
            found: self.is_found().then(|| self.segments.clone()),
        }
    }

    /// A tail of the same journal that reads from its beginning.
    #[cfg(test)]
    pub(super) fn again(&self) -> Tail {
        let cells = (self.end.clone(), self.wanted.clone());
        let mut tail = Tail::own(&self.folder, self.journal, cells, self.nudge.clone());
        tail.segments = self.segments.clone();
        tail.at = tail.segments[0].1;
        tail.found = self.found.clone();
        tail
    }

    /// The name of the journal.
    pub(crate) fn journal(&self) -> JournalId {
        self.journal
    }

    /// The logical end now; the cell wakes whoever waits for more.
    pub(crate) fn end(&self) -> &Arc<Latest> {
        &self.end
    }

    /// Up to where somebody waits for it to be stored; the cell wakes whoever waits for more.
    pub(crate) fn wanted(&self) -> &Arc<Latest> {
        &self.wanted
    }

    /// Whether it is of an earlier run, so that it ends.
    pub(crate) fn is_found(&self) -> bool {
        self.found.is_some()
    }

    /// The logical offset up to which it has been read.
    pub(crate) fn position(&self) -> u64 {
        self.at.max(self.skip_to)
    }

    /// Whether there is something to read.
    pub(crate) fn has_more(&self) -> bool {
        self.end.get() > self.position()
    }

    /// Goes on at the position that the sink has, be it before or behind what was read. A journal
    /// that is shorter (cut by a power cut) counts as stored up to it; of one that was trimmed
    /// farther what is left comes next.
    pub(crate) fn start_at(&mut self, committed: u64) {
        self.skip_to = committed;
        let place = self.segments.iter().rposition(|(_, base)| *base <= committed).unwrap_or(0);
        if let Some((_, base)) = self.segments.get(place) {
            self.reading = place;
            self.at = *base;
            self.file = None;
            self.window.clear();
            self.window_at = self.at;
        }
    }

    /// The logical offset of the first block that is still there.
    pub(crate) fn begin(&self) -> u64 {
        self.segments.front().map_or_else(|| self.end.get(), |(_, base)| *base)
    }

    /// The next block's records, or what follows the start position in it; `None`: nothing yet.
    pub(crate) fn read(&mut self) -> Result<Option<Records<'_>>, TailFault> {
        while self.has_more() {
            let (from, length) = self.fill()?;
            let block_end = self.at + (BLOCK_HEADER_BYTES + length) as u64;
            let (skip_to, records_at) = (self.skip_to, self.at + BLOCK_HEADER_BYTES as u64);
            self.at = block_end;
            if block_end > skip_to {
                let done = usize::try_from(skip_to.saturating_sub(records_at)).unwrap_or(length);
                let records = from + BLOCK_HEADER_BYTES..from + BLOCK_HEADER_BYTES + length;
                let offset = records_at + done as u64;
                let records = &self.window[records][done.min(length)..];
                return Ok(Some(Records { offset, records }));
            }
        }
        Ok(None)
    }

    /// Brings the next block into the window: where it begins there, and its records' length.
    fn fill(&mut self) -> Result<(usize, usize), TailFault> {
        loop {
            let from = usize::try_from(self.at - self.window_at).unwrap_or(usize::MAX);
            let have = self.window.get(from..).unwrap_or_default();
            let wanted = match have.first_chunk() {
                Some(header) => match block_length(header) {
                    Some(length) if have.len() >= BLOCK_HEADER_BYTES + length => {
                        match Block::read(self.seed, self.at, have) {
                            Some(_) => return Ok((from, length)),
                            None => self.next_segment()?,
                        }
                        continue;
                    }
                    Some(length) => (BLOCK_HEADER_BYTES + length) as u64,
                    None => {
                        self.next_segment()?;
                        continue;
                    }
                },
                None => BLOCK_HEADER_BYTES as u64,
            };
            if !self.load(wanted)? {
                self.next_segment()?;
            }
        }
    }

    /// Reads the window from `at` on, at least `wanted` bytes; `false`: the segment has fewer.
    fn load(&mut self, wanted: u64) -> Result<bool, TailFault> {
        let Some((index, base)) = self.segments.get(self.reading).copied() else {
            return Err(self.fault(None));
        };
        if self.file.is_none() {
            let path = segment_path(&self.folder, self.journal, index);
            self.file = Some(File::open(path).map_err(|error| self.fault(Some(error)))?);
        }
        let bytes = self.end.get().saturating_sub(self.at).min(TAIL_WINDOW_BYTES.max(wanted));
        let Some(file) = &self.file else { return Ok(false) };
        self.window.resize(usize::try_from(bytes).unwrap_or(0), 0);
        let read = read_at(file, &mut self.window, HEADER_BYTES as u64 + self.at - base);
        self.window.truncate(*read.as_ref().unwrap_or(&0));
        self.window_at = self.at;
        let read = read.map_err(|error| self.fault(Some(error)))?;
        Ok(read as u64 >= wanted)
    }

    /// Goes on in the next segment, which must begin right here: then what was read here, zeros
    /// or not, is only what lies behind a segment's last block. Recovery judges by the same rule.
    fn next_segment(&mut self) -> Result<(), TailFault> {
        let Some((index, _)) = self.segments.get(self.reading).copied() else {
            return Err(self.fault(None));
        };
        if self.reading + 1 == self.segments.len() {
            self.look_up(index + 1)?;
        }
        if self.segments[self.reading + 1].1 != self.at {
            return Err(self.fault(None));
        }
        self.reading += 1;
        self.file = None;
        self.window.clear();
        self.window_at = self.at;
        Ok(())
    }

    fn look_up(&mut self, index: u32) -> Result<(), TailFault> {
        let path = segment_path(&self.folder, self.journal, index);
        let mut header = [0; HEADER_BYTES];
        let read = File::open(&path).and_then(|file| file.read_exact_at(&mut header, 0));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.fault(None)),
            Err(error) => return Err(TailFault { file: path, offset: 0, source: Some(error) }),
            Ok(()) => {}
        }
        match SegmentHeader::decode(&header) {
            HeaderRead::Used(header) if header.journal == self.journal => {
                self.segments.push_back((index, header.base));
                Ok(())
            }
            // The writer has not begun this segment, so the published end lies in the one before.
            HeaderRead::Unused => Err(self.fault(None)),
            _ => Err(TailFault { file: path, offset: 0, source: None }),
        }
    }

    /// How many segments lie wholly behind `committed`. The one that is read is not among them.
    pub(crate) fn done_with(&self, committed: u64) -> usize {
        let done = self.segments.iter().skip(1).take(self.reading);
        done.take_while(|(_, base)| *base <= committed).count()
    }

    /// How many segments are known to hold records.
    pub(crate) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// What some of its segments hold, block by block, for when they are gone.
    pub(crate) fn pieces(&self, segments: Range<usize>) -> io::Result<Vec<Piece>> {
        let mut pieces: Vec<Piece> = Vec::new();
        for (index, base) in self.segments.range(segments) {
            let bytes = fs::read(segment_path(&self.folder, self.journal, *index))?;
            let (mut at, mut offset) = (HEADER_BYTES, *base);
            while let Some(block) =
                bytes.get(at..).and_then(|it| Block::read(self.seed, offset, it))
            {
                pieces.push(Piece::of(self.journal, offset, block.end(), block.records));
                at += BLOCK_HEADER_BYTES + block.records.len();
                offset = block.end();
            }
        }
        Ok(pieces)
    }

    /// Unlinks the segments that lie wholly behind `committed`. The one that is read stays. What
    /// fails is tried again the next time.
    pub(crate) fn trim(&mut self, committed: u64) -> io::Result<()> {
        let done = self.done_with(committed);
        for _ in 0..done {
            if let Some((index, _)) = self.segments.front().copied() {
                self.unlink(index)?;
                self.segments.pop_front();
                self.reading -= 1;
            }
        }
        if done > 0 {
            // Should a power cut bring them back, the sink knows their records.
            let _ = sync_folder(&self.folder);
        }
        Ok(())
    }

    /// Unlinks all of a found journal's files, once the sink has committed its end, and makes
    /// sure that they stay away. What fails may be tried again.
    pub(crate) fn remove(&mut self) -> io::Result<()> {
        let files = self.found.iter_mut().flat_map(std::mem::take).collect::<Vec<_>>();
        for (done, index) in files.iter().enumerate() {
            if let Err(error) = self.unlink(*index) {
                self.found = Some(files[done..].to_vec());
                return Err(error);
            }
        }
        sync_folder(&self.folder)
    }

    fn unlink(&mut self, index: u32) -> io::Result<()> {
        let path = segment_path(&self.folder, self.journal, index);
        let unlinked = fs::metadata(&path).and_then(|file| {
            fs::remove_file(&path)?;
            Ok(file.len())
        });
        match unlinked {
            Ok(bytes) => self.nudge.freed(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn fault(&self, source: Option<io::Error>) -> TailFault {
        let (index, base) = self.segments.get(self.reading).copied().unwrap_or((0, 0));
        TailFault {
            file: segment_path(&self.folder, self.journal, index),
            offset: HEADER_BYTES as u64 + self.at.saturating_sub(base),
            source,
        }
    }
}

/// Reads what there is, up to the whole buffer.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
