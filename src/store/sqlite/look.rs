//! What the embedded database knows of journals and of itself: for `cpi-hub journal`, and for a
//! start that must not change it yet.

use std::collections::HashMap;
use std::path::Path;

use super::DATABASE_FILE;
use crate::store::upgrade::open_to_look;

/// How far each journal is stored in the embedded database of a data directory; `None`: there is
/// none, or it can't be read. No file is changed.
pub fn stored_positions(data_dir: &Path) -> Option<HashMap<String, u64>> {
    let connection = open_to_look(&data_dir.join(DATABASE_FILE)).ok().flatten()?;
    let mut statement = connection.prepare("SELECT journal, position FROM hub_positions").ok()?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?))).ok()?;
    let positions = rows.map_while(Result::ok);
    Some(positions.map(|(journal, at)| (journal, u64::try_from(at).unwrap_or(0))).collect())
}

/// The name that the embedded database of a data directory holds; `None`: there is none, or it is
/// of an earlier version. No file is changed.
pub(crate) fn stored_name(data_dir: &Path) -> Option<String> {
    let connection = open_to_look(&data_dir.join(DATABASE_FILE)).ok().flatten()?;
    super::identity(&connection).ok()
}
