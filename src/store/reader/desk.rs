//! Where questions wait for the connections that answer them.
//!
//! Owns both queues, and how long pages take, which decides who may wait. Never waits itself: a
//! question is queued or refused at once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Job;
use crate::clock::Clock;
use crate::limits::{MEMBERS_QUESTIONS_MAX, PAGES_WAIT, READER_QUEUE_MAX};
use crate::store::query::ReadFault;
use crate::store::turns::Turns;
use crate::wire::SpaceId;
use crate::wire::time::MonoMs;

/// The side of those who ask; when it is gone, no more comes.
#[derive(Debug)]
pub(super) struct Asking(Arc<Desk>);

/// Where questions wait for connections.
#[derive(Debug)]
struct Desk {
    waiting: Mutex<Waiting>,
    /// Wakes all connections: they are few.
    news: Notify,
    clock: Clock,
}

#[derive(Default, Debug)]
struct Waiting {
    members: VecDeque<Job>,
    pages: Turns<PageJob>,
    /// Connections, and those of them that read pages.
    connections: usize,
    page_connections: usize,
    /// How long a page takes, in sixteenths of a millisecond: of the last ones.
    page_sixteenths: u64,
    closed: bool,
}

#[derive(Debug)]
struct PageJob {
    job: Job,
    asked: MonoMs,
}

/// A connection's side: it takes questions and answers them.
#[derive(Debug)]
pub(in crate::store) struct Jobs {
    desk: Arc<Desk>,
    reads_pages: bool,
    /// Members' questions in a row.
    firsts: u32,
    /// When it took the page that it answers now.
    begun: Option<MonoMs>,
}

/// What there is for a connection to do.
enum Next {
    Job(Job),
    Nothing,
    Over,
}

impl Desk {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> MonoMs {
        self.clock.now().mono
    }
}

/// A desk for this number of connections that read pages, and for one that does not, the first.
pub(super) fn open(clock: Clock, pages: usize) -> (Asking, Vec<Jobs>) {
    let (connections, page_connections) = (pages + 1, pages);
    let waiting = Waiting { connections, page_connections, ..Waiting::default() };
    let desk = Arc::new(Desk { waiting: Mutex::new(waiting), news: Notify::new(), clock });
    let jobs = |n| Jobs { desk: Arc::clone(&desk), reads_pages: n > 0, firsts: 0, begun: None };
    let jobs = (0..connections).map(jobs).collect();
    (Asking(desk), jobs)
}

impl Asking {
    /// Queues a question of a member's.
    pub(super) fn first(&self, job: Job) -> Result<(), ReadFault> {
        self.0.waiting().ask_first(job)?;
        self.0.news.notify_waiters();
        Ok(())
    }

    /// Queues a question for a page of a space, asked for an address.
    pub(super) fn page(&self, address: u64, space: SpaceId, job: Job) -> Result<(), ReadFault> {
        let page = PageJob { job, asked: self.0.now() };
        self.0.waiting().ask_page(address, space, page)?;
        self.0.news.notify_waiters();
        Ok(())
    }

    /// Takes no more; what waits is still answered.
    pub(super) fn close(&self) {
        self.0.waiting().closed = true;
        self.0.news.notify_waiters();
    }
}

impl Waiting {
    /// Takes a question of a member's.
    fn ask_first(&mut self, job: Job) -> Result<(), ReadFault> {
        if self.closed {
            return Err(ReadFault::Away);
        }
        if self.members.len() >= READER_QUEUE_MAX * self.connections {
            return Err(ReadFault::Full);
        }
        self.members.push_back(job);
        Ok(())
    }

    /// Takes a question for a page, if its turn comes soon.
    fn ask_page(&mut self, address: u64, space: SpaceId, page: PageJob) -> Result<(), ReadFault> {
        if self.closed {
            return Err(ReadFault::Away);
        }
        let all = READER_QUEUE_MAX * self.page_connections;
        let ahead = self.pages.ahead(address, space) as u64;
        let wait = ahead * self.page_sixteenths / 16 / self.page_connections.max(1) as u64;
        if wait > PAGES_WAIT {
            return Err(ReadFault::Full);
        }
        let is_share_held = self.pages.of_address(address) >= all / 2;
        if is_share_held || self.pages.len() >= all {
            let last = self.pages.pop_last(address, space, !is_share_held);
            last.ok_or(ReadFault::Full)?.job.refuse();
        }
        self.pages.push(address, space, page);
        Ok(())
    }

