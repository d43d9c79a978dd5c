//! Positions: what the id of a chat, with which a client comes back, means to a space's log.

use crate::wire::Id;

/// What lies behind a log: every chat of the space with a greater id is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Floor {
    /// The last id that is not, or may not be, in the log.
    pub id: Id,
    /// The number of the last record up to it: once that is committed, the store has them all.
    pub record: u64,
}

/// Where in a log the frames behind a position are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Whereabouts {
    /// The first frame behind the id, and how many chats follow.
    At {
        /// Offset of a frame's begin.
        offset: u64,
        /// Chats from there on.
        chats: usize,
    },
    /// The log does not reach back that far; chats above the floor are all here.
    Trimmed {
        /// The lowest offset retained.
        offset: u64,
        /// What lies behind the log.
        floor: Floor,
        /// Chats from there on.
        chats: usize,
    },
    /// The id lies above the newest.
    Ahead,
}

/// A chat that is none any more: the store will never hold it, and nobody has been sent it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Struck {
    /// What its id was.
    pub id: Id,
    /// Where in the log it stood.
    pub offset: u64,
    /// The chat before it, or what lies behind the log where there is none.
    pub before: Id,
}
