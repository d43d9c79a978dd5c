//! History for the edge, whichever database it comes from: what may be asked, and how it is
//! answered. Never on a shard's thread, never in the batcher's way.
//!
//! The order of questions is [`desk`]'s. What members miss and whether somebody exists is asked
//! before pages are, since a member waits with it, and one connection answers nothing else. Pages
//! are read in turns of addresses and spaces; whoever would wait for longer than `PAGES_WAIT` is
//! told so at once, and where too many wait those who have asked most make room.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use desk::Asking;
pub(super) use desk::Jobs;

use super::query::{
    Existing, Page, PageQuery, Range, RangeQuery, ReadFault, StoredMessage, bytes_of,
};
use super::recent::Recent;
use super::search::{Found, SearchQuery};
use crate::clock::Clock;
use crate::faults::Faults;
use crate::limits::READER_QUEUE_MAX;
use crate::shares::{Part, Pool};
use crate::wire::{SpaceId, UserId};

mod desk;

/// Reads history over connections of its own, never on a shard's thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    asking: Arc<Asking>,
    /// Places of those who ask whether somebody exists.
    for_people: Pool,
    /// The store knows users and spaces.
    knows_people: bool,
    /// What pages wait for.
    recent: Option<Recent>,
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
    Name(SpaceId, AnswerSender<Option<String>>),
    Missed(RangeQuery, AnswerSender<Range>),
    Search(SearchQuery, Asked<Found>),
}

impl Job {
    /// Whether whoever asked is gone.
    fn is_closed(&self) -> bool {
        match self {
            Job::Page(_, asked) => asked.is_closed(),
            Job::Range(_, asked) => asked.is_closed(),
            Job::Existing(_, _, answer, _) => answer.is_closed(),
            Job::Name(_, answer) => answer.is_closed(),
            Job::Missed(_, answer) => answer.is_closed(),
            Job::Search(_, asked) => asked.is_closed(),
        }
    }

    /// Takes the room for its rows, now that it is its turn. `false`: there is none.
    fn take_room(&mut self) -> bool {
        match self {
            Job::Page(_, asked) => asked.room.grow_to(asked.needs),
            Job::Range(_, asked) => asked.room.grow_to(asked.needs),
            Job::Search(_, asked) => asked.room.grow_to(asked.needs),
            Job::Existing(..) | Job::Name(..) | Job::Missed(..) => true,
        }
    }

    /// Answers that it has no turn in time, or no room.
    fn refuse(self) {
        match self {
            Job::Page(_, asked) => asked.give(Err(ReadFault::Full)),
            Job::Range(_, asked) => asked.give(Err(ReadFault::Full)),
            Job::Search(_, asked) => asked.give(Err(ReadFault::Full)),
            Job::Name(_, answer) => {
                let _ = answer.send(Err(ReadFault::Full));
            }
            // Members' questions have no such bound; whoever asked hears that there is no answer.
            Job::Existing(..) | Job::Missed(..) => {}
        }
    }
}

type AnswerSender<T> = oneshot::Sender<Result<T, ReadFault>>;

/// Who waits for rows, and the room that the rows take. The room goes with the rows, so that they
/// count as long as they are anywhere; while they wait for their turn they take none.
#[derive(Debug)]
pub(super) struct Asked<T> {
    answer: AnswerSender<(T, Part)>,
    room: Part,
    /// Room for what the rows may hold at most.
    needs: usize,
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

impl Reader {
    /// A reader whose questions are taken by this number of connections that read pages, and by
    /// one that does not, the first.
    pub(super) fn begin(clock: Clock, pages: usize, knows_people: bool) -> (Reader, Vec<Jobs>) {
        let (asking, jobs) = desk::open(clock, pages);
        let people = jobs.len() * READER_QUEUE_MAX;
        let for_people = Pool::new(people, people / 2);
        (Reader { asking: Arc::new(asking), for_people, knows_people, recent: None }, jobs)
    }

    /// Pages wait for what was accepted before they are asked for.
    pub(super) fn waits_for(&mut self, recent: Recent) {
        self.recent = Some(recent);
    }

    /// One numbered page; its rows take room, which comes back with them.
    pub async fn page(&self, query: PageQuery, room: Part) -> Result<(Page, Part), ReadFault> {
        self.ask(query.space, room, |asked| Job::Page(query, asked)).await
    }

    /// A stretch by position; its rows take room, which comes back with them.
    pub async fn range(&self, query: RangeQuery, room: Part) -> Result<(Range, Part), ReadFault> {
        self.ask(query.space, room, |asked| Job::Range(query, asked)).await
    }

    /// A page of what is found by its words; its rows take room, which comes back with them.
    pub async fn search(&self, query: SearchQuery, room: Part) -> Result<(Found, Part), ReadFault> {
        self.ask(query.space, room, |asked| Job::Search(query, asked)).await
    }

    async fn ask<T>(
        &self,
        space: SpaceId,
        mut room: Part,
        job: impl FnOnce(Asked<T>) -> Job,
    ) -> Result<(T, Part), ReadFault> {
        let needs = room.amount();
        room.shrink_to(0);
        if let Some(recent) = &self.recent {
            recent.settle(space).await;
        }
        let (address, (answer, answered)) = (room.address(), oneshot::channel());
        self.asking.page(address, space, job(Asked { answer, room, needs }))?;
        answered.await.unwrap_or(Err(ReadFault::Away))
    }

    /// A page of what somebody has missed.
    pub async fn missed(&self, query: RangeQuery) -> Result<Range, ReadFault> {
        let (answer, answered) = oneshot::channel();
        self.asking.first(Job::Missed(query, answer))?;
        answered.await.unwrap_or(Err(ReadFault::Away))
    }

