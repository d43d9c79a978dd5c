//! The journals' two helper threads: one makes spare segments, one flushes what was written.
//!
//! The keeper owns the account of bytes on the disk, which all journals together may not exceed;
//! the flusher owns the files that were written since its last round. Neither touches records.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use tokio::sync::watch;

use super::segment::{JournalId, create_segment, segment_path};
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

/// What the keeper is asked for.
#[derive(Debug)]
pub(super) enum Ask {
    /// A shard has begun its spare and wants another.
    Spare { shard: usize },
    /// So many bytes of segments have been unlinked.
    Freed { bytes: u64 },
    /// Shutdown.
    Stop,
}

/// A segment that a writer has begun.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) shard: usize,
    pub(super) base: u64,
    pub(super) file: Arc<File>,
}

/// Where a fault that nothing mends is told: the process is to end with an error.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    told: Arc<watch::Sender<Option<String>>>,
    metrics: Arc<Metrics>,
}

impl Faults {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Faults {
        Faults { told: Arc::new(watch::Sender::new(None)), metrics }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<String>> {
        self.told.subscribe()
    }

    /// Whether a fault was told.
    pub(crate) fn is_told(&self) -> bool {
        self.told.borrow().is_some()
    }

    /// Counts and tells a fault; the first one told stays.
    pub(crate) fn report(&self, what: &str, error: &dyn std::error::Error) {
        self.metrics.store.add(Metric::JournalFaults, 1);
        self.told.send_if_modified(|told| {
            let first = told.is_none();
            told.get_or_insert_with(|| format!("{what}: {error}"));
            first
        });
    }
}

/// One shard, as the keeper sees it.
#[derive(Debug)]
pub(super) struct Supplied {
    pub(super) journal: JournalId,
    pub(super) next_index: u32,
    pub(super) wanted: u32,
    pub(super) spares: Sender<Spare>,
    pub(super) made: Arc<Latest>,
}

/// Makes segments while the bound allows.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) folder: PathBuf,
    pub(super) segment_bytes: u64,
    pub(super) bytes_max: u64,
    pub(super) bytes: u64,
    pub(super) shards: Vec<Supplied>,
}

impl Keeper {
    /// Makes a shard's next segment, unless the bound forbids it.
    pub(super) fn make(&mut self, shard: usize) -> io::Result<Option<Spare>> {
        if self.bytes + self.segment_bytes > self.bytes_max {
            return Ok(None);
        }
        let shard = &mut self.shards[shard];
        let path = segment_path(&self.folder, shard.journal, shard.next_index);
        let file = Arc::new(create_segment(&path, self.segment_bytes)?);
        let spare = Spare { file, index: shard.next_index };
        shard.next_index += 1;
        self.bytes += self.segment_bytes;
        Ok(Some(spare))
    }

    /// The thread: until it is told to stop.
    pub(super) fn run(mut self, asks: &Receiver<Ask>) {
        let mut failing = false;
        loop {
            let failed = self.supply(&mut failing);
            let ask = match failed {
                true => asks.recv_timeout(RETRY),
                false => asks.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match ask {
                Ok(Ask::Spare { shard }) => self.shards[shard].wanted += 1,
                Ok(Ask::Freed { bytes }) => self.bytes = self.bytes.saturating_sub(bytes),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Ask::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Gives each shard what it wants; whether a segment could not be made.
    fn supply(&mut self, failing: &mut bool) -> bool {
        for shard in 0..self.shards.len() {
            while self.shards[shard].wanted > 0 {
                match self.make(shard) {
                    Ok(Some(spare)) => self.hand_over(shard, spare),
                    Ok(None) => return false,
                    Err(error) => {
                        if !std::mem::replace(failing, true) {
                            tracing::warn!(%error, "no new journal segment can be made");
                        }
                        return true;
                    }
                }
            }
        }
        if std::mem::replace(failing, false) {
            tracing::info!("journal segments can be made again");
        }
        false
    }

    fn hand_over(&mut self, shard: usize, spare: Spare) {
        let shard = &mut self.shards[shard];
        shard.wanted -= 1;
        // A writer that is gone needs no spare.
        if shard.spares.send(spare).is_ok() {
            shard.made.publish(shard.made.get() + 1);
        }
    }
}

/// One shard, as the flusher sees it.
#[derive(Debug)]
pub(super) struct Flushed {
    pub(super) end: Arc<Latest>,
    pub(super) synced: Arc<Latest>,
    /// Segments with bytes that may not be synced, ascending: base and file.
    pub(super) files: Vec<(u64, Arc<File>)>,
}

/// Flushes what was written, every so often.
#[derive(Debug)]
pub(super) struct Flusher {
    pub(super) shards: Vec<Flushed>,
    pub(super) begun: Receiver<Begun>,
    pub(super) faults: Faults,
}

impl Flusher {
    /// The thread: until `stop` is dropped, and once more then.
    pub(super) fn run(mut self, period: Duration, stop: &Receiver<()>) {
        loop {
            let stopping = stop.recv_timeout(period) != Err(RecvTimeoutError::Timeout);
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
        // Ends before files: what an end covers lies in files that were told of before it.
        let ends: Vec<u64> = self.shards.iter().map(|shard| shard.end.get()).collect();
        for begun in self.begun.try_iter() {
            self.shards[begun.shard].files.push((begun.base, begun.file));
        }
        for (shard, end) in self.shards.iter_mut().zip(ends) {
            if end > shard.synced.get() {
                shard.flush(end)?;
            }
        }
        Ok(())
    }
}

impl Flushed {
    fn flush(&mut self, end: u64) -> io::Result<()> {
        for (_, file) in &self.files {
            file.sync_data()?;
        }
        // A segment is done with when the next one's base was reached.
        let done = self.files.iter().skip(1).take_while(|(base, _)| *base <= end).count();
        self.files.drain(..done);
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
        let file = File::options().write(true).open("/dev/full").expect("it is always there");
        let (end, synced) = (Arc::new(Latest::new()), Arc::new(Latest::new()));
        end.publish(5);
        let flushed = Flushed { end, synced: synced.clone(), files: vec![(0, Arc::new(file))] };
        let metrics = Arc::new(Metrics::new(1));
        let faults = Faults::new(metrics.clone());
        let (_begins, begun) = std::sync::mpsc::channel();
        let flusher = Flusher { shards: vec![flushed], begun, faults: faults.clone() };
        let (_stop, stopped) = std::sync::mpsc::channel();
        flusher.run(Duration::ZERO, &stopped);
        let told = faults.subscribe().borrow().clone().expect("it was told");
        assert!(told.starts_with("flush the journal: "), "{told}");
        assert_eq!((synced.get(), metrics.store.read().get(Metric::JournalFaults)), (0, 1));
    }
}
