//! What a data directory remembers of the store that its journals belong to: a file of one line,
//! and a second one from the end of a hub in order to the next start.
//!
//! With it a hub whose database is away knows that its journals belong there, and above which id
//! it may go on; so it serves at once, and stores later. And a hub that finds another store in
//! its place knows that these journals are not for it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::store::files::replace;
use crate::store::journal::JournalId;
use crate::wire::Id;

const SERVED_FILE: &str = "served-database.json";
const STORED_FILE: &str = "stored-at-end.json";

/// Offsets in journals.
pub(crate) type Offsets = BTreeMap<JournalId, u64>;

/// A store that has been reached from this directory, with its schema up to date.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Served {
    /// Where it was.
    pub(crate) database: String,
    /// The random name that it holds itself; earlier versions did not ask for it.
    pub(crate) store: Option<String>,
    /// The highest id that it held then.
    pub(crate) highest: Id,
    /// What lies before these went to another store.
    pub(crate) elsewhere: Offsets,
}

impl Served {
    /// A store whose journals have all been its own.
    pub(crate) fn new(database: String, store: Option<String>, highest: Id) -> Served {
        Served { database, store, highest, elsewhere: Offsets::new() }
    }

    /// What the directory remembers; nothing that can't be read is believed.
    pub(crate) fn read(data_dir: &Path) -> io::Result<Option<Served>> {
        let text = match fs::read_to_string(data_dir.join(SERVED_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let Ok(line) = serde_json::from_str::<Value>(&text) else { return Ok(None) };
        let highest = line["highest"].as_str().and_then(Id::parse);
        let text = |name: &str| line[name].as_str().map(str::to_owned);
        let served = |(database, highest)| Served {
            database,
            store: text("store"),
            highest,
            elsewhere: offsets(&line["elsewhere"]),
        };
        Ok(text("database").zip(highest).map(served))
    }

    /// Remembers this store, whole or not at all.
    pub(crate) fn write(&self, data_dir: &Path) -> io::Result<()> {
        let line = json!({
            "database": self.database,
            "store": self.store,
            "highest": self.highest.to_string(),
            "elsewhere": value(&self.elsewhere),
        });
        replace(&data_dir.join(SERVED_FILE), format!("{line}\n").as_bytes())
    }
}

/// How far the store had the journals when a hub ended in order; empty if one has run since.
pub(crate) fn read_stored(data_dir: &Path) -> io::Result<Offsets> {
    match fs::read(data_dir.join(STORED_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Offsets::new()),
        text => Ok(offsets(&serde_json::from_slice(&text?).unwrap_or_default())),
    }
}

/// Whether the last hub has ended in order.
pub(crate) fn has_ended(data_dir: &Path) -> bool {
    data_dir.join(STORED_FILE).exists()
}

/// Remembers how far the store has the journals, when a hub ends in order.
pub(crate) fn write_stored(data_dir: &Path, stored: &Offsets) -> io::Result<()> {
    replace(&data_dir.join(STORED_FILE), format!("{}\n", value(stored)).as_bytes())
}

/// Forgets how far the store had the journals: a hub runs, and will move it. Takes no room on a
/// disk that journals fill.
pub(crate) fn forget_stored(data_dir: &Path) -> io::Result<()> {
    match fs::remove_file(data_dir.join(STORED_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn value(offsets: &Offsets) -> Value {
    let each = offsets.iter().map(|(journal, at)| (journal.to_string(), (*at).into()));
    Value::Object(each.collect::<Map<String, Value>>())
}

fn offsets(value: &Value) -> Offsets {
    let offset = |(name, at): (&String, &Value)| {
        Some((JournalId(u128::from_str_radix(name, 16).ok()?), at.as_u64()?))
    };
    value.as_object().into_iter().flatten().filter_map(offset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_remembers_what_it_has_served() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(Served::read(folder.path()).expect("it reads"), None);
        for (highest, store) in [(Id::MIN, None), (Id(77), Some("a name".to_owned()))] {
            let served = Served {
                database: "db:5432/hub \"é\"".into(),
                store,
                highest,
                elsewhere: Offsets::from([(JournalId(5), 7), (JournalId(u128::MAX), u64::MAX)]),
            };
            served.write(folder.path()).expect("it writes");
            assert_eq!(Served::read(folder.path()).expect("it reads"), Some(served));
        }
        let stored = Offsets::from([(JournalId(5), 9)]);
        write_stored(folder.path(), &stored).expect("it writes");
        assert_eq!(read_stored(folder.path()).expect("it reads"), stored);
        for _ in 0..2 {
            forget_stored(folder.path()).expect("it goes");
            assert_eq!(read_stored(folder.path()).expect("it reads"), Offsets::new());
        }
        let old = format!("{{\"database\":\"db\",\"highest\":\"{}\"}}\n", Id(5));
        fs::write(folder.path().join(SERVED_FILE), old).expect("it writes");
        let served = Served::new("db".into(), None, Id(5));
        assert_eq!(Served::read(folder.path()).expect("it reads"), Some(served), "an older form");
        for torn in ["", "{", "{\"database\":1}", "[]"] {
            fs::write(folder.path().join(SERVED_FILE), torn).expect("it writes");
            assert_eq!(Served::read(folder.path()).expect("it reads"), None);
        }
    }
}
