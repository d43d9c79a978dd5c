//! Commits: the records that a shard has made, how many of them the store has committed, and who
//! waits for which. Makes the ids, which ascend as the records do. Knows no member and no space.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::event::{MemberKey, Ticket};
use super::position::Floor;
use super::waits::Waits;
use crate::limits::{COMMIT_WAITS_MAX, STORED_WAIT};
use crate::wire::client_message::AckLevel;
use crate::wire::reject::Reject;
use crate::wire::time::{Micros, Now};
use crate::wire::{Id, IdGenerator};

/// The number of the record that stands for all that earlier runs have left in their journals.
pub(super) const EARLIER_RUNS: u64 = 1;
/// Waits of members that catch up which are kept in any case.
const FLOORS_SPARE: usize = 64;

/// Where the journal, and this shard, stood after an append.
#[derive(Clone, Copy, Debug)]
struct Appended {
    /// The journal's end.
    offset: u64,
    /// Records made up to there.
    records: u64,
    /// The highest id up to there.
    highest: Id,
    /// When that was; `None`: an earlier run has made them.
    at: Option<Now>,
}

/// A member that is answered when a record is durable, and what. Each has its key in itself, and
/// what is rare in a box: so none is longer than an ack.
#[derive(Debug)]
pub(super) enum AnswerTo {
    /// How far its message has come, at each of these levels.
    Ack { key: MemberKey, nonce: Box<str>, id: Id, duplicate: bool, levels: Levels },
    /// The hub is there, and all before its ping was answered.
    Pong { key: MemberKey },
    /// Its message is refused.
    Refusal { key: MemberKey, refused: Box<Refused> },
}

/// A refusal that waits.
#[derive(Debug)]
pub(super) struct Refused {
    pub reject: Reject,
    pub nonce: Option<Box<str>>,
}

const _: () = assert!(size_of::<AnswerTo>() == 48, "they move as others come and go");

/// The acks that a member is given at once when a record is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Levels {
    /// It was told before that its message is accepted.
    Durable,
    /// It is told only now that its message is accepted.
    Accepted,
    /// Both at once.
    Both,
}

impl Levels {
    /// In the order in which it is told them.
    pub(super) fn each(self) -> &'static [AckLevel] {
        match self {
            Levels::Durable => &[AckLevel::Durable],
            Levels::Accepted => &[AckLevel::Accepted],
            Levels::Both => &[AckLevel::Accepted, AckLevel::Durable],
        }
    }
}

/// A post that waits for a record.
#[derive(Debug)]
pub(super) struct PostTo {
    pub ticket: Ticket,
    pub id: Id,
    /// Where it is told that it was accepted only then: its instant, and whether it is a duplicate.
    pub untold: Option<(Micros, bool)>,
}

/// The records of a shard.
#[derive(Debug)]
pub(super) struct Commits {
    ids: IdGenerator,
    /// Records made so far, and how many of them the store has committed. All that earlier runs
    /// have left counts as the first.
    made: u64,
    committed: u64,
    /// What stood where after each append that is not yet committed.
    appended: VecDeque<Appended>,
    answers: Waits<AnswerTo>,
    /// Answers among them that are no acks.
    hasty: usize,
    posts: Waits<PostTo>,
    /// Members that catch up, and need of the store what these records end with.
    floors: Waits<MemberKey>,
    /// Messages that the store has refused and not yet stepped over.
    refused: BTreeMap<Id, Reject>,
}

impl Commits {
    /// None of this run yet; `highest` is the highest id of earlier ones.
    pub(super) fn new(seed: u64, highest: Id) -> Commits {
        let mut ids = IdGenerator::new(seed);
        ids.start_above(highest);
        let earlier = Appended { offset: 0, records: EARLIER_RUNS, highest, at: None };
        Commits {
            ids,
            made: EARLIER_RUNS,
            committed: 0,
            appended: VecDeque::from([earlier]),
            answers: Waits::new(),
            hasty: 0,
            posts: Waits::new(),
            floors: Waits::new(),
            refused: BTreeMap::new(),
        }
    }

