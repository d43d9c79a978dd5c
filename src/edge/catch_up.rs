//! Pages of what members have missed, read from the store while they catch up (WIRE C, `after=`).
//!
//! Owns the questions that wait. Those for the same page share one query, so that a herd that
//! comes back to a space costs what one member of it does; few queries run at a time, so that
//! history for people is answered in between. A member that has waited too long for its page has
//! gone on without it: what nobody waits for any more is not read, or a store that is too slow for
//! a herd would be asked for late pages alone, and never catch up.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::hub::{Hub, PageRequest};
use crate::limits::{CATCH_UP_QUERIES_MAX, CATCH_UP_ROWS_MAX, Limits};
use crate::shard::event::{Fetch, Stretch};
use crate::store::{Range, RangeQuery, ReadFault, Reader, StoredMessage};
use crate::wire::Id;
use crate::wire::server_message::{self, Chat};
use crate::wire::time::{MonoMs, TimeFormat};

/// The page that a question needs: what makes two questions the same.
fn page_of(fetch: &Fetch) -> RangeQuery {
    RangeQuery {
        space: fetch.space,
        after: Some(fetch.after),
        before: Some(Id(fetch.up_to.0.saturating_add(1))),
        newest_max: Some(fetch.newest_max).filter(|newest| *newest != usize::MAX),
        limit: CATCH_UP_ROWS_MAX,
    }
}

/// Answers questions until nobody can ask any more.
pub(super) struct Pager {
    hub: Hub,
    reader: Reader,
    limits: Arc<Limits>,
    questions: Questions,
    queries: JoinSet<(RangeQuery, Option<Stretch>)>,
}

impl Pager {
    pub(super) fn new(hub: Hub, reader: Reader, limits: Arc<Limits>) -> Pager {
        let (questions, queries) = (Questions::default(), JoinSet::new());
        Pager { hub, reader, limits, questions, queries }
    }

    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<PageRequest>) {
        loop {
            tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => self.questions.take(request),
                    None => return,
                },
                Some(done) = self.queries.join_next() => match done {
                    Ok((wanted, page)) => self.answer(wanted, page.as_ref()),
                    Err(error) => {
                        tracing::error!(%error, "a query for missed messages ended");
                        self.refuse_all();
                    }
                },
            }
            while self.queries.len() < CATCH_UP_QUERIES_MAX
                && let Some(fetch) = self.questions.next(self.hub.now())
            {
                let (reader, utc_offset) = (self.reader.clone(), self.limits.utc_offset);
                self.queries.spawn(async move {
                    (page_of(&fetch), read(&reader, &fetch, utc_offset).await)
                });
            }
        }
    }

    /// Answers everybody that there is no page: which query has panicked is not known. Those who
    /// wait try again.
    fn refuse_all(&mut self) {
        for request in std::mem::take(&mut self.questions).all() {
            self.hub.give(&request, None);
        }
    }

    fn answer(&mut self, wanted: RangeQuery, page: Option<&Stretch>) {
        for request in self.questions.of(&wanted) {
            self.hub.give(&request, page.cloned());
        }
    }
}

/// The questions that wait.
#[derive(Default, Debug)]
struct Questions {
    /// The members that wait for a page that is queued or being read.
    waiting: HashMap<RangeQuery, Vec<PageRequest>>,
    queue: VecDeque<RangeQuery>,
}

impl Questions {
    fn take(&mut self, request: PageRequest) {
        let wanted = page_of(&request.fetch);
        let waiting = self.waiting.entry(wanted).or_default();
        if waiting.is_empty() {
            self.queue.push_back(wanted);
        }
        waiting.push(request);
    }

    /// What is to be read next: the oldest question that somebody still waits with.
    fn next(&mut self, now: MonoMs) -> Option<Fetch> {
        while let Some(wanted) = self.queue.pop_front() {
            let Entry::Occupied(mut waiting) = self.waiting.entry(wanted) else { continue };
            waiting.get_mut().retain(|request| now < request.fetch.until);
            if let Some(request) = waiting.get().first() {
                return Some(request.fetch);
            }
            waiting.remove();
        }
        None
    }

    /// The members that wait for a page that has been read.
    fn of(&mut self, wanted: &RangeQuery) -> Vec<PageRequest> {
        self.waiting.remove(wanted).unwrap_or_default()
    }

    /// The members that wait for any page.
    fn all(self) -> impl Iterator<Item = PageRequest> {
        self.waiting.into_values().flatten()
    }
}

async fn read(reader: &Reader, fetch: &Fetch, utc_offset: i32) -> Option<Stretch> {
    match reader.missed(page_of(fetch)).await {
        Ok(range) => Some(encode(&range, fetch.bytes_max, utc_offset)),
        // The reader has logged why.
        Err(ReadFault::Away | ReadFault::Full) => None,
    }
}

