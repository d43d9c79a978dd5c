//! The PostgreSQL sink: one connection, one transaction a batch, rows by binary COPY.
//!
//! A transaction begins by moving the journals' positions on, from where they are known to be.
//! Only when the server has said that they were there are rows sent; so a batch that was in doubt
//! meets its own position, not its own rows. Owns the only connection that writes; a call that
//! fails, is late or is dropped takes its connection with it, and the server rolls back.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::pin::pin;
use std::time::Duration;

use futures_util::SinkExt;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, SimpleQueryMessage, Statement};

use crate::store::batch::{Advance, Batch};
use crate::store::copy::{self, WallMicros};
use crate::store::journal::JournalId;
use crate::store::letters::Holds;
use crate::store::sink::{Absent, Gone, Past, Sink, SinkError};
use crate::wire::{Id, SpaceId, UserId};

mod binding;
mod connect;
mod handshake;
mod history;
mod parameters;
mod reader;
mod schema;
mod standing;
mod tls;

pub use connect::{BadUrl, DatabaseUrl, TlsDefaults};
pub(in crate::store) use reader::{PostgresPlan, start_reader};
pub(in crate::store) use schema::migrate;
pub(in crate::store) use standing::name_of;
pub use tls::BadTls;

use connect::{CALL_MAX, CallFault, Connection, Means, within};

/// What a row may add to the time that its COPY may take: a slow database must get a whole batch
/// done within it, or it would be sent the same one for ever.
const ROW_MAX: Duration = Duration::from_millis(1);

/// What holds for the connection that writes. The server gives up waiting for a lock a little
/// before we do, so that nothing of ours waits there that we no longer want; what we have given
/// up otherwise it ends soon after.
const SESSION: &str = "SET synchronous_commit = on; SET lock_timeout = '4s'; \
    SET statement_timeout = '20s'; SET idle_in_transaction_session_timeout = '15s'; \
    SET client_min_messages = warning";

/// The row of `hub_positions` that belongs to no journal.
const ADOPTED: &str = "adopted";

/// Writes to a PostgreSQL database; connects when it has to.
#[derive(Debug)]
pub struct PostgresSink {
    url: DatabaseUrl,
    wall: WallMicros,
    writer: Option<Writer>,
}

#[derive(Debug)]
struct Writer {
    connection: Connection,
    copy: Statement,
}

impl PostgresSink {
    /// A sink that has not connected yet; times in this fixed offset.
    pub fn new(url: DatabaseUrl, utc_offset: i32) -> PostgresSink {
        PostgresSink { url, wall: WallMicros::new(utc_offset), writer: None }
    }

    /// Gives the connection up, so that the next call may be on another runtime.
    pub(in crate::store) fn disconnect(&mut self) {
        self.writer = None;
    }

    /// Takes the connection out: it is put back by who has used it to the end.
    async fn take(&mut self) -> Result<Writer, CallFault> {
        match self.writer.take() {
            Some(writer) if !writer.connection.client.is_closed() => Ok(writer),
            _ => Writer::open(&self.url).await,
        }
    }
}

impl Sink for PostgresSink {
    async fn positions(&mut self, journals: &[JournalId]) -> Result<Vec<u64>, SinkError> {
        let writer = self.take().await?;
        let positions = writer.positions(journals).await?;
        self.writer = Some(writer);
        Ok(positions)
    }

    async fn append(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let writer = self.take().await?;
        let outcome = writer.store(batch, self.wall).await;
        let usable = match &outcome {
            Ok(()) => true,
            // Its halves come next, at once.
            Err(SinkError::Data(_) | SinkError::Orphan(_)) => {
                writer.connection.run("roll back", "ROLLBACK").await.is_ok()
            }
            Err(_) => false,
        };
        if usable {
            self.writer = Some(writer);
        }
        outcome
    }

    async fn absent(&mut self, batch: &Batch) -> Result<Absent, SinkError> {
        let writer = self.take().await?;
        let absent = writer.absent(batch).await?;
        self.writer = Some(writer);
        Ok(absent)
    }

    async fn forget(&mut self, gone: &Gone) -> Result<(), SinkError> {
        let Gone { journal, stored, .. } = gone;
        let writer = self.take().await?;
        let sql = format!(
            "WITH gone AS (DELETE FROM hub_positions WHERE journal = '{journal}' \
             AND position = {stored} \
             RETURNING highest COLLATE \"C\" AS highest) \
             UPDATE hub_positions SET highest = greatest(highest COLLATE \"C\", \
             (SELECT highest FROM gone)) WHERE journal = '{ADOPTED}'"
        );
        writer.connection.run("forget a journal", &sql).await?;
        self.writer = Some(writer);
        Ok(())
    }

