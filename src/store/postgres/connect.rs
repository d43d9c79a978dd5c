//! Connections to PostgreSQL: where to, for how long at most, and what their failures mean.
//!
//! Owns no state but a connection. Nothing here prints a password or a message's text: of the
//! server's errors only the message is kept, never the detail, which quotes rows.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, Error, NoTls};

use crate::store::sink::SinkError;

/// The longest that any call may take, but those that build an index.
pub(super) const CALL_MAX: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(10);
const DEFAULT_PORT: u16 = 5_432;

/// Where a database is. Its password is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(Box<Config>);

/// Why a text names no database that this version can use.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadUrl {
    /// It can't be read.
    #[error("is no PostgreSQL address such as postgresql://user@host:5432/database ({0})")]
    Form(String),
    /// It asks for TLS.
    #[error(
        "sslmode={0} asks for TLS, which this version does not speak to PostgreSQL; \
         use sslmode=prefer or disable, over a network that you trust"
    )]
    Tls(String),
}

impl DatabaseUrl {
    /// Reads a URL or a list of `key=value`, as libpq has them.
    pub fn parse(text: &str) -> Result<DatabaseUrl, BadUrl> {
        let mode = ssl_mode(text);
        if mode.is_some_and(|mode| mode == "require" || mode.starts_with("verify-")) {
            return Err(BadUrl::Tls(mode.unwrap_or_default().into()));
        }
        // Without TLS, `allow` is what `prefer` is.
        let text = text.replace("sslmode=allow", "sslmode=prefer");
        let form = |error: Error| BadUrl::Form(with_cause(&error));
        let mut config: Config = text.parse().map_err(form)?;
        if config.get_ssl_mode() == SslMode::Require {
            return Err(BadUrl::Tls("require".into()));
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(BadUrl::Form("it names no host".into()));
        }
        config
            .connect_timeout(CALL_MAX)
            .tcp_user_timeout(CALL_MAX)
            .keepalives_idle(KEEPALIVE)
            .keepalives_interval(KEEPALIVE)
            .application_name("cpi-hub");
        Ok(DatabaseUrl(Box::new(config)))
    }

    /// Which database it is, whoever asks: what a data directory remembers it by.
    pub(in crate::store) fn identity(&self) -> String {
        let ports = self.0.get_ports();
        let port = |n: usize| *ports.get(n).or(ports.first()).unwrap_or(&DEFAULT_PORT);
        let hosts = self.0.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let hosts = hosts.enumerate().map(|(n, host)| format!("{host}:{}", port(n)));
        let mut hosts: Vec<String> = hosts.collect();
        if hosts.is_empty() {
            hosts =
                self.0.get_hostaddrs().iter().map(|host| format!("{host}:{}", port(0))).collect();
        }
        let name = self.0.get_dbname().or(self.0.get_user()).unwrap_or_default();
        format!("{}/{name}", hosts.join(","))
    }
}

/// The same without the password.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.0.get_user().unwrap_or_default();
        write!(out, "{user}@{}", self.identity())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "DatabaseUrl({self})")
    }
}

fn ssl_mode(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("sslmode")?;
    let value = rest.trim_start().strip_prefix('=')?.trim_start().trim_start_matches('\'');
    value.split(|letter: char| !(letter.is_ascii_alphabetic() || letter == '-')).next()
}

/// What the failure of a call means for what comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Means {
    /// It may go better later, over a new connection.
    Away,
    /// A row is to blame.
    Row,
    /// A person has to mend it.
    Person,
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

/// For a call before the commit: what was not committed is not there.
impl From<CallFault> for SinkError {
    fn from(fault: CallFault) -> SinkError {
        match fault.means {
            Means::Away => SinkError::Retry(fault.to_string()),
            Means::Row => SinkError::Data(fault.to_string()),
            Means::Person => SinkError::Refused(fault.to_string()),
        }
    }
}

/// Waits for a call, so long at most. A call that is late leaves its connection unusable.
pub(super) async fn within<T>(
    limit: Duration,
    what: &'static str,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, CallFault> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(fault(what, &error)),
        Err(_) => Err(CallFault::new(what, Means::Away, format!("no answer within {limit:?}"))),
    }
}

fn fault(what: &'static str, error: &Error) -> CallFault {
    let Some(told) = error.as_db_error() else {
        return CallFault::new(what, means_here(error), with_cause(error));
    };
    let code = told.code().code();
    let constraint = told.constraint().map(|name| format!(", {name}")).unwrap_or_default();
    let message = told.message().lines().next().unwrap_or_default();
    CallFault::new(what, means(code), format!("{message} ({code}{constraint})"))
}

/// Of an error that the server did not tell.
fn means_here(error: &Error) -> Means {
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

/// Of a SQLSTATE.
fn means(code: &str) -> Means {
    match code {
        // These say that our columns are not the table's: no row is to blame.
        "22P03" | "22P04" | "23502" => Means::Person,
        // A standby, or a database set read-only.
        "25006" => Means::Person,
        _ => match code.get(..2) {
            // P0: a trigger's own refusal.
            Some("22" | "23" | "P0") => Means::Row,
            Some("28" | "3D" | "3F" | "42" | "0A") => Means::Person,
            _ => Means::Away,
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
    /// Connects, and sets what holds for all that is done on it.
    pub(super) async fn open(url: &DatabaseUrl) -> Result<Connection, CallFault> {
        let (client, connection) = within(CALL_MAX, "connect", url.0.connect(NoTls)).await?;
        // Whatever ends it shows in the next call.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { client, driver })
    }

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
    fn tls_is_refused_by_name() {
        for (text, mode) in [
            ("postgresql://ana@db/hub?sslmode=require", "require"),
            ("postgresql://ana@db/hub?a=b&sslmode=verify-full&x=y", "verify-full"),
            ("host=db user=ana sslmode = 'verify-ca'", "verify-ca"),
        ] {
            assert_eq!(DatabaseUrl::parse(text), Err(BadUrl::Tls(mode.into())), "{text}");
        }
    }

    #[test]
    fn a_state_says_who_has_to_act() {
        for (code, expected) in [
            ("22021", Means::Row),
            ("23503", Means::Row),
            ("23505", Means::Row),
            ("P0001", Means::Row),
            ("22P03", Means::Person),
            ("25006", Means::Person),
            ("28P01", Means::Person),
            ("3D000", Means::Person),
            ("42703", Means::Person),
            ("42501", Means::Person),
            ("40P01", Means::Away),
            ("53100", Means::Away),
            ("53300", Means::Away),
            ("55P03", Means::Away),
            ("57P01", Means::Away),
            ("57P03", Means::Away),
            ("57014", Means::Away),
            ("XX000", Means::Away),
        ] {
            assert_eq!(means(code), expected, "{code}");
        }
    }
}
