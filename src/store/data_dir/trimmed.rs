//! What was stored and has left the journals since: the file by which a hub knows what a store
//! lacks that comes back older than it was.
//!
//! Owns the file, a line for each stretch of a journal, written before the stretch's segment is
//! unlinked, and its copy in memory. Both are bounded: the oldest half is told in ever longer
//! stretches, exact at their ends only.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::holes::{Count, Missing};
use crate::limits::{SEGMENT_PIECES_MAX, TRIMMED_PIECES_MAX};
use crate::store::files::replace;
use crate::store::journal::{JournalId, Piece};
use crate::wire::Id;

/// The file's name in the data directory.
const TRIMMED_FILE: &str = "stored-and-trimmed";

/// What a store has of a journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Has {
    /// All before this offset.
    UpTo(u64),
    /// Nothing with an id above this one.
    Ids(Id),
}

/// A journal that a store seems to lack a part of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lacking {
    /// The journal.
    pub(crate) journal: JournalId,
    /// What the store has of it.
    pub(crate) has: Has,
    /// Where what is left of the journal begins; `None`: it is gone.
    pub(crate) end: Option<u64>,
}

/// Messages that are not missing, whatever positions say.
#[derive(Clone, Default, Debug)]
pub(crate) struct Accounted {
    /// Messages that are in the store.
    pub(crate) stored: BTreeSet<Id>,
    /// Messages that were refused, and are dead letters.
    pub(crate) dead: BTreeSet<Id>,
}

/// The stretches that have left the journals, each journal's ascending.
#[derive(Debug)]
pub(crate) struct Trimmed {
    folder: PathBuf,
    pieces: Vec<Piece>,
    /// Lines in the file; 0: it is to be written anew.
    lines: usize,
    failing: bool,
}

