//! Log lines on their way to standard error: a queue, and a thread of its own that writes them,
//! so that whoever logs never waits for whoever reads, be that a pipe, a disk or a terminal.
//!
//! Owns the two descriptors, and the counts of lines that were taken, written and lost. Where the
//! queue is full, or a write fails, a line is lost and counted; the log says how many once its
//! lines are taken again.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use crate::limits::{LOG_BYTES_MAX, LOG_LINES_MAX};
use crate::metrics::{Metric, Metrics};

/// What a line costs in the queue beside its bytes.
const LINE_BYTES: u64 = 96;
/// Between two tries on a descriptor that somebody has set not to block.
const FULL_WAIT: Duration = Duration::from_millis(20);

/// What the thread is given.
#[derive(Debug)]
enum Job {
    /// For standard error.
    Line(Vec<u8>),
    /// For standard output.
    Said(Vec<u8>),
    /// To be answered when all before it is written.
    Flush(SyncSender<()>),
}

/// Where lines are put. Cheap to clone; all clones share one queue.
#[derive(Clone, Debug)]
pub struct Lines {
    jobs: SyncSender<Job>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Counts {
    /// Bytes of the lines that are not written yet.
    queued_bytes: AtomicU64,
    taken: AtomicU64,
    /// Lines of these that were written, or lost because they could not be.
    done: AtomicU64,
    lost: AtomicU64,
    /// How many of the lost the log has told.
    told: AtomicU64,
    /// The system's word on the last write: 0 while it succeeds.
    error: AtomicI32,
    metrics: Arc<Metrics>,
}

/// How it goes with the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinesState {
    /// Lines that wait to be written.
    pub waiting: u64,
    /// Lines that were written or lost on the way, so far.
    pub done: u64,
    /// Lines that are lost, so far.
    pub lost: u64,
    /// Whether the log itself has not told all of these yet.
    pub is_untold: bool,
    /// What the last write failed with.
    pub error: Option<i32>,
}

impl Counts {
    fn lose(&self) {
        self.lost.fetch_add(1, Relaxed);
        self.metrics.edge.add(Metric::LogLinesLost, 1);
    }

    /// How many are lost and not told yet; they count as told from here on.
    fn to_tell(&self) -> u64 {
        let lost = self.lost.load(Relaxed);
        lost - self.told.swap(lost, Relaxed)
    }

    fn is_untold(&self) -> bool {
        self.lost.load(Relaxed) > self.told.load(Relaxed)
    }
}

impl Lines {
    /// Starts the thread, which ends with the process: a write that hangs must not keep it.
    pub fn start(metrics: Arc<Metrics>) -> io::Result<Lines> {
        // Descriptors of its own: who else writes to the standard ones holds their lock meanwhile.
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let (lines, jobs) = Lines::queue(metrics);
        let writing = Writing { stderr, stdout, lines: lines.clone(), is_torn: false };
        Builder::new().name("hub-log".into()).spawn(move || writing.run(&jobs))?;
        Ok(lines)
    }

    fn queue(metrics: Arc<Metrics>) -> (Lines, Receiver<Job>) {
        let (jobs, taken) = sync_channel(LOG_LINES_MAX);
        let counts = Counts {
            queued_bytes: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            done: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            told: AtomicU64::new(0),
            error: AtomicI32::new(0),
            metrics,
        };
        (Lines { jobs, counts: Arc::new(counts) }, taken)
    }

    /// Puts a line for standard error into the queue, or loses it if that is full. Never waits.
    pub fn put(&self, line: &[u8]) {
        self.offer(line, Job::Line);
    }

    /// Puts a line for standard output into the queue, as [`put`](Lines::put) does.
    pub fn say(&self, line: &str) {
        self.offer(line.as_bytes(), Job::Said);
    }

    fn offer(&self, line: &[u8], job: impl FnOnce(Vec<u8>) -> Job) {
        let bytes = cost(line);
        if self.counts.queued_bytes.fetch_add(bytes, Relaxed) + bytes > LOG_BYTES_MAX {
            self.counts.queued_bytes.fetch_sub(bytes, Relaxed);
            return self.counts.lose();
        }
        // Before the thread can be done with it.
        self.counts.taken.fetch_add(1, Relaxed);
        self.counts.metrics.edge.add(Metric::LogLinesWaiting, 1);
        if self.jobs.try_send(job(line.to_vec())).is_err() {
            self.counts.taken.fetch_sub(1, Relaxed);
            self.counts.metrics.edge.sub(Metric::LogLinesWaiting, 1);
            self.counts.queued_bytes.fetch_sub(bytes, Relaxed);
            self.counts.lose();
        }
    }

    /// Waits until all lines so far are written, for `wait` at most; whether they are.
    pub fn flush(&self, wait: Duration) -> bool {
        let (done, ended) = sync_channel(1);
        let mut job = Job::Flush(done);
        for _ in 0..=wait.as_millis() / FULL_WAIT.as_millis() {
            match self.jobs.try_send(job) {
                Ok(()) => return ended.recv_timeout(wait).is_ok(),
                Err(TrySendError::Full(refused)) => job = refused,
                Err(TrySendError::Disconnected(_)) => return false,
            }
            std::thread::sleep(FULL_WAIT);
        }
        false
    }

