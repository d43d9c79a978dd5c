//! What a data directory remembers of the database that it has served: a file of one line.
//!
//! With it a hub whose database is away knows that its journals belong there, and above which id
//! it may go on; so it serves at once, and stores later.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::store::journal::sync_folder;
use crate::wire::Id;

const SERVED_FILE: &str = "served-database.json";

/// A database that has been reached from this directory, with its schema up to date.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::store) struct Served {
    /// Which.
    pub(in crate::store) database: String,
    /// The highest id that it held then.
    pub(in crate::store) highest: Id,
}

impl Served {
    /// What the directory remembers; nothing that can't be read is believed.
    pub(in crate::store) fn read(data_dir: &Path) -> io::Result<Option<Served>> {
        let text = match fs::read_to_string(data_dir.join(SERVED_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let Ok(line) = serde_json::from_str::<serde_json::Value>(&text) else { return Ok(None) };
        let highest = line["highest"].as_str().and_then(Id::parse);
        let database = line["database"].as_str().map(str::to_owned);
        Ok(database.zip(highest).map(|(database, highest)| Served { database, highest }))
    }

    /// Remembers it, whole or not at all.
    pub(in crate::store) fn write(&self, data_dir: &Path) -> io::Result<()> {
        let line = serde_json::json!({
            "database": self.database,
            "highest": self.highest.to_string(),
        });
        let (path, new) = (data_dir.join(SERVED_FILE), data_dir.join("served-database.new"));
        let mut file = File::create(&new)?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        sync_folder(data_dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_remembers_what_it_has_served() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(Served::read(folder.path()).expect("it reads"), None);
        for highest in [Id::MIN, Id(77)] {
            let served = Served { database: "db:5432/hub \"é\"".into(), highest };
            served.write(folder.path()).expect("it writes");
            assert_eq!(Served::read(folder.path()).expect("it reads"), Some(served));
        }
        for torn in ["", "{", "{\"database\":1}", "[]"] {
            fs::write(folder.path().join(SERVED_FILE), torn).expect("it writes");
            assert_eq!(Served::read(folder.path()).expect("it reads"), None);
        }
    }
}
