//! Queries on messages stored in SQLite, over one connection. They block: `reader.rs` gives each
//! connection a thread. Never writes.

use rusqlite::{Connection, OptionalExtension, Result, Row, ToSql, Transaction};

use super::wall::WallFormat;
use crate::store::query::{Page, PageQuery, Range, RangeQuery, StoredMessage, signed, unsigned};
use crate::wire::time::Micros;
use crate::wire::{Id, SpaceId, UserId};

/// Rows that are counted one by one to reach a page; farther ones are reached by blocks.
const NEAR_ROWS: u64 = 4096;

/// A read-only connection.
#[derive(Debug)]
pub(crate) struct History {
    pub(super) connection: Connection,
    pub(super) wall: WallFormat,
}

impl History {
    /// Queries over `connection`; times in this fixed offset.
    pub(crate) fn new(connection: Connection, utc_offset: i32) -> History {
        History { connection, wall: WallFormat::new(utc_offset) }
    }

    /// The connection, for bounding what runs on it.
    pub(crate) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// One numbered page (docs/WIRE.md A4).
    pub(crate) fn page(&mut self, query: &PageQuery) -> Result<Page> {
        // Count, block and rows are read in one transaction: a commit between them would move
        // rows from one page to the next.
        let transaction = self.connection.transaction()?;
        let total = total(&transaction, query.space)?;
        let skipped = query.page.max(1).saturating_sub(1).saturating_mul(query.page_size.into());
        let length = total.saturating_sub(skipped).min(query.page_size.into());
        let mut rows = Vec::new();
        if length > 0 {
            let first = if query.ascending { skipped } else { total - skipped - length };
            let window = Window { space: query.space, first, length, total };
            rows = window.read(&transaction, &self.wall)?;
        }
        transaction.finish()?;
        if !query.ascending {
            rows.reverse();
        }
        Ok(Page { rows, total })
    }

    /// A stretch by position (docs/WIRE.md E).
    pub(crate) fn range(&mut self, query: &RangeQuery) -> Result<Range> {
        let range = self.forwards_or_backwards(query)?;
        if !query.is_exceeded_by(&range) {
            return Ok(range);
        }
        let sql = "SELECT id FROM chat_messages WHERE space_id = ?1 AND id > ?2 AND id < ?3 \
                   ORDER BY id DESC LIMIT 1 OFFSET ?4";
        let id = |bound: Option<Id>, other| bound.unwrap_or(other).to_string();
        let (after, before) = (id(query.after, Id::MIN), id(query.before, Id::MAX));
        let skipped = signed(query.newest_max.unwrap_or(0) as u64);
        let last: Option<String> = self
            .connection
            .query_row(sql, (query.space.0, after, before, skipped), |row| row.get(0))
            .optional()?;
        match last.as_deref().and_then(Id::parse) {
            None => Ok(range),
            after => self.forwards_or_backwards(&RangeQuery { after, ..*query }),
        }
    }

    fn forwards_or_backwards(&self, query: &RangeQuery) -> Result<Range> {
        let after = query.after.map(|id| id.to_string());
        let before = query.before.map(|id| id.to_string());
        let backwards = after.is_none();
        let sql = format!(
            "SELECT {COLUMNS} FROM chat_messages WHERE space_id = ?1 {} {} ORDER BY id {} LIMIT ?2",
            if after.is_some() { "AND id > ?3" } else { "AND ?3 IS NULL" },
            if before.is_some() { "AND id < ?4" } else { "AND ?4 IS NULL" },
            if backwards { "DESC" } else { "ASC" },
        );
        let limit = i64::from(query.limit) + 1;
        let parameters: [&dyn ToSql; 4] = [&query.space.0, &limit, &after, &before];
        let mut rows = read(&self.connection, &self.wall, &sql, &parameters)?;
        let has_more = rows.len() as u64 > query.limit.into();
        rows.truncate(query.limit as usize);
        if backwards {
            rows.reverse();
        }
        Ok(Range { after: query.after, rows, has_more })
    }
}

pub(super) const COLUMNS: &str = "id, content, user_id, username, space_id, timestamp";

