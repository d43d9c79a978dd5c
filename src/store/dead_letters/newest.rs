//! The newest dead letters, for an operator who looks while the hub serves: of a long file the end
//! alone is read.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::file::{DEAD_LETTERS_FILE, Letter};
use crate::limits::LETTERS_BYTES_MAX;

/// Some letters.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct Newest {
    /// Each message once, the last one refused first.
    pub(crate) letters: Vec<Letter>,
    /// Whether there are more.
    pub(crate) more: bool,
}

/// The last letters of a data directory, `max` of them, as far as they stand in the last
/// [`LETTERS_BYTES_MAX`].
pub(crate) fn newest(data_dir: &Path, max: usize) -> io::Result<Newest> {
    let mut file = match File::open(data_dir.join(DEAD_LETTERS_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Newest::default()),
        file => file?,
    };
    let skipped = file.metadata()?.len().saturating_sub(LETTERS_BYTES_MAX);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(LETTERS_BYTES_MAX).read_to_end(&mut bytes)?;
    let mut lines = bytes.split(|byte| *byte == b'\n');
    if skipped > 0 {
        // Its begin was not read.
        lines.next();
    }
    let (mut found, mut ids) = (Newest::default(), BTreeSet::new());
    found.more = skipped > 0;
    for letter in lines.rev().filter_map(|line| Letter::find(line).1) {
        if !ids.insert(letter.id) {
            continue;
        }
        if found.letters.len() == max {
            found.more = true;
            break;
        }
        found.letters.push(letter);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Id;

    fn line(id: u128, reason: &str) -> String {
        let id = Id(id);
        format!(
            r#"{{"content":"hola","id":"{id}","reason":"{reason}","space_id":1,"unix_us":5,"user_id":2,"username":"Ana"}}"#
        )
    }

    #[test]
    fn the_last_letters_come_first_each_once_and_of_a_long_file_the_end() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(newest(folder.path(), 5).expect("no file"), Newest::default());
        let path = folder.path().join(DEAD_LETTERS_FILE);
        let told = |max| {
            let found = newest(folder.path(), max).expect("it reads");
            let ids: Vec<u128> = found.letters.iter().map(|it| it.id.0).collect();
            (ids, found.more)
        };
        let lines = [line(1, "a"), line(2, "b"), "junk".into(), line(1, "c")].join("\n");
        std::fs::write(&path, format!("{lines}\n")).expect("it writes");
        assert_eq!(told(5), (vec![1, 2], false));
        assert_eq!(told(1), (vec![1], true));
        let reason = "x".repeat(200);
        let many: Vec<String> = (1..=10_000).map(|id| line(id, &reason)).collect();
        std::fs::write(&path, many.join("\n")).expect("it writes");
        assert_eq!(told(2), (vec![10_000, 9_999], true));
        let (all, more) = told(usize::MAX);
        assert!(more && all.len() > 1_000 && all.len() < 10_000, "{}", all.len());
    }
}
