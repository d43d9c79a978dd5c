//! What waits for records: in their order, and of those that wait for the same record in the order
//! in which they came.
//!
//! Nearly all come in that order, as records are made: those stand in a queue. What comes late,
//! since it repeats something earlier, stands in a tree beside it. Knows nothing of what waits.

use std::collections::{BTreeMap, VecDeque};

/// What the queue keeps room for when it is empty; more is given back.
const ROOM: usize = 1_024;

/// What waits, each for a record.
#[derive(Debug)]
pub(super) struct Waits<T> {
    /// Records ascend.
    in_order: VecDeque<(u64, T)>,
    /// What came late, by its record and by how much came late before it.
    late: BTreeMap<(u64, u64), T>,
    serial: u64,
}

impl<T> Waits<T> {
    /// Nothing yet.
    pub(super) fn new() -> Waits<T> {
        Waits { in_order: VecDeque::new(), late: BTreeMap::new(), serial: 0 }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.in_order.len() + self.late.len()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.in_order.is_empty() && self.late.is_empty()
    }

    /// One more waits for a record.
    pub(super) fn push(&mut self, record: u64, what: T) {
        let is_newest = self.in_order.back().is_none_or(|(newest, _)| *newest <= record);
        if is_newest && self.late.last_key_value().is_none_or(|((late, _), _)| *late < record) {
            return self.in_order.push_back((record, what));
        }
        self.serial += 1;
        self.late.insert((record, self.serial), what);
    }

    /// Takes the first, if it waits for a record up to this one.
    pub(super) fn take(&mut self, record: u64) -> Option<T> {
        let first = self.in_order.front().map_or(u64::MAX, |(first, _)| *first);
        if let Some(late) = self.late.first_entry()
            && late.key().0 < first
        {
            return (late.key().0 <= record).then(|| late.remove());
        }
        if first > record {
            return None;
        }
        let taken = self.in_order.pop_front().map(|(_, what)| what);
        self.give_back();
        taken
    }

    /// Takes those that wait for records above this one.
    pub(super) fn split_off(&mut self, record: u64) -> Vec<T> {
        let from = self.in_order.partition_point(|(of, _)| *of <= record);
        let lost = self.in_order.drain(from..).map(|(_, what)| what);
        let mut lost: Vec<T> = lost.collect();
        lost.extend(self.late.split_off(&(record.saturating_add(1), 0)).into_values());
        lost
    }

    /// Takes those that are meant, in their order.
    pub(super) fn extract(&mut self, is_meant: impl Fn(&T) -> bool) -> Vec<T> {
        let all = std::mem::take(&mut self.in_order).into_iter();
        let (meant, others): (VecDeque<_>, VecDeque<_>) = all.partition(|(_, it)| is_meant(it));
        self.in_order = others;
        let mut meant: Vec<_> = meant.into_iter().collect();
        let late = std::mem::take(&mut self.late).into_iter();
        let (late, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            late.partition(|(_, it)| is_meant(it));
        self.late = others;
        meant.extend(late.into_iter().map(|((record, _), it)| (record, it)));
        // Stable: what came late for a record came behind what was in order for that.
        meant.sort_by_key(|(record, _)| *record);
        meant.into_iter().map(|(_, it)| it).collect()
    }

    /// Keeps those that are meant.
    pub(super) fn retain(&mut self, is_meant: impl Fn(&T) -> bool) {
        self.in_order.retain(|(_, it)| is_meant(it));
        self.late.retain(|_, it| is_meant(it));
    }

    /// None waits any more.
    pub(super) fn clear(&mut self) {
        self.in_order = VecDeque::new();
        self.late.clear();
    }

    /// A store that was away has let many wait: their memory is given back.
    fn give_back(&mut self) {
        if self.in_order.is_empty() && self.in_order.capacity() > ROOM {
            self.in_order = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(u64),
        Take(u64),
        SplitOff(u64),
        ExtractOdd,
        RetainEven,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0..20_u64).prop_map(Step::Push),
            6 => (0..20_u64).prop_map(Step::Take),
            1 => (0..20_u64).prop_map(Step::SplitOff),
            1 => Just(Step::ExtractOdd),
            1 => Just(Step::RetainEven),
        ];
        prop::collection::vec(step, 1..200)
    }

    /// All that waits, in a list that is searched.
    #[derive(Default)]
    struct Model(Vec<(u64, usize)>);

    impl Model {
        fn take(&mut self, record: u64) -> Option<usize> {
            let first = self.0.iter().enumerate().min_by_key(|(at, (of, _))| (*of, *at))?;
            let (at, (of, _)) = first;
            (*of <= record).then(|| self.0.remove(at).1)
        }

        /// Takes those that are meant, by their records.
        fn extract(&mut self, is_meant: impl Fn(&(u64, usize)) -> bool) -> Vec<usize> {
            let (mut meant, others): (Vec<_>, _) = self.0.drain(..).partition(is_meant);
            self.0 = others;
            meant.sort_by_key(|(record, _)| *record);
            meant.into_iter().map(|(_, it)| it).collect()
        }
    }

    proptest! {
        #[test]
        fn all_that_waits_is_taken_once_by_record_and_then_as_it_came(steps in steps()) {
            let (mut waits, mut model) = (Waits::new(), Model::default());
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push(record) => {
                        waits.push(record, number);
                        model.0.push((record, number));
                    }
                    Step::Take(record) => prop_assert_eq!(waits.take(record), model.take(record)),
                    Step::SplitOff(record) => {
                        let mut lost = waits.split_off(record);
                        let mut expected = model.extract(|(of, _)| *of > record);
                        lost.sort_unstable();
                        expected.sort_unstable();
                        prop_assert_eq!(lost, expected);
                    }
                    Step::ExtractOdd => {
                        let meant = waits.extract(|it| it % 2 == 1);
                        prop_assert_eq!(meant, model.extract(|(_, it)| it % 2 == 1));
                    }
                    Step::RetainEven => {
                        waits.retain(|it| it % 2 == 0);
                        model.extract(|(_, it)| it % 2 == 1);
                    }
                }
                prop_assert_eq!(waits.len(), model.0.len());
            }
            while let Some(next) = model.take(u64::MAX) {
                prop_assert_eq!(waits.take(u64::MAX - 1), Some(next));
            }
            prop_assert_eq!(waits.take(u64::MAX - 1), None);
        }
    }

    #[test]
    fn an_empty_queue_gives_back_what_many_took() {
        let mut waits = Waits::new();
        (0..100_000).for_each(|record| waits.push(record, ()));
        while waits.take(100_000).is_some() {}
        assert!(waits.in_order.capacity() <= ROOM);
    }
}