    /// A time, not before what a frame has said already.
    pub(super) fn never_earlier(&mut self, now: Now) -> Now {
        Now { unix: self.ids.instant(now.unix), ..now }
    }

    /// Makes the next record: its id, its instant, its number.
    pub(super) fn make(&mut self, now: Micros) -> (Id, Micros, u64) {
        let (id, at) = self.ids.next_id(now);
        self.made += 1;
        (id, at, self.made)
    }

    /// A chat of this id was made elsewhere: those made here lie above it.
    pub(super) fn start_above(&mut self, id: Id) {
        self.ids.start_above(id);
    }

    /// The highest id made or known so far.
    pub(super) fn highest(&self) -> Id {
        self.ids.last()
    }

    /// What lies behind a log that begins now: all that its space may have seen before.
    pub(super) fn floor(&self) -> Floor {
        Floor { id: self.ids.last(), record: self.made }
    }

    /// The number of the newest record.
    pub(super) fn newest(&self) -> u64 {
        self.made
    }

    /// The number of the last record that the store has.
    pub(super) fn stored(&self) -> u64 {
        self.committed
    }

    /// Whether the store has a record.
    pub(super) fn has(&self, record: u64) -> bool {
        record <= self.committed
    }

    /// All records made so far are in the journal, which ends here now.
    pub(super) fn appended(&mut self, offset: u64, now: Now) {
        let (records, highest) = (self.made, self.ids.last());
        self.appended.push_back(Appended { offset, records, highest, at: Some(now) });
    }

    /// When the oldest record of this run was appended that the store has not committed.
    pub(super) fn oldest(&self) -> Option<Now> {
        self.appended.iter().find_map(|appended| appended.at)
    }

    /// Whether the store has not committed what it was given so long ago, or what earlier runs have
    /// left.
    pub(super) fn is_late(&self, now: Now) -> bool {
        let oldest = self.appended.front();
        oldest.is_some_and(|it| it.at.is_none_or(|at| now.mono.since(at.mono) >= STORED_WAIT))
    }

    /// The records made since the last append are in no journal: who waits for them never hears of
    /// them. Nor do posts with these tickets, which may have repeated earlier ones. Returns the
    /// posts that have been told nothing.
    pub(super) fn append_failed(&mut self, refused: &BTreeSet<Ticket>) -> Vec<Ticket> {
        // What earlier turns made is in the journal and may still be committed.
        self.made = self.appended.back().map_or(self.committed, |last| last.records);
        let lost = self.answers.split_off(self.made).into_iter();
        self.hasty -= lost.filter(|to| !to.is_ack()).count();
        let lost = self.posts.split_off(self.made).into_iter();
        self.posts.retain(|post| !refused.contains(&post.ticket));
        self.floors.clear();
        lost.filter(|post| post.untold.is_some()).map(|post| post.ticket).collect()
    }

    /// The store has committed the journal up to an offset. What was waited for is to be taken
    /// now, then [`Commits::forget_refused`] be called with the id that this returns, if it does.
    /// `took` is told when records were appended, and how many.
    pub(super) fn commit(&mut self, offset: u64, mut took: impl FnMut(Now, u64)) -> Option<Id> {
        let mut newest = None;
        while let Some(appended) = self.appended.front().filter(|it| it.offset <= offset) {
            if let Some(at) = appended.at {
                took(at, appended.records - self.committed);
            }
            self.committed = appended.records;
            newest = Some(appended.highest);
            self.appended.pop_front();
        }
        newest
    }

    /// A message that the store will never hold.
    pub(super) fn refuse(&mut self, id: Id, reject: Reject) {
        self.refused.insert(id, reject);
    }

