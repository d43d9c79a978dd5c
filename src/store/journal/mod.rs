//! The journal: each shard's append-only file of records on their way to the store.
//!
//! Taking locks the directory and reads what earlier runs left behind; beginning makes a *new*
//! journal for each shard, under an id that is never used twice; a found journal is only read, and
//! keeps no more of the disk than its records take. A journal is a row of preallocated segments;
//! all journals together obey one bound. Here lives the way in; the parts are `segment` (bytes),
//! `recover`, `settle`, `writer` (a shard's end), `tail` (the batcher's end) and `keeper` (the
//! helper threads). Never knows what a sink is.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

pub(crate) use inspect::{JournalReport, JournalState, Reports, inspect};
pub use segment::JournalId;
pub(crate) use tail::{Origin, Piece, Tail, TailFault};
pub(crate) use writer::Writer;

use crate::faults::{Faults, Lives};
use crate::limits::{FIRST_SEGMENT_BYTES_MAX, SEGMENT_BYTES_MAX};
use crate::metrics::Part;
use crate::wire::Id;
use crate::wire::nonce::First;
use keeper::{Account, Flushed, Flusher, Keeper, Nudge, SegmentSizes, Spare, Supplied};
use recover::FoundJournal;
use segment::{BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, HEADER_BYTES, segment_path};
use settle::Settled;
use writer::Wires;

use super::files::is_full;
use super::latest::{Latest, Switch};

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod inspect;
mod keeper;
mod recover;
mod segment;
mod settle;
mod tail;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) const LOCK_FILE: &str = "lock";
const SEGMENT_ALIGN: u64 = 4096;
/// Segments that each shard gets of a small bound: one written, one spare, and enough behind them
/// that freeing one matters.
const SEGMENTS_A_SHARD: u64 = 8;

/// The bounds of all journals together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JournalLimits {
    /// Bytes on the disk, found journals and spares included.
    pub bytes_max: u64,
    /// The longest encoded record.
    pub record_bytes_max: usize,
    /// How often written records are flushed, in milliseconds: a power cut takes what was accepted
    /// since. `None`: that is left to the kernel, in benches and tests.
    pub flush_period: Option<u64>,
    /// Nonces that are read back from one found journal, its last ones.
    pub nonces_max: usize,
}

impl JournalLimits {
    /// The sizes of segments for this many shards; `None`: the bound is too small for them.
    fn segment_sizes(&self, shards: usize) -> Option<SegmentSizes> {
        let shards = shards.max(1) as u64;
        let least = (self.record_bytes_max + HEADER_BYTES + 2 * BLOCK_HEADER_BYTES) as u64;
        let least = least.next_multiple_of(SEGMENT_ALIGN).max(4 * SEGMENT_ALIGN);
        let share = self.bytes_max / (shards * SEGMENTS_A_SHARD);
        let next = (share - share % SEGMENT_ALIGN).clamp(least, SEGMENT_BYTES_MAX.max(least));
        let first = next.min(FIRST_SEGMENT_BYTES_MAX.max(least));
        (next * 2 * shards <= self.bytes_max).then_some(SegmentSizes { first, next })
    }
}

/// Why journals can't be opened; each is one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum JournalOpenError {
    /// Another process has the directory.
    #[error("{} is in use by another hub", folder.display())]
    Locked {
        /// The journals' directory.
        folder: PathBuf,
    },
    /// The file system said no.
    #[error("{}: {error}", path.display())]
    Io {
        /// What was opened, read or written.
        path: PathBuf,
        /// Its error.
        error: io::Error,
    },
    /// The disk has lost records that were synced.
    #[error("{} is damaged at byte {offset}: accepted messages would be lost", file.display())]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where in it.
        offset: u64,
    },
    /// A later version's journal.
    #[error("{} was written by a newer version", file.display())]
    Newer {
        /// The segment.
        file: PathBuf,
    },
    /// The bound does not hold two segments a shard.
    #[error("journal_bytes_max is too small for {shards} shards")]
    TooSmall {
        /// How many shards there are.
        shards: usize,
    },
}

impl JournalOpenError {
    fn io(path: &Path, error: io::Error) -> JournalOpenError {
        JournalOpenError::Io { path: path.into(), error }
    }
}

/// All journals, opened.
#[derive(Debug)]
pub(crate) struct Opened {
    /// This run's, one a shard, in order: for the shards.
    pub writers: Vec<Writer>,
    /// This run's, one a shard, in order: for the batcher. Their ends wake one waiter.
    pub own: Vec<Tail>,
    /// Earlier runs', oldest first. They are to be committed to their ends before any record of
    /// this run is: only then do each space's records reach the store in ascending order.
    pub found: Vec<Tail>,
    /// All new ids must be above this one.
    pub highest: Id,
    /// The directory's lock and the helper threads.
    pub journals: Journals,
    /// While it is shut no writer has room.
    pub door: Switch,
}

