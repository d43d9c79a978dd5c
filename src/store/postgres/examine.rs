//! What an operator wants to know of a database before a hub serves it: version, settings, rights,
//! how far away it is, what stands in between.
//!
//! Only looks, over one connection of its own. Judges nothing: `cpi-hub doctor` does.

use std::time::Duration;

use super::connect::{CallFault, Connection, DatabaseUrl, column};
use super::rights;
use super::transaction::LOOK;
use crate::clock::Clock;

/// Questions whose answers are timed; each is a transaction of its own.
const QUESTIONS: usize = 20;

const FACTS: &str = "SELECT current_setting('server_version_num')::int4, \
    current_setting('server_version'), current_setting('server_encoding'), \
    current_setting('synchronous_commit'), current_setting('fsync'), \
    current_setting('full_page_writes'), current_setting('max_connections')::int4, \
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int4, \
    pg_is_in_recovery(), inet_server_port(), \
    (extract(epoch FROM clock_timestamp()) * 1000000)::int8, \
    coalesce(current_setting('idle_session_timeout', true), '0'), \
    current_setting('default_transaction_read_only'), \
    coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)";

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Examined {
    /// `150018` is 15.18.
    pub version_number: i32,
    pub version: String,
    pub encoding: String,
    pub synchronous_commit: String,
    pub fsync: String,
    pub full_page_writes: String,
    pub connections_max: i32,
    pub connections: i32,
    pub is_standby: bool,
    /// `None`: it was reached over a socket of the machine.
    pub port: Option<i32>,
    /// How far its clock is ahead of this machine's, in microseconds.
    pub clock_ahead: i64,
    pub idle_session_timeout: String,
    pub is_read_only: bool,
    pub is_encrypted: bool,
    /// How long a transaction of one question takes, each time.
    pub times: Vec<Duration>,
    /// Whether transactions went to several sessions: a pooler hands them on.
    pub is_pooled: bool,
    /// Rights that the role lacks.
    pub lacks: Option<String>,
}

/// Looks at a database; why it can't be reached or asked, in one line.
pub(crate) async fn examine(url: &DatabaseUrl) -> Result<Examined, String> {
    look(url).await.map_err(|fault| fault.to_string())
}

async fn look(url: &DatabaseUrl) -> Result<Examined, CallFault> {
    let connection = Connection::open(url).await?;
    let clock = Clock::start();
    let (mut sessions, mut times) = (Vec::new(), Vec::new());
    for _ in 0..QUESTIONS {
        let before = clock.now().unix.0;
        let what = "ask for the session";
        let rows = connection.ask(what, LOOK, ("SELECT pg_backend_pid()", &[])).await?;
        let took = u64::try_from(clock.now().unix.0 - before).unwrap_or_default();
        times.push(Duration::from_micros(took));
        let Some(row) = rows.first() else { continue };
        let session: i32 = column(what, row, 0)?;
        sessions.push(session);
    }
    sessions.dedup();
    let what = "look at its settings";
    let before = clock.now().unix.0;
    let rows = connection.ask(what, LOOK, (FACTS, &[])).await?;
    let between = before.midpoint(clock.now().unix.0);
    let nothing = || CallFault::nothing(what);
    let row = rows.first().ok_or_else(nothing)?;
    let their_clock: i64 = column(what, row, 10)?;
    Ok(Examined {
        version_number: column(what, row, 0)?,
        version: column(what, row, 1)?,
        encoding: column(what, row, 2)?,
        synchronous_commit: column(what, row, 3)?,
        fsync: column(what, row, 4)?,
        full_page_writes: column(what, row, 5)?,
        connections_max: column(what, row, 6)?,
        connections: column(what, row, 7)?,
        is_standby: column(what, row, 8)?,
        port: column(what, row, 9)?,
        clock_ahead: their_clock - between,
        idle_session_timeout: column(what, row, 11)?,
        is_read_only: column::<String>(what, row, 12)? == "on",
        is_encrypted: column(what, row, 13)?,
        times,
        is_pooled: sessions.len() > 1,
        lacks: rights::missing(&connection).await?,
    })
}
