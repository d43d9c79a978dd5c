//! History for the edge, whichever database it comes from: bounded queues of questions, one pair
//! for each connection that reads. Never on a shard's thread, never in the batcher's way.
//!
//! Owns the order of questions. What members miss and whether somebody exists is asked before
//! pages are, since a member waits with it; and of those who wait one address has half at most.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::query::{
    Existing, Page, PageQuery, Range, RangeQuery, ReadFault, StoredMessage, bytes_of,
};
use crate::clock::Clock;
use crate::faults::Faults;
use crate::limits::{MEMBERS_QUESTIONS_MAX, READER_QUEUE_MAX};
use crate::shares::{Part, Pool};
use crate::wire::{SpaceId, UserId};

/// Reads history over connections of its own, never on a shard's thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    lanes: Arc<[Lane]>,
    /// Places of those who wait for pages, and of those who ask whether somebody exists.
    for_pages: Pool,
    for_people: Pool,
    /// The store knows users and spaces.
    knows_people: bool,
}

/// What holds for all of a reader's connections.
#[derive(Clone)]
pub(crate) struct ReadPlan {
    pub(super) utc_offset: i32,
    pub(super) clock: Clock,
    /// The longest that a query may run, in milliseconds.
    pub(super) query_max: u64,
    /// Longer pictures are left out of ranges.
    pub(super) image_bytes_max: usize,
    /// Where a thread that ends, and a query that fails, are told.
    pub(super) faults: Faults,
}

/// A question, and whom to answer.
#[derive(Debug)]
pub(super) enum Job {
    Page(PageQuery, Asked<Page>),
    Range(RangeQuery, Asked<Range>),
    Existing(UserId, SpaceId, AnswerSender<Existing>, Part),
    Missed(RangeQuery, AnswerSender<Range>),
    Stop,
}

type AnswerSender<T> = oneshot::Sender<Result<T, ReadFault>>;

/// Who waits for rows, and the room that the rows take. The room goes with the rows, so that they
/// count as long as they are anywhere.
#[derive(Debug)]
pub(super) struct Asked<T> {
    answer: AnswerSender<(T, Part)>,
    room: Part,
    _waiting: Part,
}

impl<T: AsRef<[StoredMessage]>> Asked<T> {
    /// Whether whoever asked is gone.
    pub(super) fn is_closed(&self) -> bool {
        self.answer.is_closed()
    }

    /// The room, for rows that are known before they are read.
    pub(super) fn room(&mut self) -> &mut Part {
        &mut self.room
    }

    /// Answers, if there is room for the rows.
    pub(super) fn give(mut self, answer: Result<T, ReadFault>) {
        let answer = answer.and_then(|rows| match self.room.set_to(bytes_of(rows.as_ref())) {
            true => Ok((rows, self.room)),
            false => Err(ReadFault::Full),
        });
        // Whoever asked may be gone.
        let _ = self.answer.send(answer);
    }
}

/// The way to one connection.
#[derive(Debug)]
pub(super) struct Lane {
    first: mpsc::Sender<Job>,
    pages: mpsc::Sender<Job>,
    /// Its one permit is there while no question is being answered.
    idle: Arc<Semaphore>,
}

/// The questions that wait for one connection.
#[derive(Debug)]
pub(super) struct Jobs {
    first: mpsc::Receiver<Job>,
    pages: mpsc::Receiver<Job>,
    firsts: u32,
    stopping: bool,
    idle: Arc<Semaphore>,
    running: Option<OwnedSemaphorePermit>,
}

impl Lane {
    /// The bounded queues of one connection, and their other end.
    pub(super) fn new() -> (Lane, Jobs) {
        let (first, firsts) = mpsc::channel(READER_QUEUE_MAX);
        let (pages, of_pages) = mpsc::channel(READER_QUEUE_MAX);
        let idle = Arc::new(Semaphore::new(1));
        let jobs = Jobs {
            first: firsts,
            pages: of_pages,
            firsts: 0,
            stopping: false,
            idle: Arc::clone(&idle),
            running: None,
        };
        (Lane { first, pages, idle }, jobs)
    }
}

impl Jobs {
    /// What is to be answered next. `None`: all that waited is answered, and no more comes.
    pub(super) async fn next(&mut self) -> Option<Job> {
        self.running = None;
        let mut job = None;
        if !self.stopping {
            job = self.next_of_both().await.filter(|job| !matches!(job, Job::Stop));
            self.stopping = job.is_none();
        }
        self.running = Arc::clone(&self.idle).try_acquire_owned().ok();
        job.or_else(|| self.first.try_recv().ok())
    }

