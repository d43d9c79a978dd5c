//! Which store a data directory's journals are for: the one that they were made for, unless the
//! operator says otherwise.
//!
//! A store is known by the random name that it holds itself; by its address only where that name
//! has not been read yet. Journals with records that wait are for no other store; those without
//! are bound to the new one. Owns what the directory remembers of it.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use super::served::{Offsets, Served, forget_stored, read_stored, write_stored};
use crate::store::OpenError;
use crate::store::files::is_full;
use crate::store::journal::{Tail, TailFault};
use crate::store::sqlite::DATABASE_FILE;
use crate::store::sqlite::look::{stored_name, stored_positions};
use crate::wire::Id;
use crate::wire::record::records;

/// The store that a start has before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    /// Where it is: a database's address, or the embedded one's file.
    pub(crate) database: String,
    /// Its own name, where it was reached; an embedded one that is not there has none either.
    pub(crate) store: Option<String>,
}

/// What a directory's memory says of a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Relation {
    /// The directory has served none yet.
    First,
    /// It is the store that was bound, here or at another address.
    Same,
    /// The address is the one that was bound; the database there was not asked before, or can't be
    /// asked yet.
    SameAddress,
    /// Another address, whose database has to be asked for its name.
    Unknown,
    /// Another store.
    Other,
}

/// What a start knows of the directory.
#[derive(Debug)]
pub(crate) struct Remembered {
    data_dir: PathBuf,
    served: Option<Served>,
    /// How far the store had found journals, where that is known.
    stored: HashMap<String, u64>,
    /// Whether `stored` is known exactly.
    exact: bool,
}

/// A running hub has met another store than the one it is bound to, and must store no more.
#[derive(Debug, thiserror::Error)]
#[error(
    "{database} is another store than the one that the journals of {} were made for; nothing was \
     written to it",
    data_dir.display()
)]
pub(crate) struct OtherStore {
    /// Where the other store is.
    database: String,
    /// The directory of the journals.
    data_dir: PathBuf,
}

/// Whether it is the embedded database that a directory has served.
pub(crate) fn is_embedded(served: &Served) -> bool {
    served.database == DATABASE_FILE
}

impl Remembered {
    /// Reads what a directory remembers. Earlier versions have noted nothing: then an embedded
    /// database in it is the store.
    pub(crate) fn read(data_dir: &Path) -> io::Result<Remembered> {
        let embedded = stored_name(data_dir);
        let mut served = Served::read(data_dir)?;
        if served.is_none() && data_dir.join(DATABASE_FILE).exists() {
            served = Some(Served::new(DATABASE_FILE.into(), embedded.clone(), Id::MIN));
        }
        let (mut stored, mut exact) = (HashMap::new(), false);
        if let Some(served) = &served {
            let at_end = read_stored(data_dir)?;
            stored = at_end.iter().map(|(it, at)| (it.to_string(), *at)).collect();
            exact = !stored.is_empty();
            let same = served.store.is_none() || served.store == embedded;
            if is_embedded(served)
                && same
                && let Some(positions) = stored_positions(data_dir)
            {
                (stored, exact) = (positions, true);
            }
        }
        Ok(Remembered { data_dir: data_dir.into(), served, stored, exact })
    }

    /// The highest id that the store held.
    pub(crate) fn highest(&self) -> Id {
        self.served.as_ref().map_or(Id::MIN, |served| served.highest)
    }

    /// Where the store was.
    pub(crate) fn database(&self) -> &str {
        self.served.as_ref().map_or("", |served| &served.database)
    }

    /// Whether a target is the store that is remembered.
    pub(crate) fn relation(&self, target: &Target) -> Relation {
        let Some(served) = &self.served else { return Relation::First };
        let same_kind = is_embedded(served) == (target.database == DATABASE_FILE);
        let same_address = served.database == target.database;
        match (&served.store, &target.store) {
            _ if !same_kind => Relation::Other,
            (Some(ours), Some(theirs)) if ours == theirs => Relation::Same,
            (Some(_), Some(_)) => Relation::Other,
            // An embedded database that was there once, and is not.
            (Some(_), None) if same_address && is_embedded(served) => Relation::Other,
            _ if same_address => Relation::SameAddress,
            (Some(_), None) => Relation::Unknown,
            (None, _) => Relation::Other,
        }
    }

    /// Refuses a start whose journals hold what waits for another store, unless they are to be
    /// taken to this one. What was stored in the other is then left out.
    pub(crate) fn part_with(
        &mut self,
        found: &mut [Tail],
        target: &Target,
        take: bool,
    ) -> Result<Offsets, OpenError> {
        let (mut waiting, mut elsewhere) = (0, Offsets::new());
        for tail in found {
            let stored = self.stored.get(&tail.journal().to_string()).copied().unwrap_or(0);
            let from = self.floor(tail).max(stored).max(tail.begin());
            waiting += count(tail, from).map_err(|error| OpenError::Io {
                path: error.file.clone(),
                error: error.source.unwrap_or_else(|| io::ErrorKind::InvalidData.into()),
            })?;
            elsewhere.insert(tail.journal(), from);
        }
        let (old, new) = (self.database().to_owned(), target.database.clone());
        if waiting > 0 && !take {
            let messages = if waiting == 1 { "message waits" } else { "messages wait" };
            let about = if self.exact { "" } else { "up to " };
            return Err(OpenError::Bound {
                data_dir: self.data_dir.clone(),
                waiting: format!("{about}{waiting} {messages}"),
                new: if old == new { "the one in its place".into() } else { named(&new) },
                way_back: match (old == DATABASE_FILE, old == new) {
                    (true, true) => "put that one back",
                    (true, false) => "leave DATABASE_URL out",
                    (false, _) => "give that one's DATABASE_URL again",
                },
                old: named(&old),
            });
        }
        tracing::warn!(from = old, to = new, taken = waiting, "journals go to another store now");
        Ok(elsewhere)
    }

