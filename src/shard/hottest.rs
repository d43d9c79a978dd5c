//! The hottest spaces of a shard: a table of few places, into which a space comes that is hotter
//! than the coolest one in it. A space says how hot it is whenever it is measured, so that the
//! table is exact up to the last measurement of each.

use crate::limits::HOTTEST_SPACES_MAX;

/// The table.
#[derive(Default, Debug)]
pub(super) struct Hottest {
    /// Slots of spaces, and how hot each was when it was measured last.
    entries: Vec<(u32, f32)>,
    /// No entry is cooler than this.
    coolest: f32,
}

/// What came of a measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Noted {
    /// The space is in the table now.
    pub is_listed: bool,
    /// The space whose place it took.
    pub evicted: Option<u32>,
}

impl Hottest {
    /// Notes how hot the space of a slot is, which is in the table or not; 0: it is cold.
    pub(super) fn note(&mut self, slot: u32, heat: f32, was_listed: bool) -> Noted {
        if was_listed {
            return self.renew(slot, heat);
        }
        let no = Noted { is_listed: false, evicted: None };
        if heat <= 0.0 {
            return no;
        }
        if self.entries.len() < HOTTEST_SPACES_MAX {
            self.entries.push((slot, heat));
            self.coolest = self.coolest.min(heat);
            return Noted { is_listed: true, evicted: None };
        }
        if heat <= self.coolest {
            return no;
        }
        let coolest = self.entries.iter_mut().min_by(|one, two| one.1.total_cmp(&two.1));
        let Some(coolest) = coolest.filter(|coolest| coolest.1 < heat) else {
            self.learn();
            return no;
        };
        let evicted = Some(std::mem::replace(coolest, (slot, heat)).0);
        self.learn();
        Noted { is_listed: true, evicted }
    }

    fn renew(&mut self, slot: u32, heat: f32) -> Noted {
        if heat <= 0.0 {
            self.remove(slot);
            return Noted { is_listed: false, evicted: None };
        }
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.0 == slot) {
            entry.1 = heat;
        }
        self.coolest = self.coolest.min(heat);
        Noted { is_listed: true, evicted: None }
    }

    /// The space of a slot is no more, or cold.
    pub(super) fn remove(&mut self, slot: u32) {
        self.entries.retain(|entry| entry.0 != slot);
        self.learn();
    }

    /// Learns how hot the coolest one is.
    fn learn(&mut self) {
        let heats = self.entries.iter().map(|entry| entry.1);
        self.coolest = heats.min_by(f32::total_cmp).unwrap_or(f32::INFINITY);
    }

    /// The slots, the hottest first.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> + use<> {
        let mut entries = self.entries.clone();
        entries.sort_by(|one, two| two.1.total_cmp(&one.1).then(one.0.cmp(&two.0)));
        entries.into_iter().map(|entry| entry.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Whatever is measured in whatever order: the table has the hottest by what was last
        /// measured of each that could still come into it.
        #[test]
        fn the_table_holds_the_hottest(
            rounds in prop::collection::vec(
                prop::collection::vec(0u32..1_000_000, 3 * HOTTEST_SPACES_MAX),
                1..4,
            ),
        ) {
            let (mut hottest, mut heats) = (Hottest::default(), BTreeMap::new());
            let mut listed = std::collections::BTreeSet::new();
            // Twice each round: what was passed over for one that is cold now comes in then.
            for round in rounds.iter().flat_map(|round| [round, round]) {
                for (slot, heat) in (0u32..).zip(round) {
                    // No two are alike, and some are cold.
                    let heat = if heat % 7 == 0 { 0.0 } else { (heat * 300 + slot) as f32 };
                    heats.insert(slot, heat);
                    let noted = hottest.note(slot, heat, listed.contains(&slot));
                    match noted.is_listed {
                        true => _ = listed.insert(slot),
                        false => _ = listed.remove(&slot),
                    }
                    prop_assert!(noted.evicted.is_none_or(|slot| listed.remove(&slot)));
                    prop_assert_eq!(hottest.entries.len(), listed.len());
                    let least = hottest.entries.iter().map(|entry| entry.1);
                    let least = least.fold(f32::INFINITY, f32::min);
                    prop_assert!(listed.is_empty() || hottest.coolest <= least);
                }
            }
            let mut expected: Vec<_> = heats.iter().filter(|(_, heat)| **heat > 0.0).collect();
            expected.sort_by(|one, two| two.1.total_cmp(one.1).then(one.0.cmp(two.0)));
            let expected = expected.iter().map(|(slot, _)| **slot).take(HOTTEST_SPACES_MAX);
            let shown: Vec<f32> = hottest.slots().map(|slot| heats[&slot]).collect();
            prop_assert_eq!(shown, expected.map(|slot| heats[&slot]).collect::<Vec<_>>());
        }
    }
}
