//! Sifting: which rows of a refused batch are refused for what they are, found by trying. Pure.
//!
//! Rows are tried in order, in a transaction that is never committed: all of them, then halves,
//! down to single rows. A row counts as refused for what it is only with evidence that the
//! database takes others: a harmless row in its place, or a row behind it, and if it is refused
//! again after that. Without evidence it is the database that refuses; then nothing from that row
//! on is decided. Keeps no row and stores none; what is done about a refused row is not decided
//! here.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::limits::TRIALS_MAX;
use crate::store::sink::{RefusedRow, SiftHints, Sifted, SinkError};
use crate::wire::record::Record;
use crate::wire::{Id, SpaceId, UserId};

/// Rows behind a refused one that are asked whether the database takes any.
const SAMPLE: usize = 8;
/// The random bits of an id.
const TAIL: u128 = (1 << 80) - 1;

/// A transaction of trials, which is never committed.
pub(crate) trait Trial {
    /// Adds rows to those that the transaction has taken. `Data` and `Orphan` say that they are
    /// refused, and then nothing of them stays; any other error ends the transaction.
    async fn take(&mut self, rows: &[Record<'_>]) -> Result<(), SinkError>;

    /// Whether a row would be taken; nothing of it stays.
    async fn probe(&mut self, row: &Record<'_>) -> Result<(), SinkError>;
}

/// Tries the rows of a batch that was refused.
pub(crate) async fn sift(
    trial: &mut impl Trial,
    rows: &[Record<'_>],
    known: &SiftHints,
) -> Result<Sifted, SinkError> {
    let orphans = BTreeMap::new();
    let mut sieve = Sieve { trial, rows, known, orphans, proven: 0, trials: 0 };
    let whole = 0..rows.len();
    let (mut refused, mut pieces) = (Vec::new(), vec![whole]);
    while let Some(piece) = pieces.pop() {
        if sieve.trials >= TRIALS_MAX {
            return Ok(Sifted { decided: piece.start, refused, stuck: None });
        }
        match sieve.try_piece(&piece).await? {
            PieceOutcome::Taken(orphans) => refused.extend(orphans),
            PieceOutcome::Refused(_) if piece.len() > 1 => {
                let middle = piece.start + piece.len() / 2;
                pieces.extend([middle..piece.end, piece.start..middle]);
            }
            PieceOutcome::Refused(refusal) => {
                if let Some(words) = sieve.lacks_evidence(&refusal).await? {
                    return Ok(Sifted { decided: refusal.row, refused, stuck: Some(words) });
                }
                // The database may have been mended between the two.
                if let PieceOutcome::Refused(refusal) = sieve.try_piece(&piece).await? {
                    sieve.note(&refusal);
                    refused.push(refusal);
                }
            }
        }
    }
    Ok(Sifted { decided: rows.len(), refused, stuck: None })
}

/// What became of a stretch of rows.
enum PieceOutcome {
    /// All are taken, but those of users and spaces that do not exist.
    Taken(Vec<RefusedRow>),
    /// The first row, with what is said of them all.
    Refused(RefusedRow),
}

struct Sieve<'a, T> {
    trial: &'a mut T,
    rows: &'a [Record<'a>],
    known: &'a SiftHints,
    /// Pairs whose rows a foreign key refuses, whatever else they hold, and its words.
    orphans: BTreeMap<(UserId, SpaceId), String>,
    /// The place of a row that was taken when it was probed; it is probed first for refused rows
    /// before it.
    proven: usize,
    trials: usize,
}

impl<T: Trial> Sieve<'_, T> {
    async fn try_piece(&mut self, piece: &Range<usize>) -> Result<PieceOutcome, SinkError> {
        let (mut live, mut orphans) = (Vec::with_capacity(piece.len()), Vec::new());
        for row in piece.clone() {
            let record = self.rows[row];
            match self.orphans.get(&(record.user, record.space)) {
                Some(reason) => {
                    orphans.push(RefusedRow { row, reason: reason.clone(), orphan: true });
                }
                None => live.push(record),
            }
        }
        if live.is_empty() {
            return Ok(PieceOutcome::Taken(orphans));
        }
        self.trials += 1;
        let (reason, orphan) = match self.trial.take(&live).await {
            Ok(()) => return Ok(PieceOutcome::Taken(orphans)),
            Err(SinkError::Data(reason)) => (reason, false),
            Err(SinkError::Orphan(reason)) => (reason, true),
            Err(error) => return Err(error),
        };
        Ok(PieceOutcome::Refused(RefusedRow { row: piece.start, reason, orphan }))
    }

    /// `None`: the database takes other rows, so the refused one is to blame. Else what the
    /// database says of a harmless row.
    async fn lacks_evidence(&mut self, refusal: &RefusedRow) -> Result<Option<String>, SinkError> {
        let (place, row) = (refusal.row, self.rows[refusal.row]);
        let is_absent = refusal.orphan && self.known.absent.reject(&row).is_some();
        if is_absent {
            return Ok(None);
        }
        // Probed anew for each refused row: the database may have changed since the last one.
        if place < self.proven && self.refuses(&self.rows[self.proven]).await?.is_none() {
            return Ok(None);
        }
        let text = harmless_text(&row);
        let harmless = harmless(&row, &text, row.user, row.space);
        let Some(words) = self.refuses(&harmless).await? else { return Ok(None) };
        if let Some(good) = self.known.good.filter(|good| *good != (row.user, row.space)) {
            let elsewhere = Record { user: good.0, space: good.1, ..harmless };
            if self.refuses(&elsewhere).await?.is_none() {
                return Ok(None);
            }
        }
        for place in sample(&self.rows[place + 1..], self.known.round) {
            let place = refusal.row + 1 + place;
            let row = self.rows[place];
            if self.refuses(&row).await?.is_none() {
                self.proven = place;
                return Ok(None);
            }
        }
        Ok(Some(words))
    }

    /// The database's words, if it would not take a row.
    async fn refuses(&mut self, row: &Record<'_>) -> Result<Option<String>, SinkError> {
        self.trials += 1;
        match self.trial.probe(row).await {
            Ok(()) => Ok(None),
            Err(SinkError::Data(reason) | SinkError::Orphan(reason)) => Ok(Some(reason)),
            Err(error) => Err(error),
        }
    }

    /// A foreign key asks for user and space only: no other row of the two needs a trial.
    fn note(&mut self, refusal: &RefusedRow) {
        if refusal.orphan {
            let row = &self.rows[refusal.row];
            self.orphans.insert((row.user, row.space), refusal.reason.clone());
        }
    }
}

/// Digits, which are also a number and JSON, whatever a column or an index makes of texts. Each
/// row has its own, so that a text that must be unique is not there already.
fn harmless_text(row: &Record<'_>) -> String {
    (harmless_id(row).0 as u32).to_string()
}

/// An id of the same millisecond that no message has.
fn harmless_id(row: &Record<'_>) -> Id {
    Id(row.id.0 ^ TAIL)
}

/// A row in the place of another whose texts and id give no reason to refuse it.
fn harmless<'a>(row: &Record<'a>, text: &'a str, user: UserId, space: SpaceId) -> Record<'a> {
    let (username, content) = ("hub", text);
    Record { id: harmless_id(row), user, space, username, content, nonce: None, ..*row }
}

/// Places of rows as different as they come: the last one of each user and of each space, then
/// others from the end. Each round chooses others.
fn sample(rows: &[Record<'_>], round: usize) -> Vec<usize> {
    let (mut users, mut spaces) = (BTreeSet::new(), BTreeSet::new());
    let (mut apart, mut alike) = (Vec::new(), Vec::new());
    for (place, row) in rows.iter().enumerate().rev() {
        match users.insert(row.user) | spaces.insert(row.space) {
            true => apart.push(place),
            false => alike.push(place),
        }
    }
    for places in [&mut apart, &mut alike] {
        let from = round.saturating_mul(SAMPLE) % places.len().max(1);
        places.rotate_left(from);
    }
    apart.into_iter().chain(alike).take(SAMPLE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::time::Micros;
    use proptest::prelude::*;

    /// A table, and what it refuses.
    #[derive(Clone, Default, Debug)]
    struct Table {
        /// Everything.
        closed: bool,
        users: Vec<i32>,
        spaces: Vec<i32>,
        /// Spaces that do not exist.
        absent: Vec<i32>,
        /// There is no place for rows of this time and later.
        from: Option<i64>,
        /// Texts that are taken once.
        once: bool,
        /// It opens or closes before this trial.
        turns: Option<usize>,
        taken: Vec<String>,
        trials: usize,
    }

    impl Table {
        fn begin(&mut self) {
            self.closed ^= self.turns == Some(self.trials);
            self.trials += 1;
        }

        /// Poison is a text that begins with `!`.
        fn judge(&mut self, row: &Record<'_>) -> Result<(), SinkError> {
            let refuses = self.closed
                || self.users.contains(&row.user.0)
                || self.spaces.contains(&row.space.0)
                || self.from.is_some_and(|from| row.at.0 >= from)
                || row.content.starts_with('!')
                || (self.once && self.taken.iter().any(|taken| taken == row.content));
            if self.absent.contains(&row.space.0) {
                return Err(SinkError::Orphan(format!("orphan {}", row.content)));
            }
            if refuses {
                return Err(SinkError::Data(format!("refused {}", row.content)));
            }
            self.taken.push(row.content.into());
            Ok(())
        }
    }

    impl Trial for Table {
        async fn take(&mut self, rows: &[Record<'_>]) -> Result<(), SinkError> {
            self.begin();
            let before = self.taken.len();
            let outcome = rows.iter().try_for_each(|row| self.judge(row));
            if outcome.is_err() {
                self.taken.truncate(before);
            }
            outcome
        }

        async fn probe(&mut self, row: &Record<'_>) -> Result<(), SinkError> {
            self.begin();
            let before = self.taken.len();
            let outcome = self.judge(row);
            self.taken.truncate(before);
            outcome
        }
    }

    /// User, space and text of each; a row a microsecond.
    fn rows(of: &[(i32, i32, String)]) -> Vec<Record<'_>> {
        let mut rows = Vec::new();
        for (n, (user, space, content)) in of.iter().enumerate() {
            let (id, at) = (Id(1 << 90 | n as u128), Micros(n as i64));
            let (user, space) = (UserId(*user), SpaceId(*space));
            rows.push(Record { id, at, space, user, username: "Ana", content, nonce: None });
        }
        rows
    }

    fn sifted(table: &mut Table, of: &[(i32, i32, String)], known: &SiftHints) -> Sifted {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(sift(table, &rows(of), known)).expect("the table answers")
    }

    fn said(texts: &[&str]) -> Vec<(i32, i32, String)> {
        texts.iter().map(|text| (1, 1, (*text).to_owned())).collect()
    }

    fn places(sifted: &Sifted) -> Vec<usize> {
        sifted.refused.iter().map(|refusal| refusal.row).collect()
    }

    #[test]
    fn a_row_whose_text_is_refused_needs_no_other_row_as_evidence() {
        let found = sifted(&mut Table::default(), &said(&["!a"]), &SiftHints::default());
        assert_eq!((found.decided, places(&found), &found.stuck), (1, vec![0], &None));
        assert_eq!(found.refused[0].reason, "refused !a");
        let texts = ["a", "!b", "c", "!d", "!e"];
        let found = sifted(&mut Table::default(), &said(&texts), &SiftHints::default());
        assert_eq!((found.decided, places(&found), found.stuck), (5, vec![1, 3, 4], None));
    }

    #[test]
    fn a_database_that_refuses_all_decides_nothing_at_a_bounded_cost() {
        let mut table = Table { closed: true, ..Table::default() };
        let of: Vec<_> = (0..9_000).map(|n| (n, n, format!("m{n}"))).collect();
        let known = SiftHints { good: Some((UserId(7), SpaceId(7))), ..SiftHints::default() };
        let found = sifted(&mut table, &of, &known);
        assert_eq!((found.decided, places(&found)), (0, vec![]));
        let words = found.stuck.expect("it is stuck");
        assert!(words.starts_with("refused ") && !words.contains('m'), "no text of ours: {words}");
        assert!(table.trials <= 30, "{} trials", table.trials);
    }

    #[test]
    fn rows_of_a_time_without_a_place_wait_and_those_before_do_not() {
        let texts: Vec<String> = (0..40).map(|n| format!("m{n}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut table = Table { from: Some(17), ..Table::default() };
        let known = SiftHints { good: Some((UserId(1), SpaceId(1))), ..SiftHints::default() };
        let found = sifted(&mut table, &said(&texts), &known);
        assert_eq!((found.decided, places(&found)), (17, vec![]));
        assert!(found.stuck.is_some());
    }

    #[test]
    fn who_alone_is_refused_is_found_by_rows_of_others() {
        let table = Table { users: vec![1], absent: vec![5], ..Table::default() };
        let mut of = vec![(1, 1, "a".to_owned()); 50];
        of.push((2, 1, "b".into()));
        let found = sifted(&mut table.clone(), &of, &SiftHints::default());
        assert_eq!((found.decided, places(&found).len(), found.stuck), (51, 50, None));
        of.pop();
        let found = sifted(&mut table.clone(), &of, &SiftHints::default());
        assert_eq!((found.decided, found.stuck.is_some()), (0, true), "none of others");
        // As many of another user stand before those of a third: each round asks others.
        let refused = Table { users: (0..60).filter(|user| *user != 5).collect(), ..table.clone() };
        let of: Vec<_> = (0..60).map(|user| (user, 1, "a".to_owned())).collect();
        let decided = |round| {
            let known = SiftHints { round, ..SiftHints::default() };
            sifted(&mut refused.clone(), &of, &known).decided
        };
        assert_eq!(decided(0), 0);
        assert!((1..9).any(|round| decided(round) > 0));
        let good = Some((UserId(2), SpaceId(1)));
        let known = SiftHints { good, ..SiftHints::default() };
        let found = sifted(&mut table.clone(), &[(1, 1, "a".into())], &known);
        assert_eq!(places(&found), [0], "the last that was stored is evidence too");
        let orphan = [(2, 5, "a".to_owned())];
        let mut known = SiftHints::default();
        assert_eq!(sifted(&mut table.clone(), &orphan, &known).decided, 0);
        known.absent.spaces.insert(SpaceId(5));
        let found = sifted(&mut table.clone(), &orphan, &known);
        assert!(found.refused[0].orphan);
    }

    #[test]
    fn a_database_that_is_mended_or_broken_meanwhile_makes_no_row_guilty() {
        let texts: Vec<String> = (0..20).map(|n| format!("m{n}")).collect();
        let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        (texts[4], texts[13]) = ("!a", "!b");
        for (closed, turn) in (0..60).map(|turn| (turn % 2 == 0, turn / 2)) {
            let mut table = Table { closed, turns: Some(turn), ..Table::default() };
            let found = sifted(&mut table, &said(&texts), &SiftHints::default());
            let guilty = places(&found);
            assert!(guilty.iter().all(|row| [4, 13].contains(row)), "{closed} {turn}: {guilty:?}");
        }
    }

    #[test]
    fn many_rows_of_a_missing_space_cost_few_trials() {
        let mut table = Table { absent: vec![5], ..Table::default() };
        let of: Vec<_> = (0..4_000).map(|n| (1, 4 + n % 2, format!("m{n}"))).collect();
        let found = sifted(&mut table, &of, &SiftHints::default());
        assert_eq!((found.decided, found.refused.len(), found.stuck), (4_000, 2_000, None));
        assert!(table.trials < 100, "{} trials", table.trials);
    }

    #[test]
    fn more_refused_rows_than_trials_are_decided_in_parts() {
        let of: Vec<_> = (0..2_000).map(|n| (1, 1, format!("!{n}"))).collect();
        let (mut left, mut rounds) = (&of[..], 0);
        while !left.is_empty() {
            let mut table = Table::default();
            let found = sifted(&mut table, left, &SiftHints::default());
            assert!(found.decided > 100 || found.decided == left.len(), "{found:?}");
            assert_eq!(found.refused.len(), found.decided);
            assert!(table.trials <= TRIALS_MAX + SAMPLE + 3 && found.stuck.is_none());
            left = &left[found.decided..];
            rounds += 1;
        }
        assert!(rounds < 20, "{rounds}");
    }

    fn table() -> impl Strategy<Value = Table> {
        let some = |below| proptest::collection::vec(0..below, 0..2);
        let from = proptest::option::of(0i64..60);
        let closed = prop::bool::weighted(0.1);
        (closed, some(4), some(4), some(4), from, any::<bool>()).prop_map(
            |(closed, users, spaces, absent, from, once)| {
                let from = from.filter(|from| *from < 50);
                Table { closed, users, spaces, absent, from, once, ..Table::default() }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_decided_is_what_one_row_after_the_other_would_show(
            table in table(),
            of in proptest::collection::vec((0i32..4, 0i32..4, "[!ab][a-c]{0,2}"), 1..50),
            good in proptest::option::of((0i32..4, 0i32..4)),
            round in 0usize..5,
        ) {
            let good = good.map(|(user, space)| (UserId(user), SpaceId(space)));
            let known = SiftHints { good, round, ..SiftHints::default() };
            let found = sifted(&mut table.clone(), &of, &known);
            let (mut plain, rows) = (table.clone(), rows(&of));
            let verdicts = rows[..found.decided].iter().map(|row| plain.judge(row).is_ok());
            let refused: Vec<usize> =
                verdicts.enumerate().filter(|(_, taken)| !taken).map(|(row, _)| row).collect();
            prop_assert_eq!(places(&found), refused);
            match &found.stuck {
                None => prop_assert_eq!(found.decided, rows.len()),
                Some(_) => {
                    let row = &rows[found.decided];
                    prop_assert!(plain.judge(row).is_err());
                    let text = harmless_text(row);
                    let harmless = harmless(row, &text, row.user, row.space);
                    prop_assert!(plain.judge(&harmless).is_err());
                }
            }
            prop_assert!(!table.closed || (found.refused.is_empty() && found.stuck.is_some()));
        }
    }
}
