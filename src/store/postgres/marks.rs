//! Where rows stand in the histories of spaces: numbers of rows, counted from the oldest, whose ids
//! are known. A page deep in a history is reached from the nearest of them, where by numbers alone
//! the database would walk past all rows before it. Pure.
//!
//! Owns the marks. They are learnt from pages that were read, and hold as long as nothing older is
//! deleted or put in: whoever counts a space anew forgets them.

use std::collections::{BTreeMap, HashMap};

use crate::limits::MARKS_MAX;
use crate::store::query::PageOrder;
use crate::wire::SpaceId;

/// Rows between two marks, at least: fewer are walked in less time than all else takes.
const MARK_ROWS: u64 = 512;
/// The longest id that is kept; ours have 26 letters, those of other makers may have any number.
const ID_BYTES: usize = 64;

/// A row whose number is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    /// Its number, from 0.
    pub(super) row: u64,
    /// Its id.
    pub(super) id: String,
}

/// The marks of all spaces.
#[derive(Default, Debug)]
pub(super) struct Marks {
    of: HashMap<SpaceId, OfSpace>,
    all: usize,
}

/// The marks of a space in both orders, ids by their rows' numbers.
#[derive(Default, Debug)]
struct OfSpace {
    by_time: BTreeMap<u64, String>,
    by_id: BTreeMap<u64, String>,
}

impl OfSpace {
    fn in_order(&self, order: PageOrder) -> &BTreeMap<u64, String> {
        match order {
            PageOrder::Timestamp => &self.by_time,
            PageOrder::Id => &self.by_id,
        }
    }
}

impl Marks {
    /// The last mark at or before a row.
    pub(super) fn before(&self, space: SpaceId, order: PageOrder, row: u64) -> Option<Mark> {
        let marks = self.of.get(&space)?.in_order(order);
        marks.range(..=row).next_back().map(|(row, id)| Mark { row: *row, id: id.clone() })
    }

    /// Keeps a mark, unless there is one near before it.
    pub(super) fn note(&mut self, space: SpaceId, order: PageOrder, mark: Mark) {
        let near = self.before(space, order, mark.row);
        let from = near.map_or(0, |near| near.row);
        if mark.row - from < MARK_ROWS || mark.id.len() > ID_BYTES {
            return;
        }
        if self.all >= MARKS_MAX {
            *self = Marks::default();
        }
        let of = self.of.entry(space).or_default();
        let marks = match order {
            PageOrder::Timestamp => &mut of.by_time,
            PageOrder::Id => &mut of.by_id,
        };
        marks.insert(mark.row, mark.id);
        self.all += 1;
    }

    /// Forgets the marks of a space.
    pub(super) fn forget(&mut self, space: SpaceId) {
        if let Some(of) = self.of.remove(&space) {
            self.all -= of.by_time.len() + of.by_id.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: SpaceId = SpaceId(1);

    fn mark(row: u64) -> Mark {
        Mark { row, id: format!("{row:026}") }
    }

    #[test]
    fn the_nearest_mark_before_a_row_is_found_and_none_stand_close() {
        let mut marks = Marks::default();
        for row in [10_000, 5_000, 5_100, 20_000, 511] {
            marks.note(SPACE, PageOrder::Timestamp, mark(row));
        }
        let before = |row| marks.before(SPACE, PageOrder::Timestamp, row);
        assert_eq!((before(4_999), before(5_000)), (None, Some(mark(5_000))));
        assert_eq!((before(9_999), before(99_999)), (Some(mark(5_000)), Some(mark(20_000))));
        assert_eq!(marks.before(SPACE, PageOrder::Id, 99_999), None);
        assert_eq!(marks.before(SpaceId(2), PageOrder::Timestamp, 99_999), None);
        marks.forget(SPACE);
        assert_eq!((marks.before(SPACE, PageOrder::Timestamp, 99_999), marks.all), (None, 0));
    }

    #[test]
    fn marks_are_bounded_and_so_are_their_ids() {
        let mut marks = Marks::default();
        for n in 1..=MARKS_MAX as u64 + 1 {
            marks.note(SPACE, PageOrder::Id, mark(n * MARK_ROWS));
        }
        assert_eq!(marks.all, 1);
        let long = Mark { row: 0, id: "x".repeat(65) };
        marks.note(SpaceId(2), PageOrder::Id, Mark { row: 9_999, ..long });
        assert_eq!(marks.all, 1);
    }
}
