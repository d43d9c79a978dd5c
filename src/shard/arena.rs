//! A generational arena: values in slots that are used again, named by keys that are not.
//!
//! Late inputs of an earlier tenant carry its generation and find nothing.

/// Names a value: its slot, and which of the slot's tenants it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    /// Index in the arena.
    pub slot: u32,
    /// Counts the slot's tenants.
    pub generation: u32,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

/// The values. Slots of removed ones are used again, the latest first.
#[derive(Debug)]
pub(super) struct Arena<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

impl<T> Default for Arena<T> {
    fn default() -> Arena<T> {
        Arena { entries: Vec::new(), free: Vec::new() }
    }
}

impl<T> Arena<T> {
    /// An empty arena with room for this many values.
    pub(super) fn with_room(values: usize) -> Arena<T> {
        Arena { entries: Vec::with_capacity(values), free: Vec::new() }
    }

    /// Adds a value.
    pub(super) fn insert(&mut self, value: T) -> Key {
        if let Some(slot) = self.free.pop() {
            let entry = &mut self.entries[slot as usize];
            assert!(entry.value.is_none(), "a free slot holds nothing");
            entry.value = Some(value);
            return Key { slot, generation: entry.generation };
        }
        let slot = u32::try_from(self.entries.len()).expect("connections are bounded below 2^32");
        self.entries.push(Entry { generation: 0, value: Some(value) });
        Key { slot, generation: 0 }
    }

    /// Takes a value out; its key finds nothing from now on.
    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.entries.get_mut(key.slot as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(key.slot);
        Some(value)
    }

    /// The value of a key.
    pub(super) fn get(&self, key: Key) -> Option<&T> {
        let entry = self.entries.get(key.slot as usize)?;
        if entry.generation == key.generation { entry.value.as_ref() } else { None }
    }

    /// The value of a key, to change.
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.slot as usize)?;
        if entry.generation == key.generation { entry.value.as_mut() } else { None }
    }

    /// The value in a slot, whichever its generation: for those who know that it is taken.
    pub(super) fn at(&self, slot: u32) -> Option<&T> {
        self.entries.get(slot as usize)?.value.as_ref()
    }

    /// The same, to change.
    pub(super) fn at_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.entries.get_mut(slot as usize)?.value.as_mut()
    }

    /// The value in a slot with its key.
    pub(super) fn tenant_mut(&mut self, slot: u32) -> Option<(Key, &mut T)> {
        let entry = self.entries.get_mut(slot as usize)?;
        let key = Key { slot, generation: entry.generation };
        entry.value.as_mut().map(|value| (key, value))
    }

    /// The key of the value in a slot.
    pub(super) fn key_at(&self, slot: u32) -> Option<Key> {
        let entry = self.entries.get(slot as usize)?;
        entry.value.as_ref()?;
        Some(Key { slot, generation: entry.generation })
    }

    /// Slots, taken or free: the bound for walking over all of them.
    pub(super) fn slots(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Values held.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_of_an_earlier_tenant_finds_nothing() {
        let mut arena = Arena::default();
        let first = arena.insert("first");
        assert_eq!(arena.remove(first), Some("first"));
        let second = arena.insert("second");
        assert_eq!(first.slot, second.slot);
        assert_eq!(arena.get(first), None);
        assert_eq!(arena.remove(first), None);
        assert_eq!(arena.get(second), Some(&"second"));
        assert_eq!(arena.key_at(0), Some(second));
    }

    proptest! {
        #[test]
        fn it_holds_what_a_plain_map_holds(steps: Vec<(bool, u8)>) {
            let mut arena = Arena::default();
            let mut model: Vec<(Key, u8)> = Vec::new();
            for (insert, value) in steps {
                if insert || model.is_empty() {
                    model.push((arena.insert(value), value));
                } else {
                    let (key, expected) = model.swap_remove(usize::from(value) % model.len());
                    prop_assert_eq!(arena.remove(key), Some(expected));
                    prop_assert_eq!(arena.remove(key), None);
                }
                prop_assert_eq!(arena.len(), model.len());
            }
            for (key, value) in model {
                prop_assert_eq!(arena.get(key), Some(&value));
            }
        }
    }
}