    async fn next_of_both(&mut self) -> Option<Job> {
        if self.firsts >= MEMBERS_QUESTIONS_MAX {
            self.firsts = 0;
            if let Ok(job) = self.pages.try_recv() {
                return Some(job);
            }
        }
        tokio::select! {
            biased;
            Some(job) = self.first.recv() => {
                self.firsts += 1;
                Some(job)
            }
            Some(job) = self.pages.recv() => {
                self.firsts = 0;
                Some(job)
            }
            else => None,
        }
    }
}

impl Reader {
    /// One numbered page; its rows take room, which comes back with them.
    pub async fn page(&self, query: PageQuery, room: Part) -> Result<(Page, Part), ReadFault> {
        self.ask(room, |asked| Job::Page(query, asked)).await
    }

    /// A stretch by position; its rows take room, which comes back with them.
    pub async fn range(&self, query: RangeQuery, room: Part) -> Result<(Range, Part), ReadFault> {
        self.ask(room, |asked| Job::Range(query, asked)).await
    }

    async fn ask<T>(
        &self,
        room: Part,
        job: impl FnOnce(Asked<T>) -> Job,
    ) -> Result<(T, Part), ReadFault> {
        let waiting = self.for_pages.take(room.address(), 1).ok_or(ReadFault::Full)?;
        let (answer, answered) = oneshot::channel();
        self.send(|lane| &lane.pages, job(Asked { answer, room, _waiting: waiting }))?;
        answered.await.unwrap_or(Err(ReadFault::Away))
    }

    /// A page of what somebody has missed.
    pub async fn missed(&self, query: RangeQuery) -> Result<Range, ReadFault> {
        let (answer, answered) = oneshot::channel();
        self.send(|lane| &lane.first, Job::Missed(query, answer))?;
        answered.await.unwrap_or(Err(ReadFault::Away))
    }

    /// Whether a user and a space exist, asked for somebody of an address. In a store that knows
    /// neither, both do.
    pub async fn existing(
        &self,
        user: UserId,
        space: SpaceId,
        address: u64,
    ) -> Result<Existing, ReadFault> {
        if !self.knows_people {
            return Ok(Existing { user: true, space: true });
        }
        let waiting = self.for_people.take(address, 1).ok_or(ReadFault::Full)?;
        let (answer, answered) = oneshot::channel();
        self.send(|lane| &lane.first, Job::Existing(user, space, answer, waiting))?;
        answered.await.unwrap_or(Err(ReadFault::Away))
    }

    /// Queues a question at the connection whose queue of this sort is shortest; of equal ones at
    /// one that is idle.
    fn send(&self, of: fn(&Lane) -> &mpsc::Sender<Job>, job: Job) -> Result<(), ReadFault> {
        let free = |lane: &&Lane| (of(lane).capacity(), lane.idle.available_permits());
        let lane = self.lanes.iter().max_by_key(free).ok_or(ReadFault::Away)?;
        of(lane).try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ReadFault::Full,
            mpsc::error::TrySendError::Closed(_) => ReadFault::Away,
        })
    }

    /// A reader whose connections take their questions from elsewhere.
    pub(super) fn over(lanes: Vec<Lane>, knows_people: bool) -> Reader {
        let waiting = lanes.len() * READER_QUEUE_MAX;
        let pool = || Pool::new(waiting, waiting / 2);
        Reader { lanes: lanes.into(), for_pages: pool(), for_people: pool(), knows_people }
    }
}

