//! What operators ask and do.

pub(super) mod notify;
