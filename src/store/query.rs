//! What history is asked and what it answers, the same for every database.
//!
//! Owns nothing; `reader` passes both on, and each database has its own way to the answers.

use std::sync::Arc;

use crate::wire::time::Micros;
use crate::wire::{Id, SpaceId, UserId};

/// One stored chat message, as history shows it (docs/WIRE.md A4, E).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredMessage {
    /// The id as stored; rows of the existing server may hold any text.
    pub id: String,
    /// The text.
    pub content: String,
    /// Who said it.
    pub user: UserId,
    /// The name at that time.
    pub username: String,
    /// The space that it was said in.
    pub space: SpaceId,
    /// When it was said.
    pub at: Micros,
    /// The sender's current picture, or ""; rows of one sender share it.
    pub image: Arc<str>,
}

impl StoredMessage {
    /// What it holds of memory; a picture counts with each row that shows it.
    pub fn bytes(&self) -> usize {
        let texts = self.id.len() + self.content.len() + self.username.len() + self.image.len();
        size_of::<StoredMessage>() + texts
    }
}

/// What rows hold of memory.
pub(super) fn bytes_of(rows: &[StoredMessage]) -> usize {
    rows.iter().map(StoredMessage::bytes).sum()
}

impl AsRef<[StoredMessage]> for Page {
    fn as_ref(&self) -> &[StoredMessage] {
        &self.rows
    }
}

impl AsRef<[StoredMessage]> for Range {
    fn as_ref(&self) -> &[StoredMessage] {
        &self.rows
    }
}

/// What a numbered page is ordered by; ties by id in the same direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageOrder {
    /// The instant of a message.
    Timestamp,
    /// The id of a message.
    Id,
}

/// A numbered page, as the existing front end asks (docs/WIRE.md A4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageQuery {
    /// The space.
    pub space: SpaceId,
    /// From 1.
    pub page: u64,
    /// Rows of one page.
    pub page_size: u32,
    /// What it is ordered by.
    pub order: PageOrder,
    /// Oldest first.
    pub ascending: bool,
    /// All pictures of the page together; what no longer fits is left out (docs/WIRE.md A4).
    pub images_bytes_max: usize,
}

/// A page and the number of all rows of its space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// In the order asked for.
    pub rows: Vec<StoredMessage>,
    /// All rows of the space.
    pub total: u64,
}

/// A stretch of a space's history, by position (docs/WIRE.md E).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RangeQuery {
    /// The space.
    pub space: SpaceId,
    /// Lower bound, exclusive. If it is set, the range is read forwards from here.
    pub after: Option<Id>,
    /// Upper bound, exclusive. If only this is set, the range is read backwards from here.
    pub before: Option<Id>,
    /// The newest rows of those that are wanted, where older ones are to be left out; with `after`
    /// and `before`.
    pub newest_max: Option<usize>,
    /// Rows at most.
    pub limit: u32,
}

impl RangeQuery {
    /// Whether a range holds more than the newest rows that are wanted.
    pub(super) fn is_exceeded_by(&self, range: &Range) -> bool {
        self.newest_max.is_some_and(|newest| range.has_more || range.rows.len() > newest)
    }
}

/// Whether a user and a space exist, as far as the store knows users and spaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Existing {
    /// The user does.
    pub user: bool,
    /// The space does.
    pub space: bool,
}

/// Ascending by id, and whether the range holds more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Range {
    /// Above which id the rows begin: the query's `after`, or the last one that was left out
    /// because of `newest_max`.
    pub after: Option<Id>,
    /// The id of a message.
    pub rows: Vec<StoredMessage>,
    /// Whether `limit` cut the range short.
    pub has_more: bool,
}

/// Why history is not read now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadFault {
    /// The store can't be read, which is logged already.
    #[error("the store can't be read")]
    Away,
    /// Too many questions wait, or there is no room for the rows: in all, or for this address.
    #[error("too much is asked at once")]
    Full,
}

/// A count as databases take it.
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count or a position out of a database; none is below 0.
pub(super) fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