    fn is_connected(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| !writer.connection.client.is_closed())
    }

    async fn identity(&mut self) -> Result<String, SinkError> {
        let writer = self.take().await?;
        let identity = writer.identity().await?;
        self.writer = Some(writer);
        Ok(identity)
    }

    async fn past(&mut self, journals: &[JournalId], limit: Id) -> Result<Past, SinkError> {
        let writer = self.take().await?;
        let past = writer.past(journals, limit).await?;
        self.writer = Some(writer);
        Ok(past)
    }

    async fn stored_ids(&mut self, ids: &[Id]) -> Result<BTreeSet<Id>, SinkError> {
        let writer = self.take().await?;
        let found = writer.stored_ids(ids).await?;
        self.writer = Some(writer);
        Ok(found)
    }

    async fn highest_id(&mut self, limit: Id) -> Result<Id, SinkError> {
        let writer = self.take().await?;
        let highest = writer.highest_id(limit).await?;
        self.writer = Some(writer);
        Ok(highest)
    }
}

impl Holds for PostgresSink {
    async fn holds(&mut self, id: Id) -> Result<bool, SinkError> {
        let writer = self.take().await?;
        let (sql, id) = ("SELECT 1 FROM chat_messages WHERE id = $1", id.to_string());
        let parameters: [&(dyn ToSql + Sync); 1] = [&id];
        let row = writer.connection.client.query_opt(sql, &parameters);
        let row = within(CALL_MAX, "look for a message", row).await?;
        self.writer = Some(writer);
        Ok(row.is_some())
    }
}

impl Writer {
    async fn open(url: &DatabaseUrl) -> Result<Writer, CallFault> {
        let connection = Connection::open(url).await?;
        schema::bring_up_to_date(&connection).await?;
        connection.run("set up the connection", SESSION).await?;
        let copy = within(CALL_MAX, "prepare", connection.client.prepare(copy::COPY)).await?;
        Ok(Writer { connection, copy })
    }

    /// Waits for whoever is still changing them: a transaction of a run that was killed, or of a
    /// connection that was lost, may commit later than its hub believes. Behind the lock of a
    /// journal's row none is left; so each journal asked for gets a row.
    async fn positions(&self, journals: &[JournalId]) -> Result<Vec<u64>, CallFault> {
        let client = &self.connection.client;
        let names: Vec<String> = journals.iter().map(ToString::to_string).collect();
        let parameters: [&(dyn ToSql + Sync); 1] = [&names];
        let first = "INSERT INTO hub_positions (journal, position) \
                     SELECT unnest($1::text[]), 0 ON CONFLICT DO NOTHING";
        within(CALL_MAX, "make positions", client.execute(first, &parameters)).await?;
        let sql = "SELECT journal, position FROM hub_positions WHERE journal = ANY ($1) \
                   FOR UPDATE";
        let rows = within(CALL_MAX, "read positions", client.query(sql, &parameters)).await?;
        let position = |name: &String| {
            let row = rows.iter().find(|row| row.get::<_, &str>(0) == name);
            row.and_then(|row| u64::try_from(row.get::<_, i64>(1)).ok()).unwrap_or(0)
        };
        Ok(names.iter().map(position).collect())
    }

    async fn store(&self, batch: &Batch, wall: WallMicros) -> Result<(), SinkError> {
        let client = &self.connection.client;
        let steps = begin_and_step(batch);
        let answers = within(CALL_MAX, "move positions", client.simple_query(&steps)).await?;
        let counted = |answer: &SimpleQueryMessage| match answer {
            SimpleQueryMessage::CommandComplete(rows) => *rows,
            _ => 0,
        };
        // Never sent together with the rows: see the module.
        let moved: u64 = answers.iter().map(counted).sum();
        if moved != batch.advances().len() as u64 {
            return Err(SinkError::Unclear("journals are not where they were".into()));
        }
        if batch.rows() > 0 {
            let limit = CALL_MAX + ROW_MAX * u32::try_from(batch.rows()).unwrap_or(u32::MAX);
            let taken = within(limit, "copy rows", self.copy_rows(batch, wall)).await?;
            if taken != batch.rows() as u64 {
                let reason = format!("copy rows: a trigger dropped rows of {}", batch.rows());
                return Err(SinkError::Data(reason));
            }
        }
        match within(CALL_MAX, "commit", client.batch_execute("COMMIT")).await {
            Ok(()) => Ok(()),
            // A constraint that is checked late.
            Err(fault) if matches!(fault.means, Means::Row | Means::Orphan) => Err(fault.into()),
            // Whatever it says, only the positions tell whether a failed commit happened.
            Err(fault) => Err(SinkError::Unclear(fault.to_string())),
        }
    }

