//! What was accepted of late, as readers of history see it: in journals, not yet stored.
//!
//! A page has all that was accepted before somebody asked for it: what a journal holds then is
//! stored at once, and the page waits for that, `PAGE_SETTLE_WAIT` at most. A store that is away or
//! behind is read as it stands.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::StoreState;
use super::journal::Tail;
use super::latest::Latest;
use crate::limits::PAGE_SETTLE_WAIT;
use crate::wire::{SpaceId, SpaceKey};

/// The journals of this run, one a shard; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Recent {
    journals: Arc<[RecentJournal]>,
    state: watch::Receiver<StoreState>,
}

#[derive(Debug)]
struct RecentJournal {
    end: Arc<Latest>,
    wanted: Arc<Latest>,
    committed: Arc<Latest<Option<u64>>>,
}

impl Recent {
    /// The journals that these tails read, and how far each is stored.
    pub(super) fn new(
        own: &[Tail],
        committed: &[Arc<Latest<Option<u64>>>],
        state: watch::Receiver<StoreState>,
    ) -> Recent {
        let journals = own.iter().zip(committed).map(|(tail, committed)| RecentJournal {
            end: tail.end().clone(),
            wanted: tail.wanted().clone(),
            committed: committed.clone(),
        });
        Recent { journals: journals.collect(), state }
    }

    /// Waits until what was accepted in a space before is stored.
    pub(super) async fn settle(&self, space: SpaceId) {
        let journal = &self.journals[SpaceKey::Chat(space).shard(self.journals.len())];
        let end = journal.end.get();
        let is_stored = || journal.committed.get().is_some_and(|stored| stored >= end);
        if is_stored() || *self.state.borrow() != StoreState::Ready {
            return;
        }
        journal.wanted.publish(end);
        let stored = journal.committed.until(|| is_stored().then_some(()));
        // Should it take longer, the page is read as it stands.
        let _ = tokio::time::timeout(Duration::from_millis(PAGE_SETTLE_WAIT), stored).await;
    }
}
