//! A hub whose wall clock the test sets, by libfaketime. Its monotonic clock is the machine's.

use std::path::PathBuf;

use tempfile::TempDir;

use super::trials::Lack;

/// The wall clock of the hubs that are started with its variables.
pub struct WallClock {
    dir: TempDir,
    library: String,
    file: String,
}

impl WallClock {
    /// One that shows the machine's time.
    pub fn new() -> Result<WallClock, Lack> {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("clock").to_str().expect("a text path").to_owned();
        let library = library()?.to_str().expect("a text path").to_owned();
        let clock = WallClock { dir, library, file };
        clock.set("+0");
        Ok(clock)
    }

    /// What a hub is to be started with.
    pub fn env(&self) -> [(&str, &str); 4] {
        [
            ("LD_PRELOAD", &self.library),
            ("FAKETIME_TIMESTAMP_FILE", &self.file),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
    }

    /// Sets it, this far from the machine's: `+1h`, `-400d`.
    pub fn set(&self, offset: &str) {
        let new = self.dir.path().join("new");
        std::fs::write(&new, offset).expect("a file");
        std::fs::rename(new, &self.file).expect("a file");
    }
}

/// The library that lies about the time.
fn library() -> Result<PathBuf, Lack> {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut found = folders.map(|entry| entry.path().join("faketime/libfaketime.so.1"));
    let missing = || Lack("libfaketime is missing: `scripts/test` installs it".into());
    found.find(|path| path.exists()).ok_or_else(missing)
}
