//! The PostgreSQL sink: one connection, one transaction a batch, rows by binary COPY.
//!
//! A transaction begins by moving the journals' positions on, from where they are known to be.
//! Only when the server has said that they were there are rows sent; so a batch that was in doubt
//! meets its own position, not its own rows. Owns the only connection that writes; a call that
//! fails, is late or is dropped takes its connection with it, and the server rolls back.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::types::Type;

use crate::store::batcher::batch::{Advance, Batch};
use crate::store::journal::JournalId;
use crate::store::offset::OtherOffset;
use crate::store::sink::{AbsentIds, Gone, Past, SiftHints, Sifted, Sink, SinkError, Sought};
use crate::wire::Id;

mod aside;
mod connect;
pub mod copy;
mod examine;
mod history;
mod marks;
mod node;
mod reader;
mod rights;
mod rows;
mod schema;
mod standing;
mod transaction;
mod trial;
mod way;

pub use connect::DatabaseUrl;
pub(crate) use connect::{SYSTEM_ROOTS, TlsDefaults};
pub(crate) use examine::{Examined, examine};
pub(crate) use node::Node;
pub(crate) use reader::start_reader;
pub(crate) use schema::migrate;
pub(crate) use schema::words::Search;
pub(crate) use standing::name_of;

use connect::{CALL_MAX, CallFault, Connection, Means, column, within};
use copy::WallMicros;
use node::Claimant;
use schema::beside::Beside;
use schema::{Aim, Brought, Reach};
use transaction::{LOOK, Typed, WRITE, WRITE_LONG};
use way::{RowsSize, Way};

/// The row of `hub_positions` that belongs to no journal; its position is the offset of the stored
/// times.
const ADOPTED: &str = "adopted";

/// The spaces that have messages, each found behind the one before it in an index.
const SPACES: &str = "spaces AS ((SELECT space_id FROM chat_messages ORDER BY 1 LIMIT 1) \
    UNION ALL SELECT (SELECT m.space_id FROM chat_messages m \
    WHERE m.space_id > spaces.space_id ORDER BY 1 LIMIT 1) \
    FROM spaces WHERE spaces.space_id IS NOT NULL)";

/// Writes to a PostgreSQL database; connects when it has to.
#[derive(Debug)]
pub struct PostgresSink {
    url: DatabaseUrl,
    wall: WallMicros,
    writer: Option<WriteConnection>,
    /// The claim of a hub that serves; tools have none.
    claimant: Option<Claimant>,
    /// Rights that the last connection's role lacks.
    lacks: Option<String>,
    utc_offset: i32,
    /// The offset of the database's times, where it is another one.
    other_offset: Option<OtherOffset>,
    /// The table of messages, as it was told.
    table: Option<String>,
    /// What becomes of the index of words.
    search: Search,
    /// Brings the database up to date as far as that can wait.
    beside: Beside,
}

#[derive(Debug)]
struct WriteConnection {
    connection: Connection,
    way: Way,
    /// What was found when it was opened.
    found: Brought,
}

impl PostgresSink {
    /// A sink that has not connected yet; times in this fixed offset.
    pub fn new(url: DatabaseUrl, utc_offset: i32) -> PostgresSink {
        let wall = WallMicros::new(utc_offset);
        PostgresSink {
            url,
            wall,
            writer: None,
            claimant: None,
            lacks: None,
            utc_offset,
            other_offset: None,
            table: None,
            search: Search::default(),
            beside: Beside::default(),
        }
    }

    /// Has the index of words made or taken away.
    pub(crate) fn indexing(self, search: Search) -> PostgresSink {
        PostgresSink { search, ..self }
    }

    /// Makes it the sink of a hub that serves: nothing is written but under the hub's claim.
    pub(crate) fn claiming(self, node: Node) -> PostgresSink {
        PostgresSink { claimant: Some(Claimant::new(node)), ..self }
    }

    /// Whether the times of the database that was reached last are of another offset; nothing is
    /// written to it then.
    pub(crate) fn other_offset(&self) -> Option<OtherOffset> {
        self.other_offset
    }

    /// Gives the connection up, so that the next call may be on another runtime.
    pub(crate) fn disconnect(&mut self) {
        self.writer = None;
    }