impl Trimmed {
    /// Reads what a data directory knows.
    pub(crate) fn open(data_dir: &Path) -> io::Result<Trimmed> {
        let text = match fs::read(data_dir.join(TRIMMED_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            text => text?,
        };
        let text = String::from_utf8_lossy(&text);
        let pieces: Vec<Piece> = text.lines().filter_map(read_line).collect();
        let whole = text.ends_with('\n') && text.lines().count() == pieces.len();
        let lines = if whole { pieces.len() } else { 0 };
        Ok(Trimmed { folder: data_dir.into(), pieces, lines, failing: false })
    }

    /// Keeps what is about to leave a journal.
    pub(crate) fn add(&mut self, mut pieces: Vec<Piece>) {
        shorten(&mut pieces, SEGMENT_PIECES_MAX);
        if pieces.is_empty() {
            return;
        }
        let begin = self.pieces.len();
        self.pieces.extend(pieces);
        let written = match self.lines > 0 && self.pieces.len() <= TRIMMED_PIECES_MAX {
            true => self.append(begin),
            false => self.write(),
        };
        self.tell(written);
    }

    /// A file that can't be written costs only what could be told later of a store that lacks it.
    fn tell(&mut self, written: io::Result<()>) {
        match written {
            Ok(()) => self.failing = false,
            Err(error) if !std::mem::replace(&mut self.failing, true) => {
                self.lines = 0;
                tracing::warn!(%error, "what leaves the journals can't be noted");
            }
            Err(_) => self.lines = 0,
        }
    }

    fn append(&mut self, begin: usize) -> io::Result<()> {
        let lines: String = self.pieces[begin..].iter().map(line).collect();
        let mut file = OpenOptions::new().append(true).open(self.path())?;
        file.write_all(lines.as_bytes())?;
        file.sync_data()?;
        self.lines = self.pieces.len();
        Ok(())
    }

    /// Writes the file anew, whole or not at all.
    fn write(&mut self) -> io::Result<()> {
        self.bound();
        let lines: String = self.pieces.iter().map(line).collect();
        replace(&self.path(), lines.as_bytes())?;
        self.lines = self.pieces.len();
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.folder.join(TRIMMED_FILE)
    }

    /// Tells the older half in half as many stretches. Where that does not help, because they are
    /// of many journals, the oldest go.
    fn bound(&mut self) {
        if self.pieces.len() <= TRIMMED_PIECES_MAX {
            return;
        }
        let newer = self.pieces.split_off(self.pieces.len() / 2);
        let half = self.pieces.len() / 2;
        shorten(&mut self.pieces, half);
        self.pieces.extend(newer);
        let surplus = self.pieces.len().saturating_sub(TRIMMED_PIECES_MAX / 8 * 7);
        self.pieces.drain(..surplus);
    }

    /// The journals that are gone: none of these.
    pub(crate) fn gone(&self, there: &[JournalId]) -> Vec<JournalId> {
        let all: BTreeSet<JournalId> = self.pieces.iter().map(|piece| piece.journal).collect();
        all.into_iter().filter(|journal| !there.contains(journal)).collect()
    }

    /// The highest id of a journal, or of all, that has left.
    pub(crate) fn highest(&self, of: Option<JournalId>) -> Id {
        let pieces = self.pieces.iter().filter(|it| of.is_none_or(|of| it.journal == of));
        pieces.map(|piece| piece.ids.1).max().unwrap_or(Id::MIN)
    }

    /// The last ids of the stretches that a store seems to lack.
    pub(crate) fn last_ids(&self, lacking: &[Lacking]) -> Vec<Id> {
        let of = |lacking: &Lacking| {
            let &Lacking { journal, has, .. } = lacking;
            let told = move |it: &&Piece| it.journal == journal && it.records > 0;
            let pieces = self.pieces.iter().filter(told);
            pieces.filter(move |it| lacks(it, has).is_some()).map(|it| it.ids.1)
        };
        lacking.iter().flat_map(of).collect()
    }

    /// What a store lacks of a journal. It is told once: [`told`](Trimmed::told) is to follow.
    pub(crate) fn missing(&self, lacking: &Lacking, known: &Accounted) -> Missing {
        let &Lacking { journal, has, end } = lacking;
        let mut missing = Missing::default();
        let mut covered = 0;
        for piece in self.pieces.iter().filter(|piece| piece.journal == journal) {
            if let Has::UpTo(at) = has {
                covered += piece.to.saturating_sub(piece.from.max(at));
            }
            let Some(whole) = lacks(piece, has) else { continue };
            // A stretch is stored in order: with its last message all of it is there.
            if piece.records == 0 || known.stored.contains(&piece.ids.1) {
                continue;
            }
            let dead = known.dead.range(piece.ids.0..=piece.ids.1).next().is_some();
            if dead && piece.records == 1 {
                continue;
            }
            let count = if whole && !dead { Count::Exact } else { Count::AtMost };
            missing.add(Missing { records: piece.records, count, ids: piece.ids });
        }
        if let (Has::UpTo(at), Some(end)) = (has, end)
            && covered < end.saturating_sub(at)
        {
            missing.count = Count::About;
        }
        missing
    }

    /// Notes that what a store lacks was told: it is no news any more.
    pub(crate) fn told(&mut self, told: &[Lacking]) {
        for piece in &mut self.pieces {
            let mut told = told.iter().filter(|it| it.journal == piece.journal);
            if told.any(|it| lacks(piece, it.has).is_some()) {
                piece.records = 0;
            }
        }
        for lacking in told {
            // Nothing was known of this part; that, too, is told once.
            if let &Lacking { journal, has: Has::UpTo(from), end: Some(to) } = lacking
                && self.missing(lacking, &Accounted::default()).count == Count::About
            {
                let ids = (Id::MAX, Id::MIN);
                self.pieces.push(Piece { journal, from, to, records: 0, ids });
            }
        }
        let written = self.write();
        self.tell(written);
    }

    /// The journals go to another store: what has left them is in the one before.
    pub(crate) fn begin_anew(&mut self) {
        self.pieces.clear();
        let written = self.write();
        self.tell(written);
    }
}

/// Whether a store lacks some of a stretch, and then whether it lacks all of it.
fn lacks(piece: &Piece, has: Has) -> Option<bool> {
    match has {
        Has::UpTo(at) => (piece.to > at).then_some(piece.from >= at),
        Has::Ids(highest) => (piece.ids.1 > highest).then_some(piece.ids.0 > highest),
    }
}

/// Joins neighbours of one journal until there are at most `max` stretches.
fn shorten(pieces: &mut Vec<Piece>, max: usize) {
    while pieces.len() > max {
        let before = pieces.len();
        let mut joined: Vec<Piece> = Vec::with_capacity(before / 2 + 1);
        let mut rest = std::mem::take(pieces).into_iter().peekable();
        while let Some(mut piece) = rest.next() {
            let next = |it: &Piece| it.journal == piece.journal && it.from == piece.to;
            if let Some(next) = rest.next_if(next) {
                piece.to = next.to;
                piece.records += next.records;
                piece.ids = (piece.ids.0.min(next.ids.0), piece.ids.1.max(next.ids.1));
            }
            joined.push(piece);
        }
        *pieces = joined;
        if pieces.len() == before {
            return;
        }
    }
}

fn line(piece: &Piece) -> String {
    let Piece { journal, from, to, records, ids } = piece;
    format!("{journal} {from} {to} {records} {} {}\n", ids.0, ids.1)
}

fn read_line(line: &str) -> Option<Piece> {
    let mut words = line.split(' ');
    let journal = JournalId(u128::from_str_radix(words.next()?, 16).ok()?);
    let mut number = || words.next()?.parse::<u64>().ok();
    let (from, to, records) = (number()?, number()?, number()?);
    let ids = (Id::parse(words.next()?)?, Id::parse(words.next()?)?);
    words.next().is_none().then_some(Piece { journal, from, to, records, ids })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten records of a hundred bytes each: offsets in hundreds, ids from `first` on.
    fn tens(journal: u128, stretches: std::ops::Range<u64>, first: u128) -> Vec<Piece> {
        let piece = |n: u64| {
            let id = first + 10 * u128::from(n);
            let ids = (Id(id), Id(id + 9));
            let journal = JournalId(journal);
            Piece { journal, from: 1_000 * n, to: 1_000 * (n + 1), records: 10, ids }
        };
        stretches.map(piece).collect()
    }

    /// What is missing of the first journal, by its position alone.
    fn missing(trimmed: &Trimmed, has: Has, end: Option<u64>) -> Missing {
        let lacking = Lacking { journal: JournalId(1), has, end };
        trimmed.missing(&lacking, &Accounted::default())
    }

    fn told(missing: &Missing) -> (u64, Count, u128, u128) {
        (missing.records, missing.count, missing.ids.0.0, missing.ids.1.0)
    }

    #[test]
    fn what_a_store_lacks_is_counted_and_told_once_across_restarts() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut trimmed = Trimmed::open(folder.path()).expect("it opens");
        trimmed.add(tens(1, 0..5, 100));
        trimmed.add(tens(2, 0..3, 500));
        trimmed.add(tens(1, 5..8, 100));
        let again = Trimmed::open(folder.path()).expect("it opens");
        assert_eq!(again.pieces, trimmed.pieces);
        let mut trimmed = again;
        let one = JournalId(1);
        for (has, end, expected) in [
            (Has::UpTo(8_000), Some(8_000), (0, Count::Exact, u128::MAX, 0)),
            (Has::UpTo(3_000), Some(8_000), (50, Count::Exact, 130, 179)),
            (Has::UpTo(3_001), Some(8_000), (50, Count::AtMost, 130, 179)),
            (Has::UpTo(3_000), Some(8_001), (50, Count::About, 130, 179)),
            (Has::Ids(Id(139)), None, (40, Count::Exact, 140, 179)),
            (Has::Ids(Id(140)), None, (40, Count::AtMost, 140, 179)),
            (Has::Ids(Id(179)), None, (0, Count::Exact, u128::MAX, 0)),
        ] {
            let missing = missing(&trimmed, has, end);
            assert_eq!(told(&missing), expected, "{has:?} {end:?}");
        }
        let lacking = Lacking { journal: one, has: Has::UpTo(5_000), end: None };
        assert_eq!(trimmed.last_ids(&[lacking]), [Id(159), Id(169), Id(179)]);
        let stored = BTreeSet::from([Id(169)]);
        let known = Accounted { stored, dead: BTreeSet::from([Id(175)]) };
        let some = trimmed.missing(&lacking, &known);
        assert_eq!(told(&some), (20, Count::AtMost, 150, 179), "one of them is a dead letter");
        assert_eq!(trimmed.gone(&[one]), [JournalId(2)]);
        assert_eq!((trimmed.highest(None), trimmed.highest(Some(one))), (Id(529), Id(179)));
        trimmed.told(&[Lacking { journal: one, has: Has::UpTo(3_000), end: Some(8_000) }]);
        let mut trimmed = Trimmed::open(folder.path()).expect("it opens");
        assert_eq!(missing(&trimmed, Has::UpTo(3_000), Some(8_000)).records, 0);
        let before = missing(&trimmed, Has::UpTo(2_000), Some(8_000));
        assert_eq!(told(&before), (10, Count::Exact, 120, 129));
        trimmed.begin_anew();
        let trimmed = Trimmed::open(folder.path()).expect("it opens");
        assert_eq!((trimmed.pieces.len(), trimmed.gone(&[])), (0, vec![]));
    }