/// The frames of as many rows as fit. Rows of other makers, whose ids are no positions, can't be
/// resumed behind and are history's alone.
fn encode(range: &Range, bytes_max: usize, utc_offset: i32) -> Stretch {
    let mut times = TimeFormat::new(utc_offset);
    let mut frames = BytesMut::new();
    let after = range.after.unwrap_or(Id::MIN);
    let mut page = Stretch {
        frames: bytes::Bytes::new(),
        chats: 0,
        from: after,
        last: after,
        more: range.has_more,
    };
    for row in &range.rows {
        let Some(id) = Id::parse(&row.id) else { continue };
        let before = frames.len();
        let StoredMessage { content, user, username, space, at, image, .. } = row;
        let (space, user) = (*space, *user);
        server_message::chat(
            &mut frames,
            &Chat { id, space, user, username, content, image },
            times.text(*at),
        );
        if frames.len() > bytes_max && page.chats > 0 {
            frames.truncate(before);
            page.more = true;
            break;
        }
        (page.chats, page.last) = (page.chats + 1, id);
    }
    page.frames = frames.freeze();
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::event::MemberKey;
    use crate::wire::time::Micros;
    use crate::wire::{SpaceId, UserId};

    fn row(id: &str, content: &str) -> StoredMessage {
        StoredMessage {
            id: id.into(),
            content: content.into(),
            user: UserId(1),
            username: "Ana Paz".into(),
            space: SpaceId(1),
            at: Micros(1_767_333_845_678_901),
            image: "".into(),
        }
    }

    #[test]
    fn a_page_holds_whole_frames_up_to_its_bound_and_one_in_any_case() {
        let ids: Vec<String> = (1..=5).map(|id| Id(id).to_string()).collect();
        let rows: Vec<StoredMessage> = ids.iter().map(|id| row(id, &"x".repeat(200))).collect();
        let missed = Range { after: Some(Id(0)), rows, has_more: false };
        let all = encode(&missed, 1 << 20, -10_800);
        assert_eq!((all.chats, all.last, all.more), (5, Id(5), false));
        let one = all.frames.len() / 5;
        let two = encode(&missed, 2 * one + 1, -10_800);
        assert_eq!((two.chats, two.last, two.more), (2, Id(2), true));
        assert_eq!(two.frames, all.frames.slice(..2 * one));
        let least = encode(&missed, 1, -10_800);
        assert_eq!((least.chats, least.last, least.more), (1, Id(1), true));
    }

    fn question(slot: u32, after: u128, until: u64) -> PageRequest {
        let member = MemberKey { slot, generation: 0 };
        let (after, up_to, until) = (Id(after), Id(100), MonoMs(until));
        let (newest_max, bytes_max) = (usize::MAX, 1);
        let space = SpaceId(1);
        let fetch = Fetch { member, number: 1, space, after, up_to, newest_max, bytes_max, until };
        PageRequest { shard: 0, life: Default::default(), fetch }
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_neither_read_nor_kept() {
        let mut questions = Questions::default();
        // A herd with a position each, that has given up; and two that came later.
        (0..10_000).for_each(|n| questions.take(question(n, n.into(), 5_000)));
        questions.take(question(10_000, 7_777, 9_000));
        questions.take(question(10_001, 20_000, 9_001));
        let shared = questions.next(MonoMs(5_000)).expect("somebody waits");
        assert_eq!(shared.after, Id(7_777));
        let slots = |all: Vec<PageRequest>| -> Vec<u32> {
            all.iter().map(|request| request.fetch.member.slot).collect()
        };
        assert_eq!(slots(questions.of(&page_of(&shared))), [10_000]);
        let last = questions.next(MonoMs(5_000)).expect("somebody waits");
        assert_eq!(slots(questions.of(&page_of(&last))), [10_001]);
        assert_eq!(questions.next(MonoMs(5_000)), None);
        assert!(questions.waiting.is_empty());
    }

    #[test]
    fn those_who_miss_the_same_share_a_query_also_while_it_runs() {
        let mut questions = Questions::default();
        (0..5).for_each(|slot| questions.take(question(slot, 1, 5_000)));
        let wanted = page_of(&questions.next(MonoMs(0)).expect("one query"));
        questions.take(question(5, 1, 5_000));
        assert_eq!(questions.next(MonoMs(0)), None, "it runs");
        assert_eq!(questions.of(&wanted).len(), 6);
        questions.take(question(6, 1, 5_000));
        let next = questions.next(MonoMs(0)).map(|fetch| page_of(&fetch));
        assert_eq!(next, Some(wanted), "it is over");
    }

    #[test]
    fn rows_of_other_makers_are_passed_over() {
        let rows = vec![row(&Id(1).to_string(), "a"), row("zz", "b"), row("", "c")];
        let missed = Range { after: Some(Id(0)), rows, has_more: false };
        let page = encode(&missed, 1 << 20, 0);
        assert_eq!((page.chats, page.last, page.more), (1, Id(1), false));
    }
}
