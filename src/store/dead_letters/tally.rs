//! How many dead letters wait, counted from the file: at a start, and whenever it has changed, by
//! whomever.
//!
//! Owns the two gauges and the condition. Never writes the file.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::file::DEAD_LETTERS_FILE;
use crate::conditions::Condition;
use crate::faults::Faults;
use crate::metrics::Metric;

/// Looks at the file, now and then.
pub(crate) struct Tally {
    path: PathBuf,
    bytes_max: u64,
    faults: Faults,
    /// The file that was counted: device and inode.
    file: Option<(u64, u64)>,
    /// How much of it.
    bytes: u64,
    letters: u64,
}

impl Tally {
    /// The tally of a data directory, which has looked once.
    pub(crate) fn new(data_dir: &Path, bytes_max: u64, faults: Faults) -> Tally {
        let path = data_dir.join(DEAD_LETTERS_FILE);
        let mut tally = Tally { path, bytes_max, faults, file: None, bytes: 0, letters: 0 };
        tally.look();
        tally
    }

    /// Counts what is new.
    pub(crate) fn look(&mut self) {
        let (file, bytes) = match fs::metadata(&self.path) {
            Ok(file) => (Some((file.dev(), file.ino())), file.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (None, 0),
            // A file that can't be looked at says nothing.
            Err(_) => return,
        };
        if file == self.file && bytes == self.bytes {
            return;
        }
        if file != self.file || bytes < self.bytes {
            if self.file.is_some() {
                // It was moved away, or letters have left it: there is room again.
                self.faults.conditions().clear(Condition::DeadLettersFull);
            }
            (self.bytes, self.letters) = (0, 0);
        }
        match lines(&self.path, self.bytes, bytes) {
            Ok(lines) => self.letters += lines,
            Err(_) if file.is_some() => return,
            Err(_) => {}
        }
        (self.file, self.bytes) = (file, bytes);
        let store = &self.faults.metrics().store;
        store.set(Metric::DeadLetters, self.letters);
        store.set(Metric::DeadLetterBytes, self.bytes);
        let (letters, path) = (self.letters, self.path.display());
        let detail = format!("{letters} in {path}, {bytes} of {} bytes", self.bytes_max);
        self.faults.conditions().set(Condition::DeadLetters, (letters > 0).then_some(detail));
    }
}

/// How many lines end between two places of a file.
fn lines(path: &Path, from: u64, to: u64) -> io::Result<u64> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let (mut rest, mut lines) = (file.take(to.saturating_sub(from)), 0);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = rest.read(&mut buffer)?;
        if read == 0 {
            return Ok(lines);
        }
        lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn letters_are_counted_as_they_come_and_when_they_are_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(DEAD_LETTERS_FILE);
        fs::write(&path, "{}\n{}\n").expect("it writes");
        let faults = Faults::unread(Arc::new(Metrics::new(1)));
        let mut tally = Tally::new(folder.path(), 100, faults.clone());
        let told = || {
            let counts = faults.metrics().store.read();
            let gauges = [Metric::DeadLetters, Metric::DeadLetterBytes].map(|it| counts.get(it));
            (gauges, faults.conditions().detail(Condition::DeadLetters))
        };
        let detail =
            |letters, bytes| Some(format!("{letters} in {}, {bytes} of 100 bytes", path.display()));
        assert_eq!(told(), ([2, 6], detail(2, 6)));
        let mut file = File::options().append(true).open(&path).expect("it opens");
        file.write_all(b"{}\n").expect("it writes");
        tally.look();
        assert_eq!(told(), ([3, 9], detail(3, 9)));
        faults.conditions().raise(Condition::DeadLettersFull, "");
        fs::write(&path, "{}\n").expect("it writes");
        tally.look();
        assert_eq!(told(), ([1, 3], detail(1, 3)));
        assert!(!faults.conditions().holds(Condition::DeadLettersFull));
        fs::rename(&path, folder.path().join("aside")).expect("it moves");
        tally.look();
        assert_eq!(told(), ([0, 0], None));
        // A file that was full before it was looked at is full.
        faults.conditions().raise(Condition::DeadLettersFull, "");
        fs::write(&path, "{}\n").expect("it writes");
        tally.look();
        assert!(faults.conditions().holds(Condition::DeadLettersFull));
    }
}
