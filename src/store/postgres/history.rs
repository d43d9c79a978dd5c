//! Queries on stored messages over one connection to PostgreSQL, in SQLite's terms: the same
//! pages and ranges, with the senders' pictures where the database has users.
//!
//! Never writes. Ids are compared as bytes (`COLLATE "C"`), whatever the database's language.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row};

use super::connect::{CallFault, Connection, DatabaseUrl, column};
use super::copy::WallMicros;
use super::marks::Mark;
use super::rows::{Readable, Texts, message};
use super::schema::layout::KEY;
use super::transaction::{LOOK, Typed};
use crate::shares::Part;
use crate::store::query::{
    Page, PageOrder, PageQuery, Range, RangeQuery, StoredMessage, signed, unsigned,
};
use crate::store::reader::ReadPlan;
use crate::wire::{Id, SpaceId};

mod people;
mod words;

/// Rows that are counted one by one from the near end, before the far end is thought of.
const NEAR_ROWS: u64 = 4096;

/// Rows of a space up to an id; those above it are counted anew each time, among them ids of
/// other makers that sort above all of ours.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct RowCount {
    pub(super) rows: u64,
    /// The id; empty: no row is counted yet.
    pub(super) up_to: String,
}

/// What is known of a space before a page of it is read.
pub(super) struct Known<F> {
    /// Its rows, as far as they are counted.
    pub(super) count: RowCount,
    /// Finds the last mark at or before a row in an order.
    pub(super) mark: F,
}

/// A page, and what is learnt by reading it.
pub(super) struct ReadPage {
    /// `None`: there is no room for the page's pictures, and none was fetched.
    pub(super) page: Option<Page>,
    /// How far the space is counted now.
    pub(super) counted: RowCount,
    /// The order that it was read in.
    pub(super) order: PageOrder,
    /// The page's first row, if it was far from where the walk to it began.
    pub(super) mark: Option<Mark>,
    /// Whether a mark has led astray: rows were deleted.
    pub(super) is_astray: bool,
}

/// What is counted before a page is read.
struct Counted {
    total: u64,
    counted: RowCount,
    /// The table is the hub's.
    is_hubs: bool,
}

/// Rows of a space by their number in an order, from 0, the oldest first.
#[derive(Clone, Copy, Debug)]
struct Window {
    space: SpaceId,
    order: PageOrder,
    /// The table is the hub's.
    is_hubs: bool,
    first: u64,
    length: u64,
    /// Rows behind the last one.
    behind: u64,
}

impl Window {
    /// The rows of a page. Of the hub's tables they are read in the order of ids, as times ascend
    /// with them.
    fn of(query: &PageQuery, counted: &Counted) -> Window {
        let &PageQuery { space, page, ascending, .. } = query;
        let &Counted { total, is_hubs, .. } = counted;
        let size = u64::from(query.page_size);
        let skipped = page.max(1).saturating_sub(1).saturating_mul(size);
        let length = total.saturating_sub(skipped).min(size);
        let rest = total.saturating_sub(skipped).saturating_sub(length);
        let (first, behind) = if ascending { (skipped, rest) } else { (rest, skipped) };
        let order = if is_hubs { PageOrder::Id } else { query.order };
        Window { space, order, is_hubs, first, length, behind }
    }
}

/// A connection that reads.
#[derive(Debug)]
pub(super) struct History {
    connection: Connection,
    /// Begins a transaction of one snapshot: a commit between count and rows would move rows from
    /// one page to the next. A query ends on the server too when it is late.
    begin: String,
    texts: Texts,
    wall: WallMicros,
    /// Longer pictures are left out of ranges, as they are when fanned out (docs/WIRE.md B21).
    image_bytes_max: usize,
    /// Whether there are users with pictures.
    images: bool,
    /// Whether messages are only taken of users, and in spaces, that exist.
    keys: (bool, bool),
    /// Whether there are spaces with names that may be read.
    names: bool,
    /// What the key of the hub's tables is called where the messages are; they may come to have it
    /// at any time.
    key: Option<String>,
}

