//! What the sweep has to do: queues of members and spaces, each of which stands in its queue once.
//! Members and spaces know themselves whether they do.

use std::collections::{BTreeSet, VecDeque};

use super::event::MemberKey;

/// Who is due.
#[derive(Default, Debug)]
pub(super) struct Due {
    /// Spaces whose members are to be visited.
    spaces: VecDeque<u32>,
    /// Single members to be visited.
    members: VecDeque<MemberKey>,
    /// Spaces whose logs may be trimmed, or whose pauses may begin or end.
    unsettled: Vec<u32>,
    /// Spaces that are paused: each tick looks whether that is over.
    paused: BTreeSet<u32>,
    /// Members that flood and have been read in this tick: the next one lets them be read again.
    held: Vec<MemberKey>,
}

impl Due {
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.spaces.is_empty()
    }

    pub(super) fn push_member(&mut self, key: MemberKey) {
        self.members.push_back(key);
    }

    pub(super) fn pop_member(&mut self) -> Option<MemberKey> {
        self.members.pop_front()
    }

    pub(super) fn push_space(&mut self, slot: u32) {
        self.spaces.push_back(slot);
    }

    pub(super) fn pop_space(&mut self) -> Option<u32> {
        self.spaces.pop_front()
    }

    /// How many spaces are due.
    pub(super) fn spaces(&self) -> usize {
        self.spaces.len()
    }

    /// Has a space looked at after the next slice of the sweep.
    pub(super) fn unsettle(&mut self, slot: u32) {
        self.unsettled.push(slot);
    }

    /// The unsettled spaces, each once and in order. What settling them unsettles is the next
    /// slice's: give the empty list back by [`Due::keep`].
    pub(super) fn take_unsettled(&mut self) -> Vec<u32> {
        let mut unsettled = std::mem::take(&mut self.unsettled);
        unsettled.sort_unstable();
        unsettled.dedup();
        unsettled
    }

    /// Has a space looked at each tick, or no more.
    pub(super) fn watch_pause(&mut self, slot: u32, is_paused: bool) {
        if is_paused {
            self.paused.insert(slot);
        } else {
            self.paused.remove(&slot);
        }
    }

    /// A tick: paused spaces are looked at. Returns who may be read again.
    pub(super) fn tick(&mut self) -> Vec<MemberKey> {
        self.unsettled.extend(&self.paused);
        std::mem::take(&mut self.held)
    }

    /// A member is read no more before the next tick.
    pub(super) fn hold(&mut self, key: MemberKey) {
        self.held.push(key);
    }

    /// Takes the list of [`Due::take_unsettled`] back, for its memory.
    pub(super) fn keep(&mut self, mut emptied: Vec<u32>) {
        emptied.clear();
        emptied.append(&mut self.unsettled);
        self.unsettled = emptied;
    }
}
