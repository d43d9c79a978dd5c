//! Connections to PostgreSQL: where to, for how long at most, and what their failures mean.
//!
//! Owns no state but a connection. Nothing here prints a password or a message's text: of the
//! server's errors only the message is kept, never the detail, which quotes rows.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::types::FromSql;
use tokio_postgres::{Client, Config, Error, Row};

use crate::store::sink::SinkError;

mod address;
mod binding;
mod handshake;
mod open;
mod parameters;
mod servers;
mod tls;

pub(crate) use tls::{BadTls, SYSTEM_ROOTS};

use handshake::TlsFault;
use servers::Wanted;
use tls::Tls;

/// The longest that any call may take, but those that build an index.
pub(super) const CALL_MAX: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(10);
const DEFAULT_PORT: u16 = 5_432;

/// Where a database is, and how it is spoken to. Its password is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    config: Box<Config>,
    tls: Tls,
    /// Which of several servers may be used.
    wanted: Wanted,
}

/// What counts where an address says nothing about TLS.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TlsDefaults {
    /// For `sslmode`.
    pub mode: Option<String>,
    /// For `sslrootcert`.
    pub roots: Option<String>,
}

/// Why a text names no database that can be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadUrl {
    /// It can't be read.
    #[error("is no PostgreSQL address such as postgresql://user@host:5432/database ({0})")]
    Form(String),
    /// What it says about TLS can't be done.
    #[error(transparent)]
    Tls(#[from] BadTls),
}

impl DatabaseUrl {
    /// Reads a URL or a list of `key=value`, as libpq has them.
    pub fn parse(text: &str) -> Result<DatabaseUrl, BadUrl> {
        DatabaseUrl::parse_with(text, &TlsDefaults::default())
    }

    /// Whether it tells a secret to whoever reads it.
    pub(crate) fn has_password(&self) -> bool {
        self.config.get_password().is_some()
    }

    /// Reads an address, where some of TLS is said elsewhere.
    pub fn parse_with(text: &str, defaults: &TlsDefaults) -> Result<DatabaseUrl, BadUrl> {
        address::check(text).map_err(BadUrl::Form)?;
        let names = ["sslmode", "sslrootcert", "target_session_attrs"];
        let taken = parameters::take(text, &names);
        let form = |error: Error| BadUrl::Form(readable(&error));
        let mut config: Config = taken.rest.parse().map_err(form)?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(BadUrl::Form("it names no host".into()));
        }
        let value = |n: usize, default: &'_ Option<String>| {
            taken.values.get(n).cloned().flatten().or(default.clone())
        };
        let (mode, roots) = (value(0, &defaults.mode), value(1, &defaults.roots));
        let tls = Tls::parse(mode.as_deref(), roots.as_deref())?;
        let wanted = taken.values.get(2).and_then(Option::as_deref);
        let wanted = Wanted::parse(wanted).map_err(BadUrl::Form)?;
        if config.get_hosts().is_empty() {
            // Under TLS a server has a name, be it its address.
            for address in config.get_hostaddrs().to_vec() {
                config.host(address.to_string());
            }
        }
        let (hosts, addresses) = (config.get_hosts().len(), config.get_hostaddrs().len());
        if (addresses > 0 && addresses != hosts)
            || !matches!(config.get_ports().len(), 0 | 1) && config.get_ports().len() != hosts
        {
            return Err(BadUrl::Form("it has not as many ports or hostaddrs as hosts".into()));
        }
        config
            .tcp_user_timeout(CALL_MAX)
            .keepalives_idle(KEEPALIVE)
            .keepalives_interval(KEEPALIVE)
            .application_name("cpi-hub");
        Ok(DatabaseUrl { config: Box::new(config), tls, wanted })
    }

    /// The ways to connect, in order. Sockets of the machine know no TLS.
    fn ways(&self, local: bool) -> &'static [SslMode] {
        match local {
            true => &[SslMode::Disable],
            false => self.tls.ways(),
        }
    }

    /// The ports that it names, the usual one where it names none.
    pub(crate) fn ports(&self) -> Vec<u16> {
        match self.config.get_ports() {
            [] => vec![DEFAULT_PORT],
            ports => ports.to_vec(),
        }
    }

    /// Which database it is, whoever asks: what a data directory remembers it by.
    pub(crate) fn identity(&self) -> String {
        let ports = self.config.get_ports();
        let port = |n: usize| *ports.get(n).or(ports.first()).unwrap_or(&DEFAULT_PORT);
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let hosts = hosts.enumerate().map(|(n, host)| format!("{host}:{}", port(n)));
        let hosts: Vec<String> = hosts.collect();
        let name = self.config.get_dbname().or(self.config.get_user()).unwrap_or_default();
        format!("{}/{name}", hosts.join(","))
    }
}

