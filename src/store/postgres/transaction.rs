//! How statements reach the server so that nothing of them stays on a session: a pooler hands it
//! on, to our own next statement or to another application.
//!
//! Settings hold for one transaction (`SET LOCAL`), statements have no names, and whatever is
//! asked alone goes with its transaction in one trip. Owns no state.

use std::time::Duration;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row};

use super::connect::{CALL_MAX, CallFault, Connection, within};

/// A parameter and its type: only a statement whose types are known needs no name.
pub(super) type Typed<'a> = (&'a (dyn ToSql + Sync), Type);

/// Begins a transaction that writes, whatever a role's own settings are. The server gives up
/// waiting for a lock a little before we do, so that nothing of ours waits there that we no longer
/// want; what we have given up otherwise it ends soon after.
pub(super) const WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
    SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = '4s'; \
    SET LOCAL statement_timeout = '20s'; SET LOCAL idle_in_transaction_session_timeout = '15s'; \
    SET LOCAL client_min_messages = warning";

/// Begins a transaction that only looks.
pub(super) const LOOK: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; \
    SET LOCAL lock_timeout = '4s'; SET LOCAL statement_timeout = '20s'; \
    SET LOCAL idle_in_transaction_session_timeout = '15s'";

/// Begins a transaction that may take its time.
pub(super) const WRITE_LONG: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
    SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = 0; \
    SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; \
    SET LOCAL client_min_messages = warning";

impl Connection {
    /// Asks something in the transaction that is going on.
    pub(super) async fn query(
        &self,
        what: &'static str,
        sql: &str,
        parameters: &[Typed<'_>],
    ) -> Result<Vec<Row>, CallFault> {
        within(CALL_MAX, what, self.client.query_typed(sql, parameters)).await
    }

    /// Asks something in a transaction of its own, which `begin` begins.
    pub(super) async fn ask(
        &self,
        what: &'static str,
        begin: &str,
        (sql, parameters): (&str, &[Typed<'_>]),
    ) -> Result<Vec<Row>, CallFault> {
        self.ask_for(CALL_MAX, what, begin, (sql, parameters)).await
    }

    /// The same, which may take this long.
    pub(super) async fn ask_for(
        &self,
        limit: Duration,
        what: &'static str,
        begin: &str,
        (sql, parameters): (&str, &[Typed<'_>]),
    ) -> Result<Vec<Row>, CallFault> {
        let asked = self.client.query_typed(sql, parameters);
        within(limit, what, self.in_transaction(begin, asked)).await
    }

    /// Does some work in a transaction; its first statement goes with the begin. After an error
    /// the connection is of use only if the work was one statement.
    pub(super) async fn in_transaction<T>(
        &self,
        begin: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let (begun, done) = tokio::join!(biased; self.client.batch_execute(begin), work);
        // Behind an error it rolls back.
        let ended = self.client.batch_execute("COMMIT").await;
        begun?;
        let done = done?;
        ended.map(|()| done)
    }
}
