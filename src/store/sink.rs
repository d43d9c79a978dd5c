//! What records end in, as the batcher sees it.

use std::collections::BTreeSet;

use super::batcher::batch::Batch;
use super::journal::JournalId;
use crate::wire::record::Record;
use crate::wire::reject::Reject;
use crate::wire::{Id, SpaceId, UserId};

/// Why a sink did not do it, sorted by what the batcher does next. Reasons hold no message text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SinkError {
    /// Nothing was committed, and waiting may mend it.
    #[error("{0}")]
    Retry(String),
    /// It may have been committed: read the positions back.
    #[error("{0}")]
    Unclear(String),
    /// Nothing was committed, because of a row or of the table: trying tells which.
    #[error("{0}")]
    Data(String),
    /// Nothing was committed, because a row names a user or a space that does not exist.
    #[error("{0}")]
    Orphan(String),
    /// Nothing was committed, because the table takes no row at all: none was sent.
    #[error("{0}")]
    Closed(String),
    /// Nothing was committed or even tried, and only a person can mend it.
    #[error("{0}")]
    Refused(String),
    /// The store is damaged: nothing is to be stored in it any more.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// Nothing was committed, because another hub serves the database; which.
    #[error("another hub serves this database: {0}")]
    Taken(String),
}

/// Users and spaces that do not exist.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct AbsentIds {
    /// Users.
    pub users: BTreeSet<UserId>,
    /// Spaces.
    pub spaces: BTreeSet<SpaceId>,
}

impl AbsentIds {
    /// What is to be said of a record, if its user or its space does not exist.
    pub fn reject(&self, record: &Record<'_>) -> Option<Reject> {
        if self.spaces.contains(&record.space) {
            return Some(Reject::UnknownSpace);
        }
        self.users.contains(&record.user).then_some(Reject::UnknownUser)
    }
}

/// A journal that was stored to its end, and is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gone {
    /// The journal.
    pub journal: JournalId,
    /// The sink's position then.
    pub stored: u64,
    /// Its highest id.
    pub highest: Id,
}

/// A message that is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sought {
    /// Its space; `None`: that is not known, and it takes longer to find.
    pub space: Option<SpaceId>,
    /// Its id.
    pub id: Id,
}

impl Sought {
    /// A message of which only the id is known.
    pub fn anywhere(id: Id) -> Sought {
        Sought { space: None, id }
    }
}

impl From<Record<'_>> for Sought {
    fn from(record: Record<'_>) -> Sought {
        Sought { space: Some(record.space), id: record.id }
    }
}

/// What a sink knows of journals that are gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Past {
    /// The positions of those asked for, in their order; `None`: it has forgotten that one, or
    /// never knew it.
    pub positions: Vec<Option<u64>>,
    /// The highest id that it has ever held; those of forgotten journals are at most this.
    pub highest: Id,
}

/// What is known before rows are tried.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SiftHints {
    /// Users and spaces that the database says do not exist.
    pub absent: AbsentIds,
    /// User and space of the last row that was stored.
    pub good: Option<(UserId, SpaceId)>,
    /// Failures since then: each time other rows are sampled.
    pub round: usize,
}

/// A row that is refused for what it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusedRow {
    /// Its place among the rows.
    pub row: usize,
    /// The database's words.
    pub reason: String,
    /// The row names a user or a space that does not exist.
    pub orphan: bool,
}

/// What trying has shown.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Sifted {
    /// How many rows from the front are taken or refused for what they are.
    pub decided: usize,
    /// Rows that are refused for what they are, in their order.
    pub refused: Vec<RefusedRow>,
    /// What the database says of a harmless row in the place of the first that is not decided,
    /// where it refuses all that was tried from there on.
    pub stuck: Option<String>,
}

/// Stores batches and each journal's position in one transaction.
///
/// A call may be dropped at any await: the batcher then reads positions back before it goes on.
#[expect(async_fn_in_trait, reason = "it runs on the store's own thread, so no bound is needed")]
pub trait Sink {
    /// What sort of database it is, by the names that OpenTelemetry has.
    const SYSTEM: &'static str;

    /// The positions of these journals, in their order; 0: none is known.
    async fn positions(&mut self, journals: &[JournalId]) -> Result<Vec<u64>, SinkError>;

    /// Stores a batch's rows and steps, all or nothing. Each step's `last` is held against what
    /// the sink has before a row is sent; if they differ, nothing is done (`Unclear`).
    async fn append(&mut self, batch: &Batch) -> Result<(), SinkError>;

    /// For how many milliseconds the next batch's rows had better wait for others, where few
    /// large transactions cost the hub much less than many small ones.
    fn wait(&self) -> u64 {
        0
    }

    /// Which rows of a refused batch are refused for what they are. Nothing is stored.
    async fn sift(&mut self, batch: &Batch, known: &SiftHints) -> Result<Sifted, SinkError>;

    /// The rights that the hub needs and does not have, as far as they are known.
    fn lacks(&self) -> Option<&str> {
        None
    }

    /// Looks again which rights the hub has.
    async fn look_at_rights(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Which of a batch's users and spaces do not exist, where the sink knows users and spaces,
    /// and can be asked.
    async fn absent(&mut self, _batch: &Batch) -> Result<AbsentIds, SinkError> {
        Ok(AbsentIds::default())
    }

    /// Drops the position of a journal whose files are gone; its highest id stays known. A sink
    /// that is not at that position any more keeps what it has.
    async fn forget(&mut self, gone: &Gone) -> Result<(), SinkError>;

    /// Whether it is the one that was asked last: a new connection may lead to another database,
    /// or to an older copy of the same.
    fn is_connected(&self) -> bool {
        true
    }

    /// The random name that the store itself holds.
    async fn identity(&mut self) -> Result<String, SinkError>;

    /// What is known of journals that are gone. Ids above `limit` count for nothing.
    async fn past(&mut self, journals: &[JournalId], limit: Id) -> Result<Past, SinkError>;

    /// Which of these messages are stored.
    async fn stored_ids(&mut self, sought: &[Sought]) -> Result<BTreeSet<Id>, SinkError>;

    /// Gives free what other hubs wait for; nothing is stored after it.
    async fn release(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Drops the positions of other journals than these that never held a record, where the sink
    /// has such: those of runs that nobody said a word to.
    async fn forget_unused(&mut self, _journals: &[JournalId]) -> Result<(), SinkError> {
        Ok(())
    }

    /// The highest id stored, those that are no ids or above `limit` left out.
    async fn highest_id(&mut self, limit: Id) -> Result<Id, SinkError>;
}