/// A reader and its threads.
#[derive(Debug)]
pub(crate) struct Readers {
    pub(super) reader: Reader,
    pub(super) threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Ends the threads once they have answered what waits; later questions are refused.
    pub(super) async fn stop(self) {
        for lane in self.reader.lanes.iter() {
            // A thread that has ended can't be told.
            let _ = lane.pages.send(Job::Stop).await;
        }
        for thread in self.threads {
            // A panic was told when it happened.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(pool: &Pool) -> Part {
        pool.take(1, 0).expect("room")
    }

    fn range() -> RangeQuery {
        let (space, limit) = (SpaceId(1), 1);
        RangeQuery { space, after: None, before: None, newest_max: None, limit }
    }

    /// Whether it is not over at once.
    async fn waits(asked: &mut (impl Future + Unpin)) -> bool {
        tokio::select! {
            biased;
            _ = asked => false,
            () = std::future::ready(()) => true,
        }
    }

    #[tokio::test]
    async fn members_do_not_wait_behind_pages_nor_pages_for_ever() {
        let (lane, mut jobs) = Lane::new();
        let (reader, pool) = (Reader::over(vec![lane], true), Pool::new(9, 9));
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (asks, room) = (reader.clone(), room(&pool));
            waiting.spawn(async move { drop(asks.range(range(), room).await) });
        }
        for _ in 0..20 {
            let asks = reader.clone();
            waiting.spawn(async move { drop(asks.missed(range()).await) });
        }
        while reader.lanes[0].first.capacity() > READER_QUEUE_MAX - 20
            || reader.lanes[0].pages.capacity() > READER_QUEUE_MAX - 20
        {
            tokio::task::yield_now().await;
        }
        let mut order = String::new();
        for _ in 0..30 {
            order.push(match jobs.next().await {
                Some(Job::Missed(..)) => 'm',
                Some(Job::Range(..)) => 'p',
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(order, format!("{0}p{0}p{1}p{2}", "m".repeat(8), "m".repeat(4), "p".repeat(7)));
        // What waits when it is stopped is answered.
        Readers { reader, threads: Vec::new() }.stop().await;
        let mut left = 0;
        while jobs.next().await.is_some() {
            left += 1;
        }
        assert_eq!(left, 10);
        drop(jobs);
        while waiting.join_next().await.is_some() {}
    }

    #[tokio::test]
    async fn a_member_does_not_wait_for_a_page_that_is_read_while_a_connection_is_idle() {
        let (lanes, mut jobs): (Vec<Lane>, Vec<Jobs>) = (0..2).map(|_| Lane::new()).unzip();
        let (reader, pool) = (Reader::over(lanes, true), Pool::new(9, 9));
        let mut page = Box::pin(reader.range(range(), room(&pool)));
        assert!(waits(&mut page).await);
        let busy = reader.lanes.iter().position(|lane| lane.pages.capacity() < READER_QUEUE_MAX);
        let busy = busy.expect("it is queued");
        let running = jobs[busy].next().await;
        assert!(matches!(running, Some(Job::Range(..))));
        for _ in 0..2 {
            let mut member = Box::pin(reader.missed(range()));
            assert!(waits(&mut member).await);
            assert!(matches!(jobs[1 - busy].next().await, Some(Job::Missed(..))));
            drop(member);
            // It is idle again when it asks for more.
            assert!(waits(&mut Box::pin(jobs[1 - busy].next())).await);
        }
    }

    #[tokio::test]
    async fn of_those_who_wait_one_address_has_half() {
        let (lane, jobs) = Lane::new();
        let reader = Reader::over(vec![lane], true);
        let pool = Pool::new(usize::MAX, usize::MAX);
        let ask = |address| reader.range(range(), pool.take(address, 0).expect("room"));
        let mut waiting = Vec::new();
        for _ in 0..READER_QUEUE_MAX / 2 {
            let mut asked = Box::pin(ask(1));
            assert!(waits(&mut asked).await);
            waiting.push(asked);
        }
        assert_eq!(ask(1).await.err(), Some(ReadFault::Full));
        let mut other = Box::pin(ask(2));
        assert!(waits(&mut other).await);
        // Whoever gives up still waits as far as the queue goes.
        waiting.clear();
        assert_eq!(ask(1).await.err(), Some(ReadFault::Full));
        drop(jobs);
        assert_eq!(other.await.err(), Some(ReadFault::Away));
        assert_eq!(ask(1).await.err(), Some(ReadFault::Away));
    }

    #[tokio::test]
    async fn rows_without_room_are_not_given_and_room_comes_back_with_those_that_are() {
        let (lane, mut jobs) = Lane::new();
        let reader = Reader::over(vec![lane], true);
        let rows = || Range {
            after: None,
            rows: vec![crate::store::tests::message("x")],
            has_more: false,
        };
        let bytes = bytes_of(&rows().rows);
        for (size, expected) in [(bytes, Ok(bytes)), (bytes - 1, Err(ReadFault::Full))] {
            let pool = Pool::new(size, size);
            let answering = async {
                let Some(Job::Range(_, asked)) = jobs.next().await else { panic!("a range") };
                asked.give(Ok(rows()));
            };
            let (answer, ()) = tokio::join!(reader.range(range(), room(&pool)), answering);
            assert_eq!(answer.as_ref().map(|(_, room)| room.amount()).map_err(|it| *it), expected);
            drop(answer);
            assert!(pool.take(2, size).is_some(), "it comes back");
        }
    }
}
