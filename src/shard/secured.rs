//! When a chat is accepted, and which chats of a shard wait for that.
//!
//! Where it is accepted once it is *journaled*, nothing waits. Where it is accepted once it is
//! *stored*, its frame stands in its space's log behind the mark up to which that is secured: from
//! there on nobody is sent, acked or answered anything. A commit moves the mark. Owns the chats
//! that wait, in the order of their records; each has a frame in a log, which bounds them.

use std::collections::VecDeque;

use super::arena::Key;
use crate::wire::Id;

/// When a chat is accepted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Accept {
    /// Once it is in the journal: the store may be away.
    #[default]
    Journaled,
    /// Once the store has committed it: nobody sees what a lost disk could take.
    Stored,
}

impl Accept {
    /// As the setting says it.
    pub fn parse(text: &str) -> Option<Accept> {
        match text {
            "journaled" => Some(Accept::Journaled),
            "stored" => Some(Accept::Stored),
            _ => None,
        }
    }
}

/// A chat that waits for the store.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    record: u64,
    id: Id,
    space: Key,
}

/// The chats of a shard that wait for the store before anybody is sent them.
#[derive(Debug)]
pub(super) struct Secured {
    accept: Accept,
    waiting: VecDeque<Waiting>,
}

impl Secured {
    /// None yet.
    pub(super) fn new(accept: Accept) -> Secured {
        Secured { accept, waiting: VecDeque::new() }
    }

    /// Whether chats wait for the store.
    #[inline]
    pub(super) fn is_by_store(&self) -> bool {
        self.accept == Accept::Stored
    }

    /// A chat waits in a space.
    pub(super) fn wait(&mut self, record: u64, id: Id, space: Key) {
        debug_assert!(self.waiting.back().is_none_or(|last| last.record < record && last.id < id));
        self.waiting.push_back(Waiting { record, id, space });
    }

    /// A space in which a chat waited whose record the store has committed.
    pub(super) fn next(&mut self, has: impl FnOnce(u64) -> bool) -> Option<Key> {
        self.waiting.front().filter(|first| has(first.record))?;
        self.waiting.pop_front().map(|first| first.space)
    }

    /// The space in which a chat waits.
    pub(super) fn space_of(&self, id: Id) -> Option<Key> {
        let at = self.waiting.binary_search_by_key(&id, |waiting| waiting.id).ok()?;
        Some(self.waiting[at].space)
    }

    /// Chats that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// All logs are thrown away, and what waited in them.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
    }
}