    async fn try_append(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let writer = self.take().await?;
        let outcome = writer.store(batch, self.wall).await;
        let usable = match &outcome {
            Ok(()) => true,
            // The connection is needed at once, for what is to be stored of the batch.
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

    async fn open(&mut self) -> Result<WriteConnection, CallFault> {
        let connection = Connection::open(&self.url).await?;
        self.lacks = rights::missing(&connection).await?;
        let aim = Aim { reach: Reach::Needed, search: self.search };
        let found = schema::bring_up_to_date(&connection, &self.url, aim).await?;
        let writer = WriteConnection::open(connection, found, self.claimant.as_mut()).await?;
        self.other_offset = writer.other_offset(self.utc_offset).await?;
        if let Some(other) = self.other_offset {
            let what = "look at the store's times";
            return Err(CallFault::new(what, Means::Person, other.to_string()));
        }
        self.tell_table(schema::table(&writer.connection).await?, writer.found.kept);
        Ok(writer)
    }

    /// Tells which table the search path finds, which is the role's to choose.
    fn tell_table(&mut self, table: String, kept: Option<&str>) {
        match &self.table {
            Some(known) if *known == table => return,
            Some(known) => {
                let (from, to) = (known, &table);
                tracing::warn!(from, to, "the search path leads to another table of messages now");
            }
            None => tracing::info!(table, "messages are stored in this table"),
        }
        if let Some(why) = kept {
            schema::tell_kept(why);
        }
        self.table = Some(table);
    }

    /// Takes the connection out, or a new one; whoever has used it to the end puts it back.
    async fn take(&mut self) -> Result<WriteConnection, CallFault> {
        match self.writer.take() {
            Some(writer) if !writer.connection.client.is_closed() => Ok(writer),
            _ => {
                let opened = self.open().await;
                let is_away = matches!(&opened, Err(fault) if fault.means != Means::Taken);
                if let Some(claimant) = self.claimant.as_mut().filter(|_| is_away) {
                    claimant.look_away();
                }
                opened
            }
        }
    }

    /// Asks something over the connection, which is kept only if there is an answer.
    async fn ask<T, E>(
        &mut self,
        question: impl AsyncFnOnce(&WriteConnection) -> Result<T, E>,
    ) -> Result<T, SinkError>
    where
        SinkError: From<E>,
    {
        let writer = self.take().await?;
        let answer = question(&writer).await?;
        self.writer = Some(writer);
        Ok(answer)
    }
}

impl Sink for PostgresSink {
    const SYSTEM: &'static str = "postgresql";

    async fn positions(&mut self, journals: &[JournalId]) -> Result<Vec<u64>, SinkError> {
        let writer = self.take().await?;
        let positions = match &mut self.claimant {
            Some(claimant) => {
                claimant.keep(&self.url);
                if writer.found.has_more {
                    self.beside.begin(&self.url, self.search, claimant.faults());
                }
                claimant.positions(&writer.connection, journals).await?
            }
            None => writer.positions(journals).await?,
        };
        self.writer = Some(writer);
        Ok(positions)
    }

    async fn append(&mut self, batch: &Batch) -> Result<(), SinkError> {
        match self.try_append(batch).await {
            // What a connection remembers is not the table's fault; a new one looks at the
            // columns first, and for the way that rows have.
            Err(SinkError::Closed(_)) => self.try_append(batch).await,
            outcome => outcome,
        }
    }

    async fn sift(&mut self, batch: &Batch, known: &SiftHints) -> Result<Sifted, SinkError> {
        let wall = self.wall;
        let sift = async |writer: &_| trial::sift(writer, batch, wall, known).await;
        let sifted = self.ask(sift).await?;
        if sifted.stuck.is_none() || sifted.decided > 0 {
            return Ok(sifted);
        }
        // A new connection may know better, as in `append`.
        self.writer = None;
        self.ask(sift).await
    }

    fn lacks(&self) -> Option<&str> {
        self.lacks.as_deref()
    }

    async fn look_at_rights(&mut self) -> Result<(), SinkError> {
        self.lacks = self.ask(async |writer| rights::missing(&writer.connection).await).await?;
        Ok(())
    }

    async fn absent(&mut self, batch: &Batch) -> Result<AbsentIds, SinkError> {
        self.ask(async |writer| trial::absent(&writer.connection, batch).await).await
    }

    async fn forget(&mut self, gone: &Gone) -> Result<(), SinkError> {
        let Gone { journal, stored, .. } = gone;
        let sql = format!(
            "WITH gone AS (DELETE FROM hub_positions WHERE journal = '{journal}' \
             AND position = {stored} \
             RETURNING highest COLLATE \"C\" AS highest) \
             UPDATE hub_positions SET highest = greatest(highest COLLATE \"C\", \
             (SELECT highest FROM gone)) WHERE journal = '{ADOPTED}'"
        );
        self.ask(async |writer| {
            writer.connection.ask("forget a journal", WRITE, (&sql, &[])).await
        })
        .await?;
        Ok(())
    }

    async fn release(&mut self) -> Result<(), SinkError> {
        if let Some(mut claimant) = self.claimant.take() {
            let writer = self.take().await?;
            claimant.release(&writer.connection).await?;
        }
        Ok(())
    }

    /// A position of 0 is as good as none, so that one of another hub that is about to move it
    /// loses nothing: it asks, and gets a row.
    async fn forget_unused(&mut self, journals: &[JournalId]) -> Result<(), SinkError> {
        let names: Vec<String> = journals.iter().map(ToString::to_string).collect();
        let parameters: [Typed<'_>; 2] = [(&names, Type::TEXT_ARRAY), (&ADOPTED, Type::TEXT)];
        let sql = "DELETE FROM hub_positions WHERE journal IN (SELECT journal FROM hub_positions \
                   WHERE position::int8 = 0 AND journal <> ALL ($1) AND journal <> $2 \
                   FOR UPDATE SKIP LOCKED)";
        self.ask(async |writer| {
            let what = "forget journals without records";
            writer.connection.ask(what, WRITE, (sql, &parameters)).await
        })
        .await?;
        Ok(())
    }

    fn is_connected(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| !writer.connection.client.is_closed())
    }

    async fn identity(&mut self) -> Result<String, SinkError> {
        self.ask(async |writer| writer.identity().await).await
    }

    async fn past(&mut self, journals: &[JournalId], limit: Id) -> Result<Past, SinkError> {
        self.ask(async |writer| writer.past(journals, limit).await).await
    }

    async fn stored_ids(&mut self, sought: &[Sought]) -> Result<BTreeSet<Id>, SinkError> {
        self.ask(async |writer| writer.stored_ids(sought).await).await
    }

    async fn highest_id(&mut self, limit: Id) -> Result<Id, SinkError> {
        self.ask(async |writer| writer.highest_id(limit).await).await
    }
}

impl WriteConnection {
    async fn open(
        connection: Connection,
        found: Brought,
        claimant: Option<&mut Claimant>,
    ) -> Result<WriteConnection, CallFault> {
        if let Some(claimant) = claimant {
            claimant.claim(&connection).await?;
        }
        let way = Way::find(&connection).await?;
        Ok(WriteConnection { connection, way, found })
    }

    /// Waits for whoever is still changing them: a transaction of a run that was killed, or of a
    /// connection that was lost, may commit later than its hub believes. Behind the lock of a
    /// journal's row none is left; so each journal asked for gets a row.
    async fn positions(&self, journals: &[JournalId]) -> Result<Vec<u64>, CallFault> {
        self.connection.run("read positions", WRITE).await?;
        let positions = read_positions(&self.connection, journals, None).await?;
        self.connection.run("read positions", "COMMIT").await?;
        Ok(positions.into_iter().map(|position| u64::try_from(position).unwrap_or(0)).collect())
    }

    async fn store(&self, batch: &Batch, wall: WallMicros) -> Result<(), SinkError> {
        let client = &self.connection.client;
        let steps = begin_and_step(batch);
        let stepping = within(CALL_MAX, "move positions", client.simple_query(&steps));
        // In one trip: what rows are sent with lives in the same transaction.
        let preparing = async {
            match batch.rows() {
                0 => Ok(None),
                _ => {
                    within(CALL_MAX, "prepare", self.way.prepare(&self.connection)).await.map(Some)
                }
            }
        };
        let (answers, sending) = tokio::join!(biased; stepping, preparing);
        let answers = answers?;
        // Rows are sent only after this answer: see the module.
        if rows_counted(&answers) != batch.advances().len() as u64 {
            return Err(SinkError::Unclear("journals are not where they were".into()));
        }
        if let Some(sending) = sending.map_err(CallFault::of_the_table)? {
            let size = RowsSize { rows: batch.rows(), bytes: batch.bytes() };
            sending.send(&self.connection, batch.records(), size, wall).await?;
        }
        match within(CALL_MAX, "commit", client.batch_execute("COMMIT")).await {
            Ok(()) => Ok(()),
            // A constraint that the server checks at the commit.
            Err(fault) if fault.is_of_what_was_asked() => Err(fault.of_rows()),
            // Whatever a failed commit says, only the positions tell whether it happened.
            Err(fault) => Err(SinkError::Unclear(fault.to_string())),
        }
    }

    /// Looks through the spaces the first time that a hub sees them; then positions carry it.
    async fn highest_id(&self, limit: Id) -> Result<Id, CallFault> {
        let limit = limit.to_string();
        let scan = format!(
            "WITH RECURSIVE {SPACES} INSERT INTO hub_positions (journal, position, highest) \
             SELECT $1, 0, max(newest.id COLLATE \"C\") FROM spaces, LATERAL \
             (SELECT id FROM chat_messages m WHERE m.space_id = spaces.space_id \
             AND m.id ~ '^[0-7][0-9A-HJKMNP-TV-Z]{{25}}$' AND m.id COLLATE \"C\" <= $2 \
             ORDER BY m.id COLLATE \"C\" DESC LIMIT 1) newest \
             HAVING NOT EXISTS (SELECT 1 FROM hub_positions WHERE journal = $1) \
             ON CONFLICT DO NOTHING"
        );
        let parameters: [Typed<'_>; 2] = [(&ADOPTED, Type::TEXT), (&limit, Type::TEXT)];
        let asked = (&*scan, &parameters[..]);
        self.connection.ask_for(schema::BUILD_MAX, "read ids", WRITE_LONG, asked).await?;
        let sql = "SELECT max(highest COLLATE \"C\")::text FROM hub_positions \
                   WHERE highest COLLATE \"C\" <= $1";
        let parameters: [Typed<'_>; 1] = [(&limit, Type::TEXT)];
        let rows = self.connection.ask("read ids", LOOK, (sql, &parameters)).await?;
        let highest = rows.first().map(|row| column::<Option<&str>>("read ids", row, 0));
        Ok(highest.transpose()?.flatten().and_then(Id::parse).unwrap_or(Id::MIN))
    }
}

/// The positions of journals in their order, as they stand: one that is fenced is negative. Each
/// journal gets a row, of this run where there is one.
async fn read_positions(
    connection: &Connection,
    journals: &[JournalId],
    boot: Option<&str>,
) -> Result<Vec<i64>, CallFault> {
    let names: Vec<String> = journals.iter().map(ToString::to_string).collect();
    let first = "INSERT INTO hub_positions (journal, position, boot) \
                 SELECT unnest($1::text[]), 0, $2 ON CONFLICT DO NOTHING";
    let parameters: [Typed<'_>; 2] = [(&names, Type::TEXT_ARRAY), (&boot, Type::TEXT)];
    connection.query("make positions", first, &parameters).await?;
    let sql = "SELECT journal::text, position::int8 FROM hub_positions \
               WHERE journal = ANY ($1) FOR UPDATE";
    let parameters: [Typed<'_>; 1] = [(&names, Type::TEXT_ARRAY)];
    let what = "read positions";
    let rows = connection.query(what, sql, &parameters).await?;
    let pair = |row| Ok((column::<&str>(what, row, 0)?, column::<i64>(what, row, 1)?));
    let known = rows.iter().map(pair).collect::<Result<HashMap<_, _>, CallFault>>()?;
    Ok(names.iter().map(|name| known.get(name.as_str()).copied().unwrap_or(0)).collect())
}

/// How many rows the statements of one call have changed.
fn rows_counted(answers: &[SimpleQueryMessage]) -> u64 {
    let counted = |answer: &SimpleQueryMessage| match answer {
        SimpleQueryMessage::CommandComplete(rows) => *rows,
        _ => 0,
    };
    answers.iter().map(counted).sum()
}

/// One call: begins a transaction and moves each position on, from where it is known to be.
fn begin_and_step(batch: &Batch) -> String {
    // Ids, journals and numbers are our own digits: nothing in them needs quoting.
    let highest = batch.records().map(|record| record.id).max();
    let highest = highest.map_or("NULL".into(), |id| format!("'{id}'"));
    let mut sql = String::from(WRITE);
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
