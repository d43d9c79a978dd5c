//! A stretch of dead letters that is tried again while the hub serves: read from the file's front,
//! and what became of it written. For the batcher alone, which writes the file.
//!
//! A letter leaves the file once its message is stored; one that is refused again goes to its end
//! with the new reason, so that the next stretch is another one. The file is replaced whole or not
//! at all: killed at any point, the next try finds each letter stored, which counts, or still
//! there.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::file::{DEAD_LETTERS_FILE, Letter};
use crate::limits::{LETTERS_BYTES_MAX, LETTERS_RETRIED_MAX};
use crate::store::files::replace_by;

/// Lines from the front of the file.
pub(crate) struct Stretch {
    path: PathBuf,
    file: File,
    /// The lines, with their letters; those that are none have none.
    lines: Vec<(Vec<u8>, Option<Letter>)>,
    /// Where the rest begins.
    end: u64,
    /// How many lines are done with.
    done: usize,
    /// Lines that go to the file's end.
    back: Vec<u8>,
}

impl Stretch {
    /// Reads one; `None`: there are no letters.
    pub(crate) fn read(data_dir: &Path) -> io::Result<Option<Stretch>> {
        let path = data_dir.join(DEAD_LETTERS_FILE);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(LETTERS_BYTES_MAX).read_to_end(&mut bytes)?;
        let is_whole = (bytes.len() as u64) < LETTERS_BYTES_MAX;
        let (mut lines, mut end, mut letters) = (Vec::new(), 0, 0);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = piece.strip_suffix(b"\n");
            if letters >= LETTERS_RETRIED_MAX || (line.is_none() && !is_whole) {
                break;
            }
            end += piece.len() as u64;
            let (torn, letter) = Letter::find(line.unwrap_or(piece));
            letters += usize::from(letter.is_some());
            if !torn.is_empty() {
                lines.push((torn.to_vec(), None));
            }
            if let Some(letter) = letter {
                let bytes = line.unwrap_or(piece)[torn.len()..].to_vec();
                lines.push((bytes, Some(letter)));
            }
        }
        if end == 0 && !bytes.is_empty() {
            let what = "its first line is too long to be a letter";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let stretch = Stretch { path, file, lines, end, done: 0, back: Vec::new() };
        Ok((letters > 0).then_some(stretch))
    }

    /// The next letter.
    pub(crate) fn next(&mut self) -> Option<Letter> {
        loop {
            let (line, letter) = self.lines.get(self.done)?;
            match letter {
                Some(letter) => return Some(letter.clone()),
                None => {
                    self.back.extend_from_slice(line);
                    self.back.push(b'\n');
                    self.done += 1;
                }
            }
        }
    }

    /// The last one is stored.
    pub(crate) fn is_stored(&mut self) {
        self.done += 1;
    }

    /// The last one is refused again.
    pub(crate) fn is_refused(&mut self, mut letter: Letter, reason: &str) {
        letter.line.insert("reason".into(), reason.into());
        let line = serde_json::Value::Object(letter.line);
        self.back.extend_from_slice(line.to_string().as_bytes());
        self.back.push(b'\n');
        self.done += 1;
    }

    /// Writes the file as it is now. Returns how many lines were not tried.
    pub(crate) fn end(self) -> io::Result<u64> {
        let Stretch { path, mut file, lines, end, done, back } = self;
        let untried = &lines[done.min(lines.len())..];
        file.seek(SeekFrom::Start(end))?;
        if done == 0 {
            return Ok(untried.len() as u64 + count_lines(&mut file, &mut io::sink())?);
        }
        let mut left = untried.len() as u64;
        replace_by(&path, |new| {
            let mut first = Vec::new();
            for (line, _) in untried {
                first.extend_from_slice(line);
                first.push(b'\n');
            }
            new.write_all(&first)?;
            left += count_lines(&mut file, new)?;
            new.write_all(&back)
        })?;
        Ok(left)
    }
}

/// Copies the rest of a file, whose last line may lack its end; how many lines that were.
fn count_lines(from: &mut File, to: &mut impl Write) -> io::Result<u64> {
    let (mut lines, mut last) = (0, b'\n');
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        lines += buffer[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
        last = buffer[read - 1];
        to.write_all(&buffer[..read])?;
    }
    if last != b'\n' {
        to.write_all(b"\n")?;
        lines += 1;
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Id;

    fn line(id: usize) -> String {
        let id = Id(id as u128);
        format!(
            r#"{{"content":"hola","id":"{id}","later":1,"reason":"a","space_id":1,"unix_us":5,"user_id":2,"username":"Ana"}}"#
        )
    }

    #[test]
    fn what_is_stored_is_gone_what_is_refused_comes_last_and_the_rest_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(DEAD_LETTERS_FILE);
        assert!(Stretch::read(folder.path()).expect("no file").is_none());
        let count = LETTERS_RETRIED_MAX + 5;
        let torn = r#"{"content":"ho"#;
        let mut lines: Vec<String> = (1..=count).map(line).collect();
        lines[2] = format!("{torn}{}", lines[2]);
        // The last line lacks its end.
        std::fs::write(&path, lines.join("\n")).expect("it writes");
        let mut stretch = Stretch::read(folder.path()).expect("it reads").expect("letters");
        let next = |stretch: &mut Stretch| stretch.next().expect("one more");
        assert_eq!(next(&mut stretch).id, Id(1));
        stretch.is_stored();
        let second = next(&mut stretch);
        stretch.is_refused(second, "still no");
        assert_eq!(next(&mut stretch).id, Id(3), "what is torn is passed by");
        stretch.is_stored();
        assert_eq!(stretch.end().expect("it writes"), count as u64 - 3);
        let text = std::fs::read_to_string(&path).expect("it reads");
        let mut expected: Vec<String> = (4..=count).map(line).collect();
        expected.extend([line(2).replace(r#""a""#, r#""still no""#), torn.to_owned()]);
        assert_eq!(text, format!("{}\n", expected.join("\n")));
        // Each stretch has its bound.
        let mut stretch = Stretch::read(folder.path()).expect("it reads").expect("letters");
        for tried in 0..LETTERS_RETRIED_MAX {
            assert_eq!(next(&mut stretch).id, Id(4 + tried as u128));
            stretch.is_stored();
        }
        assert!(stretch.next().is_none());
        assert_eq!(
            stretch.end().expect("it writes"),
            4,
            "two letters, the refused one, what is torn"
        );
        // Tried in vain, nothing is written.
        let before = std::fs::metadata(&path).expect("a file").modified().expect("a time");
        let mut stretch = Stretch::read(folder.path()).expect("it reads").expect("letters");
        next(&mut stretch);
        assert_eq!(stretch.end().expect("nothing"), 4);
        assert_eq!(std::fs::metadata(&path).expect("a file").modified().expect("a time"), before);
    }

    #[test]
    fn a_file_of_one_endless_line_is_told_and_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(DEAD_LETTERS_FILE);
        std::fs::write(&path, vec![b'x'; LETTERS_BYTES_MAX as usize + 1]).expect("it writes");
        assert!(Stretch::read(folder.path()).is_err());
    }
}
