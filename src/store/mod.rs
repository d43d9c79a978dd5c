//! The store: journal, batcher, sinks and reader (types here; one file each).

use crate::wire::time::Micros;
use crate::wire::{Id, SpaceId, UserId};

pub mod batch;
pub mod journal;
pub mod latest;

/// One stored chat message, as history shows it (WIRE A4, E).
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
    /// Where.
    pub space: SpaceId,
    /// When.
    pub at: Micros,
    /// The sender's current picture, or "".
    pub image: String,
}

/// What a numbered page is ordered by; ties by id in the same direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageOrder {
    /// By instant.
    Timestamp,
    /// By id.
    Id,
}

/// A numbered page, as the existing front end asks (WIRE A4).
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
}

/// A page and the number of all rows of its space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// In the order asked for.
    pub rows: Vec<StoredMessage>,
    /// All rows of the space.
    pub total: u64,
}

/// A stretch of a space's history, by position (WIRE E).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RangeQuery {
    /// The space.
    pub space: SpaceId,
    /// Only ids above; with no `before`, or with one: the first after it.
    pub after: Option<Id>,
    /// Only ids below; with no `after`: the last before it.
    pub before: Option<Id>,
    /// Rows at most.
    pub limit: u32,
}

/// Ascending by id, and whether the range holds more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Range {
    /// Ascending by id.
    pub rows: Vec<StoredMessage>,
    /// Whether `limit` cut the range short.
    pub has_more: bool,
}

/// History can't be read now; already logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the store can't be read")]
pub struct ReadFault;

/// Reads history over connections of its own, never on a shard's thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {}

impl Reader {
    /// One numbered page.
    pub async fn page(&self, _query: PageQuery) -> Result<Page, ReadFault> {
        unimplemented!()
    }

    /// A stretch by position.
    pub async fn range(&self, _query: RangeQuery) -> Result<Range, ReadFault> {
        unimplemented!()
    }
}

/// What the sink is doing, for `/readyz`, logs and people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreState {
    /// Not yet reached since the start.
    Connecting,
    /// Committing.
    Ready,
    /// Committing, with a backlog of more than a few seconds, or failing and trying again.
    Behind,
    /// Refused for a reason that waiting does not mend.
    Refused,
}