/// What the crate says of an address, without a piece of it.
fn readable(error: &Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    match cause.starts_with("invalid value for option") {
        true => cause,
        false => "it can't be read".into(),
    }
}

/// The address without the password.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.config.get_user().unwrap_or_default();
        write!(out, "{user}@{}", self.identity())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "DatabaseUrl({self})")
    }
}

/// What the failure of a call means for what comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Means {
    /// It may go better later, over a new connection.
    Away,
    /// The server can't do what was asked, be it for a row or for the table: trying tells which.
    Asked,
    /// The server can't store a row that names what does not exist.
    Orphan,
    /// A person has to mend the connection or the whole database.
    Person,
    /// Another hub serves the database.
    Taken,
}

/// A call that failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what}: {reason}")]
pub(super) struct CallFault {
    what: &'static str,
    pub(super) means: Means,
    reason: String,
}

impl CallFault {
    pub(super) fn new(what: &'static str, means: Means, reason: String) -> CallFault {
        CallFault { what, means, reason }
    }
}

/// Reads a column of an answer. One that others have given another type is a person's to mend.
pub(super) fn column<'a, T: FromSql<'a>>(
    what: &'static str,
    row: &'a Row,
    index: usize,
) -> Result<T, CallFault> {
    row.try_get(index).map_err(|error| {
        let kind = row.columns().get(index).map_or("missing", |column| column.type_().name());
        let reason = format!("{} is {kind}: {}", name_of(row, index), with_cause(&error));
        CallFault::new(what, Means::Person, reason)
    })
}

fn name_of(row: &Row, index: usize) -> &str {
    row.columns().get(index).map_or("a column", |column| column.name())
}

/// For a call that sends no rows, so that none is to blame; what was not committed is not there.
impl From<CallFault> for SinkError {
    fn from(fault: CallFault) -> SinkError {
        match fault.means {
            Means::Away => SinkError::Retry(fault.to_string()),
            Means::Asked | Means::Orphan | Means::Person => SinkError::Refused(fault.to_string()),
            Means::Taken => SinkError::Taken(fault.reason),
        }
    }
}

impl CallFault {
    /// For a call that sends rows.
    pub(super) fn of_rows(self) -> SinkError {
        match self.means {
            Means::Asked => SinkError::Data(self.to_string()),
            Means::Orphan => SinkError::Orphan(self.to_string()),
            Means::Away | Means::Person | Means::Taken => self.into(),
        }
    }

    /// For a call that asks whether rows may be sent.
    pub(super) fn of_the_table(self) -> SinkError {
        match self.is_of_what_was_asked() {
            true => SinkError::Closed(self.to_string()),
            false => self.into(),
        }
    }

    /// For a question that was answered by no row.
    pub(super) fn nothing(what: &'static str) -> CallFault {
        CallFault::new(what, Means::Person, "it answers nothing".into())
    }

    /// Whether the server has cut the call short (57014).
    pub(super) fn is_cut(&self) -> bool {
        self.reason.contains("(57014")
    }

    /// Whether others held for too long what the call had to lock (55P03).
    pub(super) fn is_locked_out(&self) -> bool {
        self.reason.contains("(55P03")
    }

    /// Whether the server has answered, and says that it can't do what was asked.
    pub(super) fn is_of_what_was_asked(&self) -> bool {
        matches!(self.means, Means::Asked | Means::Orphan)
    }
}

/// Waits for a call, for `limit` at most. A call that is late leaves its connection unusable.
pub(super) async fn within<T>(
    limit: Duration,
    what: &'static str,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, CallFault> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(fault(what, &error)),
        Err(_) => Err(late(what, limit)),
    }
}

fn late(what: &'static str, limit: Duration) -> CallFault {
    CallFault::new(what, Means::Away, format!("no answer within {limit:?}"))
}

pub(super) fn fault(what: &'static str, error: &Error) -> CallFault {
    let Some(told) = error.as_db_error() else {
        return CallFault::new(what, means_here(error), with_cause(error));
    };
    let code = told.code().code();
    let constraint = told.constraint().map(|name| format!(", {name}")).unwrap_or_default();
    let message = told.message().lines().next().unwrap_or_default();
    CallFault::new(what, means(code), format!("{message} ({code}{constraint})"))
}

/// What an error means that the server did not tell.
fn means_here(error: &Error) -> Means {
    let cause = std::error::Error::source(error);
    if let Some(TlsFault::Broken(_)) = cause.and_then(|cause| cause.downcast_ref()) {
        return Means::Away;
    }
    let text = error.to_string();
    // The crate keeps its kinds to itself.
    let settled = ["invalid configuration", "authentication error", "error performing TLS"];
    match settled.iter().any(|kind| text.starts_with(kind)) {
        true => Means::Person,
        false => Means::Away,
    }
}