/// Holds the directory's lock and the helper threads; [`stop`](Journals::stop) ends both.
#[derive(Debug)]
pub(crate) struct Journals {
    nudge: Nudge,
    keeper: Option<JoinHandle<()>>,
    flusher: Option<(SyncSender<()>, JoinHandle<()>)>,
    // Unlocked when it is closed.
    _lock: File,
}

impl Journals {
    /// Flushes what was written, ends the helper threads and gives the directory free. No spare
    /// is made any more, so the writers should be gone.
    pub(crate) fn stop(self) {}
}

impl Drop for Journals {
    fn drop(&mut self) {
        self.nudge.stop();
        // The flusher first: it may be what the keeper waits for. A thread that panicked has
        // nothing left to flush or tell.
        if let Some((stop, flusher)) = self.flusher.take() {
            drop(stop);
            let _ = flusher.join();
        }
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

/// The folder of journals, locked, and what earlier runs have left in it. Nothing is begun yet: a
/// start that fails or waits leaves nothing.
#[derive(Debug)]
pub(crate) struct TakenJournals {
    folder: PathBuf,
    limits: JournalLimits,
    sizes: SegmentSizes,
    lock: File,
    found: Vec<FoundJournal>,
    /// One for each.
    shards: usize,
    /// The highest id of any found journal.
    pub(crate) highest: Id,
    /// What the found ones have published once, in no order.
    pub(crate) published: Vec<First>,
}

/// Takes the journals in `folder` for this run, and reads what is there.
pub(crate) fn take(
    folder: &Path,
    shards: usize,
    limits: &JournalLimits,
) -> Result<TakenJournals, JournalOpenError> {
    let too_small = JournalOpenError::TooSmall { shards };
    let record_fits = limits.record_bytes_max <= BLOCK_BYTES_MAX / 2;
    let sizes = limits.segment_sizes(shards).filter(|_| record_fits).ok_or(too_small)?;
    fs::create_dir_all(folder).map_err(|error| JournalOpenError::io(folder, error))?;
    let lock = lock(folder)?;
    let mut found = recover::find(folder, limits.nonces_max)?;
    tell(&found);
    let published = found.iter_mut().flat_map(|journal| std::mem::take(&mut journal.published));
    let published = published.collect();
    let highest = found.iter().map(|journal| journal.highest).max().unwrap_or(Id::MIN);
    let (folder, limits) = (folder.into(), *limits);
    Ok(TakenJournals { folder, limits, sizes, lock, found, shards, highest, published })
}

impl TakenJournals {
    /// The found journals, to be read before anything is begun.
    pub(crate) fn tails(&self, faults: &Faults) -> Vec<Tail> {
        // Nothing is freed by reading, so nobody has to look.
        let account = Arc::new(Account::new(self.limits.bytes_max, 0, faults));
        let nudge = Nudge::new(mpsc::sync_channel(1).0, account);
        let found = self.found.iter();
        found.map(|found| Tail::found(&self.folder, found, nudge.clone())).collect()
    }

    /// Begins this run's journals, whose names count up from `random`; their headers say that no id
    /// up to `highest` is free. Then what found journals do not need is given back.
    pub(crate) fn begin(
        self,
        highest: Id,
        random: u128,
        faults: &Faults,
    ) -> Result<Opened, JournalOpenError> {
        let TakenJournals { folder, limits, sizes, lock, found, shards, highest: known, .. } = self;
        let highest = highest.max(known);
        let mut settled = Settled::new(&folder, found, known);
        let at_rest = 2 * sizes.next * shards as u64;
        let account = Arc::new(Account::new(limits.bytes_max, at_rest, faults));
        account.add(settled.bytes());
        let (look, looks) = mpsc::sync_channel(1);
        // Each shard's first segment and its spare, before the flusher takes any.
        let (files, made) = mpsc::sync_channel(2 * shards.max(1));
        let nudge = Nudge::new(look, account.clone());
        let mut keeper = Keeper {
            folder: folder.clone(),
            sizes,
            account: account.clone(),
            conditions: faults.conditions().clone(),
            shards: Vec::new(),
            nudge: nudge.clone(),
            is_giving: false,
            files,
        };
        let mut flusher =
            Flusher { folder: folder.clone(), shards: Vec::new(), made, faults: faults.clone() };
        let (mut writers, mut own) = (Vec::new(), Vec::new());
        let door = Switch::default();
        let cells = Latest::group(shards).into_iter().zip(Latest::group(shards));
        for (shard, (end, wanted)) in (0..).zip(cells) {
            let (give, spares) = mpsc::sync_channel(1);
            let wires = Wires {
                journal: JournalId(random.wrapping_add(shard)),
                end: end.clone(),
                wanted: wanted.clone(),
                synced: Arc::new(Latest::new()),
                made: Arc::new(Latest::new()),
                begun: Arc::new(Latest::new()),
                spares,
                nudge: nudge.clone(),
                faults: faults.clone(),
                sizes,
                record_bytes_max: limits.record_bytes_max as u64,
                door: door.clone(),
            };
            let (supplied, flushed) = ends(&wires, give);
            keeper.shards.push(supplied);
            flusher.shards.push(flushed);
            own.push(Tail::own(&folder, wires.journal, (end, wanted), nudge.clone()));
            writers.push(Writer::new(wires, highest));
        }
        let mut begin = writers.iter_mut().enumerate();
        let begun = begin.try_for_each(|(shard, writer)| begin_first(&mut keeper, shard, writer));
        begun.map_err(|error| {
            undo(&folder, &writers);
            JournalOpenError::io(&folder, error)
        })?;
        // From here on the new headers may be all that knows the highest id: they stay.
        account.add(settled.end(&folder, writers.iter().any(Writer::has_begun)));
        let found = settled.found.iter();
        let found = found.map(|found| Tail::found(&folder, found, nudge.clone())).collect();
        let journals = start(keeper, looks, flusher, limits.flush_period, lock)
            .map_err(|error| JournalOpenError::io(&folder, error))?;
        Ok(Opened { writers, own, found, highest, journals, door })
    }
}

/// Removes what a start that fails has made. Where that fails too, the next start does it.
fn undo(folder: &Path, writers: &[Writer]) {
    let made = writers.iter().map(|writer| &writer.wires).filter(|wires| wires.made.get() > 0);
    for wires in made {
        let _ = fs::remove_file(segment_path(folder, wires.journal, 0));
    }
}

/// How the helper threads see a writer.
fn ends(wires: &Wires, spares: SyncSender<Spare>) -> (Supplied, Flushed) {
    let Wires { journal, end, synced, made, begun, .. } = wires;
    let supplied = Supplied { journal: *journal, begun: begun.clone(), made: made.clone(), spares };
    let (journal, end, begun, synced) = (*journal, end.clone(), begun.clone(), synced.clone());
    (supplied, Flushed { journal, end, begun, synced, files: Vec::new() })
}

/// Gives a writer its first segment; while found journals fill the bound or the disk, it comes
/// later: only a hub that runs can store them, and make room.
fn begin_first(keeper: &mut Keeper, shard: usize, writer: &mut Writer) -> io::Result<()> {
    match keeper.make(shard) {
        Ok(Some(spare)) => {
            keeper.shards[shard].made.publish(1);
            keeper.count(&spare);
            writer.begin_first(spare)
        }
        Ok(None) => Ok(()),
        // The keeper tries again.
        Err(error) if is_full(&error) => {
            keeper.tell(&error);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn start(
    mut keeper: Keeper,
    looks: mpsc::Receiver<()>,
    mut flusher: Flusher,
    flush_period: Option<u64>,
    lock: File,
) -> io::Result<Journals> {
    let (nudge, watching) = (keeper.nudge.clone(), flusher.faults.clone());
    let mut journals = Journals { nudge, keeper: None, flusher: None, _lock: lock };
    // Where nobody flushes, dropping the flusher tells the keeper so.
    if let Some(millis) = flush_period {
        let (stop, stopped) = mpsc::sync_channel(1);
        let period = Duration::from_millis(millis.max(1));
        let (thread, watching) = (Builder::new().name("hub-flush".into()), flusher.faults.clone());
        let work = move || {
            let part = watching.watch("hub-flush");
            let lives = Lives::new(Part::Flush, "hub-flush", &watching);
            lives.live(|| flusher.run(period, &stopped));
            part.ended();
        };
        journals.flusher = Some((stop, thread.spawn(work)?));
    }
    let thread = Builder::new().name("hub-journal".into());
    journals.keeper = Some(thread.spawn(move || {
        let part = watching.watch("hub-journal");
        let lives = Lives::new(Part::Journal, "hub-journal", &watching);
        let ended = lives.live(|| keeper.run(&looks));
        part.ended_with(&ended);
    })?);
    Ok(journals)
}

/// The journals that have files in `folder`.
pub(crate) fn journals_in(folder: &Path) -> io::Result<BTreeSet<JournalId>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        found.extend(name.to_str().and_then(segment::parse_segment_name).map(|(it, _)| it));
    }
    Ok(found)
}

/// Takes a folder of journals for oneself, until the file is closed.
pub(crate) fn lock(folder: &Path) -> Result<File, JournalOpenError> {
    let path = folder.join(LOCK_FILE);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| JournalOpenError::io(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalOpenError::Locked { folder: folder.into() }),
        Err(TryLockError::Error(error)) => Err(JournalOpenError::io(&path, error)),
    }
}

fn tell(found: &[FoundJournal]) {
    for journal in found {
        let (id, end) = (journal.journal, journal.end);
        if journal.cut {
            tracing::warn!(journal = %id, end, "the torn tail of a journal was cut");
        } else {
            tracing::info!(journal = %id, end, "found a journal of an earlier run");
        }
    }
}