/// Rows of a space by their number, from 0, ascending by id, as their times do (docs/WIRE.md A4).
#[derive(Debug)]
struct Window {
    space: SpaceId,
    first: u64,
    length: u64,
    total: u64,
}

impl Window {
    fn read(&self, transaction: &Transaction<'_>, wall: &WallFormat) -> Result<Vec<StoredMessage>> {
        let behind = self.total - self.first - self.length;
        if behind < self.first && behind <= NEAR_ROWS {
            let mut rows = self.read_from_end(transaction, wall, behind)?;
            rows.reverse();
            return Ok(rows);
        }
        match self.first <= NEAR_ROWS {
            true => self.read_from(transaction, wall, BlockStart::default()),
            false => self.read_from(transaction, wall, self.block(transaction)?),
        }
    }

    fn read_from_end(
        &self,
        transaction: &Transaction<'_>,
        wall: &WallFormat,
        skipped: u64,
    ) -> Result<Vec<StoredMessage>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM chat_messages WHERE space_id = ?1 \
             ORDER BY id DESC LIMIT ?2 OFFSET ?3"
        );
        let (length, skipped) = (signed(self.length), signed(skipped));
        read(transaction, wall, &sql, &[&self.space.0, &length, &skipped])
    }

    fn read_from(
        &self,
        transaction: &Transaction<'_>,
        wall: &WallFormat,
        place: BlockStart,
    ) -> Result<Vec<StoredMessage>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM chat_messages WHERE space_id = ?1 AND id >= ?4 \
             ORDER BY id LIMIT ?2 OFFSET ?3"
        );
        let BlockStart { id, rows_before } = place;
        let (length, skipped) = (signed(self.length), signed(self.first - rows_before));
        read(transaction, wall, &sql, &[&self.space.0, &length, &skipped, &id])
    }

    /// The last block that begins at or before the first row.
    fn block(&self, transaction: &Transaction<'_>) -> Result<BlockStart> {
        let sql = "SELECT id, total FROM hub_space_blocks WHERE space_id = ?1 ORDER BY id";
        let mut statement = transaction.prepare(sql)?;
        let mut rows = statement.query([self.space.0])?;
        let mut before = 0;
        while let Some(row) = rows.next()? {
            let total = unsigned(row.get(1)?);
            if before + total > self.first {
                return Ok(BlockStart { id: row.get(0)?, rows_before: before });
            }
            before += total;
        }
        Ok(BlockStart::default())
    }
}

/// An id, and how many rows of its space lie before it.
#[derive(Default, Debug)]
struct BlockStart {
    id: String,
    rows_before: u64,
}

fn total(transaction: &Transaction<'_>, space: SpaceId) -> Result<u64> {
    let sql = "SELECT coalesce(sum(total), 0) FROM hub_space_blocks WHERE space_id = ?1";
    transaction.query_row(sql, [space.0], |row| row.get(0)).map(unsigned)
}

fn read(
    connection: &Connection,
    wall: &WallFormat,
    sql: &str,
    parameters: &[&dyn ToSql],
) -> Result<Vec<StoredMessage>> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map(parameters, |row| message(row, wall))?;
    rows.collect()
}

/// Reads a row whatever an import has put there: history must open (docs/WIRE.md B15).
pub(super) fn message(row: &Row<'_>, wall: &WallFormat) -> Result<StoredMessage> {
    let text = |column| -> Result<String> {
        let value = row.get_ref(column)?;
        Ok(String::from_utf8_lossy(value.as_bytes().unwrap_or_default()).into_owned())
    };
    let int = |column| -> Result<i32> {
        let value: i64 = row.get(column)?;
        Ok(i32::try_from(value).unwrap_or(0))
    };
    Ok(StoredMessage {
        id: text(0)?,
        content: text(1)?,
        user: UserId(int(2)?),
        username: text(3)?,
        space: SpaceId(int(4)?),
        at: wall.parse(&text(5)?).unwrap_or(Micros(0)),
        // SQLite has no users (docs/WIRE.md F).
        image: "".into(),
    })
}
