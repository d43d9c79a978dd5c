//! A batch: the records of one transaction, and how far each journal is stored with them. Pure.
//!
//! Any first part of a batch is a batch too, at row granularity, so that what a refused batch
//! begins with can be stored before the rest. Knows no sink, no file and no clock.

use std::collections::BTreeSet;

use crate::store::journal::JournalId;
use crate::wire::record::{Record, records};
use crate::wire::time::{Micros, MonoMs};

/// When a batch is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchLimits {
    /// Rows of one transaction.
    pub rows_max: usize,
    /// Bytes of one transaction's records; one record may be longer.
    pub bytes_max: usize,
    /// How long a row waits for others, in milliseconds.
    pub wait: u64,
}

/// A journal's position before and after a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Advance {
    /// The journal.
    pub journal: JournalId,
    /// What the sink holds now; 0: nothing of this journal yet.
    pub last: u64,
    /// What it holds with the batch.
    pub next: u64,
}

/// Where records come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The journal.
    pub journal: JournalId,
    /// The journal's position before this batch.
    pub last: u64,
    /// The logical offset of the first byte; the others follow one by one.
    pub offset: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct JournalPart {
    journal: JournalId,
    offset: u64,
    from: usize,
}

/// Records and the positions that stand for them.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    parts: Vec<JournalPart>,
    advances: Vec<Advance>,
    /// Rows that were pushed, and which of them are buried.
    rows: usize,
    buried: BTreeSet<usize>,
    since: Option<MonoMs>,
}

impl Batch {
    /// An empty one.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Takes whole records from the front of `bytes` while the limits allow; how many bytes it
    /// took. A first record is always taken.
    pub fn push(
        &mut self,
        origin: Origin,
        bytes: &[u8],
        limits: &BatchLimits,
        now: MonoMs,
    ) -> usize {
        let mut taken = 0;
        while let Some((_, rest)) = Record::split_from(&bytes[taken..]) {
            let next = bytes.len() - rest.len();
            let full = self.rows >= limits.rows_max || self.bytes.len() + next > limits.bytes_max;
            if full && self.rows > 0 {
                break;
            }
            self.rows += 1;
            taken = next;
        }
        if taken > 0 {
            self.since.get_or_insert(now);
            let Origin { journal, offset, .. } = origin;
            self.parts.push(JournalPart { journal, offset, from: self.bytes.len() });
            self.bytes.extend_from_slice(&bytes[..taken]);
            self.advance(origin, offset + taken as u64);
        }
        taken
    }

    fn advance(&mut self, origin: Origin, next: u64) {
        match self.advances.iter_mut().find(|advance| advance.journal == origin.journal) {
            Some(advance) => {
                debug_assert!(advance.next < next, "positions ascend");
                advance.next = next;
            }
            None => {
                let Origin { journal, last, .. } = origin;
                self.advances.push(Advance { journal, last, next });
            }
        }
    }