    /// Notes how long a page took.
    fn note_page(&mut self, took: u64) {
        self.page_sixteenths = (7 * self.page_sixteenths + 16 * took).div_ceil(8);
    }
}

impl Jobs {
    /// What is to be answered next. `None`: all that waited is answered, and no more comes.
    pub(in crate::store) async fn next(&mut self) -> Option<Job> {
        if let Some(begun) = self.begun.take() {
            let took = self.desk.now().since(begun);
            self.desk.waiting().note_page(took);
        }
        let desk = Arc::clone(&self.desk);
        loop {
            let mut news = std::pin::pin!(desk.news.notified());
            // From here on no news is missed.
            news.as_mut().enable();
            match self.take() {
                Next::Job(job) => return Some(job),
                Next::Over => return None,
                Next::Nothing => news.await,
            }
        }
    }

    fn take(&mut self) -> Next {
        let desk = Arc::clone(&self.desk);
        let mut waiting = desk.waiting();
        if (self.firsts < MEMBERS_QUESTIONS_MAX || !self.reads_pages)
            && let Some(job) = waiting.members.pop_front()
        {
            self.firsts = self.firsts.saturating_add(1);
            return Next::Job(job);
        }
        self.firsts = 0;
        if let Some(job) = self.take_page(&mut waiting) {
            return Next::Job(job);
        }
        match waiting.members.pop_front() {
            Some(job) => {
                self.firsts = 1;
                Next::Job(job)
            }
            None if waiting.closed => Next::Over,
            None => Next::Nothing,
        }
    }

    /// The next page that somebody still waits for.
    fn take_page(&mut self, waiting: &mut Waiting) -> Option<Job> {
        while self.reads_pages
            && let Some(PageJob { mut job, asked }) = waiting.pages.pop()
        {
            let now = self.desk.now();
            if job.is_closed() {
                continue;
            }
            if now.since(asked) > 2 * PAGES_WAIT || !job.take_room() {
                job.refuse();
                continue;
            }
            self.begun = Some(now);
            return Some(job);
        }
        None
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.close();
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        let (members, pages) = {
            let mut waiting = self.desk.waiting();
            waiting.connections -= 1;
            waiting.page_connections -= usize::from(self.reads_pages);
            if waiting.connections > 0 {
                return;
            }
            waiting.closed = true;
            (std::mem::take(&mut waiting.members), waiting.pages.take_all())
        };
        // Whoever asked hears that the store is away.
        drop(members);
        pages.for_each(drop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shares::Pool;
    use crate::store::query::RangeQuery;
    use crate::store::reader::{Asked, Job};
    use tokio::sync::oneshot;

    fn page(space: i32) -> Job {
        let (space, limit) = (SpaceId(space), 1);
        let query = RangeQuery { space, after: None, before: None, newest_max: None, limit };
        let room = Pool::new(1, 1).take(1, 0).expect("room");
        Job::Range(query, Asked { answer: oneshot::channel().0, room, needs: 0 })
    }

    #[test]
    fn who_would_wait_too_long_is_told_so_at_once_and_who_is_alone_never() {
        let (asking, jobs) = open(Clock::start(), 2);
        // Half of the patience a page, on two connections: four may wait before another.
        jobs[0].desk.waiting().page_sixteenths = 16 * PAGES_WAIT / 2;
        let ask = |address, space| asking.page(address, SpaceId(space), page(space));
        for _ in 0..5 {
            assert_eq!(ask(1, 1), Ok(()));
        }
        assert_eq!(ask(1, 1), Err(ReadFault::Full));
        // Others have their turn before most of those.
        for (address, space) in [(1, 2), (2, 1), (3, 7)] {
            assert_eq!(ask(address, space), Ok(()), "{address} {space}");
        }
        // However long a page takes, whoever is alone may ask for one.
        let (asking, jobs) = open(Clock::start(), 1);
        jobs[0].desk.waiting().page_sixteenths = 16 * 10 * PAGES_WAIT;
        assert_eq!(asking.page(1, SpaceId(1), page(1)), Ok(()));
    }

    #[test]
    fn how_long_a_page_takes_is_learnt_from_the_last_ones() {
        let mut waiting = Waiting::default();
        (0..50).for_each(|_| waiting.note_page(80));
        assert!((75 * 16..=80 * 16).contains(&waiting.page_sixteenths));
        (0..60).for_each(|_| waiting.note_page(0));
        assert!(waiting.page_sixteenths < 16, "{}", waiting.page_sixteenths);
    }
}
