//! History for the edge out of PostgreSQL: three connections of their own, on one thread, one of
//! them for members alone, each with a time limit a query.
//!
//! Owns the counted totals of spaces, and marks in their histories. A total is what was counted
//! once plus what has come since; now and then, behind an answer, a space is counted anew.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::thread::Builder;
use std::time::Duration;

use tokio_postgres::Error;

use super::connect::{CallFault, DatabaseUrl, within};
use super::history::{History, Known, ReadPage, RowCount};
use super::marks::Marks;
use crate::faults::{Lives, Panicked, caught_in};
use crate::limits::TOTALS_MAX;
use crate::metrics::Part;
use crate::store::DAY_MS;
use crate::store::query::{Existing, Page, PageQuery, Range, RangeQuery, ReadFault};
use crate::store::readable::Readable;
use crate::store::reader::{Asked, Job, Jobs, ReadPlan, Reader, Readers};
use crate::store::runtime::OwnRuntime;
use crate::store::search::{Found, SearchQuery};
use crate::wire::time::MonoMs;
use crate::wire::{Id, SpaceId, UserId};

/// Connections that read pages, beside the one for members.
const PAGE_CONNECTIONS: usize = 2;
/// How old a count may be before it is made anew, in milliseconds.
const RECOUNT: u64 = 600_000;

/// Starts the thread, which ends when the reader is stopped.
pub(crate) fn start_reader(url: DatabaseUrl, plan: ReadPlan) -> io::Result<Readers> {
    let (reader, jobs) = Reader::begin(plan.clock.clone(), PAGE_CONNECTIONS, true);
    let mut jobs: [Jobs; PAGE_CONNECTIONS + 1] =
        jobs.try_into().expect("as many as were asked for");
    let thread = Builder::new().name("hub-reader".into()).spawn(move || {
        let part = plan.faults.watch("hub-reader");
        let readable = Readable::new(plan.faults.clone(), plan.clock.clone());
        let lives = Lives::new(Part::Reader, "hub-reader", &plan.faults);
        let ended = lives.live(|| {
            let runtime = OwnRuntime::new()?;
            let (totals, marks) = (Totals::default(), RefCell::new(Marks::default()));
            let (url, plan, totals, readable, marks) = (&url, &plan, &totals, &readable, &marks);
            let worker = || Worker { url, plan, totals, marks, history: None, readable };
            // Questions that wait are at the desk; those in hand hear that there is no answer.
            let [members, one, two] = &mut jobs;
            runtime.block_on(async {
                tokio::join!(worker().run_connected(members), worker().run(one), worker().run(two))
            });
            io::Result::Ok(())
        });
        part.ended_with(&ended);
    })?;
    Ok(Readers { reader, threads: vec![thread] })
}

#[derive(Default, Debug)]
struct Totals(RefCell<HashMap<SpaceId, (RowCount, MonoMs)>>);

impl Totals {
    fn of(&self, space: SpaceId) -> RowCount {
        self.0.borrow().get(&space).map(|(counted, _)| counted.clone()).unwrap_or_default()
    }

    /// After a page: keeps the farther of two counts, and when the space was counted whole.
    fn advance(&self, space: SpaceId, counted: RowCount, now: MonoMs) {
        let mut totals = self.0.borrow_mut();
        if totals.len() >= TOTALS_MAX && !totals.contains_key(&space) {
            totals.clear();
        }
        let known = totals.entry(space).or_insert((RowCount::default(), now));
        if counted.up_to > known.0.up_to {
            known.0 = counted;
        }
    }

    fn replace(&self, space: SpaceId, counted: RowCount, now: MonoMs) {
        self.0.borrow_mut().insert(space, (counted, now));
    }

    fn is_old(&self, space: SpaceId, now: MonoMs) -> bool {
        self.0.borrow().get(&space).is_some_and(|(_, at)| now.since(*at) > RECOUNT)
    }
}

/// One connection and those who wait for it.
struct Worker<'a> {
    url: &'a DatabaseUrl,
    plan: &'a ReadPlan,
    totals: &'a Totals,
    marks: &'a RefCell<Marks>,
    /// Opened at the first question at the latest, and again after a fault.
    history: Option<History>,
    readable: &'a Readable,
}

