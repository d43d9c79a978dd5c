//! Messages that were stored once and are in neither the store nor a journal any more: kept in a
//! file of lines until an operator says that they know.
//!
//! The hub appends what it finds missing, `cpi-hub journal acknowledge` a line that covers all
//! before it; so both may write at any time. Nothing that was missing is ever taken out again.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::conditions::{Condition, Conditions};
use crate::metrics::{Metric, Metrics};
use crate::store::files::sync_folder;
use crate::wire::Id;
use crate::wire::time::Micros;

/// The file's name in the data directory.
const HOLES_FILE: &str = "holes.jsonl";

/// What a number of messages is worth.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Count {
    /// The number is exact.
    Exact,
    /// Some of the messages may be there.
    AtMost,
    /// Not all of what is missing was ever noted.
    About,
}

/// Messages that are missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missing {
    /// How many.
    pub records: u64,
    /// What that number is worth.
    pub count: Count,
    /// The lowest and the highest id of them.
    pub ids: (Id, Id),
}

impl Default for Missing {
    fn default() -> Missing {
        Missing { records: 0, count: Count::Exact, ids: (Id::MAX, Id::MIN) }
    }
}

impl Missing {
    /// Adds more that is missing.
    pub(crate) fn add(&mut self, more: Missing) {
        self.records += more.records;
        self.count = self.count.max(more.count);
        self.ids = (self.ids.0.min(more.ids.0), self.ids.1.max(more.ids.1));
    }

    /// Whether nothing is missing.
    pub fn is_none(&self) -> bool {
        self.records == 0 && self.count != Count::About
    }

    fn line(&self, found: Micros) -> String {
        let count = match self.count {
            Count::Exact => "exact",
            Count::AtMost => "at_most",
            Count::About => "about",
        };
        let (first, last) = (self.ids.0.to_string(), self.ids.1.to_string());
        let records = self.records;
        let found = found.0;
        let line = json!({"found_us": found, "messages": records, "count": count,
                          "first_id": first, "last_id": last});
        format!("{line}\n")
    }

    fn read(line: &Value) -> Option<Missing> {
        let id = |name: &str| line[name].as_str().and_then(Id::parse);
        let count = match line["count"].as_str()? {
            "exact" => Count::Exact,
            "at_most" => Count::AtMost,
            _ => Count::About,
        };
        let records = line["messages"].as_u64()?;
        Some(Missing { records, count, ids: (id("first_id")?, id("last_id")?) })
    }
}

/// As the log, `/readyz` and people are told.
impl fmt::Display for Missing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages = if self.records == 1 { "message" } else { "messages" };
        match (self.count, self.records) {
            (Count::About, 0) => return write!(out, "an unknown number of messages"),
            (Count::Exact, records) => write!(out, "{records} {messages}")?,
            (Count::AtMost, records) => write!(out, "at most {records} {messages}")?,
            (Count::About, records) => write!(out, "about {records} {messages}")?,
        }
        match self.ids {
            (first, last) if first == last => write!(out, ", id {first}"),
            (first, last) => write!(out, ", ids {first} to {last}"),
        }
    }
}

