//! What a data directory knows of its store, beside the journals: which store it is, what was
//! stored and has left the journals, what the store lacks of it, whether the files are still
//! where they were, and that nobody else can read them.

pub(crate) mod bound;
pub(crate) mod holes;
pub(crate) mod private;
pub(crate) mod served;
pub(crate) mod strayed;
pub(crate) mod trimmed;
