//! Who is served next of those who wait for pages: addresses in turn, and of each address its
//! spaces in turn, so that nobody stands behind all that somebody else has asked. Pure.

use std::collections::VecDeque;

use crate::wire::SpaceId;

/// Those who wait.
#[derive(Debug)]
pub(super) struct Turns<T> {
    addresses: VecDeque<OfAddress<T>>,
}

/// What one address waits for.
#[derive(Debug)]
struct OfAddress<T> {
    address: u64,
    spaces: VecDeque<(SpaceId, VecDeque<T>)>,
}

impl<T> OfAddress<T> {
    fn len(&self) -> usize {
        self.spaces.iter().map(|(_, waiting)| waiting.len()).sum()
    }

    fn of_space(&self, space: SpaceId) -> Option<&VecDeque<T>> {
        self.spaces.iter().find(|(known, _)| *known == space).map(|(_, waiting)| waiting)
    }
}

impl<T> Default for Turns<T> {
    fn default() -> Turns<T> {
        Turns { addresses: VecDeque::new() }
    }
}

impl<T> Turns<T> {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.addresses.iter().map(OfAddress::len).sum()
    }

    fn of(&self, address: u64) -> Option<&OfAddress<T>> {
        self.addresses.iter().find(|its| its.address == address)
    }

    /// How many wait of an address.
    pub(super) fn of_address(&self, address: u64) -> usize {
        self.of(address).map_or(0, OfAddress::len)
    }

    /// How many have their turn before one that comes now, at most.
    pub(super) fn ahead(&self, address: u64, space: SpaceId) -> usize {
        let own = self.of(address).map_or(0, |its| {
            let same = its.of_space(space).map_or(0, VecDeque::len);
            let of = |(known, waiting): &(SpaceId, VecDeque<T>)| {
                waiting.len().min(if *known == space { same } else { same + 1 })
            };
            its.spaces.iter().map(of).sum()
        });
        let others = self.addresses.iter().filter(|its| its.address != address);
        own + others.map(|its| its.len().min(own + 1)).sum::<usize>()
    }

    /// Takes out the last of those who have asked most: of an address, or of all; unless it is
    /// not more than one that comes now has asked already.
    pub(super) fn pop_last(&mut self, address: u64, space: SpaceId, among_all: bool) -> Option<T> {
        let own = self.of_address(address);
        let longest = self.addresses.iter_mut().max_by_key(|its| its.len())?;
        let its = match among_all {
            true if longest.len() > own => longest,
            true => return None,
            false => self.addresses.iter_mut().find(|its| its.address == address)?,
        };
        let same = match among_all {
            true => 0,
            false => its.of_space(space).map_or(0, VecDeque::len),
        };
        let (_, waiting) = its.spaces.iter_mut().max_by_key(|(_, waiting)| waiting.len())?;
        // One is left, so that no empty queue stands in line.
        if waiting.len() > same.max(1) { waiting.pop_back() } else { None }
    }

    /// Takes one in.
    pub(super) fn push(&mut self, address: u64, space: SpaceId, item: T) {
        let at = self.addresses.iter().position(|its| its.address == address);
        let at = at.unwrap_or_else(|| {
            self.addresses.push_back(OfAddress { address, spaces: VecDeque::new() });
            self.addresses.len() - 1
        });
        let spaces = &mut self.addresses[at].spaces;
        match spaces.iter_mut().find(|(known, _)| *known == space) {
            Some((_, waiting)) => waiting.push_back(item),
            None => spaces.push_back((space, VecDeque::from([item]))),
        }
    }

    /// Gives out the one whose turn it is.
    pub(super) fn pop(&mut self) -> Option<T> {
        let mut its = self.addresses.pop_front()?;
        let (space, mut waiting) = its.spaces.pop_front()?;
        let item = waiting.pop_front();
        if !waiting.is_empty() {
            its.spaces.push_back((space, waiting));
        }
        if !its.spaces.is_empty() {
            self.addresses.push_back(its);
        }
        item
    }

    /// All that wait, in no order.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        let all = std::mem::take(&mut self.addresses).into_iter();
        all.flat_map(|its| its.spaces).flat_map(|(_, waiting)| waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_have_their_turns_and_so_have_the_spaces_of_each() {
        let mut turns = Turns::default();
        for n in 0..4 {
            turns.push(1, SpaceId(1), format!("a1-{n}"));
        }
        turns.push(1, SpaceId(2), "a2-0".into());
        turns.push(2, SpaceId(1), "b1-0".into());
        assert_eq!((turns.len(), turns.of_address(1)), (6, 5));
        assert_eq!(turns.ahead(3, SpaceId(1)), 2, "one of each other");
        assert_eq!(turns.ahead(2, SpaceId(1)), 1 + 2);
        let order: Vec<_> = std::iter::from_fn(|| turns.pop()).collect();
        assert_eq!(order, ["a1-0", "b1-0", "a2-0", "a1-1", "a1-2", "a1-3"]);
        assert_eq!(turns.len(), 0);
    }

    #[test]
    fn who_has_asked_most_makes_room_for_who_comes() {
        let mut turns = Turns::default();
        for n in 0..4 {
            turns.push(1, SpaceId(1), format!("a1-{n}"));
        }
        turns.push(2, SpaceId(1), "b1-0".into());
        assert_eq!(turns.pop_last(3, SpaceId(1), true).as_deref(), Some("a1-3"));
        assert_eq!(turns.pop_last(1, SpaceId(1), true), None, "it has asked most itself");
        assert_eq!(turns.pop_last(1, SpaceId(2), false).as_deref(), Some("a1-2"));
        assert_eq!(turns.pop_last(1, SpaceId(1), false), None);
        assert_eq!(turns.pop_last(4, SpaceId(1), false), None);
        assert_eq!(turns.len(), 3);
    }

    proptest! {
        #[test]
        fn nobody_waits_longer_than_was_said(
            steps in prop::collection::vec((0u64..3, 0i32..3, any::<bool>()), 1..100),
            address in 0u64..4,
            space in 0i32..4,
        ) {
            let mut turns = Turns::default();
            for (address, space, comes) in steps {
                if comes {
                    turns.push(address, SpaceId(space), false);
                } else {
                    turns.pop();
                }
            }
            let (all, ahead) = (turns.len(), turns.ahead(address, SpaceId(space)));
            turns.push(address, SpaceId(space), true);
            let served = std::iter::from_fn(|| turns.pop()).position(|own| own);
            prop_assert!(served.is_some_and(|before| before <= ahead), "{:?} {}", served, ahead);
            prop_assert!(ahead <= all);
        }
    }
}