    /// Forgets refused messages up to this one: everybody who waited for them was told, and their
    /// nonces are forgotten.
    pub(super) fn forget_refused(&mut self, newest: Id) {
        self.refused = self.refused.split_off(&Id(newest.0.saturating_add(1)));
    }

    /// Whether the store holds a message whose record it has committed.
    fn verdict(&self, id: Id) -> Result<(), Reject> {
        self.refused.get(&id).map_or(Ok(()), |reject| Err(*reject))
    }

    /// Whether somebody waits for a record.
    pub(super) fn is_waited_for(&self) -> bool {
        !(self.answers.is_empty() && self.posts.is_empty() && self.floors.is_empty())
    }

    /// Whether as many members' answers wait as may.
    pub(super) fn answers_are_full(&self) -> bool {
        self.answers.len() >= COMMIT_WAITS_MAX
    }

    /// Has a member's answer wait for a record, or gives it back if that is committed already.
    pub(super) fn wait_answer(&mut self, record: u64, to: AnswerTo) -> Option<AnswerTo> {
        if self.has(record) {
            return Some(to);
        }
        self.hasty += usize::from(!to.is_ack());
        self.answers.push(record, to);
        None
    }

    /// Takes the answers that say nothing of what is stored, in their order.
    pub(super) fn take_hasty(&mut self) -> Vec<AnswerTo> {
        if self.hasty == 0 {
            return Vec::new();
        }
        self.hasty = 0;
        self.answers.extract(|to| !to.is_ack())
    }

    /// Has a post wait for a record, or gives it back if that is committed already. A store that is
    /// away for hours stops no post (docs/WIRE.md, P5).
    pub(super) fn wait_post(&mut self, record: u64, post: PostTo) -> Option<PostTo> {
        if self.has(record) {
            return Some(post);
        }
        if self.posts.len() >= COMMIT_WAITS_MAX {
            self.posts.take(u64::MAX - 1);
        }
        self.posts.push(record, post);
        None
    }

    /// Has a member that catches up wait for a record. Those that `waits` says no of are let go
    /// before they outnumber the members: a store may be away for hours, while clients come and go.
    pub(super) fn wait_floor(
        &mut self,
        record: u64,
        key: MemberKey,
        members: usize,
        waits: impl Fn(MemberKey) -> bool,
    ) {
        if self.floors.len() > 2 * members + FLOORS_SPARE {
            self.floors.retain(|key| waits(*key));
        }
        self.floors.push(record, key);
    }

    /// The next post whose record is committed, and whether the store holds its message.
    pub(super) fn next_post(&mut self) -> Option<(PostTo, Result<(), Reject>)> {
        let post = self.posts.take(self.committed)?;
        let stored = self.verdict(post.id);
        Some((post, stored))
    }

    /// The next answer that a committed record was waited for with; of an ack, whether the store
    /// holds its message.
    pub(super) fn next_answer(&mut self) -> Option<(AnswerTo, Result<(), Reject>)> {
        let to = self.answers.take(self.committed)?;
        let stored = match &to {
            AnswerTo::Ack { id, .. } => self.verdict(*id),
            AnswerTo::Pong { .. } | AnswerTo::Refusal { .. } => {
                self.hasty -= 1;
                Ok(())
            }
        };
        Some((to, stored))
    }

    /// The next member whose record is committed.
    pub(super) fn next_floor(&mut self) -> Option<MemberKey> {
        self.floors.take(self.committed)
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> [usize; 3] {
        [self.answers.len(), self.posts.len(), self.floors.len()]
    }
}

impl AnswerTo {
    /// Who is answered.
    pub(super) fn key(&self) -> MemberKey {
        let (AnswerTo::Ack { key, .. } | AnswerTo::Pong { key } | AnswerTo::Refusal { key, .. }) =
            self;
        *key
    }

    /// Whether it says that something is accepted or stored.
    fn is_ack(&self) -> bool {
        matches!(self, AnswerTo::Ack { .. })
    }
}
