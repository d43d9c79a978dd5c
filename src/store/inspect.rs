//! What the embedded database knows of journals, for `cpi-hub journal`.

use std::collections::HashMap;
use std::path::Path;

use super::sqlite::DATABASE_FILE;
use super::upgrade::open_to_look;

/// How far each journal is stored in the embedded database of a data directory; `None`: there is
/// none, or it can't be read. No file is changed.
pub fn stored_positions(data_dir: &Path) -> Option<HashMap<String, u64>> {
    let connection = open_to_look(&data_dir.join(DATABASE_FILE)).ok().flatten()?;
    let mut statement = connection.prepare("SELECT journal, position FROM hub_positions").ok()?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?))).ok()?;
    let positions = rows.map_while(Result::ok);
    Some(positions.map(|(journal, at)| (journal, u64::try_from(at).unwrap_or(0))).collect())
}
