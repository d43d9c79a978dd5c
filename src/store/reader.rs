//! History for the edge: a few connections, each on a thread of its own, with a bounded queue
//! and a time limit a query. Never on a shard's thread, never in the batcher's way.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, oneshot};

use super::history::History;
use super::{
    Existing, Missed, MissedQuery, Page, PageQuery, Range, RangeQuery, ReadClock, ReadFault,
};
use crate::faults::{Faults, caught};
use crate::metrics::Metric;
use crate::wire::{SpaceId, UserId};

/// Queries that wait for one connection; more are refused.
pub(super) const WAITING_MAX: usize = 256;
/// How many virtual machine steps a query runs between two looks at the clock.
const STEPS: i32 = 10_000;
const BUSY_WAIT: Duration = Duration::from_millis(250);

/// Reads history over connections of its own, never on a shard's thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    lanes: Arc<[mpsc::Sender<Job>]>,
    /// The store knows users and spaces.
    knows_people: bool,
}

/// What a reader's threads are made with.
#[derive(Clone)]
pub(super) struct ReaderPlan {
    pub(super) database: PathBuf,
    pub(super) utc_offset: i32,
    pub(super) clock: ReadClock,
    /// The longest that a query may run, in milliseconds.
    pub(super) query_max: u64,
    /// Where a thread that ends, and a query that fails, are told.
    pub(super) faults: Faults,
}

/// A question, and whom to answer.
#[derive(Debug)]
pub(super) enum Job {
    Page(PageQuery, oneshot::Sender<Result<Page, ReadFault>>),
    Range(RangeQuery, oneshot::Sender<Result<Range, ReadFault>>),
    Existing(UserId, SpaceId, oneshot::Sender<Result<Existing, ReadFault>>),
    Missed(MissedQuery, oneshot::Sender<Result<Missed, ReadFault>>),
    Stop,
}

impl Reader {
    /// One numbered page.
    pub async fn page(&self, query: PageQuery) -> Result<Page, ReadFault> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Page(query, answer))?;
        answered.await.unwrap_or(Err(ReadFault))
    }

    /// A stretch by position.
    pub async fn range(&self, query: RangeQuery) -> Result<Range, ReadFault> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Range(query, answer))?;
        answered.await.unwrap_or(Err(ReadFault))
    }

    /// A page of what somebody has missed.
    pub async fn missed(&self, query: MissedQuery) -> Result<Missed, ReadFault> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Missed(query, answer))?;
        answered.await.unwrap_or(Err(ReadFault))
    }

    /// Whether a user and a space exist. All do for a store that knows neither.
    pub async fn existing(&self, user: UserId, space: SpaceId) -> Result<Existing, ReadFault> {
        if !self.knows_people {
            return Ok(Existing { user: true, space: true });
        }
        let (answer, answered) = oneshot::channel();
        self.send(Job::Existing(user, space, answer))?;
        answered.await.unwrap_or(Err(ReadFault))
    }

    /// To the shortest queue.
    fn send(&self, job: Job) -> Result<(), ReadFault> {
        let lane = self.lanes.iter().max_by_key(|lane| lane.capacity()).ok_or(ReadFault)?;
        lane.try_send(job).map_err(|_| ReadFault)
    }

    /// A reader whose connections take their questions from elsewhere.
    pub(super) fn over(lanes: Vec<mpsc::Sender<Job>>, knows_people: bool) -> Reader {
        Reader { lanes: lanes.into(), knows_people }
    }

    /// Starts so many threads; they end at [`stop`](Reader::stop), or when every clone is gone.
    pub(super) fn start(
        plan: &ReaderPlan,
        connections: usize,
    ) -> std::io::Result<(Reader, Vec<JoinHandle<()>>)> {
        let (mut lanes, mut threads) = (Vec::new(), Vec::new());
        for _ in 0..connections {
            let (lane, jobs) = mpsc::channel(WAITING_MAX);
            let worker = Worker { plan: plan.clone(), history: None, failing: false };
            let thread = Builder::new().name("hub-reader".into());
            threads.push(thread.spawn(move || {
                let part = worker.plan.faults.watch("hub-reader");
                worker.run(jobs);
                part.ended();
            })?);
            lanes.push(lane);
        }
        Ok((Reader::over(lanes, false), threads))
    }

    /// Ends the threads once they have answered what waits; later questions are refused.
    pub(super) async fn stop(&self) {
        for lane in self.lanes.iter() {
            // A thread that has ended takes no word.
            let _ = lane.send(Job::Stop).await;
        }
    }
}

struct Worker {
    plan: ReaderPlan,
    /// Opened at the first question, and again after a fault.
    history: Option<History>,
    failing: bool,
}

impl Worker {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            // Whoever asked may be gone; so may be an answer's taker.
            match job {
                Job::Page(query, answer) if !answer.is_closed() => {
                    let _ = answer.send(self.ask(|history| history.page(&query)));
                }
                Job::Range(query, answer) if !answer.is_closed() => {
                    let _ = answer.send(self.ask(|history| history.range(&query)));
                }
                Job::Missed(query, answer) if !answer.is_closed() => {
                    let _ = answer.send(self.ask(|history| history.missed(&query)));
                }
                // SQLite has no users (WIRE F), and nobody asks for them.
                Job::Page(..) | Job::Range(..) | Job::Missed(..) | Job::Existing(..) => {}
                Job::Stop => return,
            }
        }
    }

    fn ask<T>(
        &mut self,
        query: impl FnOnce(&mut History) -> rusqlite::Result<T>,
    ) -> Result<T, ReadFault> {
        // A bug costs one answer and the connection, not the thread.
        match caught(|| self.history().and_then(query)) {
            Ok(Ok(answer)) => {
                if std::mem::replace(&mut self.failing, false) {
                    tracing::info!("the store can be read again");
                }
                Ok(answer)
            }
            Ok(Err(error)) => Err(self.failed(&error)),
            Err(panicked) => Err(self.failed(&panicked)),
        }
    }

    fn failed(&mut self, error: &dyn std::error::Error) -> ReadFault {
        self.plan.faults.metrics().store.add(Metric::ReadFaults, 1);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(%error, "the store can't be read");
        }
        self.history = None;
        ReadFault
    }

    /// The connection, with a fresh time limit on what runs on it.
    fn history(&mut self) -> rusqlite::Result<&mut History> {
        let history = match self.history.take() {
            Some(history) => history,
            None => self.plan.open()?,
        };
        let history = self.history.insert(history);
        let (clock, query_max) = (self.plan.clock.clone(), self.plan.query_max);
        let begun = clock().mono;
        let late = move || clock().mono.since(begun) > query_max;
        history.connection().progress_handler(STEPS, Some(late))?;
        Ok(history)
    }
}

impl ReaderPlan {
    fn open(&self) -> rusqlite::Result<History> {
        // Read-only, so that a database that is not there yet is not made here.
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.database, flags)?;
        connection.busy_timeout(BUSY_WAIT)?;
        connection.execute_batch("PRAGMA mmap_size = 268435456; PRAGMA cache_size = -8192")?;
        Ok(History::new(connection, self.utc_offset))
    }
}