/// What there is beside the messages, and how texts are kept.
const SURROUNDINGS: &str = "SELECT \
    (SELECT count(*) = 2 FROM pg_attribute a \
     WHERE a.attrelid = to_regclass('users') AND a.attname IN ('id', 'image') \
     AND NOT a.attisdropped AND has_column_privilege(a.attrelid, a.attnum, 'SELECT')), \
    EXISTS (SELECT 1 FROM pg_constraint WHERE contype = 'f' \
     AND conrelid = to_regclass('chat_messages') AND confrelid = to_regclass('users')), \
    EXISTS (SELECT 1 FROM pg_constraint WHERE contype = 'f' \
     AND conrelid = to_regclass('chat_messages') AND confrelid = to_regclass('spaces')), \
    current_setting('server_encoding') = 'SQL_ASCII', \
    (SELECT format('%I.%I', n.nspname, $1::text) FROM pg_class c \
     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass('chat_messages')), \
    (SELECT count(*) = 2 FROM pg_attribute a \
     WHERE a.attrelid = to_regclass('spaces') AND a.attname IN ('id', 'name') \
     AND NOT a.attisdropped AND has_column_privilege(a.attrelid, a.attnum, 'SELECT'))";

impl History {
    /// Connects.
    pub(super) async fn open(url: &DatabaseUrl, plan: &ReadPlan) -> Result<History, CallFault> {
        let &ReadPlan { utc_offset, query_max, image_bytes_max, .. } = plan;
        let connection = Connection::open(url).await?;
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
             SET LOCAL statement_timeout = {query_max}; SET LOCAL lock_timeout = 0; \
             SET LOCAL idle_in_transaction_session_timeout = '15s'"
        );
        let what = "look around";
        let parameters: [Typed<'_>; 1] = [(&KEY, Type::TEXT)];
        let rows = connection.ask(what, LOOK, (SURROUNDINGS, &parameters)).await?;
        let row = rows.first();
        let has = |n| row.map_or(Ok(false), |row| column(what, row, n));
        let (images, keys, any_bytes) = (has(0)?, (has(1)?, has(2)?), has(3)?);
        let key = row.map_or(Ok(None), |row| column(what, row, 4))?;
        let names = has(5)?;
        let (wall, texts) = (WallMicros::new(utc_offset), Texts { any_bytes });
        Ok(History { connection, begin, texts, wall, image_bytes_max, images, keys, names, key })
    }

    /// Whether another connection is needed: the server, or the way to it, has gone, or there were
    /// no messages to look at.
    pub(super) fn is_closed(&self) -> bool {
        self.key.is_none() || self.connection.client.is_closed()
    }

    /// One numbered page (docs/WIRE.md A4); ids above `limit` are none of ours.
    pub(super) async fn page(
        &self,
        query: &PageQuery,
        known: &Known<impl Fn(PageOrder, u64) -> Option<Mark>>,
        limit: Id,
        room: &mut Part,
    ) -> Result<ReadPage, Error> {
        let page = self.counted_page(query, known, limit, room);
        self.connection.in_transaction(&self.begin, page).await
    }

    async fn counted_page(
        &self,
        query: &PageQuery,
        known: &Known<impl Fn(PageOrder, u64) -> Option<Mark>>,
        limit: Id,
        room: &mut Part,
    ) -> Result<ReadPage, Error> {
        let counted = self.count(query.space, &known.count, limit).await?;
        let window = Window::of(query, &counted);
        let Counted { total, counted, .. } = counted;
        let order = window.order;
        let mut read = ReadPage { page: None, counted, order, mark: None, is_astray: false };
        let (mut rows, mut has_room) = (Vec::new(), true);
        if window.length > 0 {
            let walk = window.first.min(window.behind);
            let mark = if walk > NEAR_ROWS { (known.mark)(order, window.first) } else { None };
            let mark = mark.filter(|mark| window.first - mark.row < walk);
            if let Some(mark) = &mark {
                rows = self.rows_from(window, mark).await?;
                read.is_astray = rows.len() as u64 != window.length;
            }
            if mark.is_none() || read.is_astray {
                rows = self.rows_from_an_end(window).await?;
            }
            if walk > NEAR_ROWS {
                let first = rows.first();
                read.mark = first.map(|row| Mark { row: window.first, id: row.id.clone() });
            }
            if !query.ascending {
                rows.reverse();
            }
            has_room = self.add_page_images(&mut rows, query.images_bytes_max, room).await?;
        }
        read.page = has_room.then_some(Page { rows, total });
        Ok(read)
    }