    /// What a space is called, asked for an address. `None`: the store knows no name of it.
    pub async fn name(&self, space: SpaceId, address: u64) -> Result<Option<String>, ReadFault> {
        if !self.knows_people {
            return Ok(None);
        }
        let (answer, answered) = oneshot::channel();
        self.asking.page(address, space, Job::Name(space, answer))?;
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
        self.asking.first(Job::Existing(user, space, answer, waiting))?;
        answered.await.unwrap_or(Err(ReadFault::Away))
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
        self.reader.asking.close();
        for thread in self.threads {
            // A panic was told when it happened.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(pool: &Pool, address: u64) -> Part {
        pool.take(address, 0).expect("room")
    }

    fn range_of(space: i32) -> RangeQuery {
        let (space, limit) = (SpaceId(space), 1);
        RangeQuery { space, after: None, before: None, newest_max: None, limit }
    }

    /// A reader with one connection for members and these for pages.
    fn begin(pages: usize) -> (Reader, Jobs, Vec<Jobs>) {
        let (reader, mut jobs) = Reader::begin(Clock::start(), pages, true);
        let first = jobs.remove(0);
        (reader, first, jobs)
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
        let ((reader, first, mut jobs), pool) = (begin(1), Pool::new(9, 9));
        drop(first);
        let jobs = &mut jobs[0];
        let mut asking = Vec::new();
        for _ in 0..20 {
            let mut page = Box::pin(reader.range(range_of(1), room(&pool, 1)));
            assert!(waits(&mut page).await);
            asking.push(page);
        }
        let mut members = Vec::new();
        for _ in 0..20 {
            let mut member = Box::pin(reader.missed(range_of(1)));
            assert!(waits(&mut member).await);
            members.push(member);
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
        Readers { reader: reader.clone(), threads: Vec::new() }.stop().await;
        let mut left = 0;
        while jobs.next().await.is_some() {
            left += 1;
        }
        assert_eq!(left, 10);
        assert_eq!(reader.missed(range_of(1)).await.err(), Some(ReadFault::Away));
    }

    #[tokio::test]
    async fn one_connection_reads_no_pages_and_any_takes_what_members_ask() {
        let ((reader, mut first, mut others), pool) = (begin(2), Pool::new(9, 9));
        let mut pages = Vec::new();
        for _ in 0..4 {
            let mut page = Box::pin(reader.range(range_of(1), room(&pool, 1)));
            assert!(waits(&mut page).await);
            pages.push(page);
        }
        for jobs in &mut others {
            assert!(matches!(jobs.next().await, Some(Job::Range(..))));
        }
        assert!(waits(&mut Box::pin(first.next())).await, "two pages wait, and are none of its");
        for _ in 0..2 {
            let mut member = Box::pin(reader.missed(range_of(1)));
            assert!(waits(&mut member).await);
            assert!(matches!(first.next().await, Some(Job::Missed(..))));
        }
        let mut member = Box::pin(reader.missed(range_of(1)));
        assert!(waits(&mut member).await);
        assert!(matches!(others[1].next().await, Some(Job::Missed(..))));
    }

    #[tokio::test]
    async fn of_those_who_wait_one_address_has_half_and_who_asked_most_makes_room() {
        let ((reader, first, jobs), pool) = (begin(1), Pool::new(usize::MAX, usize::MAX));
        let ask = |address, space| reader.range(range_of(space), room(&pool, address));
        let mut waiting = Vec::new();
        for _ in 0..READER_QUEUE_MAX / 2 {
            let mut asked = Box::pin(ask(1, 1));
            assert!(waits(&mut asked).await);
            waiting.push(asked);
        }
        assert_eq!(ask(1, 1).await.err(), Some(ReadFault::Full));
        let mut other_space = Box::pin(ask(1, 2));
        assert!(waits(&mut other_space).await);
        let last = waiting.pop().expect("it waited");
        assert_eq!(last.await.err(), Some(ReadFault::Full), "it has made room");
        // The first half of them finds room, the others are given that of who has asked most.
        for address in 2..200 {
            let mut asked = Box::pin(ask(address, 1));
            assert!(waits(&mut asked).await, "{address}");
            waiting.push(asked);
        }
        assert_eq!(ask(1, 1).await.err(), Some(ReadFault::Full));
        drop((first, jobs));
        assert_eq!(other_space.await.err(), Some(ReadFault::Away));
        assert_eq!(ask(1, 3).await.err(), Some(ReadFault::Away));
    }

    #[tokio::test]
    async fn rows_without_room_are_not_given_and_room_comes_back_with_those_that_are() {
        let (reader, _first, mut jobs) = begin(1);
        let rows = || Range {
            after: None,
            rows: vec![crate::store::tests::message("x")],
            has_more: false,
        };
        let bytes = bytes_of(&rows().rows);
        for (size, expected) in [(bytes, Ok(bytes)), (bytes - 1, Err(ReadFault::Full))] {
            let pool = Pool::new(size, size);
            let answering = async {
                let Some(Job::Range(_, asked)) = jobs[0].next().await else { panic!("a range") };
                asked.give(Ok(rows()));
            };
            let (answer, ()) = tokio::join!(reader.range(range_of(1), room(&pool, 1)), answering);
            assert_eq!(answer.as_ref().map(|(_, room)| room.amount()).map_err(|it| *it), expected);
            drop(answer);
            assert!(pool.take(2, size).is_some(), "it comes back");
        }
    }
}
