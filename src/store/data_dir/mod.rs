//! What a data directory knows of its store, beside the journals: which store it is, what was
//! stored and has left the journals, what the store lacks of it, and whether the files are still
//! where they were.

pub(crate) mod bound;
pub(crate) mod holes;
pub(crate) mod served;
pub(crate) mod strayed;
pub(crate) mod trimmed;
