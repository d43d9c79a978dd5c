//! How many commands each address has in the shards' inboxes: half of an inbox at most, so that
//! there is room for the others while a shard is slow.
//!
//! Owns a count for each address. Only the edge waits for anything here: a shard that takes a
//! command out gives its place back by dropping it, which is one atomic subtraction.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::limits::ASKERS_IDLE_MAX;
use crate::shard::event::AddressKey;

/// The counts: an address has one clone of its mark in each command.
#[derive(Debug)]
pub(super) struct Askers {
    marks: watch::Sender<HashMap<AddressKey, Arc<()>>>,
    commands_max: usize,
}

/// A command's place among those of its address.
#[derive(Debug)]
pub(super) struct Asking(#[expect(dead_code, reason = "dropping it is its use")] Option<Arc<()>>);

impl Asking {
    /// For the hub's own commands, which are not counted.
    pub(super) const OURS: Asking = Asking(None);
}

impl Askers {
    /// One address may have half as many commands as an inbox.
    pub(super) fn new(inbox_commands_max: usize) -> Askers {
        let (marks, _) = watch::channel(HashMap::new());
        Askers { marks, commands_max: inbox_commands_max / 2 }
    }

    /// A place for one more command; loopback is an address too. `None`: it has too many.
    pub(super) fn take(&self, address: AddressKey) -> Option<Asking> {
        let mut asking = None;
        self.marks.send_if_modified(|marks| {
            if marks.len() > ASKERS_IDLE_MAX && !marks.contains_key(&address) {
                marks.retain(|_, mark| Arc::strong_count(mark) > 1);
            }
            let mark = marks.entry(address).or_default();
            // One of the clones is the map's own.
            if Arc::strong_count(mark) <= self.commands_max {
                asking = Some(Asking(Some(Arc::clone(mark))));
            }
            // Nobody is told: nobody waits.
            false
        });
        asking
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_half_of_an_inbox_and_its_places_come_back() {
        let askers = Askers::new(8);
        let mut mine: Vec<Asking> = (0..4).map(|_| askers.take(Some(1)).expect("free")).collect();
        assert!(askers.take(Some(1)).is_none());
        let others = [Some(2), None].map(|address| askers.take(address).expect("free"));
        mine.pop();
        assert!(askers.take(Some(1)).is_some());
        drop((mine, others));
        assert!((0..4).all(|_| askers.take(None).is_some()));
    }

    #[test]
    fn addresses_that_ask_nothing_are_forgotten() {
        let askers = Askers::new(8);
        let held = askers.take(Some(0)).expect("free");
        (1..10_000).for_each(|address| drop(askers.take(Some(address)).expect("free")));
        assert!(askers.marks.borrow().len() <= ASKERS_IDLE_MAX + 2);
        assert!(askers.marks.borrow().contains_key(&Some(0)));
        drop(held);
    }
}
