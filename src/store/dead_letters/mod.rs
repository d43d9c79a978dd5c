//! Dead letters: records that the sink refuses for what they are, kept in a file of lines until
//! an operator, at the console or by `cpi-hub dead-letters`, finds that the sink takes them.

pub(crate) mod file;
pub(crate) mod newest;
pub(crate) mod retrial;
pub(crate) mod retry;
pub(crate) mod tally;
