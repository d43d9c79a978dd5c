//! What who replicates a slot does with the numbers of its feed: what is applied, what is dropped,
//! what has to be asked for, and when the slot has to be begun anew.
//!
//! Knows numbers, and what kind of entries they stood for; owns no message, no log and no clock:
//! times come as arguments. Nothing is kept that comes early: one stretch brings all that was
//! missed, in one message, and one question is in flight at a time, or a loss would bring a storm.

use super::{Anew, Boot, Feed, Place, Question, Slot, Stretch};
use crate::limits::FEED_ANSWER_WAIT;
use crate::wire::Id;
use crate::wire::time::MonoMs;

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// It is the next: all its entries are to be applied.
    Apply,
    /// It was applied before, or there is something before it that is not yet here.
    Drop,
    /// It begins an epoch that goes on from what is here. What is stored up to `highest` and not
    /// here is to be read from the store and applied; then [`Follower::turned`] is to be called.
    Turn {
        /// The highest id that its owner began above.
        highest: Id,
    },
    /// It begins an epoch whose owner had less than is here, and what it lacks is not in the store:
    /// the slot is to be begun anew.
    Anew,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nothing is here that the feed could go on from.
    Apart,
    Following,
    /// An epoch begins: the store is being read.
    Turning {
        epoch: u64,
    },
}

/// A question that is in flight.
#[derive(Clone, Copy, Debug)]
struct Asked {
    number: u32,
    at: MonoMs,
    from: Place,
}

/// How far a slot's feed is here.
#[derive(Debug)]
pub struct Follower {
    slot: Slot,
    boot: Boot,
    state: State,
    /// All up to there is applied.
    at: Place,
    /// The last message of this epoch with something that no store has: who is behind it in another
    /// way than by the feed can't go on from there.
    unstored: u64,
    /// The newest message that is known to be.
    heard: Place,
    /// Counts the questions.
    number: u32,
    asked: Option<Asked>,
}

impl Follower {
    /// Follows nothing yet.
    pub fn new(slot: Slot, boot: Boot) -> Follower {
        let nowhere = Place { epoch: 0, n: 0 };
        Follower {
            slot,
            boot,
            state: State::Apart,
            at: nowhere,
            unstored: 0,
            heard: nowhere,
            number: 0,
            asked: None,
        }
    }

    /// What is here is the slot as its feed had it up to `at`: it goes on from there.
    pub fn begin(&mut self, at: Place) {
        self.state = State::Following;
        // Before that lies what nothing is known of.
        (self.at, self.unstored) = (at, at.n);
        self.heard = self.heard.max(at);
        self.asked = None;
    }

    /// All up to there is applied; `None`: nothing is here that a feed could go on from.
    pub fn at(&self) -> Option<Place> {
        (self.state != State::Apart).then_some(self.at)
    }

    /// A message of the feed has come. [`Follower::question`] is to be asked for after it.
    pub fn take(&mut self, feed: &Feed<'_>) -> Step {
        debug_assert_eq!(feed.slot, self.slot);
        let place = feed.place;
        self.hear(place);
        if self.state != State::Following || place <= self.at {
            return Step::Drop;
        }
        if place.epoch == self.at.epoch {
            return self.go_on(feed);
        }
        match feed.begin() {
            Some(begin) if begin.base.is_some_and(|base| self.has(base)) => {
                let base = begin.base.map_or(0, |base| base.n);
                // A new owner lacks what the last one sent to some and not to it.
                if self.unstored > base && self.at.n > base {
                    self.part();
                    return Step::Anew;
                }
                self.state = State::Turning { epoch: place.epoch };
                Step::Turn { highest: begin.highest }
            }
            _ => Step::Drop,
        }
    }

    /// A message of the same epoch, which is not applied.
    fn go_on(&mut self, feed: &Feed<'_>) -> Step {
        if self.at.n.checked_add(1) != Some(feed.place.n) {
            return Step::Drop;
        }
        self.at = feed.place;
        if feed.entries().any(|entry| !entry.is_stored()) {
            self.unstored = self.at.n;
        }
        Step::Apply
    }

    /// Whether a place of this epoch is here.
    fn has(&self, place: Place) -> bool {
        place.epoch == self.at.epoch && place.n <= self.at.n
    }

    /// What the store had and was not here is applied: the new epoch has begun here too.
    pub fn turned(&mut self) {
        let State::Turning { epoch } = self.state else { return };
        self.state = State::Following;
        (self.at, self.unstored) = (Place { epoch, n: 0 }, 0);
        // What came meanwhile was dropped.
        self.asked = None;
    }

    /// The owner has said how far its feed is: so is it seen that the last messages were lost.
    pub fn hear(&mut self, newest: Place) {
        self.heard = self.heard.max(newest);
    }

    /// The question that is to be sent now, if something is missed and none is in flight. To be
    /// called after whatever has come, and now and then.
    pub fn question(&mut self, now: MonoMs) -> Option<Question> {
        let waits = |asked: &Asked| now.since(asked.at) < FEED_ANSWER_WAIT;
        if self.state != State::Following
            || self.heard <= self.at
            || self.asked.as_ref().is_some_and(waits)
        {
            return None;
        }
        self.number = self.number.wrapping_add(1);
        let (number, from) = (self.number, self.at);
        self.asked = Some(Asked { number, at: now, from });
        Some(Question { slot: self.slot, boot: self.boot, number, from })
    }

    /// All parts of a stretch were taken. Where they brought something there may be another
    /// question at once.
    pub fn stretched(&mut self, stretch: &Stretch<'_>) {
        let Some(asked) = self.asked.filter(|asked| asked.number == stretch.number) else { return };
        // Nothing is missed that its owner does not have, whatever was heard.
        self.heard = self.at.max(stretch.newest);
        if self.at > asked.from {
            self.asked = None;
        }
    }

    /// What was asked for is no longer kept. Returns whether the slot is to be begun anew: not
    /// where that answers an earlier question, or who has said so is the owner no more.
    pub fn refused(&mut self, anew: &Anew) -> bool {
        let is_asked = self.asked.is_some_and(|asked| asked.number == anew.number);
        if !is_asked || self.state != State::Following || anew.epoch < self.at.epoch {
            return false;
        }
        self.part();
        true
    }

    /// Nothing of what is here counts any more.
    pub fn part(&mut self) {
        self.state = State::Apart;
        self.asked = None;
    }
}
