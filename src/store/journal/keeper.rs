//! The journals' two helper threads: one makes spare segments, one flushes what was written.
//!
//! The keeper owns the account of bytes on the disk, which all journals together may not exceed;
//! the flusher owns the files that were written since its last round. Neither touches records.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use super::segment::{JournalId, create_segment, indices, segment_path};
use crate::conditions::{Condition, Conditions};
use crate::faults::{Faults, panic_place};
use crate::metrics::{Metric, Metrics};
use crate::store::latest::Latest;

/// How long the keeper waits after a segment could not be made.
const RETRY: Duration = Duration::from_millis(500);

/// A segment of zeros, on the disk.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) file: Arc<File>,
    pub(super) index: u32,
}

/// How long segments are.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentSizes {
    /// A journal's first, which a start waits for.
    pub(super) first: u64,
    /// All others.
    pub(super) next: u64,
}

impl SegmentSizes {
    /// The bytes of the segment with this index.
    pub(super) fn of(self, index: u64) -> u64 {
        if index == 0 { self.first } else { self.next }
    }
}

/// How full the journals are, in percent of their bound, when that is told.
const FILLING_PERCENT: u64 = 80;

/// The bytes of all segments, spares included: what the bound is held against.
#[derive(Debug)]
pub(super) struct Account {
    bytes_max: u64,
    /// What the journals of this run take when all is stored.
    at_rest: u64,
    /// Bytes of all segments ever made, and of those found at the start; the keeper adds.
    made: Latest,
    /// Bytes of those that were unlinked; the batcher adds.
    freed: Latest,
    metrics: Arc<Metrics>,
    conditions: Conditions,
}

impl Account {
    /// An account without segments.
    pub(super) fn new(bytes_max: u64, at_rest: u64, faults: &Faults) -> Account {
        let (metrics, conditions) = (faults.metrics().clone(), faults.conditions().clone());
        let (made, freed) = (Latest::new(), Latest::new());
        Account { bytes_max, at_rest, made, freed, metrics, conditions }
    }

    /// Adds bytes of segments that were made; called by one thread only.
    pub(super) fn add(&self, bytes: u64) {
        self.made.publish(self.made.get() + bytes);
        self.metrics.store.add(Metric::JournalDiskBytes, bytes);
        self.judge();
    }

    /// Takes off bytes of segments that were unlinked; called by one thread only.
    fn sub(&self, bytes: u64) {
        self.freed.publish(self.freed.get() + bytes);
        self.metrics.store.sub(Metric::JournalDiskBytes, bytes);
        self.judge();
    }

    fn there(&self) -> u64 {
        self.made.get().saturating_sub(self.freed.get())
    }

    fn has_room_for(&self, bytes: u64) -> bool {
        self.there() + bytes <= self.bytes_max
    }

    fn judge(&self) {
        let (there, max) = (self.there(), self.bytes_max);
        // A small bound may be nearly taken by what each shard always has.
        let filling = there > self.at_rest && there / FILLING_PERCENT >= max / 100;
        let detail = filling.then(|| format!("{there} of {max} bytes"));
        self.conditions.set(Condition::JournalFilling, detail);
    }
}

/// The way to the keeper. What it is to know stands in latest-value cells, and a nudge makes it
/// look; so nobody ever waits for it, the shards least of all.
#[derive(Clone, Debug)]
pub(super) struct Nudge {
    // Holds one nudge: if it is full, a look is due already, and that look serves both.
    look: SyncSender<()>,
    account: Arc<Account>,
    stopped: Arc<Latest>,
}

impl Nudge {
    /// A way over a queue that holds one nudge.
    pub(super) fn new(look: SyncSender<()>, account: Arc<Account>) -> Nudge {
        Nudge { look, account, stopped: Arc::new(Latest::new()) }
    }

    /// Makes the keeper look, because something has changed.
    pub(super) fn look(&self) {
        let _ = self.look.try_send(());
    }

    /// Says that segments of this many bytes were unlinked; called by one thread only.
    pub(super) fn freed(&self, bytes: u64) {
        self.account.sub(bytes);
        self.look();
    }

    /// Ends the keeper.
    pub(super) fn stop(&self) {
        self.stopped.publish(1);
        self.look();
    }
}

/// A new segment, on its way to the flusher.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) shard: usize,
    pub(super) index: u32,
    pub(super) file: Arc<File>,
}

