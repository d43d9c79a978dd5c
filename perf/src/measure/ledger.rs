//! The ledger: per member and publisher the next sequence that must come, so that a message lost,
//! doubled or out of order is counted, and ids that don't ascend with it.
//!
//! Memory per member: four bytes a publisher of its space and one id; more only after a gap.

use std::collections::HashSet;

use crate::client::stamp::{ID_BYTES, Stamp};

/// What went wrong; all zero on a good run.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Faults {
    /// Messages that a member never got although it got a later one.
    pub lost: u64,
    /// Messages at the end of a publisher's that have not come in the time for it.
    pub late: u64,
    /// Messages that a member got again.
    pub doubled: u64,
    /// Messages that a member got after a later one of the same publisher.
    pub reordered: u64,
    /// Messages whose id is not above the one before.
    pub ids_not_ascending: u64,
    /// Messages of another space, that this run didn't send, or that were not for the member.
    pub foreign: u64,
}

impl Faults {
    /// Whether nothing went wrong.
    pub fn is_none(&self) -> bool {
        *self == Faults::default()
    }
}

/// What each member got.
#[derive(Debug)]
pub struct Ledger {
    publishers: usize,
    next: Vec<u32>,
    last_ids: Vec<[u8; ID_BYTES]>,
    gaps: HashSet<(usize, u32)>,
    faults: Faults,
}

impl Ledger {
    /// A ledger for `members`, each in a space of `publishers`.
    pub fn new(members: usize, publishers: usize) -> Ledger {
        Ledger {
            publishers,
            next: vec![0; members * publishers],
            last_ids: vec![[0; ID_BYTES]; members],
            gaps: HashSet::new(),
            faults: Faults::default(),
        }
    }

    /// Enters one delivery. `publisher` counts within the member's space.
    pub fn enter(
        &mut self,
        member: usize,
        publisher: usize,
        stamp: Stamp,
        id: Option<&[u8; ID_BYTES]>,
    ) {
        if let Some(id) = id {
            let last = &mut self.last_ids[member];
            self.faults.ids_not_ascending += u64::from(*id <= *last);
            *last = *id;
        }
        let place = member * self.publishers + publisher;
        let next = &mut self.next[place];
        if stamp.sequence == *next {
            *next += 1;
            return;
        }
        self.enter_unexpected(place, stamp.sequence);
    }

    /// Enters a chat that doesn't belong to the member's space or to this run.
    pub fn enter_foreign(&mut self) {
        self.faults.foreign += 1;
    }

    fn enter_unexpected(&mut self, place: usize, sequence: u32) {
        let next = &mut self.next[place];
        if sequence > *next {
            self.gaps.extend((*next..sequence).map(|missing| (place, missing)));
            *next = sequence + 1;
        } else if self.gaps.remove(&(place, sequence)) {
            self.faults.reordered += 1;
        } else {
            self.faults.doubled += 1;
        }
    }

    /// Whether a member has got what it must get of each of its space's publishers.
    pub fn is_complete(&self, member: usize, expected: impl Iterator<Item = u32>) -> bool {
        self.row(member).iter().copied().eq(expected)
    }

    /// The faults, when nothing more will come. `members` are those still connected, each with
    /// how many messages it must get of each of its space's publishers.
    pub fn close<E>(mut self, members: impl Iterator<Item = (usize, E)>) -> Faults
    where
        E: Iterator<Item = u32>,
    {
        let mut connected = HashSet::new();
        let (mut late, mut foreign) = (0, 0);
        for (member, expected) in members {
            connected.insert(member);
            for (next, expected) in self.row(member).iter().zip(expected) {
                late += u64::from(expected.saturating_sub(*next));
                foreign += u64::from(next.saturating_sub(expected));
            }
        }
        self.faults.late += late;
        self.faults.foreign += foreign;
        let is_connected = |place: &usize| connected.contains(&(place / self.publishers));
        let lost = self.gaps.iter().filter(|(place, _)| is_connected(place)).count() as u64;
        self.faults.lost += lost;
        self.faults
    }

    fn row(&self, member: usize) -> &[u32] {
        &self.next[member * self.publishers..][..self.publishers]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enters sequences of one publisher to one member; the faults when 5 were sent.
    fn check(sequences: &[u32]) -> Faults {
        let mut ledger = Ledger::new(1, 1);
        for (index, sequence) in sequences.iter().enumerate() {
            let mut id = [b'0'; ID_BYTES];
            id[0] = b'A' + index as u8;
            ledger.enter(0, 0, Stamp { publisher: 0, sequence: *sequence, at: 0 }, Some(&id));
        }
        ledger.close([(0, [5].into_iter())].into_iter())
    }

    #[test]
    fn a_good_run_has_no_faults() {
        assert!(check(&[0, 1, 2, 3, 4]).is_none());
    }

    #[test]
    fn every_kind_of_fault_is_counted_as_what_it_is() {
        let faults =
            |lost, doubled, reordered| Faults { lost, doubled, reordered, ..Faults::default() };
        assert_eq!(check(&[0, 1, 3, 4]), faults(1, 0, 0));
        assert_eq!(check(&[0, 1, 2]), Faults { late: 2, ..Faults::default() });
        assert_eq!(check(&[]), Faults { late: 5, ..Faults::default() });
        assert_eq!(check(&[0, 1, 1, 2, 3, 4]), faults(0, 1, 0));
        assert_eq!(check(&[0, 2, 1, 3, 4]), faults(0, 0, 1));
        assert_eq!(check(&[0, 2, 1, 1, 4]), faults(1, 1, 1));
    }

    #[test]
    fn an_id_that_does_not_ascend_is_counted() {
        let mut ledger = Ledger::new(1, 1);
        for sequence in 0..2 {
            ledger.enter(0, 0, Stamp { publisher: 0, sequence, at: 0 }, Some(&[b'1'; ID_BYTES]));
        }
        let faults = ledger.close([(0, [2].into_iter())].into_iter());
        assert_eq!(faults, Faults { ids_not_ascending: 1, ..Faults::default() });
    }

    #[test]
    fn members_and_publishers_have_books_of_their_own() {
        let mut ledger = Ledger::new(2, 2);
        let stamp = |sequence| Stamp { publisher: 0, sequence, at: 0 };
        ledger.enter(0, 1, stamp(0), Some(&[b'1'; ID_BYTES]));
        ledger.enter(1, 0, stamp(0), Some(&[b'1'; ID_BYTES]));
        let expected = [1, 1].into_iter();
        assert!(!ledger.is_complete(0, expected.clone()));
        ledger.enter(0, 0, stamp(0), Some(&[b'2'; ID_BYTES]));
        assert!(ledger.is_complete(0, expected.clone()));
        // Member 1 went: what it didn't get is no loss.
        assert!(ledger.close([(0, expected)].into_iter()).is_none());
    }

    #[test]
    fn what_a_member_was_not_to_get_is_foreign() {
        let mut ledger = Ledger::new(1, 2);
        for sequence in 0..3 {
            ledger.enter(0, 1, Stamp { publisher: 1, sequence, at: 0 }, None);
        }
        assert!(!ledger.is_complete(0, [0, 0].into_iter()));
        let faults = ledger.close([(0, [0, 0].into_iter())].into_iter());
        assert_eq!(faults, Faults { foreign: 3, ..Faults::default() });
    }
}
