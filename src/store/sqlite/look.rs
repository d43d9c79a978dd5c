//! What the embedded database knows of journals and of itself: for `cpi-hub journal`, and for a
//! start that must not change it yet.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{BUSY_WAIT, DATABASE_FILE};
use crate::store::query::unsigned;

/// How far each journal is stored in the embedded database of a data directory; `None`: there is
/// none, or it can't be read. No file is changed.
pub fn stored_positions(data_dir: &Path) -> Option<HashMap<String, u64>> {
    let connection = open_to_look(&data_dir.join(DATABASE_FILE)).ok().flatten()?;
    let mut statement = connection.prepare("SELECT journal, position FROM hub_positions").ok()?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?))).ok()?;
    let positions = rows.map_while(Result::ok);
    Some(positions.map(|(journal, at)| (journal, unsigned(at))).collect())
}

/// The name that the embedded database of a data directory holds; `None`: there is none, or it is
/// of an earlier version. No file is changed.
pub(crate) fn stored_name(data_dir: &Path) -> Option<String> {
    let connection = open_to_look(&data_dir.join(DATABASE_FILE)).ok().flatten()?;
    super::identity(&connection).ok()
}

/// Opens the embedded database without a change to any file; `None`: there is none.
pub(super) fn open_to_look(path: &Path) -> Result<Option<Connection>, rusqlite::Error> {
    let with = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        Path::new(&name).exists()
    };
    if !with("") {
        return Ok(None);
    }
    let mut uri = String::from("file:");
    for letter in path.to_string_lossy().chars() {
        match letter {
            '%' => uri.push_str("%25"),
            '?' => uri.push_str("%3f"),
            '#' => uri.push_str("%23"),
            letter => uri.push(letter),
        }
    }
    // A database that nobody has open has no log beside it, and opening would make one.
    if !with("-wal") {
        uri.push_str("?immutable=1");
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri, flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    Ok(Some(connection))
}
