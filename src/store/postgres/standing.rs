//! What a PostgreSQL database says of itself: which one it is, and how far it has what the journals
//! of a data directory held. Only reads.

use std::collections::BTreeSet;

use tokio_postgres::types::ToSql;

use super::connect::{CALL_MAX, CallFault, Connection, DatabaseUrl, Means, within};
use super::{ADOPTED, WriteConnection};
use crate::store::journal::JournalId;
use crate::store::offset::{OtherOffset, remembered};
use crate::store::sink::{Past, SinkError};
use crate::wire::Id;

/// The random name of a database, which is not brought up to date; `None`: it has none yet.
pub(crate) async fn name_of(url: &DatabaseUrl) -> Result<Option<String>, SinkError> {
    let connection = Connection::open(url).await?;
    let sql = "SELECT to_regclass('hub_store') IS NOT NULL";
    let there = connection.client.query_one(sql, &[]);
    if !within(CALL_MAX, "look for tables", there).await?.get::<_, bool>(0) {
        return Ok(None);
    }
    let row = connection.client.query_opt("SELECT id FROM hub_store LIMIT 1", &[]);
    let row = within(CALL_MAX, "read the store's name", row).await?;
    Ok(row.map(|row| row.get(0)))
}

impl WriteConnection {
    /// The random name that the database was given when it was made.
    pub(super) async fn identity(&self) -> Result<String, CallFault> {
        let sql = "SELECT id FROM hub_store LIMIT 1";
        let row = self.connection.client.query_opt(sql, &[]);
        match within(CALL_MAX, "read the store's name", row).await? {
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
        let (ours, client) = (remembered(utc_offset), &self.connection.client);
        let note = format!(
            "UPDATE hub_positions SET position = {ours} WHERE journal = '{ADOPTED}' AND position \
             <> {ours} AND (position = 0 OR NOT EXISTS (SELECT 1 FROM chat_messages))"
        );
        let read = format!("SELECT position::int8 FROM hub_positions WHERE journal = '{ADOPTED}'");
        let what = "read the store's offset";
        let asked = async {
            within(CALL_MAX, what, client.batch_execute(&note)).await?;
            within(CALL_MAX, what, client.query_opt(&read, &[])).await
        };
        let row = match asked.await {
            Err(fault) if fault.is_of_what_was_asked() => return Ok(None),
            row => row?,
        };
        // A hub of an earlier version may have noted nothing.
        let theirs = row.map(|row| row.get::<_, i64>(0)).filter(|theirs| *theirs > 0);
        Ok(theirs.and_then(|theirs| OtherOffset::of(utc_offset, theirs)))
    }

    /// No row is made for these, as `positions` does: nobody changes them any more.
    pub(super) async fn past(&self, journals: &[JournalId], limit: Id) -> Result<Past, CallFault> {
        let names: Vec<String> = journals.iter().map(ToString::to_string).collect();
        let all: Vec<&str> = names.iter().map(String::as_str).chain([ADOPTED]).collect();
        let parameters: [&(dyn ToSql + Sync); 1] = [&all];
        let sql = "SELECT journal, position FROM hub_positions WHERE journal = ANY ($1)";
        let rows = self.connection.client.query(sql, &parameters);
        let rows = within(CALL_MAX, "read positions", rows).await?;
        let position = |name: &str| {
            let row = rows.iter().find(|row| row.get::<_, &str>(0) == name)?;
            u64::try_from(row.get::<_, i64>(1)).ok()
        };
        // Scans the messages where the row that stands for forgotten journals is gone.
        let highest = self.highest_id(limit).await?;
        Ok(Past { positions: names.iter().map(|name| position(name)).collect(), highest })
    }

    pub(super) async fn stored_ids(&self, ids: &[Id]) -> Result<BTreeSet<Id>, CallFault> {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let parameters: [&(dyn ToSql + Sync); 1] = [&ids];
        let sql = "SELECT id::text FROM chat_messages WHERE id = ANY ($1)";
        let rows = self.connection.client.query(sql, &parameters);
        let rows = within(CALL_MAX, "look for messages", rows).await?;
        Ok(rows.iter().filter_map(|row| Id::parse(row.get::<_, &str>(0).trim_end())).collect())
    }
}
