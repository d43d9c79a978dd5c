//! Rows per space and per stretch of a space, kept in step with a batch's rows.
//!
//! Does for a whole batch what the triggers of migration 1 do for a row inserted by hand: a few
//! statements a space instead of six a row. The rules stand in that migration.

use rusqlite::{OptionalExtension, Result, Transaction};

use super::batch::Batch;
use super::wall::WallFormat;
use crate::wire::time::Micros;
use crate::wire::{Id, SpaceId};

/// Rows after which a block is closed; migration 1 says so too.
pub(crate) const BLOCK_ROWS: i64 = 4096;

/// What rows of a space are counted along.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ordering {
    Time = 0,
    Id = 1,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Row {
    space: SpaceId,
    at: Micros,
    id: Id,
}

/// A block's key: `timestamp` stays empty in the order of ids.
type Key = (String, String);

#[derive(Debug)]
struct Block {
    key: Key,
    total: i64,
}

/// Counts a batch's rows in; before they are inserted.
pub(crate) fn count_in(
    transaction: &Transaction<'_>,
    batch: &Batch,
    wall: &mut WallFormat,
) -> Result<()> {
    let row = |record: crate::wire::record::Record<'_>| Row {
        space: record.space,
        at: record.at,
        id: record.id,
    };
    let mut rows: Vec<Row> = batch.records().map(row).collect();
    rows.sort_unstable();
    let mut add = transaction.prepare(
        "INSERT INTO hub_space_totals (space_id, total) VALUES (?1, ?2) \
         ON CONFLICT (space_id) DO UPDATE SET total = total + excluded.total",
    )?;
    let mut blocks = Blocks::prepare(transaction, wall)?;
    for rows in rows.chunk_by_mut(|a, b| a.space == b.space) {
        add.execute((rows[0].space.0, signed(rows.len())))?;
        blocks.count_in(Ordering::Time, rows)?;
        rows.sort_unstable_by_key(|row| row.id);
        blocks.count_in(Ordering::Id, rows)?;
    }
    Ok(())
}

struct Blocks<'a> {
    transaction: &'a Transaction<'a>,
    wall: &'a mut WallFormat,
    last: rusqlite::Statement<'a>,
    add: rusqlite::Statement<'a>,
}

impl<'a> Blocks<'a> {
    fn prepare(transaction: &'a Transaction<'a>, wall: &'a mut WallFormat) -> Result<Blocks<'a>> {
        Ok(Blocks {
            transaction,
            wall,
            last: transaction.prepare(
                "SELECT timestamp, id, total FROM hub_space_blocks \
                 WHERE space_id = ?1 AND ordering = ?2 ORDER BY timestamp DESC, id DESC LIMIT 1",
            )?,
            add: transaction.prepare(
                "INSERT INTO hub_space_blocks (space_id, ordering, timestamp, id, total) \
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (space_id, ordering, timestamp, id) \
                 DO UPDATE SET total = total + excluded.total",
            )?,
        })
    }

    /// Counts in rows of one space, ascending in this order.
    fn count_in(&mut self, ordering: Ordering, rows: &[Row]) -> Result<()> {
        let space = rows[0].space;
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Block { key: (row.get(0)?, row.get(1)?), total: row.get(2)? })
        };
        let last = self.last.query_row((space.0, ordering as i64), read).optional()?;
        let last = last.unwrap_or(Block { key: Key::default(), total: 0 });
        let all = signed(rows.len());
        if last.key <= self.key(ordering, &rows[0]) && last.total + all <= BLOCK_ROWS {
            return self.add(space, ordering, &last.key, all);
        }
        self.count_in_slowly(ordering, rows, last)
    }

    /// Row by row, where a block is closed or rows lie before the last one.
    fn count_in_slowly(&mut self, ordering: Ordering, rows: &[Row], last: Block) -> Result<()> {
        let space = rows[0].space;
        let highest = self.highest(ordering, space)?;
        let (mut block, mut added) = (last, 0);
        for row in rows {
            let key = self.key(ordering, row);
            if key < block.key {
                self.count_in_before(space, ordering, &key)?;
                continue;
            }
            if block.total + added >= BLOCK_ROWS && highest.as_ref().is_none_or(|top| key > *top) {
                self.add(space, ordering, &block.key, added)?;
                (block, added) = (Block { key, total: 0 }, 0);
            }
            added += 1;
        }
        self.add(space, ordering, &block.key, added)
    }

    fn add(&mut self, space: SpaceId, ordering: Ordering, key: &Key, rows: i64) -> Result<()> {
        self.add.execute((space.0, ordering as i64, &key.0, &key.1, rows)).map(drop)
    }

    fn count_in_before(&self, space: SpaceId, ordering: Ordering, key: &Key) -> Result<()> {
        let sql = "UPDATE hub_space_blocks SET total = total + 1 \
                   WHERE space_id = ?1 AND ordering = ?2 AND (timestamp, id) = \
                   (SELECT timestamp, id FROM hub_space_blocks WHERE space_id = ?1 \
                    AND ordering = ?2 AND (timestamp, id) <= (?3, ?4) \
                    ORDER BY timestamp DESC, id DESC LIMIT 1)";
        let key = (space.0, ordering as i64, &key.0, &key.1);
        self.transaction.execute(sql, key).map(drop)
    }

    fn highest(&self, ordering: Ordering, space: SpaceId) -> Result<Option<Key>> {
        let sql = match ordering {
            Ordering::Time => {
                "SELECT timestamp, id FROM chat_messages WHERE space_id = ?1 \
                 ORDER BY timestamp DESC, id DESC LIMIT 1"
            }
            Ordering::Id => {
                "SELECT '', id FROM chat_messages WHERE space_id = ?1 ORDER BY id DESC LIMIT 1"
            }
        };
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        self.transaction.query_row(sql, [space.0], read).optional()
    }

    fn key(&mut self, ordering: Ordering, row: &Row) -> Key {
        match ordering {
            Ordering::Time => (self.wall.text(row.at), row.id.to_string()),
            Ordering::Id => (String::new(), row.id.to_string()),
        }
    }
}

fn signed(rows: usize) -> i64 {
    i64::try_from(rows).expect("a batch is small")
}
