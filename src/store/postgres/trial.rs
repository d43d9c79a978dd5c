//! What PostgreSQL says of rows that are tried, and of users and spaces that are asked for.
//!
//! Rows are tried in a transaction that is rolled back, each stretch behind a savepoint. Others may
//! change the table meanwhile: what is rolled back gives its locks back too.

use std::collections::BTreeSet;

use tokio_postgres::types::Type;

use super::WriteConnection;
use super::connect::{CALL_MAX, CallFault, Connection, column, within};
use super::copy::WallMicros;
use super::transaction::{LOOK, Typed, WRITE};
use super::way::RowsSize;
use crate::store::batcher::batch::Batch;
use crate::store::batcher::sift::{self, Trial};
use crate::store::sink::{AbsentIds, SiftHints, Sifted, SinkError};
use crate::wire::record::Record;
use crate::wire::{SpaceId, UserId};

/// Constraints that are checked at a commit are checked at once: a trial has no commit.
const IMMEDIATE: &str = "SET CONSTRAINTS ALL IMMEDIATE";
const BACK: &str = "ROLLBACK TO tried; RELEASE tried";

struct Tried<'a> {
    writer: &'a WriteConnection,
    wall: WallMicros,
}

/// Tries a batch's rows. With an error the connection is of no more use.
pub(super) async fn sift(
    writer: &WriteConnection,
    batch: &Batch,
    wall: WallMicros,
    known: &SiftHints,
) -> Result<Sifted, SinkError> {
    let rows: Vec<Record<'_>> = batch.records().collect();
    writer.connection.run("try rows", &format!("{WRITE}; {IMMEDIATE}")).await?;
    let sifted = sift::sift(&mut Tried { writer, wall }, &rows, known).await?;
    writer.connection.run("roll back", "ROLLBACK").await?;
    Ok(sifted)
}

impl Trial for Tried<'_> {
    async fn take(&mut self, rows: &[Record<'_>]) -> Result<(), SinkError> {
        let outcome = self.send(rows).await;
        self.end(&outcome, "RELEASE tried").await?;
        outcome
    }

    async fn probe(&mut self, row: &Record<'_>) -> Result<(), SinkError> {
        let outcome = self.send(std::slice::from_ref(row)).await;
        self.end(&outcome, BACK).await?;
        outcome
    }
}

impl Tried<'_> {
    async fn send(&self, rows: &[Record<'_>]) -> Result<(), SinkError> {
        let WriteConnection { connection, way, .. } = self.writer;
        let saving = connection.run("try rows", "SAVEPOINT tried");
        let preparing = within(CALL_MAX, "prepare", way.prepare(connection));
        let (saved, sending) = tokio::join!(biased; saving, preparing);
        saved?;
        let sending = sending.map_err(CallFault::of_the_table)?;
        let bytes = rows.iter().map(Record::encoded_bytes).sum();
        let size = RowsSize { rows: rows.len(), bytes };
        sending.send(connection, rows.iter().copied(), size, self.wall).await
    }

    /// Ends what was tried: with the statement `taken` if the rows were taken.
    async fn end(&self, outcome: &Result<(), SinkError>, taken: &str) -> Result<(), CallFault> {
        match outcome {
            Ok(()) => self.writer.connection.run("try rows", taken).await,
            Err(SinkError::Data(_) | SinkError::Orphan(_)) => {
                self.writer.connection.run("try rows", BACK).await
            }
            // Any other error ends the transaction, and what was tried with it.
            Err(_) => Ok(()),
        }
    }
}

/// Which of a batch's users and spaces the tables do not have that messages refer to. What can't
/// be asked, for want of a right, a table or a fitting column, counts as there.
pub(super) async fn absent(connection: &Connection, batch: &Batch) -> Result<AbsentIds, CallFault> {
    let users = batch.records().map(|record| record.user.0).collect();
    let spaces = batch.records().map(|record| record.space.0).collect();
    let users = missing(connection, "users", users).await?;
    let spaces = missing(connection, "spaces", spaces).await?;
    Ok(AbsentIds {
        users: users.into_iter().map(UserId).collect(),
        spaces: spaces.into_iter().map(SpaceId).collect(),
    })
}

async fn missing(
    connection: &Connection,
    table: &str,
    ids: BTreeSet<i32>,
) -> Result<Vec<i32>, CallFault> {
    let ids = ids.into_iter().collect::<Vec<i32>>();
    // Only a table that messages refer to is asked: another one of that name would know nobody.
    let sql = format!(
        "SELECT id::int4 FROM unnest($1::int4[]) id WHERE EXISTS (SELECT 1 FROM pg_constraint \
         WHERE contype = 'f' AND conrelid = to_regclass('chat_messages') \
         AND confrelid = to_regclass('{table}')) \
         AND NOT EXISTS (SELECT 1 FROM {table} known WHERE known.id = id.id)"
    );
    let parameters: [Typed<'_>; 1] = [(&ids, Type::INT4_ARRAY)];
    match connection.ask("ask who exists", LOOK, (&sql, &parameters)).await {
        Ok(rows) => rows.iter().map(|row| column("ask who exists", row, 0)).collect(),
        Err(fault) if fault.is_of_what_was_asked() => {
            tracing::debug!(%fault, "can't ask who exists");
            Ok(Vec::new())
        }
        Err(fault) => Err(fault),
    }
}
