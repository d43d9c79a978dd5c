//! What is found in the index of words, over a connection that reads.
//!
//! Few matches are all looked at, and the newest of them shown. Of many, the space's messages are
//! gone through from the newest on, by ever longer stretches, and only as far as a page needs.

use rusqlite::{Connection, OptionalExtension, Result, ToSql, Transaction, named_params};

use super::fill::is_complete;
use crate::store::query::StoredMessage;
use crate::store::search::{Found, SearchQuery, Term};
use crate::store::sqlite::history::{COLUMNS, History, message};
use crate::store::sqlite::wall::WallFormat;

/// Matches that are all looked at.
const FEW: usize = 1_000;
/// Messages of the first stretch that is gone through; each further one is twice as long.
const STRETCH: i64 = 512;

/// A message that matches: its id and its row's number.
type Match = (String, i64);

impl History {
    /// A page of what is found by its words (docs/WIRE.md E).
    pub(crate) fn search(&mut self, query: &SearchQuery) -> Result<Found> {
        search(&mut self.connection, &self.wall, query)
    }
}

pub(super) fn search(
    connection: &mut Connection,
    wall: &WallFormat,
    query: &SearchQuery,
) -> Result<Found> {
    // One state of the database: what is in the index, and the rows.
    let transaction = connection.transaction()?;
    let looking = Looking {
        transaction: &transaction,
        wanted: expression(query),
        space: query.space.0,
        before: query.before.map(|id| id.to_string()),
        limit: query.limit as usize,
    };
    let is_complete = is_complete(&transaction)?;
    let mut matches = match looking.few()? {
        Some(few) => few,
        None => looking.newest()?,
    };
    let has_more = matches.len() > looking.limit;
    matches.truncate(looking.limit);
    let rows = rows(&transaction, wall, &matches)?;
    transaction.finish()?;
    Ok(Found { rows, has_more, is_complete })
}

/// What FTS5 is asked. Every text stands between quotes, in which nothing has a meaning.
fn expression(query: &SearchQuery) -> String {
    let quoted = |term: &Term| {
        let end = if term.is_beginning { " *" } else { "" };
        format!("\"{}\"{end}", term.text.replace('"', "\"\""))
    };
    let terms: Vec<String> = query.terms.iter().map(quoted).collect();
    let space = format!("s{}", query.space.0).replace('-', "n");
    format!("space : \"{space}\" AND content : ({})", terms.join(" AND "))
}

struct Looking<'a> {
    transaction: &'a Transaction<'a>,
    wanted: String,
    space: i32,
    before: Option<String>,
    limit: usize,
}

/// Rows that were changed by hand are found once the index has their words.
const UNCHANGED: &str = "rowid NOT IN (SELECT row FROM hub_search_changed)";

impl Looking<'_> {
    /// The newest matches, where there are few in all; one more than a page, if there are more.
    fn few(&self) -> Result<Option<Vec<Match>>> {
        let sql = format!(
            "SELECT rowid FROM hub_search WHERE hub_search MATCH ?1 AND {UNCHANGED} LIMIT ?2"
        );
        let most = FEW as i64 + 1;
        let numbers = self.numbers(&sql, &[&self.wanted, &most])?;
        if numbers.len() > FEW {
            return Ok(None);
        }
        let (mut found, before) = (self.matches(&numbers)?, self.before.as_deref());
        found.retain(|(id, _)| before.is_none_or(|before| id.as_str() < before));
        Ok(Some(self.newest_of(found)))
    }

    /// The newest matches, where there are many; one more than a page, if there are more.
    fn newest(&self) -> Result<Vec<Match>> {
        let sql = format!(
            "SELECT rowid FROM hub_search WHERE hub_search MATCH ?1 AND rowid BETWEEN ?2 AND ?3 \
             AND {UNCHANGED}"
        );
        let (mut found, mut before, mut length) = (Vec::new(), self.before.clone(), STRETCH);
        while found.len() <= self.limit
            && let Some(stretch) = self.stretch(before.as_deref(), length)?
        {
            let parameters: [&dyn ToSql; 3] = [&self.wanted, &stretch.first, &stretch.last];
            let mut matches = self.matches(&self.numbers(&sql, &parameters)?)?;
            // Rows of other stretches may lie between these.
            matches.retain(|(id, _)| {
                let is_below = before.as_ref().is_none_or(|before| id < before);
                is_below && *id >= stretch.lowest
            });
            found.extend(self.newest_of(matches));
            (before, length) = (Some(stretch.lowest), length.saturating_mul(2));
        }
        Ok(found)
    }

    /// The messages of the space that come next, from the newest on.
    fn stretch(&self, before: Option<&str>, length: i64) -> Result<Option<Stretch>> {
        let below = if before.is_some() { "AND id < :before" } else { "AND :before IS NULL" };
        let sql = format!(
            "SELECT min(id), min(number), max(number) FROM (SELECT id, rowid AS number \
             FROM chat_messages WHERE space_id = :space {below} ORDER BY id DESC LIMIT :length)"
        );
        let parameters = named_params! {
            ":space": self.space, ":before": before, ":length": length,
        };
        self.transaction.prepare_cached(&sql)?.query_row(parameters, |row| {
            let lowest: Option<String> = row.get(0)?;
            let Some(lowest) = lowest else { return Ok(None) };
            Ok(Some(Stretch { lowest, first: row.get(1)?, last: row.get(2)? }))
        })
    }

    fn numbers(&self, sql: &str, parameters: &[&dyn ToSql]) -> Result<Vec<i64>> {
        let mut statement = self.transaction.prepare_cached(sql)?;
        statement.query_map(parameters, |row| row.get(0))?.collect()
    }

    /// The messages of the space that have these numbers.
    fn matches(&self, numbers: &[i64]) -> Result<Vec<Match>> {
        let sql = "SELECT id FROM chat_messages WHERE rowid = ?1 AND space_id = ?2";
        let mut statement = self.transaction.prepare_cached(sql)?;
        let mut matches = Vec::with_capacity(numbers.len());
        for number in numbers {
            let id = statement.query_row((number, self.space), |row| row.get(0)).optional()?;
            matches.extend(id.map(|id| (id, *number)));
        }
        Ok(matches)
    }

    /// The newest of some matches, one more than a page has.
    fn newest_of(&self, mut matches: Vec<Match>) -> Vec<Match> {
        matches.sort_unstable_by(|one, other| other.cmp(one));
        matches.truncate(self.limit + 1);
        matches
    }
}

/// Messages of a space that follow each other.
struct Stretch {
    /// The lowest of their ids.
    lowest: String,
    /// The lowest and the highest of their numbers.
    first: i64,
    last: i64,
}

fn rows(
    transaction: &Transaction<'_>,
    wall: &WallFormat,
    matches: &[Match],
) -> Result<Vec<StoredMessage>> {
    let sql = format!("SELECT {COLUMNS} FROM chat_messages WHERE rowid = ?1");
    let mut statement = transaction.prepare_cached(&sql)?;
    let row = |(_, number): &Match| statement.query_row([number], |row| message(row, wall));
    matches.iter().map(row).collect()
}