    /// What lies before this offset of a journal went to another store before.
    fn floor(&self, tail: &Tail) -> u64 {
        let elsewhere = self.served.as_ref().and_then(|it| it.elsewhere.get(&tail.journal()));
        elsewhere.copied().unwrap_or(0)
    }

    /// Remembers the store that the journals are bound to from now on.
    pub(crate) fn bind(
        self,
        target: Target,
        highest: Id,
        elsewhere: Option<Offsets>,
    ) -> io::Result<Bound> {
        forget_stored(&self.data_dir)?;
        let mut served = Served::new(target.database, target.store, highest);
        let same = elsewhere.is_none() && self.served.is_some();
        match (elsewhere, &self.served) {
            (Some(elsewhere), _) => served.elsewhere = elsewhere,
            (None, Some(before)) => {
                served.elsewhere.clone_from(&before.elsewhere);
                served.store = served.store.or_else(|| before.store.clone());
                // This id was the lowest that is safe, and it still is.
                served.highest = before.highest;
            }
            (None, None) => {}
        }
        if self.served.as_ref() != Some(&served) {
            match served.write(&self.data_dir) {
                // Journals fill the disk, and only a hub that runs can store them. The next start
                // tries again to remember.
                Err(error) if is_full(&error) && same => {
                    tracing::warn!(%error, "the store's new name or address is not remembered");
                }
                written => written?,
            }
        }
        Ok(Bound { data_dir: self.data_dir, served })
    }
}

/// What a store is called where somebody reads it.
fn named(database: &str) -> String {
    match database == DATABASE_FILE {
        true => format!("the embedded database ({DATABASE_FILE})"),
        false => database.to_owned(),
    }
}

/// Counts a journal's records from an offset on.
fn count(tail: &mut Tail, from: u64) -> Result<u64, TailFault> {
    let begin = tail.begin();
    tail.start_at(from);
    let mut waiting = 0;
    while let Some(stretch) = tail.read()? {
        waiting += records(stretch.records).count() as u64;
    }
    tail.start_at(begin);
    Ok(waiting)
}

/// The store that a running hub's journals are bound to.
#[derive(Debug)]
pub(crate) struct Bound {
    data_dir: PathBuf,
    served: Served,
}

impl Bound {
    /// The store that a running hub has bound its journals to, as its directory remembers it.
    pub(crate) fn again(data_dir: &Path) -> io::Result<Bound> {
        let served = Served::read(data_dir)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Bound { data_dir: data_dir.into(), served })
    }

    /// What lies before these offsets belongs to another store.
    pub(crate) fn elsewhere(&self) -> &Offsets {
        &self.served.elsewhere
    }

    /// A store says its name. The first one is remembered, if none was known.
    pub(crate) fn meet(&mut self, store: &str) -> Result<(), OtherStore> {
        match &self.served.store {
            Some(known) if known == store => Ok(()),
            Some(_) => Err(OtherStore {
                database: named(&self.served.database),
                data_dir: self.data_dir.clone(),
            }),
            None => {
                self.served.store = Some(store.into());
                if let Err(error) = self.served.write(&self.data_dir) {
                    // The next start learns the name as this one did.
                    tracing::warn!(%error, "the store's name can't be remembered");
                }
                Ok(())
            }
        }
    }

    /// Notes how far the journals are stored, for a start that can't ask the store.
    pub(crate) fn ends(&self, stored: &Offsets) -> io::Result<()> {
        write_stored(&self.data_dir, stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered(database: &str, store: Option<&str>) -> Remembered {
        let served = Served::new(database.into(), store.map(str::to_owned), Id::MIN);
        let served = Some(served);
        let stored = HashMap::new();
        Remembered { data_dir: "data".into(), served, stored, exact: false }
    }

    #[test]
    fn a_store_is_known_by_its_name_and_by_its_address_only_without_one() {
        use Relation::{Other, Same, SameAddress, Unknown};
        let file = DATABASE_FILE;
        for (before, now, expected) in [
            (("db/hub", Some("a")), ("db/hub", Some("a")), Same),
            (("db/hub", Some("a")), ("moved/hub", Some("a")), Same),
            (("db/hub", Some("a")), ("db/hub", None), SameAddress),
            (("db/hub", None), ("db/hub", Some("a")), SameAddress),
            (("db/hub", Some("a")), ("moved/hub", None), Unknown),
            (("db/hub", Some("a")), ("db/hub", Some("b")), Other),
            (("db/hub", Some("a")), ("moved/hub", Some("b")), Other),
            (("db/hub", None), ("moved/hub", Some("b")), Other),
            (("db/hub", None), ("moved/hub", None), Other),
            (("db/hub", Some("a")), (file, Some("a")), Other),
            ((file, Some("a")), ("db/hub", None), Other),
            ((file, Some("a")), (file, Some("a")), Same),
            ((file, Some("a")), (file, Some("b")), Other),
            ((file, Some("a")), (file, None), Other),
            ((file, None), (file, Some("a")), SameAddress),
        ] {
            let target = Target { database: now.0.into(), store: now.1.map(str::to_owned) };
            let relation = remembered(before.0, before.1).relation(&target);
            assert_eq!(relation, expected, "{before:?} {now:?}");
        }
        let none = Remembered { served: None, ..remembered("", None) };
        let target = Target { database: file.into(), store: None };
        assert_eq!(none.relation(&target), Relation::First);
    }
}