fn with_cause(error: &Error) -> String {
    let cause = std::error::Error::source(error);
    match cause.map(ToString::to_string).filter(|cause| !error.to_string().contains(cause)) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// What a SQLSTATE means. Only those about the connection, the server or passing states are known
/// by their class; whatever else a server says, it says of what it was asked.
fn means(code: &str) -> Means {
    match code {
        "23503" => Means::Orphan,
        // 55P03: somebody holds a lock.
        "55P03" => Means::Away,
        // 25006: a standby, or a database that was set read-only.
        "25006" => Means::Person,
        _ => match code.get(..2) {
            Some("08" | "25" | "40" | "53" | "57" | "58") => Means::Away,
            Some("28" | "3D") => Means::Person,
            _ => Means::Asked,
        },
    }
}

/// A connection, and the task that moves its bytes; both end together.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: Client,
    driver: JoinHandle<()>,
}

impl Connection {
    /// Runs statements that give no rows.
    pub(super) async fn run(&self, what: &'static str, sql: &str) -> Result<(), CallFault> {
        within(CALL_MAX, what, self.client.batch_execute(sql)).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (text, shown) in [
            ("postgresql://ana:s3cret@db:6543/hub", "ana@db:6543/hub"),
            ("postgres://ana:s3cret@db/hub?sslmode=prefer", "ana@db:5432/hub"),
            ("host=/run/pg user=ana password=s3cret dbname=hub", "ana@/run/pg:5432/hub"),
            ("postgresql://ana@a,b:7/?sslmode=allow", "ana@a:5432,b:7/ana"),
        ] {
            let url = DatabaseUrl::parse(text).expect("an address");
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("s3cret"));
        }
        for text in ["mysql://x", "postgresql://", "", "host=a port=s3cret"] {
            let error = DatabaseUrl::parse(text).expect_err("no address").to_string();
            assert!(!error.contains("s3cret") && error.lines().count() == 1, "{error}");
        }
    }

    #[test]
    fn what_it_says_about_tls_is_read_in_both_forms() {
        for (text, problem) in [
            ("postgresql://ana@db/hub?sslmode=require", None),
            ("host=db user=ana sslmode = 'allow'", None),
            ("hostaddr=10.0.0.1 user=ana sslmode=require", None),
            ("postgresql://ana@db/hub?a=b&sslmode=always&x=y", Some("a")),
            ("postgresql://ana@db/hub?sslmode=always", Some("sslmode=always is none of")),
            ("host=db user=ana sslmode = 'verify-ca'", Some("sslmode=verify-ca needs sslrootcert")),
        ] {
            let told = DatabaseUrl::parse(text).err().map(|error| error.to_string());
            assert_eq!(told.is_some(), problem.is_some(), "{text}: {told:?}");
            let problem = problem.unwrap_or_default();
            assert!(told.unwrap_or_default().contains(problem), "{text}");
        }
        use servers::Server;
        let ways = |url: &DatabaseUrl| {
            url.ways(Server::all(&url.config).first().is_some_and(Server::is_local))
        };
        let local = DatabaseUrl::parse("host=/run/pg sslmode=require").expect("an address");
        assert_eq!(ways(&local), [SslMode::Disable], "no TLS there");
        let text = "host=/run/pg hostaddr=10.0.0.1 sslmode=require";
        let remote = DatabaseUrl::parse(text).expect("an address");
        assert_eq!(ways(&remote), [SslMode::Require], "the address counts");
    }

    #[test]
    fn a_state_says_who_has_to_act() {
        for (code, expected) in [
            ("22021", Means::Asked),
            ("22P03", Means::Asked),
            ("23503", Means::Orphan),
            ("23505", Means::Asked),
            ("23514", Means::Asked),
            ("42501", Means::Asked),
            ("42703", Means::Asked),
            ("54000", Means::Asked),
            ("55000", Means::Asked),
            ("P0001", Means::Asked),
            ("XX000", Means::Asked),
            ("ZZ999", Means::Asked),
            ("25006", Means::Person),
            ("28P01", Means::Person),
            ("3D000", Means::Person),
            ("08006", Means::Away),
            ("25P03", Means::Away),
            ("40P01", Means::Away),
            ("53100", Means::Away),
            ("53300", Means::Away),
            ("55P03", Means::Away),
            ("57P01", Means::Away),
            ("57P03", Means::Away),
            ("57014", Means::Away),
            ("58030", Means::Away),
        ] {
            assert_eq!(means(code), expected, "{code}");
        }
    }
}