impl Worker<'_> {
    /// Connects before the first question: who asks whether somebody exists does not wait long.
    async fn run_connected(mut self, jobs: &mut Jobs) {
        // A fault is told by the next try.
        self.history = History::open(self.url, self.plan).await.ok();
        self.run(jobs).await;
    }

    async fn run(mut self, jobs: &mut Jobs) {
        while let Some(job) = jobs.next().await {
            // Whoever asked may be gone; so may be an answer's taker.
            match job {
                Job::Page(query, mut asked) if !asked.is_closed() => {
                    let page = caught_in(self.page(query, &mut asked)).await;
                    asked.give(self.unless_bug(page));
                    let counted = caught_in(self.recount(query.space)).await;
                    let _ = self.unless_bug(counted.map(Ok));
                }
                Job::Range(query, asked) if !asked.is_closed() => {
                    let range = caught_in(self.range(query)).await;
                    asked.give(self.unless_bug(range));
                }
                Job::Existing(user, space, answer, _waiting) if !answer.is_closed() => {
                    let existing = caught_in(self.existing(user, space)).await;
                    let _ = answer.send(self.unless_bug(existing));
                }
                Job::Missed(query, answer) if !answer.is_closed() => {
                    let missed = caught_in(self.range(query)).await;
                    let _ = answer.send(self.unless_bug(missed));
                }
                Job::Name(space, answer) if !answer.is_closed() => {
                    let name = caught_in(self.name(space)).await;
                    let _ = answer.send(self.unless_bug(name));
                }
                Job::Search(query, asked) if !asked.is_closed() => {
                    let found = caught_in(self.search(&query)).await;
                    asked.give(self.unless_bug(found));
                }
                Job::Page(..) | Job::Range(..) | Job::Missed(..) | Job::Search(..) => {}
                Job::Existing(..) | Job::Name(..) => {}
            }
        }
    }

    /// A bug costs one answer and the connection, not the thread.
    fn unless_bug<T>(
        &mut self,
        answer: Result<Result<T, ReadFault>, Panicked>,
    ) -> Result<T, ReadFault> {
        answer.unwrap_or_else(|panicked| Err(self.failed(&panicked)))
    }

    async fn page(&mut self, query: PageQuery, asked: &mut Asked<Page>) -> Result<Page, ReadFault> {
        let space = query.space;
        let mark = |order, row| self.marks.borrow().before(space, order, row);
        let known = Known { count: self.totals.of(space), mark };
        let history = self.open().await?;
        let (limit, room) = (self.id_limit(), asked.room());
        let answer = limited(self.plan, history.page(&query, &known, limit, room)).await;
        let ReadPage { page, counted, order, mark, is_astray } = self.told(history, answer)?;
        self.totals.advance(space, counted, self.plan.clock.now().mono);
        if is_astray {
            self.marks.borrow_mut().forget(space);
        }
        if let Some(mark) = mark {
            self.marks.borrow_mut().note(space, order, mark);
        }
        page.ok_or(ReadFault::Full)
    }

    async fn range(&mut self, query: RangeQuery) -> Result<Range, ReadFault> {
        let history = self.open().await?;
        let answer = limited(self.plan, history.range(&query)).await;
        self.told(history, answer)
    }

    async fn existing(&mut self, user: UserId, space: SpaceId) -> Result<Existing, ReadFault> {
        let history = self.open().await?;
        match limited(self.plan, history.existing(user, space)).await {
            // Tables of people that can't be read are another condition's, and no history.
            Err(fault) => Err(self.readable.unanswered(&fault)),
            answer => self.told(history, answer),
        }
    }

    async fn name(&mut self, space: SpaceId) -> Result<Option<String>, ReadFault> {
        let history = self.open().await?;
        match limited(self.plan, history.name(space)).await {
            // A table of spaces that can't be read says nothing of history.
            Err(fault) => Err(self.readable.unanswered(&fault)),
            answer => self.told(history, answer),
        }
    }

    async fn search(&mut self, query: &SearchQuery) -> Result<Found, ReadFault> {
        let history = self.open().await?;
        match limited(self.plan, history.search(query)).await {
            // What can't be looked for says nothing of history.
            Err(fault) => Err(self.readable.unanswered(&fault)),
            answer => self.told(history, answer),
        }
    }

    async fn recount(&mut self, space: SpaceId) {
        if !self.totals.is_old(space, self.plan.clock.now().mono) {
            return;
        }
        self.marks.borrow_mut().forget(space);
        let Ok(history) = self.open().await else { return };
        let counted = limited(self.plan, history.recount(space, self.id_limit())).await;
        let now = self.plan.clock.now().mono;
        match self.told(history, counted) {
            Ok(counted) => self.totals.replace(space, counted, now),
            // What has come since is still counted; the next try is due later.
            Err(_) => self.totals.replace(space, self.totals.of(space), now),
        }
    }

    /// Our ids are of now; a clock may be set back by hand.
    fn id_limit(&self) -> Id {
        Id::first_of_ms(self.plan.clock.now().unix.0 / 1000 + DAY_MS)
    }

    /// Takes the connection out: it is put back by an answer, not by a fault.
    async fn open(&mut self) -> Result<History, ReadFault> {
        if let Some(history) = self.history.take().filter(|history| !history.is_closed()) {
            return Ok(history);
        }
        let opened = History::open(self.url, self.plan).await;
        opened.map_err(|fault| self.failed(&fault))
    }

    fn told<T>(&mut self, history: History, answer: Result<T, CallFault>) -> Result<T, ReadFault> {
        let answer = answer.map_err(|fault| self.failed(&fault))?;
        self.readable.answered();
        self.history = Some(history);
        Ok(answer)
    }

    fn failed(&self, fault: &dyn std::error::Error) -> ReadFault {
        self.readable.failed(fault)
    }
}

async fn limited<T>(
    plan: &ReadPlan,
    query: impl Future<Output = Result<T, Error>>,
) -> Result<T, CallFault> {
    within(Duration::from_millis(plan.query_max), "read history", query).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(rows: u64, up_to: &str) -> RowCount {
        RowCount { rows, up_to: up_to.into() }
    }

    #[test]
    fn a_total_goes_forward_and_is_made_anew_when_it_is_old() {
        let (totals, space) = (Totals::default(), SpaceId(1));
        assert_eq!(totals.of(space), RowCount::default());
        totals.advance(space, counted(5, "E"), MonoMs(10));
        totals.advance(space, counted(3, "C"), MonoMs(20));
        assert_eq!(totals.of(space), counted(5, "E"), "of two lanes, the farther one");
        assert!(!totals.is_old(space, MonoMs(RECOUNT + 10)));
        assert!(totals.is_old(space, MonoMs(RECOUNT + 11)));
        totals.replace(space, counted(2, "E"), MonoMs(RECOUNT));
        assert_eq!(totals.of(space), counted(2, "E"));
        assert!(!totals.is_old(space, MonoMs(RECOUNT + 11)));
    }

    #[test]
    fn totals_are_bounded() {
        let totals = Totals::default();
        (0..=TOTALS_MAX as i32)
            .for_each(|n| totals.advance(SpaceId(n), counted(1, "A"), MonoMs(0)));
        assert_eq!(totals.0.borrow().len(), 1);
    }
}
