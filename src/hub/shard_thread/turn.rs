//! One turn of a shard, and the carrying out of what it asks for: the order here is what keeps
//! anybody from being sent, or told, what the journal does not have.

use super::{PageRequest, State};
use crate::shard::event::{Input, Reply};
use crate::wire::SpaceKey;

impl State {
    /// One turn: journal, then answers, then a slice of the sweep. Says whether there is more.
    pub(super) fn turn(&mut self) -> bool {
        let now = self.clock.now();
        self.due = false;
        if !self.fx.records.is_empty() {
            match self.journal.append(&self.fx.records, self.shard.highest()) {
                Ok(end) => {
                    self.fx.records.clear();
                    self.shard.input(now, Input::Appended(end), &mut self.fx);
                }
                Err(error) => {
                    let shard = self.number;
                    tracing::error!(shard, %error, "journal broken: no chat until a restart");
                    self.shard.input(now, Input::AppendFailed, &mut self.fx);
                }
            }
            let room = self.journal.room();
            self.shard.input(now, Input::JournalRoom(room), &mut self.fx);
        }
        self.give_replies();
        let more = self.shard.sweep(now, &mut self.sockets, &mut self.fx);
        self.carry_out();
        if !more {
            self.metrics.shards[self.number].publish(self.shard.counts());
        }
        more
    }

    fn give_replies(&mut self) {
        for (ticket, reply) in self.fx.replies.drain(..) {
            let lasts = matches!(reply, Reply::Posted { .. });
            let Some(waiting) = self.waiting.get_mut(&ticket) else { continue };
            waiting.give(reply);
            if !lasts {
                self.waiting.remove(&ticket);
            }
        }
    }

    fn carry_out(&mut self) {
        for (member, close) in self.fx.ended.drain(..) {
            tracing::debug!(
                shard = self.number,
                slot = member.slot,
                reason = close.name(),
                "connection ended"
            );
            self.sockets.remove(member);
        }
        for fetch in std::mem::take(&mut self.fx.fetches) {
            let request = PageRequest { shard: self.number, fetch };
            if self.pages.try_send(request).is_err() {
                let none = Input::Fetched(fetch.member, fetch.number, None);
                self.shard.input(self.clock.now(), none, &mut self.fx);
            }
        }
        for (member, resumed) in self.fx.resumed.drain(..) {
            let (slot, count, missing) = (member.slot, resumed.count, resumed.missing);
            tracing::debug!(shard = self.number, slot, count, ?missing, "connection resumed");
        }
        for member in self.fx.readable.drain(..) {
            self.sockets.read_deferred(member);
        }
        // The last of several changes of one space counts.
        for (key, members) in self.fx.occupancy.drain(..) {
            if let SpaceKey::Chat(_) = key {
                self.directory.set_members(key, members);
            }
        }
    }
}