    /// Its records, in order.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let rows = records(&self.bytes).enumerate();
        rows.filter(|(row, _)| !self.buried.contains(row)).map(|(_, record)| record)
    }

    /// How many records it holds.
    pub fn rows(&self) -> usize {
        self.rows - self.buried.len()
    }

    /// Leaves the records at these places out, which are dead-lettered; the steps stay as they
    /// are. Takes off what stands behind the first `decided` records.
    pub fn settle(&mut self, dead: &[usize], decided: usize) -> Batch {
        let live: Vec<usize> = (0..self.rows).filter(|row| !self.buried.contains(row)).collect();
        self.buried.extend(dead.iter().filter_map(|place| live.get(*place)));
        let (first, rest) = match live.get(decided) {
            Some(row) => self.split(*row),
            None => (std::mem::take(self), Batch::new()),
        };
        *self = first;
        rest
    }

    /// Leaves records out that are stored already; the steps stay as they are.
    pub fn leave_out(&mut self, is_out: impl Fn(&Record<'_>) -> bool) {
        let out: Vec<usize> = (0..self.rows)
            .filter(|row| !self.buried.contains(row))
            .zip(self.records())
            .filter_map(|(row, record)| is_out(&record).then_some(row))
            .collect();
        self.buried.extend(out);
    }

    /// Puts what was taken off behind it again.
    pub fn join(&mut self, later: Batch) {
        let (rows, from) = (self.rows, self.bytes.len());
        self.buried.extend(later.buried.iter().map(|row| row + rows));
        let parts = later.parts.into_iter();
        self.parts.extend(parts.map(|part| JournalPart { from: part.from + from, ..part }));
        self.bytes.extend_from_slice(&later.bytes);
        self.rows += later.rows;
        self.since = self.since.or(later.since);
        for Advance { journal, last, next } in later.advances {
            self.advance(Origin { journal, last, offset: 0 }, next);
        }
    }

    /// Bytes of its records.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.advances.is_empty()
    }

    /// Each journal's step, to be committed together with the records.
    pub fn advances(&self) -> &[Advance] {
        &self.advances
    }

    /// When its oldest record was accepted.
    pub fn oldest(&self) -> Option<Micros> {
        self.records().map(|record| record.at).min()
    }

    /// Whether no more may go in.
    pub fn is_full(&self, limits: &BatchLimits) -> bool {
        self.rows >= limits.rows_max || self.bytes.len() >= limits.bytes_max
    }

    /// How many milliseconds until it is due; 0: it is. `None`: it is empty.
    pub fn due_in(&self, limits: &BatchLimits, now: MonoMs) -> Option<u64> {
        let since = self.since?;
        match self.is_full(limits) {
            true => Some(0),
            false => Some(limits.wait.saturating_sub(now.since(since))),
        }
    }

    /// The first `rows` rows, buried ones among them, and the rest.
    fn split(&self, rows: usize) -> (Batch, Batch) {
        let (mut first, mut second) = (Batch::new(), Batch::new());
        let all = |rows| BatchLimits { rows_max: rows, bytes_max: usize::MAX, wait: 0 };
        let since = self.since.unwrap_or_default();
        for (n, part) in self.parts.iter().enumerate() {
            let end = self.parts.get(n + 1).map_or(self.bytes.len(), |next| next.from);
            let bytes = &self.bytes[part.from..end];
            let mut origin = Origin {
                journal: part.journal,
                last: self.position(part.journal, |advance| advance.last),
                offset: part.offset,
            };
            // `push` takes a first record always; a first half of no rows takes none.
            let taken = match rows {
                0 => 0,
                _ => first.push(origin, bytes, &all(rows), since),
            };
            if taken < bytes.len() {
                origin.last = match first.advances.iter().any(|a| a.journal == part.journal) {
                    true => first.position(part.journal, |advance| advance.next),
                    false => origin.last,
                };
                origin.offset += taken as u64;
                second.push(origin, &bytes[taken..], &all(usize::MAX), since);
            }
        }
        second.buried = self.buried.range(rows..).map(|row| row - first.rows).collect();
        first.buried = self.buried.range(..rows).copied().collect();
        (first, second)
    }

    fn position(&self, journal: JournalId, which: impl Fn(&Advance) -> u64) -> u64 {
        self.advances.iter().find(|advance| advance.journal == journal).map_or(0, which)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::tests::record;
    use proptest::prelude::*;

    const ALL: BatchLimits = BatchLimits { rows_max: usize::MAX, bytes_max: usize::MAX, wait: 5 };

    fn origin(journal: u128, last: u64, offset: u64) -> Origin {
        Origin { journal: JournalId(journal), last, offset }
    }

    fn some(rows: std::ops::Range<u128>) -> Vec<u8> {
        let mut bytes = Vec::new();
        rows.for_each(|id| record(id, id as usize % 7, &mut bytes));
        bytes
    }

    #[test]
    fn a_batch_is_due_by_age_rows_or_bytes() {
        let limits = BatchLimits { rows_max: 3, bytes_max: 1000, wait: 5 };
        let mut batch = Batch::new();
        assert_eq!(batch.due_in(&limits, MonoMs(9)), None);
        batch.push(origin(1, 0, 24), &some(0..2), &limits, MonoMs(100));
        assert_eq!(batch.due_in(&limits, MonoMs(103)), Some(2));
        assert_eq!(batch.due_in(&limits, MonoMs(200)), Some(0));
        batch.push(origin(1, 0, 900), &some(2..3), &limits, MonoMs(100));
        assert_eq!(batch.due_in(&limits, MonoMs(100)), Some(0));
        assert_eq!(batch.push(origin(2, 0, 24), &some(3..4), &limits, MonoMs(1)), 0);
        let small = BatchLimits { bytes_max: 10, ..limits };
        let mut batch = Batch::new();
        let all = some(0..2);
        assert!(batch.push(origin(1, 0, 24), &all, &small, MonoMs(0)) < all.len());
        assert_eq!((batch.rows(), batch.is_full(&small)), (1, true));
    }

    proptest! {
        #[test]
        fn both_parts_together_are_the_batch(
            parts in proptest::collection::vec((0u128..3, 1u128..6), 0..8), at in 0usize..50,
            dead in proptest::collection::btree_set(0usize..40, 0..5),
        ) {
            let (mut whole, mut ends, mut next) = (Batch::new(), [10u64, 0, 77], 0);
            let starts = ends;
            for (journal, rows) in parts {
                let bytes = some(next..next + rows);
                next += rows;
                let end = &mut ends[journal as usize];
                let offset = *end + 24;
                let last = starts[journal as usize];
                whole.push(origin(journal, last, offset), &bytes, &ALL, MonoMs(3));
                *end = offset + bytes.len() as u64;
            }
            // Some are dead-lettered before, some with the parting.
            let before: Vec<usize> = (0..whole.rows).filter(|row| row % 5 == 1).collect();
            whole.settle(&before, usize::MAX);
            let (rows, mut first) = (whole.rows(), whole.clone());
            let dead: Vec<usize> = dead.into_iter().filter(|row| *row < rows.min(at)).collect();
            let kept = whole.records().enumerate();
            let kept: Vec<Record> =
                kept.filter(|(row, _)| !dead.contains(row)).map(|(_, record)| record).collect();
            let second = first.settle(&dead, at);
            prop_assert_eq!(first.rows(), at.min(rows) - dead.len());
            prop_assert_eq!(first.rows() + second.rows(), kept.len());
            prop_assert!(first.records().chain(second.records()).eq(kept.iter().copied()));
            let mut joined = first.clone();
            joined.join(second.clone());
            prop_assert!(joined.records().eq(kept));
            prop_assert_eq!(joined.advances(), whole.advances());
            // Applied one after the other, the steps lead to the same positions.
            let mut positions = starts;
            for advance in first.advances().iter().chain(second.advances()) {
                let position = &mut positions[advance.journal.0 as usize];
                prop_assert_eq!(advance.last, *position);
                prop_assert!(advance.next > *position);
                *position = advance.next;
            }
            prop_assert_eq!(positions, ends);
        }

        #[test]
        fn what_is_taken_is_whole_and_within_the_limits(
            rows in 0u128..30, rows_max in 1usize..20, bytes_max in 1usize..1500,
        ) {
            let limits = BatchLimits { rows_max, bytes_max, wait: 0 };
            let (bytes, mut at, mut back) = (some(0..rows), 0, Vec::new());
            while at < bytes.len() {
                let mut batch = Batch::new();
                let taken = batch.push(origin(1, 0, 24), &bytes[at..], &limits, MonoMs(0));
                prop_assert!(taken > 0 && batch.rows() <= rows_max);
                prop_assert!(batch.bytes() <= bytes_max || batch.rows() == 1);
                back.extend(batch.records().map(|record| record.id.0));
                at += taken;
            }
            prop_assert_eq!(back, (0..rows).collect::<Vec<_>>());
        }
    }
}
