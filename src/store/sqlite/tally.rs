//! Rows per stretch of a space, kept in step with a batch's rows.
//!
//! It does for a whole batch what the triggers of migration 3 do for a row inserted by hand: one
//! statement a space instead of four a row. The rules stand in that migration.

use rusqlite::{CachedStatement, OptionalExtension, Result, Transaction};

use crate::store::query::signed;
use crate::wire::SpaceId;
use crate::wire::record::Record;

/// Rows of half a block: a block of twice as many is halved; migration 3 says so too.
pub(crate) const BLOCK_ROWS: i64 = 4096;

#[derive(Debug)]
struct CountBlock {
    key: String,
    total: i64,
}

/// Counts rows in that have just been inserted, space by space and ascending in each; of how many
/// spaces they are.
pub(crate) fn count_in(transaction: &Transaction<'_>, rows: &[Record<'_>]) -> Result<u64> {
    let add_last = transaction.prepare_cached(ADD_LAST)?;
    let mut blocks = Blocks { transaction, add_last };
    let mut spaces = 0;
    for rows in rows.chunk_by(|a, b| a.space == b.space) {
        spaces += 1;
        blocks.count_in(rows)?;
    }
    Ok(spaces)
}

struct Blocks<'a> {
    transaction: &'a Transaction<'a>,
    add_last: CachedStatement<'a>,
}

/// Nearly always all rows are behind the key of their space's last block.
const ADD_LAST: &str = "UPDATE hub_space_blocks SET total = total + ?3 WHERE space_id = ?1 AND \
     id = (SELECT max(id) FROM hub_space_blocks WHERE space_id = ?1) AND id <= ?2 \
     RETURNING id, total";

const BEGIN: &str = "INSERT OR IGNORE INTO hub_space_blocks (space_id, id, total) \
     VALUES (?1, '', 0)";

const ADD_BEFORE: &str = "UPDATE hub_space_blocks SET total = total + 1 WHERE space_id = ?1 AND \
     id = (SELECT max(id) FROM hub_space_blocks WHERE space_id = ?1 AND id <= ?2) \
     RETURNING id, total";

/// Where a full block is halved.
const MIDDLE: &str = "SELECT id FROM chat_messages WHERE space_id = ?1 AND id >= ?2 \
     ORDER BY id LIMIT 1 OFFSET ?3";

const SET: &str = "INSERT INTO hub_space_blocks (space_id, id, total) VALUES (?1, ?2, ?3) \
     ON CONFLICT (space_id, id) DO UPDATE SET total = excluded.total";

impl Blocks<'_> {
    /// Counts in rows of one space, ascending.
    fn count_in(&mut self, rows: &[Record<'_>]) -> Result<()> {
        let space = rows[0].space;
        if let Some(last) = self.add_last(rows)? {
            return self.halve(space, last);
        }
        let is_new = self.transaction.prepare_cached(BEGIN)?.execute([space.0])? == 1;
        if is_new && let Some(first) = self.add_last(rows)? {
            return self.halve(space, first);
        }
        // Older ones come from an import beside a wrong clock only.
        for row in rows {
            let place = (space.0, row.id.to_string());
            let mut add = self.transaction.prepare_cached(ADD_BEFORE)?;
            let counted = add.query_row(place, block)?;
            self.halve(space, counted)?;
        }
        Ok(())
    }

    /// Counts rows into the last block of their space, unless one of them lies before it.
    fn add_last(&mut self, rows: &[Record<'_>]) -> Result<Option<CountBlock>> {
        let Record { space, id, .. } = rows[0];
        let lowest = id.text();
        let lowest = std::str::from_utf8(&lowest).expect("Crockford digits are ASCII");
        let added = signed(rows.len() as u64);
        self.add_last.query_row((space.0, lowest, added), block).optional()
    }

    /// Halves a block until none of its parts is full.
    fn halve(&self, space: SpaceId, mut full: CountBlock) -> Result<()> {
        while full.total >= 2 * BLOCK_ROWS {
            let mut middle = self.transaction.prepare_cached(MIDDLE)?;
            let from = (space.0, &full.key, BLOCK_ROWS);
            let key: String = middle.query_row(from, |row| row.get(0))?;
            let upper = CountBlock { key, total: full.total - BLOCK_ROWS };
            let mut set = self.transaction.prepare_cached(SET)?;
            set.execute((space.0, &full.key, BLOCK_ROWS))?;
            set.execute((space.0, &upper.key, upper.total))?;
            full = upper;
        }
        Ok(())
    }
}

fn block(row: &rusqlite::Row<'_>) -> Result<CountBlock> {
    Ok(CountBlock { key: row.get(0)?, total: row.get(1)? })
}