    /// How it goes.
    pub fn state(&self) -> LinesState {
        let counts = &self.counts;
        let done = counts.done.load(Relaxed);
        LinesState {
            waiting: counts.taken.load(Relaxed).saturating_sub(done),
            done,
            lost: counts.lost.load(Relaxed),
            is_untold: counts.is_untold(),
            error: Some(counts.error.load(Relaxed)).filter(|error| *error != 0),
        }
    }
}

fn cost(line: &[u8]) -> u64 {
    line.len() as u64 + LINE_BYTES
}

/// A line as `tracing` writes it: whole, in one call.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the thread owns.
struct Writing<W> {
    stderr: W,
    stdout: W,
    lines: Lines,
    /// The last line was written in part.
    is_torn: bool,
}

impl<W: Write> Writing<W> {
    fn run(mut self, jobs: &Receiver<Job>) {
        // The clone of `lines` keeps the queue open.
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Line(line) => {
                    let written = self.write(&line);
                    self.done(&line, written);
                }
                Job::Said(line) => {
                    // Whoever closed our output does not want to know.
                    let _ = write_all(&mut self.stdout, &line);
                    self.done(&line, Ok(()));
                }
                Job::Flush(answer) => {
                    let again = Job::Flush(answer.clone());
                    // Behind what is told now.
                    if !self.tell() || self.lines.jobs.try_send(again).is_err() {
                        let _ = answer.send(());
                    }
                }
            }
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            write_all(&mut self.stderr, b"\n").map_err(|(_, error)| error)?;
            self.is_torn = false;
        }
        write_all(&mut self.stderr, line).map_err(|(written, error)| {
            self.is_torn = written > 0;
            error
        })
    }

    fn done(&self, line: &[u8], written: io::Result<()>) {
        let counts = &self.lines.counts;
        let error = written.err().map(|error| error.raw_os_error().unwrap_or(-1));
        counts.error.store(error.unwrap_or(0), Relaxed);
        if error.is_some() {
            counts.lose();
        }
        counts.done.fetch_add(1, Relaxed);
        counts.metrics.edge.sub(Metric::LogLinesWaiting, 1);
        let bytes = cost(line);
        if counts.queued_bytes.fetch_sub(bytes, Relaxed) == bytes {
            self.tell();
        }
    }

    /// Has the log tell what was lost, once its lines are taken; whether it does.
    fn tell(&self) -> bool {
        let counts = &self.lines.counts;
        if counts.error.load(Relaxed) != 0 || !counts.is_untold() {
            return false;
        }
        let lines = counts.to_tell();
        tracing::warn!(lines, "log lines were lost: nobody took them");
        true
    }
}

/// Writes all, also to a descriptor that does not block. With an error, how much was written.
fn write_all(out: &mut impl Write, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => return Err((written, ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(FULL_WAIT),
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> (Lines, Receiver<Job>, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new(1));
        let (lines, jobs) = Lines::queue(Arc::clone(&metrics));
        (lines, jobs, metrics)
    }

    /// A disk that takes each third byte, then fails, until it is mended.
    struct Rough {
        written: Vec<u8>,
        left: usize,
    }

    impl Write for Rough {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.left).min(3);
            if taken == 0 {
                return Err(io::Error::from_raw_os_error(28));
            }
            self.left -= taken;
            self.written.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_the_queue_can_not_hold_is_lost_and_counted() {
        let (lines, jobs, metrics) = queue();
        let line = vec![b'.'; 1 << 10];
        for _ in 0..2 * (LOG_BYTES_MAX >> 10) {
            lines.put(&line);
        }
        let LinesState { waiting, lost, is_untold, .. } = lines.state();
        assert_eq!(waiting, LOG_BYTES_MAX / cost(&line));
        assert_eq!(waiting + lost, 2 * (LOG_BYTES_MAX >> 10));
        assert_eq!(metrics.total().get(Metric::LogLinesLost), lost);
        assert!(is_untold);
        assert!(!lines.flush(Duration::ZERO), "nobody writes");
        drop(jobs);
    }

    #[test]
    fn a_line_that_was_cut_does_not_run_into_the_next() {
        let (lines, _jobs, _) = queue();
        let rough = || Rough { written: Vec::new(), left: 0 };
        let mut writing = Writing { stderr: rough(), stdout: rough(), lines, is_torn: false };
        let mut put = |line: &[u8], left| {
            writing.stderr.left += left;
            writing.lines.put(line);
            let written = writing.write(line);
            writing.done(line, written);
            (writing.lines.state().lost, writing.lines.state().error)
        };
        assert_eq!(put(b"one\n", 4), (0, None));
        assert_eq!(put(b"three\n", 5), (1, Some(28)));
        assert_eq!(put(b"four\n", 0), (2, Some(28)));
        assert_eq!(put(b"five\n", 100), (2, None));
        assert_eq!(writing.stderr.written, b"one\nthree\nfive\n");
        let LinesState { waiting, is_untold, .. } = writing.lines.state();
        assert!(waiting == 1 || !is_untold, "what was lost is told");
    }
}
