//! Rows per space and per stretch of a space, kept in step with a batch's rows.
//!
//! It does for a whole batch what the triggers of migration 1 do for a row inserted by hand: a few
//! statements a space instead of six a row. The rules stand in that migration.

use rusqlite::{OptionalExtension, Result, Statement, Transaction};

use super::wall::WallFormat;
use crate::store::batcher::batch::Batch;
use crate::store::query::signed;
use crate::wire::time::Micros;
use crate::wire::{Id, SpaceId};

/// Rows of half a block: a block of twice as many is halved; migration 1 says so too.
pub(crate) const BLOCK_ROWS: i64 = 4096;

/// What rows of a space are counted along.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ordering {
    Time = 0,
    Id = 1,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct CountedRow {
    space: SpaceId,
    at: Micros,
    id: Id,
}

/// A block's key: `timestamp` stays empty in the order of ids.
type BlockKey = (String, String);

#[derive(Debug)]
struct CountBlock {
    key: BlockKey,
    total: i64,
}

/// Counts a batch's rows in, which have just been inserted; of how many spaces they are.
pub(crate) fn count_in(
    transaction: &Transaction<'_>,
    batch: &Batch,
    wall: &mut WallFormat,
) -> Result<u64> {
    let row = |record: crate::wire::record::Record<'_>| CountedRow {
        space: record.space,
        at: record.at,
        id: record.id,
    };
    let mut rows: Vec<CountedRow> = batch.records().map(row).collect();
    rows.sort_unstable();
    let mut add = transaction.prepare(
        "INSERT INTO hub_space_totals (space_id, total) VALUES (?1, ?2) \
         ON CONFLICT (space_id) DO UPDATE SET total = total + excluded.total",
    )?;
    let mut blocks = Blocks::prepare(transaction, wall)?;
    let mut spaces = 0;
    for rows in rows.chunk_by_mut(|a, b| a.space == b.space) {
        spaces += 1;
        add.execute((rows[0].space.0, signed(rows.len() as u64)))?;
        blocks.count_in(Ordering::Time, rows)?;
        rows.sort_unstable_by_key(|row| row.id);
        blocks.count_in(Ordering::Id, rows)?;
    }
    Ok(spaces)
}

/// The statements that nearly all batches need are prepared: that takes as long as some rows.
struct Blocks<'a> {
    transaction: &'a Transaction<'a>,
    wall: &'a mut WallFormat,
    last: Statement<'a>,
    add: Statement<'a>,
}

const LAST: &str = "SELECT timestamp, id, total FROM hub_space_blocks \
     WHERE space_id = ?1 AND ordering = ?2 ORDER BY timestamp DESC, id DESC LIMIT 1";

const ADD: &str = "INSERT INTO hub_space_blocks (space_id, ordering, timestamp, id, total) \
     VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (space_id, ordering, timestamp, id) \
     DO UPDATE SET total = total + excluded.total";

const ADD_BEFORE: &str = "UPDATE hub_space_blocks SET total = total + 1 \
     WHERE space_id = ?1 AND ordering = ?2 AND (timestamp, id) = \
     (SELECT timestamp, id FROM hub_space_blocks WHERE space_id = ?1 AND ordering = ?2 \
      AND (timestamp, id) <= (?3, ?4) ORDER BY timestamp DESC, id DESC LIMIT 1) \
     RETURNING timestamp, id, total";

const SET: &str = "UPDATE hub_space_blocks SET total = ?5 \
     WHERE space_id = ?1 AND ordering = ?2 AND timestamp = ?3 AND id = ?4";

/// Where a full block is halved, one statement for each `Ordering`.
const MIDDLE: [&str; 2] = [
    "SELECT timestamp, id FROM chat_messages WHERE space_id = ?1 \
     AND (timestamp, id) >= (?2, ?3) ORDER BY timestamp, id LIMIT 1 OFFSET ?4",
    "SELECT ?2, id FROM chat_messages WHERE space_id = ?1 \
     AND id >= ?3 ORDER BY id LIMIT 1 OFFSET ?4",
];

impl<'a> Blocks<'a> {
    fn prepare(transaction: &'a Transaction<'a>, wall: &'a mut WallFormat) -> Result<Blocks<'a>> {
        let (last, add) = (transaction.prepare(LAST)?, transaction.prepare(ADD)?);
        Ok(Blocks { transaction, wall, last, add })
    }

    /// Counts in rows of one space, ascending in this order.
    fn count_in(&mut self, ordering: Ordering, rows: &[CountedRow]) -> Result<()> {
        let space = rows[0].space;
        let last = self.last.query_row((space.0, ordering as i64), block).optional()?;
        let mut last = last.unwrap_or(CountBlock { key: BlockKey::default(), total: 0 });
        // Nearly always all rows are behind the last block's key: older ones come from an import
        // beside a wrong clock only.
        let mut before = 0;
        while before < rows.len() && self.key(ordering, &rows[before]) < last.key {
            before += 1;
        }
        if before > 0 {
            let mut add_before = self.transaction.prepare(ADD_BEFORE)?;
            for row in &rows[..before] {
                let key = self.key(ordering, row);
                let place = (space.0, ordering as i64, &key.0, &key.1);
                let counted = add_before.query_row(place, block)?;
                self.halve(space, ordering, counted)?;
            }
        }
        let added = signed((rows.len() - before) as u64);
        if added == 0 {
            return Ok(());
        }
        self.add.execute((space.0, ordering as i64, &last.key.0, &last.key.1, added))?;
        last.total += added;
        self.halve(space, ordering, last)
    }

    /// Halves a block until none of its parts is full.
    fn halve(&mut self, space: SpaceId, ordering: Ordering, mut full: CountBlock) -> Result<()> {
        while full.total >= 2 * BLOCK_ROWS {
            let middle = MIDDLE[ordering as usize];
            let from = (space.0, &full.key.0, &full.key.1, BLOCK_ROWS);
            let key = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let key: BlockKey = self.transaction.query_row(middle, from, key)?;
            let upper = CountBlock { key, total: full.total - BLOCK_ROWS };
            let place = (space.0, ordering as i64);
            let lower = (place.0, place.1, &full.key.0, &full.key.1, BLOCK_ROWS);
            self.transaction.execute(SET, lower)?;
            self.add.execute((place.0, place.1, &upper.key.0, &upper.key.1, upper.total))?;
            full = upper;
        }
        Ok(())
    }

    fn key(&mut self, ordering: Ordering, row: &CountedRow) -> BlockKey {
        match ordering {
            Ordering::Time => (self.wall.text(row.at), row.id.to_string()),
            Ordering::Id => (String::new(), row.id.to_string()),
        }
    }
}

fn block(row: &rusqlite::Row<'_>) -> Result<CountBlock> {
    Ok(CountBlock { key: (row.get(0)?, row.get(1)?), total: row.get(2)? })
}
