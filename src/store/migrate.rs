//! Schema versions: numbered scripts, applied once each, in order, and never changed afterwards.
//!
//! Pure; each database applies them in its own way. A script that was applied in another form, or
//! by a newer version, refuses the start in one line.

/// One script.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Migration {
    /// From 1, without gaps.
    pub number: u32,
    /// For people.
    pub name: &'static str,
    /// The script.
    pub sql: &'static str,
}

/// Something that was missing from a database, and what makes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MigrateStep {
    /// For people.
    pub name: String,
    /// Statements, without the last semicolon.
    pub sql: String,
}

/// A script as the database remembers it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Applied {
    /// Its number.
    pub number: u32,
    /// [`Migration::checksum`] of what was applied.
    pub checksum: String,
}

/// Why the schema can't be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database is ahead of this program.
    #[error("the database has schema version {found}, this program knows {known} at most")]
    Newer {
        /// The database's.
        found: u32,
        /// This program's.
        known: u32,
    },
    /// A script is not the one that was applied.
    #[error("migration {number} ({name}) was changed after it was applied")]
    Changed {
        /// Its number.
        number: u32,
        /// Its name.
        name: &'static str,
    },
    /// A script failed; nothing was changed.
    #[error("migration {number}: {error}")]
    Script {
        /// Its number.
        number: u32,
        /// SQLite's error.
        error: rusqlite::Error,
    },
    /// The database failed.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

impl Migration {
    /// What it is called, for people.
    pub(super) fn title(&self) -> String {
        format!("migration {} ({})", self.number, self.name)
    }

    /// Tells one script from another; against accidents, not forgers.
    pub(crate) fn checksum(&self) -> String {
        format!("{:08x}", crc32c::crc32c(self.sql.as_bytes()))
    }
}

/// The scripts that are still to be applied. `applied` ascends.
pub(crate) fn missing<'a>(
    known: &'a [Migration],
    applied: &[Applied],
) -> Result<&'a [Migration], MigrateError> {
    for (n, done) in applied.iter().enumerate() {
        let Some(migration) = known.get(n).filter(|known| known.number == done.number) else {
            let known = known.last().map_or(0, |last| last.number);
            return Err(MigrateError::Newer { found: done.number, known });
        };
        if migration.checksum() != done.checksum {
            let Migration { number, name, .. } = *migration;
            return Err(MigrateError::Changed { number, name });
        }
    }
    Ok(&known[applied.len()..])
}