    /// Rows of a window, the oldest first, counted from the nearer end of the history.
    async fn rows_from_an_end(&self, window: Window) -> Result<Vec<StoredMessage>, Error> {
        let ascending = window.first <= window.behind;
        let from = signed(if ascending { window.first } else { window.behind });
        let parameters: [(&(dyn ToSql + Sync), Type); 3] = [
            (&window.space.0, Type::INT4),
            (&from, Type::INT8),
            (&signed(window.length), Type::INT8),
        ];
        let mut rows = self
            .rows(&page_sql(window, ascending, ("", &self.texts.columns())), &parameters)
            .await?;
        if !ascending {
            rows.reverse();
        }
        Ok(rows)
    }

    /// Rows of a window, the oldest first, counted from a mark before it.
    async fn rows_from(&self, window: Window, mark: &Mark) -> Result<Vec<StoredMessage>, Error> {
        let from = match window.order {
            PageOrder::Timestamp => {
                "AND (timestamp, id COLLATE \"C\") >= \
                 ((SELECT timestamp FROM chat_messages WHERE id = $4), $4)"
            }
            PageOrder::Id => "AND id COLLATE \"C\" >= $4",
        };
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&window.space.0, Type::INT4),
            (&signed(window.first - mark.row), Type::INT8),
            (&signed(window.length), Type::INT8),
            (&mark.id, Type::TEXT),
        ];
        self.rows(&page_sql(window, true, (from, &self.texts.columns())), &parameters).await
    }

    /// Counts a space anew: rows may have been deleted by others.
    pub(super) async fn recount(&self, space: SpaceId, limit: Id) -> Result<RowCount, Error> {
        let all = RowCount::default();
        let counting = self.count(space, &all, limit);
        Ok(self.connection.in_transaction(&self.begin, counting).await?.counted)
    }

    /// All rows of a space, and how far they are counted: up to `limit` at most. In the same trip,
    /// whether the table is the hub's.
    async fn count(&self, space: SpaceId, known: &RowCount, limit: Id) -> Result<Counted, Error> {
        let newest = "(max(id COLLATE \"C\") FILTER (WHERE id COLLATE \"C\" <= $3))::text";
        let newest = self.texts.of(newest);
        let sql = format!(
            "SELECT count(*), count(*) FILTER (WHERE id COLLATE \"C\" <= $3), {newest}, \
             to_regclass($4) IS NOT NULL \
             FROM chat_messages WHERE space_id = $1 AND id COLLATE \"C\" > $2"
        );
        let limit = limit.to_string();
        let parameters: [Typed<'_>; 4] = [
            (&space.0, Type::INT4),
            (&known.up_to, Type::TEXT),
            (&limit, Type::TEXT),
            (&self.key, Type::TEXT),
        ];
        let row = self.connection.client.query_typed_one(&sql, &parameters).await?;
        let number = |column| Ok(unsigned(row.try_get(column)?));
        let newest: Option<Readable> = row.try_get(2)?;
        let up_to = newest.map_or_else(|| known.up_to.clone(), |Readable(id)| id);
        let counted = RowCount { rows: known.rows + number(1)?, up_to };
        Ok(Counted { total: known.rows + number(0)?, counted, is_hubs: row.try_get(3)? })
    }

    /// A stretch by position (docs/WIRE.md E).
    pub(super) async fn range(&self, query: &RangeQuery) -> Result<Range, Error> {
        self.connection.in_transaction(&self.begin, self.bounded_range(query)).await
    }

    async fn bounded_range(&self, query: &RangeQuery) -> Result<Range, Error> {
        let range = self.forwards_or_backwards(query).await?;
        if !query.is_exceeded_by(&range) {
            return Ok(range);
        }
        let sql = format!(
            "SELECT {} FROM chat_messages WHERE space_id = $1 \
             AND id COLLATE \"C\" > $2 AND id COLLATE \"C\" < $3 \
             ORDER BY id COLLATE \"C\" DESC LIMIT 1 OFFSET $4",
            self.texts.of("id::text")
        );
        let id = |bound: Option<Id>, other| bound.unwrap_or(other).to_string();
        let (after, before) = (id(query.after, Id::MIN), id(query.before, Id::MAX));
        let skipped = signed(query.newest_max.unwrap_or(0) as u64);
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&query.space.0, Type::INT4),
            (&after, Type::TEXT),
            (&before, Type::TEXT),
            (&skipped, Type::INT8),
        ];
        let rows = self.connection.client.query_typed(&sql, &parameters).await?;
        let last: Option<Readable> = rows.first().map(|row| row.try_get(0)).transpose()?;
        match last.and_then(|Readable(id)| Id::parse(&id)) {
            None => Ok(range),
            after => self.forwards_or_backwards(&RangeQuery { after, ..*query }).await,
        }
    }

    async fn forwards_or_backwards(&self, query: &RangeQuery) -> Result<Range, Error> {
        let (backwards, columns) = (query.after.is_none(), self.texts.columns());
        let direction = if backwards { "DESC" } else { "ASC" };
        let after = query.after.map_or_else(String::new, |id| id.to_string());
        let before = query.before.map_or_else(String::new, |id| id.to_string());
        let below = if query.before.is_some() { "AND m.id COLLATE \"C\" < $3" } else { "" };
        let sql = format!(
            "SELECT {columns} FROM chat_messages m WHERE m.space_id = $1 \
             AND m.id COLLATE \"C\" > $2 {below} \
             ORDER BY m.id COLLATE \"C\" {direction} LIMIT $4"
        );
        let limit = i64::from(query.limit) + 1;
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&query.space.0, Type::INT4),
            (&after, Type::TEXT),
            (&before, Type::TEXT),
            (&limit, Type::INT8),
        ];
        let mut rows = self.rows(&sql, &parameters).await?;
        self.add_images(&mut rows, self.image_bytes_max).await?;
        let has_more = rows.len() as u64 > query.limit.into();
        rows.truncate(query.limit as usize);
        if backwards {
            rows.reverse();
        }
        Ok(Range { after: query.after, rows, has_more })
    }

    async fn rows(
        &self,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<StoredMessage>, Error> {
        let rows = self.connection.client.query_typed(sql, parameters).await?;
        rows.iter().map(|row| message(row, self.wall)).collect()
    }

    /// Puts in the pictures that have `bytes_max` bytes at most.
    async fn add_images(&self, rows: &mut [StoredMessage], bytes_max: usize) -> Result<(), Error> {
        if !self.images || rows.is_empty() {
            return Ok(());
        }
        let images = self.images(users(rows), bytes_max).await?;
        for row in rows {
            if let Some(image) = images.get(&row.user.0).filter(|image| image.len() <= bytes_max) {
                row.image = Arc::clone(image);
            }
        }
        Ok(())
    }

    /// Puts in the pictures that fit into `bytes_max` bytes together, in the order of the rows. A
    /// picture may have megabytes: so lengths are asked first, and what is not shown, or has no
    /// room, never leaves the database. `false`: there is no room.
    async fn add_page_images(
        &self,
        rows: &mut [StoredMessage],
        bytes_max: usize,
        room: &mut Part,
    ) -> Result<bool, Error> {
        if !self.images || rows.is_empty() {
            return Ok(true);
        }
        let sql = "SELECT id::int4, octet_length(image) FROM users WHERE id = ANY ($1) \
                   AND octet_length(image) BETWEEN 1 AND $2";
        let lengths: HashMap<i32, usize> = self
            .of_users(sql, &users(rows), bytes_max)
            .await?
            .iter()
            .map(|row| {
                Ok((row.try_get(0)?, usize::try_from(row.try_get::<_, i32>(1)?).unwrap_or(0)))
            })
            .collect::<Result<_, Error>>()?;
        let mut left = bytes_max;
        let shown: Vec<bool> = rows
            .iter()
            .map(|row| {
                let length = lengths.get(&row.user.0).copied().unwrap_or(usize::MAX);
                let fits = length <= left;
                left -= if fits { length } else { 0 };
                fits
            })
            .collect();
        let texts: usize = rows.iter().map(StoredMessage::bytes).sum();
        if !room.grow_to(texts + bytes_max - left) {
            return Ok(false);
        }
        let showing = || rows.iter().zip(&shown).filter(|(_, shown)| **shown);
        let users = showing().map(|(row, _)| row.user.0).collect();
        let images = self.images(users, bytes_max).await?;
        // Counted anew: in a database that is not in UTF-8 a picture may become longer.
        let mut left = bytes_max;
        for (row, _) in rows.iter_mut().zip(shown).filter(|(_, shown)| *shown) {
            if let Some(image) = images.get(&row.user.0).filter(|image| image.len() <= left) {
                left -= image.len();
                row.image = Arc::clone(image);
            }
        }
        Ok(true)
    }

    /// Each picture is fetched once: a page has many rows of one sender.
    async fn images(
        &self,
        users: Vec<i32>,
        bytes_max: usize,
    ) -> Result<HashMap<i32, Arc<str>>, Error> {
        let sql = format!(
            "SELECT id::int4, {} FROM users WHERE id = ANY ($1) AND octet_length(image) <= $2",
            self.texts.of("image::text")
        );
        let rows = self.of_users(&sql, &users, bytes_max).await?.into_iter();
        let image = |row: Row| {
            let Readable(image) = row.try_get(1)?;
            Ok((row.try_get(0)?, Arc::from(image)))
        };
        rows.map(image).collect()
    }

    async fn of_users(
        &self,
        sql: &str,
        users: &Vec<i32>,
        bytes_max: usize,
    ) -> Result<Vec<Row>, Error> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let longest = i32::try_from(bytes_max).unwrap_or(i32::MAX);
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(users, Type::INT4_ARRAY), (&longest, Type::INT4)];
        self.connection.client.query_typed(sql, &parameters).await
    }
}

