//! What a PostgreSQL database says of itself: which one it is, and how far it has what the journals
//! of a data directory held. Only reads.

use std::collections::BTreeSet;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::connect::{CallFault, Connection, DatabaseUrl, Means};
use super::schema::BUILD_MAX;
use super::schema::layout::is_hubs;
use super::transaction::{LOOK, Typed, WRITE, WRITE_LONG};
use super::{ADOPTED, SPACES, WriteConnection};
use crate::store::journal::JournalId;
use crate::store::offset::{OtherOffset, remembered};
use crate::store::sink::{Past, SinkError, Sought};
use crate::wire::Id;

const LOOK_FOR: &str = "look for messages";
/// `OFFSET 0` keeps the planner from reading the whole table instead.
const IN_THEIR_SPACES: &str = "SELECT m.id::text FROM \
    unnest($1::text[], $2::int4[]) sought (id, space), LATERAL (SELECT id FROM chat_messages m \
    WHERE m.space_id = sought.space AND m.id COLLATE \"C\" = sought.id OFFSET 0) m";
const BY_KEY: &str = "SELECT id::text FROM chat_messages \
    WHERE id = ANY ($1)";

const NAME: &str = "SELECT id::text FROM hub_store LIMIT 1";

/// The random name of a database, which is not brought up to date; `None`: it has none yet.
pub(crate) async fn name_of(url: &DatabaseUrl) -> Result<Option<String>, SinkError> {
    let connection = Connection::open(url).await?;
    let sql = "SELECT to_regclass('hub_store') IS NOT NULL";
    let rows = connection.ask("look for tables", LOOK, (sql, &[])).await?;
    if !rows.first().is_some_and(|row| row.get(0)) {
        return Ok(None);
    }
    let rows = connection.ask("read the store's name", LOOK, (NAME, &[])).await?;
    Ok(rows.first().map(|row| row.get(0)))
}

impl WriteConnection {
    /// The random name that the database was given when it was made.
    pub(super) async fn identity(&self) -> Result<String, CallFault> {
        let rows = self.connection.ask("read the store's name", LOOK, (NAME, &[])).await?;
        match rows.first() {
            Some(row) => Ok(row.get(0)),
            None => {
                let problem = "hub_store is empty: nobody knows which database this is";
                Err(CallFault::new("read the store's name", Means::Person, problem.into()))
            }
        }
    }

    /// Whether the stored times are of another offset. Where there are none, or nobody knows of
    /// which, this one counts from now on. A database that can't be asked says so with its first
    /// batch.
    pub(super) async fn other_offset(
        &self,
        utc_offset: i32,
    ) -> Result<Option<OtherOffset>, CallFault> {
        let ours = remembered(utc_offset);
        let note = format!(
            "UPDATE hub_positions SET position = {ours} WHERE journal = '{ADOPTED}' AND position \
             <> {ours} AND (position = 0 OR NOT EXISTS (SELECT 1 FROM chat_messages))"
        );
        let read = format!("SELECT position::int8 FROM hub_positions WHERE journal = '{ADOPTED}'");
        let what = "read the store's offset";
        let asked = async {
            self.connection.ask(what, WRITE, (&note, &[])).await?;
            self.connection.ask(what, LOOK, (&read, &[])).await
        };
        let rows = match asked.await {
            Err(fault) if fault.is_of_what_was_asked() => return Ok(None),
            rows => rows?,
        };
        // A hub of an earlier version may have noted nothing.
        let theirs = rows.first().map(|row| row.get::<_, i64>(0)).filter(|theirs| *theirs > 0);
        Ok(theirs.and_then(|theirs| OtherOffset::of(utc_offset, theirs)))
    }

    /// No row is made for these, as `positions` does: nobody changes them any more.
    pub(super) async fn past(&self, journals: &[JournalId], limit: Id) -> Result<Past, CallFault> {
        let names: Vec<String> = journals.iter().map(ToString::to_string).collect();
        let all: Vec<&str> = names.iter().map(String::as_str).chain([ADOPTED]).collect();
        let parameters: [Typed<'_>; 1] = [(&all, Type::TEXT_ARRAY)];
        let sql = "SELECT journal::text, position::int8 FROM hub_positions \
                   WHERE journal = ANY ($1)";
        let rows = self.connection.ask("read positions", LOOK, (sql, &parameters)).await?;
        let position = |name: &str| {
            let row = rows.iter().find(|row| row.get::<_, &str>(0) == name)?;
            u64::try_from(row.get::<_, i64>(1)).ok()
        };
        // Scans the messages where the row that stands for forgotten journals is gone.
        let highest = self.highest_id(limit).await?;
        Ok(Past { positions: names.iter().map(|name| position(name)).collect(), highest })
    }

    /// In tables of others messages are found by their key. In the hub's they are found in their
    /// spaces; where a space is not known, in each that there is.
    pub(super) async fn stored_ids(&self, sought: &[Sought]) -> Result<BTreeSet<Id>, CallFault> {
        let (known, anywhere): (Vec<Sought>, Vec<Sought>) =
            sought.iter().partition(|sought| sought.space.is_some());
        let in_all_spaces = format!(
            "WITH RECURSIVE {SPACES} SELECT m.id::text FROM spaces, LATERAL (SELECT id \
             FROM chat_messages m WHERE m.space_id = spaces.space_id \
             AND m.id COLLATE \"C\" = ANY ($1) OFFSET 0) m"
        );
        let parts = match is_hubs(&self.connection).await? {
            true => vec![(known, IN_THEIR_SPACES), (anywhere, &in_all_spaces)],
            false => vec![(sought.to_vec(), BY_KEY)],
        };
        let mut stored = BTreeSet::new();
        for (sought, sql) in parts.into_iter().filter(|(sought, _)| !sought.is_empty()) {
            let ids: Vec<String> = sought.iter().map(|it| it.id.to_string()).collect();
            let spaces: Vec<Option<i32>> =
                sought.iter().map(|it| it.space.map(|space| space.0)).collect();
            let both: [Typed<'_>; 2] = [(&ids, Type::TEXT_ARRAY), (&spaces, Type::INT4_ARRAY)];
            let asked = self.connection.ask_for(BUILD_MAX, LOOK_FOR, WRITE_LONG, (sql, &both));
            let id = |row: &Row| Id::parse(row.get::<_, &str>(0).trim_end());
            stored.extend(asked.await?.iter().filter_map(id));
        }
        Ok(stored)
    }
}