/// What is missing from a data directory's store and was not acknowledged; `None`: nothing.
pub fn missing(data_dir: &Path) -> io::Result<Option<Missing>> {
    let text = match fs::read(data_dir.join(HOLES_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let mut holes: Vec<Missing> = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Ok(line) = serde_json::from_slice::<Value>(line) else { continue };
        match Missing::read(&line) {
            // A crash between this file and the next has the same found twice.
            Some(hole) if holes.contains(&hole) => {}
            Some(hole) => holes.push(hole),
            None if line["acknowledged_us"].is_i64() => holes.clear(),
            None => {}
        }
    }
    Ok(holes.into_iter().reduce(|mut all, hole| {
        all.add(hole);
        all
    }))
}

/// Notes that an operator knows of all that is missing; what that is.
pub fn acknowledge(data_dir: &Path, now: Micros) -> io::Result<Option<Missing>> {
    let missing = missing(data_dir)?;
    if missing.is_some() {
        append(data_dir, &format!("{}\n", json!({"acknowledged_us": now.0})))?;
    }
    Ok(missing)
}

fn append(data_dir: &Path, line: &str) -> io::Result<()> {
    let path = data_dir.join(HOLES_FILE);
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    // A full disk or a crash may have cut the line before.
    let begin = if last == *b"\n" { "" } else { "\n" };
    file.write_all(format!("{begin}{line}").as_bytes())?;
    file.sync_all()?;
    sync_folder(data_dir)
}

/// The hub's own view: shows what is missing in `/readyz` and `/metrics`.
#[derive(Clone, Debug)]
pub(crate) struct Holes {
    data_dir: PathBuf,
    conditions: Conditions,
    metrics: Arc<Metrics>,
}

impl Holes {
    /// Shows what the file says.
    pub(crate) fn open(
        data_dir: &Path,
        conditions: &Conditions,
        metrics: &Arc<Metrics>,
    ) -> io::Result<Holes> {
        let (conditions, metrics) = (conditions.clone(), Arc::clone(metrics));
        let holes = Holes { data_dir: data_dir.into(), conditions, metrics };
        holes.show(missing(data_dir)?);
        Ok(holes)
    }

    /// The data directory.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// How long the file is, by which a change of it is seen.
    pub(crate) fn length(&self) -> u64 {
        fs::metadata(self.data_dir.join(HOLES_FILE)).map_or(0, |file| file.len())
    }

    /// Reads the file again: an operator may have acknowledged what is missing.
    pub(crate) fn look(&self) {
        if let Ok(missing) = missing(&self.data_dir) {
            self.show(missing);
        }
    }

    /// Keeps and tells what was found missing.
    pub(crate) fn add(&self, hole: Missing, found: Micros) {
        let held = self.conditions.holds(Condition::MessagesMissing);
        let kept = append(&self.data_dir, &hole.line(found));
        if let Err(error) = &kept {
            tracing::error!(%error, missing = %hole, "what is missing can't be noted");
        }
        if held {
            tracing::warn!("the store lacks {hole} more, which the journals no longer hold");
        }
        match missing(&self.data_dir).ok().flatten().filter(|_| kept.is_ok()) {
            Some(all) => self.show(Some(all)),
            None => self.show(Some(hole)),
        }
    }

    fn show(&self, missing: Option<Missing>) {
        let records = missing.map_or(0, |missing| missing.records);
        self.metrics.store.set(Metric::MessagesMissing, records);
        self.conditions.set(Condition::MessagesMissing, missing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn hole(records: u64, count: Count, first: u128, last: u128) -> Missing {
        Missing { records, count, ids: (Id(first), Id(last)) }
    }

    #[test]
    fn what_is_missing_shows_until_it_is_acknowledged() {
        let folder = tempfile::tempdir().expect("a folder");
        let conditions = Conditions::new(Clock::start());
        let metrics = Arc::new(Metrics::new(1));
        let open = || Holes::open(folder.path(), &conditions, &metrics).expect("it opens");
        let gauge = || metrics.store.read().get(Metric::MessagesMissing);
        let holes = open();
        assert!(!conditions.holds(Condition::MessagesMissing));
        holes.add(hole(5, Count::Exact, 1, 9), Micros(1));
        // A crash has cut a line, and the same was found again.
        let path = folder.path().join(HOLES_FILE);
        let mut text = fs::read(&path).expect("it reads");
        text.extend_from_slice(b"{\"mess");
        fs::write(&path, text).expect("it writes");
        holes.add(hole(5, Count::Exact, 1, 9), Micros(2));
        assert_eq!(gauge(), 5);
        holes.add(hole(2, Count::AtMost, 20, 30), Micros(3));
        open();
        assert_eq!(gauge(), 7);
        let [raised] = &conditions.all()[..] else { panic!("{conditions:?}") };
        let expected = "at most 7 messages, ids 00000000000000000000000001 to \
                        0000000000000000000000000Y";
        assert_eq!(raised.detail, expected);
        let told = acknowledge(folder.path(), Micros(4)).expect("it writes");
        assert_eq!(told, Some(hole(7, Count::AtMost, 1, 30)));
        assert_eq!(acknowledge(folder.path(), Micros(5)).expect("it reads"), None);
        holes.look();
        assert_eq!((gauge(), conditions.all().len()), (0, 0));
        holes.add(hole(0, Count::About, u128::MAX, 0), Micros(6));
        assert_eq!(conditions.all()[0].detail, "an unknown number of messages");
    }
}