/// Who has said these, each once.
fn users(rows: &[StoredMessage]) -> Vec<i32> {
    let mut users: Vec<i32> = rows.iter().map(|row| row.user.0).collect();
    users.sort_unstable();
    users.dedup();
    users
}

/// Finds the page's keys in an index alone, from where it is said, then their rows by the key that
/// the table has.
fn page_sql(window: Window, ascending: bool, (from, columns): (&str, &str)) -> String {
    let direction = if ascending { "ASC" } else { "DESC" };
    // One by one (`OFFSET 0`): where statistics are older than most of a space, the planner would
    // read the whole space instead.
    let rows = match window.is_hubs {
        true => {
            ", LATERAL (SELECT id, content, user_id, username, space_id, timestamp \
             FROM chat_messages m \
             WHERE m.space_id = $1 AND m.id COLLATE \"C\" = keys.id OFFSET 0) m"
        }
        false => "JOIN chat_messages m ON m.id = keys.id",
    };
    let by = |table: &str| match window.order {
        PageOrder::Timestamp => {
            format!("{table}timestamp {direction}, {table}id COLLATE \"C\" {direction}")
        }
        PageOrder::Id => format!("{table}id COLLATE \"C\" {direction}"),
    };
    format!(
        "WITH keys AS MATERIALIZED (SELECT id FROM chat_messages WHERE space_id = $1 {from} \
         ORDER BY {} OFFSET $2 LIMIT $3) \
         SELECT {columns} FROM keys {rows} ORDER BY {}",
        by(""),
        by("m."),
    )
}