    async fn absent(&self, batch: &Batch) -> Result<Absent, CallFault> {
        let client = &self.connection.client;
        let users: BTreeSet<i32> = batch.records().map(|record| record.user.0).collect();
        let spaces: BTreeSet<i32> = batch.records().map(|record| record.space.0).collect();
        let missing = async |table: &str, ids: BTreeSet<i32>| {
            let ids = ids.into_iter().collect::<Vec<i32>>();
            let sql = format!(
                "SELECT id FROM unnest($1::int4[]) id WHERE to_regclass('{table}') IS NOT NULL \
                 AND NOT EXISTS (SELECT 1 FROM {table} known WHERE known.id = id.id)"
            );
            let parameters: [&(dyn ToSql + Sync); 1] = [&ids];
            let rows = within(CALL_MAX, "ask who exists", client.query(&sql, &parameters)).await?;
            Ok(rows.iter().map(|row| row.get::<_, i32>(0)).collect::<Vec<i32>>())
        };
        let users = missing("users", users).await?.into_iter().map(UserId).collect();
        let spaces = missing("spaces", spaces).await?.into_iter().map(SpaceId).collect();
        Ok(Absent { users, spaces })
    }

    /// How many rows the table took.
    async fn copy_rows(&self, batch: &Batch, wall: WallMicros) -> Result<u64, Error> {
        let bound = copy::bytes_for(batch.rows(), batch.bytes());
        let rows = copy::rows(batch.records(), wall, bound).freeze();
        let mut sink = pin!(self.connection.client.copy_in(&self.copy).await?);
        sink.send(rows).await?;
        sink.finish().await
    }

    /// Scans the messages the first time that a hub sees them; then positions carry it.
    async fn highest_id(&self, limit: Id) -> Result<Id, CallFault> {
        let client = &self.connection.client;
        let limit = limit.to_string();
        let scan = "INSERT INTO hub_positions (journal, position, highest) \
            SELECT $1, 0, max(id COLLATE \"C\") FROM chat_messages \
            WHERE id ~ '^[0-7][0-9A-HJKMNP-TV-Z]{25}$' AND id COLLATE \"C\" <= $2 \
            HAVING NOT EXISTS (SELECT 1 FROM hub_positions WHERE journal = $1) \
            ON CONFLICT DO NOTHING";
        self.connection.run("set up the connection", "SET statement_timeout = 0").await?;
        let parameters: [&(dyn ToSql + Sync); 2] = [&ADOPTED, &limit];
        within(schema::BUILD_MAX, "read ids", client.execute(scan, &parameters)).await?;
        self.connection.run("set up the connection", SESSION).await?;
        let sql = "SELECT max(highest COLLATE \"C\") FROM hub_positions \
                   WHERE highest COLLATE \"C\" <= $1";
        let parameters: [&(dyn ToSql + Sync); 1] = [&limit];
        let row = within(CALL_MAX, "read ids", client.query_one(sql, &parameters)).await?;
        let highest = row.get::<_, Option<&str>>(0).and_then(Id::parse);
        Ok(highest.unwrap_or(Id::MIN))
    }
}

/// One call: begins a transaction and moves each position on, from where it is known to be.
fn begin_and_step(batch: &Batch) -> String {
    // Ids, journals and numbers are our own digits: nothing in them needs quoting.
    let highest = batch.records().map(|record| record.id).max();
    let highest = highest.map_or("NULL".into(), |id| format!("'{id}'"));
    let mut sql = String::from("BEGIN");
    for Advance { journal, last, next } in batch.advances() {
        let step = format!(
            "; UPDATE hub_positions SET position = {next}, \
             highest = greatest(highest COLLATE \"C\", {highest}) \
             WHERE journal = '{journal}' AND position = {last}"
        );
        // A string takes whatever is written to it.
        let _ = sql.write_str(&step);
    }
    sql
}
