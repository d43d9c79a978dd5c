//! History out of SQLite: few connections, each on a thread of its own that asks one question
//! after the other. Never on a shard's thread, never in the batcher's way.

use std::io;
use std::path::{Path, PathBuf};
use std::thread::Builder;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::runtime::Runtime;

use super::check::is_damage;
use super::history::History;
use crate::conditions::Condition;
use crate::faults::{Lives, caught, panic_place};
use crate::metrics::Part;
use crate::store::query::ReadFault;
use crate::store::readable::Readable;
use crate::store::reader::{Job, Jobs, ReadPlan, Reader, Readers};
use crate::store::search::{Found, SearchQuery};

/// How many virtual machine steps a query runs between two looks at the clock.
const STEPS: i32 = 10_000;
const BUSY_WAIT: Duration = Duration::from_millis(250);

/// Starts the threads, which open the database when they are first asked. They end when the reader
/// is stopped, or when every clone of it is gone.
pub(crate) fn start_reader(
    database: &Path,
    plan: &ReadPlan,
    page_connections: usize,
) -> io::Result<Readers> {
    let (reader, jobs) = Reader::begin(plan.clock.clone(), page_connections, false);
    let readable = Readable::new(plan.faults.clone(), plan.clock.clone());
    let mut threads = Vec::new();
    for mut jobs in jobs {
        let (database, plan) = (database.to_owned(), plan.clone());
        let (part, readable) = (plan.faults.watch("hub-reader"), readable.clone());
        let lives = Lives::new(Part::Reader, "hub-reader", &plan.faults);
        let life = move || {
            let (database, plan, readable) = (database.clone(), plan.clone(), readable.clone());
            let worker = Worker { database, plan, history: None, readable };
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            // Questions that wait are at the desk; the one in hand hears that there is no answer.
            worker.run(&runtime, &mut jobs);
            io::Result::Ok(())
        };
        let thread = Builder::new().name("hub-reader".into());
        threads.push(thread.spawn(move || part.ended_with(&lives.live(life)))?);
    }
    Ok(Readers { reader, threads })
}

struct Worker {
    database: PathBuf,
    plan: ReadPlan,
    /// Opened at the first question, and again after a fault.
    history: Option<History>,
    readable: Readable,
}

impl Worker {
    fn run(mut self, runtime: &Runtime, jobs: &mut Jobs) {
        while let Some(job) = runtime.block_on(jobs.next()) {
            panic_place("hub-reader");
            // Whoever asked may be gone; so may be an answer's taker.
            match job {
                Job::Page(query, asked) if !asked.is_closed() => {
                    asked.give(self.ask(|history| history.page(&query)));
                }
                Job::Range(query, asked) if !asked.is_closed() => {
                    asked.give(self.ask(|history| history.range(&query)));
                }
                Job::Missed(query, answer) if !answer.is_closed() => {
                    let _ = answer.send(self.ask(|history| history.range(&query)));
                }
                Job::Search(query, asked) if !asked.is_closed() => {
                    asked.give(self.search(&query));
                }
                Job::Page(..) | Job::Range(..) | Job::Missed(..) | Job::Search(..) => {}
                // SQLite has no users and spaces (docs/WIRE.md F), and nobody asks for them.
                Job::Existing(..) | Job::Name(..) => {}
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
                self.readable.answered();
                Ok(answer)
            }
            Ok(Err(error)) => {
                if is_damage(&error) {
                    self.plan.faults.conditions().raise(Condition::DatabaseDamaged, &error);
                }
                Err(self.failed(&error))
            }
            Err(panicked) => Err(self.failed(&panicked)),
        }
    }

    /// What is wrong with the index of words says nothing of history.
    fn search(&mut self, query: &SearchQuery) -> Result<Found, ReadFault> {
        let error: Box<dyn std::error::Error> =
            match caught(|| self.history().and_then(|history| history.search(query))) {
                Ok(Ok(found)) => {
                    self.readable.answered();
                    return Ok(found);
                }
                Ok(Err(error)) => error.into(),
                Err(panicked) => panicked.into(),
            };
        self.history = None;
        Err(self.readable.unanswered(&*error))
    }

    fn failed(&mut self, error: &dyn std::error::Error) -> ReadFault {
        self.history = None;
        self.readable.failed(error)
    }

    /// The connection, with a fresh time limit on what runs on it.
    fn history(&mut self) -> rusqlite::Result<&mut History> {
        let history = match self.history.take() {
            Some(history) => history,
            None => self.open()?,
        };
        let history = self.history.insert(history);
        let (clock, query_max) = (self.plan.clock.clone(), self.plan.query_max);
        let begun = clock.now().mono;
        let late = move || clock.now().mono.since(begun) > query_max;
        history.connection().progress_handler(STEPS, Some(late))?;
        Ok(history)
    }

    fn open(&self) -> rusqlite::Result<History> {
        // Read-only, so that a database that is not there yet is not made here.
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.database, flags)?;
        connection.busy_timeout(BUSY_WAIT)?;
        connection.execute_batch("PRAGMA mmap_size = 268435456; PRAGMA cache_size = -8192")?;
        Ok(History::new(connection, self.plan.utc_offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::faults::Faults;
    use crate::metrics::{Metric, Metrics};
    use crate::store::query::{Page, PageOrder, PageQuery};
    use crate::store::sqlite::SqliteSink;
    use crate::wire::SpaceId;

    const NEWEST: PageQuery = PageQuery {
        space: SpaceId(0),
        page: 1,
        page_size: 100,
        order: PageOrder::Timestamp,
        ascending: false,
        images_bytes_max: 0,
    };

    #[test]
    fn a_bug_in_a_query_costs_one_answer_and_neither_the_thread_nor_the_hub() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("hub.sqlite3");
        drop(SqliteSink::open(&database, 0).expect("it is made"));
        let faults = Faults::unread(std::sync::Arc::new(Metrics::new(1)));
        let told = faults.clone();
        let plan = ReadPlan {
            utc_offset: 0,
            clock: Clock::start(),
            query_max: 9_000,
            image_bytes_max: 0,
            faults,
        };
        let readable = Readable::new(plan.faults.clone(), plan.clock.clone());
        let mut worker = Worker { database, plan, history: None, readable };
        let thread = std::thread::spawn(move || {
            let bug = worker.ask(|_| -> rusqlite::Result<Page> { panic!("a bug") });
            (bug, worker.ask(|history| history.page(&NEWEST)))
        });
        let (bug, next) = thread.join().expect("it ends");
        assert_eq!((bug, next.map(|page| page.total)), (Err(ReadFault::Away), Ok(0)));
        assert_eq!(told.metrics().store.read().get(Metric::ReadFaults), 1);
        assert_eq!(told.first(), None);
    }
}