/// One shard, as the keeper sees it.
#[derive(Debug)]
pub(super) struct Supplied {
    pub(super) journal: JournalId,
    /// Counts the segments that the writer has begun; the keeper makes one more than these.
    pub(super) begun: Arc<Latest>,
    /// Counts the segments made.
    pub(super) made: Arc<Latest>,
    pub(super) spares: SyncSender<Spare>,
}

impl Supplied {
    /// First the spare, then the count: whoever reads the count finds the spare.
    fn hand_over(&self, spare: Spare) {
        let made = u64::from(spare.index) + 1;
        // A writer that is gone needs no spare; a writer that is there has taken the one before,
        // so there is room.
        let _ = self.spares.try_send(spare);
        self.made.publish(made);
    }
}

/// Makes segments while the bound allows.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) folder: PathBuf,
    pub(super) sizes: SegmentSizes,
    pub(super) account: Arc<Account>,
    pub(super) conditions: Conditions,
    pub(super) shards: Vec<Supplied>,
    pub(super) nudge: Nudge,
    /// Whether a segment is just being handed over: nobody can tell then whose it is.
    pub(super) is_giving: bool,
    /// To the flusher. It holds few, so that a disk which does not flush gets no more segments.
    pub(super) files: SyncSender<Made>,
}

impl Keeper {
    /// Makes a shard's next segment, unless the bound forbids it.
    pub(super) fn make(&mut self, shard: usize) -> io::Result<Option<Spare>> {
        let supplied = &self.shards[shard];
        let bytes = self.sizes.of(supplied.made.get());
        if !self.account.has_room_for(bytes) {
            return Ok(None);
        }
        let index = u32::try_from(supplied.made.get()).map_err(io::Error::other)?;
        let path = segment_path(&self.folder, supplied.journal, index);
        let file = Arc::new(create_segment(&path, bytes)?);
        // The flusher knows the segment before anybody can write it. Without a flusher the send
        // fails, and the segment needs no flush.
        let _ = self.files.send(Made { shard, index, file: file.clone() });
        Ok(Some(Spare { file, index }))
    }

    /// Counts the bytes of a segment that is the writer's now.
    pub(super) fn count(&self, spare: &Spare) {
        self.account.add(self.sizes.of(spare.index.into()));
    }