    #[test]
    fn a_torn_line_is_left_out_and_written_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut trimmed = Trimmed::open(folder.path()).expect("it opens");
        trimmed.add(tens(1, 0..3, 0));
        let path = folder.path().join(TRIMMED_FILE);
        let text = fs::read_to_string(&path).expect("a text");
        fs::write(&path, &text[..text.len() - 4]).expect("it writes");
        let mut trimmed = Trimmed::open(folder.path()).expect("it opens");
        assert_eq!(trimmed.pieces, tens(1, 0..2, 0));
        trimmed.add(tens(1, 3..4, 0));
        let trimmed = Trimmed::open(folder.path()).expect("it opens");
        assert_eq!(trimmed.pieces.len(), 3);
        let missing = missing(&trimmed, Has::UpTo(0), Some(4_000));
        assert_eq!((missing.records, missing.count), (30, Count::About), "one is not known");
    }

    #[test]
    fn old_stretches_grow_and_their_sums_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut trimmed = Trimmed::open(folder.path()).expect("it opens");
        let all = 2 * TRIMMED_PIECES_MAX as u64;
        for from in (0..all).step_by(1_024) {
            trimmed.add(tens(1, from..from + 1_024, 0));
        }
        assert!(trimmed.pieces.len() <= TRIMMED_PIECES_MAX);
        let whole = missing(&trimmed, Has::UpTo(0), Some(1_000 * all));
        assert_eq!((whole.records, whole.count), (10 * all, Count::Exact));
        let newest = missing(&trimmed, Has::UpTo(1_000 * (all - 7)), None);
        assert_eq!((newest.records, newest.count), (70, Count::Exact));
        assert_eq!(Trimmed::open(folder.path()).expect("it opens").pieces, trimmed.pieces);
    }
}
