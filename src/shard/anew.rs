//! What is left of a shard that has panicked, and what the one after it takes over.
//!
//! A turn or an input that ended in a panic may have left anything half changed: spaces, logs,
//! members, nonces, commits. All of that is thrown away whole. What is taken over are values that
//! are whole at any moment: numbers, and the list of what was called back.

use std::collections::VecDeque;

use super::Shard;
use super::event::{MemberKey, Revocation};
use crate::metrics::{Counts, Kind, Metric};
use crate::wire::close::Close;
use crate::wire::record::records;
use crate::wire::time::MonoMs;
use crate::wire::{Encoding, Id};

/// What a shard takes over from the one before it.
#[derive(Clone, Default, Debug)]
pub struct Legacy {
    counts: Counts,
    /// Tokens called back whose members may still be on their way.
    revoked: VecDeque<(MonoMs, Revocation)>,
}

impl Shard {
    /// What is left of it after a panic. The journal's last record is `highest`: what was accepted
    /// and is not in it, nobody was told of, and it was not accepted.
    pub fn legacy(&self, highest: Id) -> Legacy {
        let mut counts = self.turn.counts.clone();
        for metric in Metric::ALL.iter().filter(|it| it.about().kind != Kind::Counter) {
            counts.set(*metric, 0);
        }
        let unsaid = records(&self.turn.fx.records).filter(|record| record.id > highest).count();
        counts.sub(Metric::ChatsAccepted, unsaid as u64);
        let members = &self.rooms.members;
        let keys = (0..members.slots()).filter_map(|slot| members.key_at(slot));
        for _ in keys.filter(|key| self.is_seated(*key)) {
            counts.add(Metric::Leaves, 1);
            counts.close(Close::Restart);
        }
        Legacy { counts, revoked: self.rooms.grants.revoked().clone() }
    }

    /// Takes over what the shard before has left, before anything else happens.
    pub fn inherit(&mut self, legacy: Legacy) {
        self.turn.counts = legacy.counts;
        self.rooms.grants.inherit(legacy.revoked);
    }

    /// Whether a member can be told, after a panic, that it is closed: it has not been told
    /// anything of the sort, and what it was sent last was whole, its 101 above all. Says how.
    pub fn can_be_told(&self, key: MemberKey) -> Option<Encoding> {
        let member = self.rooms.members.get(key).filter(|member| member.is_seated())?;
        member.queue.can_be_interrupted().then_some(member.who.encoding)
    }
}
