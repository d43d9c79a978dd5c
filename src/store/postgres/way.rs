//! The way of rows into the table: COPY, or INSERT where policies judge single rows, because
//! PostgreSQL has no COPY into such a table.

use std::pin::pin;
use std::time::Duration;

use futures_util::SinkExt;
use tokio_postgres::types::Type;
use tokio_postgres::{Error, Statement};

use super::connect::{CALL_MAX, CallFault, Connection, column, within};
use super::copy::{self, WallMicros};
use super::transaction::{LOOK, Typed};
use crate::store::sink::SinkError;
use crate::wire::record::Record;

/// What a row may add to the time that its COPY may take: a slow database must get a whole batch
/// done within it, or it would be sent the same one for ever.
const ROW_MAX: Duration = Duration::from_millis(1);

/// Instants come as microseconds since 1970.
const INSERT: &str = "INSERT INTO chat_messages \
    (id, content, user_id, username, space_id, timestamp) \
    SELECT id, content, user_id, username, space_id, \
    timestamp '1970-01-01' + at * interval '1 microsecond' \
    FROM unnest($1::text[], $2::text[], $3::int4[], $4::text[], $5::int4[], $6::int8[]) \
    AS sent (id, content, user_id, username, space_id, at)";

/// How much is sent at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowsSize {
    pub(super) rows: usize,
    /// Bytes of the rows as encoded records.
    pub(super) bytes: usize,
}

/// How a connection sends rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    Copy,
    Insert,
}

/// What rows are sent with. COPY needs a statement with a name; dropped before its transaction
/// ends, it is gone from the server's session with it.
#[derive(Debug)]
pub(super) enum Sending {
    Copy(Statement),
    Insert,
}

impl Way {
    /// The way that a connection's role has.
    pub(super) async fn find(connection: &Connection) -> Result<Way, CallFault> {
        let what = "look for policies";
        let policies = "SELECT row_security_active('chat_messages')";
        let rows = connection.ask(what, LOOK, (policies, &[])).await?;
        let active = rows.first().map_or(Ok(false), |row| column(what, row, 0))?;
        Ok(if active { Way::Insert } else { Way::Copy })
    }

    /// Makes ready for sending, in the transaction that is going on.
    pub(super) async fn prepare(self, connection: &Connection) -> Result<Sending, Error> {
        match self {
            Way::Copy => connection.client.prepare(copy::COPY).await.map(Sending::Copy),
            Way::Insert => Ok(Sending::Insert),
        }
    }
}

impl Sending {
    /// Sends rows; if the database takes fewer than all, it counts as none. After `Closed` the
    /// connection is of no more use.
    pub(super) async fn send<'a>(
        self,
        connection: &Connection,
        records: impl Iterator<Item = Record<'a>>,
        size: RowsSize,
        wall: WallMicros,
    ) -> Result<(), SinkError> {
        let RowsSize { rows, bytes } = size;
        let limit = CALL_MAX + ROW_MAX * u32::try_from(rows).unwrap_or(u32::MAX);
        let client = &connection.client;
        let taken = match self {
            Sending::Copy(statement) => {
                let encoded = copy::rows(records, wall, copy::bytes_for(rows, bytes)).freeze();
                // No row is to blame for an error here. After it the connection is of no more use:
                // the crate loses count of the server's answers.
                let sink = within(CALL_MAX, "copy rows", client.copy_in(&statement)).await;
                let mut sink = pin!(sink.map_err(CallFault::of_the_table)?);
                let copied = async {
                    sink.send(encoded).await?;
                    sink.finish().await
                };
                within(limit, "copy rows", copied).await
            }
            Sending::Insert => {
                let columns = Columns::of(records, wall);
                let parameters = columns.parameters();
                within(limit, "insert rows", client.execute_typed(INSERT, &parameters)).await
            }
        };
        let taken = taken.map_err(CallFault::of_rows)?;
        if taken != rows as u64 {
            let dropped = (rows as u64).saturating_sub(taken);
            let reason = format!("send rows: a trigger dropped {dropped} of {rows}");
            return Err(SinkError::Data(reason));
        }
        Ok(())
    }
}

/// Rows, column by column.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<String>,
    contents: Vec<&'a str>,
    users: Vec<i32>,
    usernames: Vec<&'a str>,
    spaces: Vec<i32>,
    instants: Vec<i64>,
}

impl<'a> Columns<'a> {
    fn of(records: impl Iterator<Item = Record<'a>>, wall: WallMicros) -> Columns<'a> {
        let mut columns = Columns::default();
        for record in records {
            columns.ids.push(record.id.to_string());
            columns.contents.push(record.content);
            columns.users.push(record.user.0);
            columns.usernames.push(record.username);
            columns.spaces.push(record.space.0);
            columns.instants.push(wall.of(record.at));
        }
        columns
    }

    fn parameters(&self) -> [Typed<'_>; 6] {
        [
            (&self.ids, Type::TEXT_ARRAY),
            (&self.contents, Type::TEXT_ARRAY),
            (&self.users, Type::INT4_ARRAY),
            (&self.usernames, Type::TEXT_ARRAY),
            (&self.spaces, Type::INT4_ARRAY),
            (&self.instants, Type::INT8_ARRAY),
        ]
    }
}
