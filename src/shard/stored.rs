//! What follows when the store commits, refuses a message, or takes too long: who waited for it is
//! told, and what waited for it goes out. Owns nothing: `commits` knows who waits for which record,
//! `secured` which chats wait before anybody is sent them.

use super::Shard;
use super::commits::{AnswerTo, PostTo};
use super::event::{Reply, Verdict};
use super::rooms::Rooms;
use super::turn::Turn;
use crate::metrics::Latency;
use crate::wire::SpaceKey;
use crate::wire::reject::Reject;

impl Shard {
    /// The store has found something out; comes before the commit that covers it.
    pub(super) fn verdict(&mut self, verdict: Verdict) {
        if let Verdict::Refused { id, reject, .. } = verdict {
            self.commits.refuse(id, reject);
            if let Some(space) = self.turn.secured.space_of(id) {
                let Rooms { spaces, members, .. } = &mut self.rooms;
                spaces.strike(&mut self.turn, members, space, (id, self.commits.stored()));
            }
        }
        self.door.verdict(&self.turn, verdict);
    }

    /// The store has committed the journal up to an offset: those who wait for that are told.
    pub(super) fn committed(&mut self, offset: u64) {
        let Turn { now, counts, .. } = &mut self.turn;
        let newest = self.commits.commit(offset, |begun, records| {
            counts.observe_all(Latency::DurableAck, now.micros_since(begun), records);
        });
        // What waited for that goes out before the answers about it.
        while let Some(space) = self.turn.secured.next(|record| self.commits.has(record)) {
            self.rooms.spaces.secure(&mut self.turn, space, self.commits.stored());
        }
        while let Some((post, stored)) = self.commits.next_post() {
            self.tell_post(&post, stored);
        }
        while let Some((to, stored)) = self.commits.next_answer() {
            self.rooms.give_late(&mut self.turn, &to, stored);
        }
        if let Some(newest) = newest {
            self.commits.forget_refused(newest);
        }
        while let Some(key) = self.commits.next_floor() {
            self.rooms.catch_up(&mut self.turn, &mut self.commits, key);
        }
    }

    /// Tells a post that its message is durable, or that the store will never hold it.
    pub(super) fn tell_post(&mut self, post: &PostTo, stored: Result<(), Reject>) {
        let PostTo { ticket, id, untold } = *post;
        match (untold, stored) {
            (Some(_), Err(reject)) => return self.turn.reply(ticket, Err(reject)),
            (Some((at, duplicate)), Ok(())) => {
                self.turn.reply(ticket, Ok(Reply::Posted { id, at, duplicate }));
            }
            (None, Err(reject)) => self.turn.counts.reject(reject),
            (None, Ok(())) => {}
        }
        self.turn.reply(ticket, Ok(Reply::Durable(stored)));
    }

    /// Where the store takes too long, answers that say nothing of it wait for it no longer.
    pub(super) fn answer_hasty(&mut self) {
        if self.is_waiting_for_store() {
            for to in self.commits.take_hasty() {
                self.rooms.give_late(&mut self.turn, &to, Ok(()));
            }
        }
    }

    /// Whether chat is refused because the store takes so long to store it.
    pub(super) fn is_waiting_for_store(&self) -> bool {
        self.turn.secured.is_by_store() && self.commits.is_late(self.turn.now)
    }
}

impl Rooms {
    /// Gives a member an answer that has waited for the store.
    fn give_late(&mut self, turn: &mut Turn, to: &AnswerTo, stored: Result<(), Reject>) {
        self.with(turn, to.key(), |seated, turn| {
            seated.member.waited();
            seated.give(turn, to, stored)
        });
    }

    /// Whether more than half of a space's log waits for the store, so that nobody more can come:
    /// joins wait behind chats, and nothing else would bound them.
    pub(super) fn is_overdue(&self, turn: &Turn, space: SpaceKey) -> bool {
        let most = turn.limits.log_bytes_max as u64 / 2;
        turn.secured.is_by_store()
            && self.spaces.find(space).is_some_and(|space| space.unsecured() > most)
    }
}