    /// A segment that was made before a panic, and handed over to nobody, is made anew: what it
    /// holds nobody knows, and it was counted nowhere.
    fn clear_away(&self) -> io::Result<()> {
        if self.is_giving {
            return Err(io::Error::other("it panicked while a segment was handed over"));
        }
        for supplied in &self.shards {
            let index = u32::try_from(supplied.made.get()).map_err(io::Error::other)?;
            match fs::remove_file(segment_path(&self.folder, supplied.journal, index)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The keeper's thread, until it is told to stop. May be called again after a panic.
    pub(super) fn run(&mut self, looks: &Receiver<()>) -> io::Result<()> {
        self.clear_away()?;
        while self.nudge.stopped.get() == 0 {
            panic_place("hub-journal");
            // Batcher and keeper may judge at once, and the one with older numbers come last.
            self.account.judge();
            let look = match self.supply() {
                true => looks.recv_timeout(RETRY),
                false => looks.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            if look == Err(RecvTimeoutError::Disconnected) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Gives each shard what it wants; whether a segment could not be made.
    fn supply(&mut self) -> bool {
        for shard in 0..self.shards.len() {
            while self.shards[shard].made.get() <= self.shards[shard].begun.get() {
                match self.make(shard) {
                    Ok(Some(spare)) => self.give(shard, spare),
                    Ok(None) => {
                        self.conditions.clear(Condition::JournalSegment);
                        return false;
                    }
                    Err(error) => {
                        self.tell(&error);
                        return true;
                    }
                }
            }
        }
        self.conditions.clear(Condition::JournalSegment);
        false
    }

    fn give(&mut self, shard: usize, spare: Spare) {
        let bytes = self.sizes.of(spare.index.into());
        self.is_giving = true;
        // Before anybody can see the segment.
        self.account.add(bytes);
        self.shards[shard].hand_over(spare);
        self.is_giving = false;
    }

    /// Says that a segment could not be made.
    pub(super) fn tell(&self, error: &io::Error) {
        let detail = format!("{}: {error}", self.folder.display());
        self.conditions.raise(Condition::JournalSegment, detail);
    }
}

/// One shard, as the flusher sees it.
#[derive(Debug)]
pub(super) struct Flushed {
    pub(super) journal: JournalId,
    pub(super) end: Arc<Latest>,
    pub(super) begun: Arc<Latest>,
    pub(super) synced: Arc<Latest>,
    /// Segments with bytes that may not be synced, and spares; ascending by index.
    pub(super) files: Vec<(u32, Arc<File>)>,
}

/// Flushes what was written, every so often.
#[derive(Debug)]
pub(super) struct Flusher {
    pub(super) folder: PathBuf,
    pub(super) shards: Vec<Flushed>,
    pub(super) made: Receiver<Made>,
    pub(super) faults: Faults,
}

impl Flusher {
    /// The flusher's thread. It flushes once more when `stop` is dropped, and ends. May be called
    /// again after a panic: what is to be flushed are the files that are there, and those that
    /// come, and how far they are flushed is shown after the flush.
    pub(super) fn run(&mut self, period: Duration, stop: &Receiver<()>) {
        for shard in &mut self.shards {
            if let Err(error) = shard.open(&self.folder) {
                return self.faults.report("open the journal to flush it", &error);
            }
        }
        loop {
            let stopping = stop.recv_timeout(period) != Err(RecvTimeoutError::Timeout);
            panic_place("hub-flush");
            if let Err(error) = self.flush() {
                self.faults.report("flush the journal", &error);
                // After a failed fdatasync the kernel may have dropped the pages: trying again
                // could succeed without the bytes.
                return;
            }
            if stopping {
                return;
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // Ends first, then segments begun, then files: what an end covers lies in segments that
        // were begun before it, and those in files that were told of before that.
        let ends: Vec<(u64, u64)> =
            self.shards.iter().map(|shard| (shard.end.get(), shard.begun.get())).collect();
        for made in self.made.try_iter() {
            self.shards[made.shard].take(made.index, made.file);
        }
        for (shard, (end, begun)) in self.shards.iter_mut().zip(ends) {
            if end > shard.synced.get() {
                shard.flush(end, begun)?;
            }
        }
        Ok(())
    }
}

impl Flushed {
    /// Opens all files that are there. Those of segments that are stored may go meanwhile.
    fn open(&mut self, folder: &Path) -> io::Result<()> {
        self.files.clear();
        for index in indices(folder, self.journal)? {
            // A file that is only read can be flushed all the same.
            match File::open(segment_path(folder, self.journal, index)) {
                Ok(file) => self.files.push((index, Arc::new(file))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes the file of a segment, be it in the place of an earlier one that nobody was given.
    fn take(&mut self, index: u32, file: Arc<File>) {
        self.files.retain(|(known, _)| *known != index);
        self.files.push((index, file));
        self.files.sort_unstable_by_key(|(index, _)| *index);
    }

    fn flush(&mut self, end: u64, begun: u64) -> io::Result<()> {
        for (_, file) in self.files.iter().filter(|(index, _)| u64::from(*index) < begun) {
            file.sync_data()?;
        }
        // All but the last one begun were full before this flush.
        self.files.retain(|(index, _)| u64::from(*index) + 1 >= begun);
        self.synced.publish(end);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_flush_is_told_and_not_tried_again() {
        // A device that can't be synced.
        let (end, synced) = (Arc::new(Latest::new()), Arc::new(Latest::new()));
        end.publish(5);
        let begun = Arc::new(Latest::new());
        begun.publish(1);
        let folder = tempfile::tempdir().expect("a folder");
        let journal = JournalId(1);
        let path = segment_path(folder.path(), journal, 0);
        std::os::unix::fs::symlink("/dev/full", path).expect("a link");
        let flushed = Flushed { journal, end, begun, synced: synced.clone(), files: Vec::new() };
        let metrics = Arc::new(Metrics::new(1));
        let faults = Faults::unread(metrics.clone());
        let (_makes, made) = std::sync::mpsc::sync_channel(1);
        let (folder, shards) = (folder.path().to_owned(), vec![flushed]);
        let mut flusher = Flusher { folder, shards, made, faults: faults.clone() };
        let (_stop, stopped) = std::sync::mpsc::sync_channel(1);
        flusher.run(Duration::ZERO, &stopped);
        let told = faults.first().expect("it was told");
        assert!(told.starts_with("flush the journal: "), "{told}");
        assert_eq!((synced.get(), metrics.store.read().get(Metric::JournalFaults)), (0, 1));
    }
}
