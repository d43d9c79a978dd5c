//! Opening a connection: to the first server that may be used, at whichever of its addresses, in
//! whichever of the ways.
//!
//! Owns nothing but what it returns.

use std::time::Duration;

use tokio_postgres::config::SslMode;
use tokio_postgres::{Config, Error};

use super::servers::{self, Server, Wanted, limit_of};
use super::{CallFault, Connection, DatabaseUrl, Means, fault, late};

/// No limit on what a session does.
const PATIENCE: &str = "-c statement_timeout=0 -c lock_timeout=0 \
    -c idle_in_transaction_session_timeout=0";

impl Connection {
    /// Connects to the first server that may be used.
    pub(in crate::store::postgres) async fn open(
        url: &DatabaseUrl,
    ) -> Result<Connection, CallFault> {
        let servers = Server::all(&url.config);
        let mut faults = Vec::new();
        for wanted in url.wanted.rounds() {
            for server in &servers {
                match Connection::to(url, server, *wanted, servers.len()).await {
                    Ok(connection) => return Ok(connection),
                    Err(fault) => faults.push((server.name(), fault)),
                }
            }
        }
        Err(servers::told(faults))
    }

    /// Connects to one server, at whichever of its addresses.
    async fn to(
        url: &DatabaseUrl,
        server: &Server,
        wanted: Wanted,
        servers: usize,
    ) -> Result<Connection, CallFault> {
        let addresses = server.addresses(&url.config, limit_of(&url.config, servers)).await?;
        let limit = limit_of(&url.config, servers.max(addresses.len()));
        let mut last = None;
        for address in addresses {
            let config = server.config(&url.config, address, limit);
            let opened = match Connection::open_one(url, config, server.is_local(), limit).await {
                Ok(connection) => wanted.check(&connection).await.map(|()| connection),
                refused => refused,
            };
            match opened {
                Ok(connection) => return Ok(connection),
                Err(fault) => last = Some(fault),
            }
        }
        Err(last.unwrap_or_else(|| CallFault::new("connect", Means::Away, "no address".into())))
    }

    /// Connects to one address, in one of the ways.
    async fn open_one(
        url: &DatabaseUrl,
        mut config: Config,
        local: bool,
        limit: Duration,
    ) -> Result<Connection, CallFault> {
        let mut told = None;
        for way in url.ways(local) {
            config.ssl_mode(*way);
            let error = match Connection::try_open(url, &config, limit).await? {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            // The refusal under TLS is told rather than others: somebody can do something about it.
            if told.is_none() || *way != SslMode::Disable {
                told = Some(error);
            }
        }
        Err(told.unwrap_or_else(|| CallFault::new("connect", Means::Person, "no way".into())))
    }

    /// Connects for work that takes its time, whatever limits the role has. They are lifted as the
    /// session begins, not in it: a pooler that hands sessions on takes no such wish.
    pub(in crate::store::postgres) async fn open_patient(
        url: &DatabaseUrl,
    ) -> Result<Connection, CallFault> {
        let mut patient = url.clone();
        let before = url.config.get_options().unwrap_or_default();
        patient.config.options(format!("{before} {PATIENCE}").trim_start());
        match Connection::open(&patient).await {
            Err(fault) if fault.reason.contains("(08P01") => Connection::open(url).await,
            opened => opened,
        }
    }

    /// Tries one way. The inner error is a refusal that another way may not meet.
    async fn try_open(
        url: &DatabaseUrl,
        config: &Config,
        limit: Duration,
    ) -> Result<Result<Connection, CallFault>, CallFault> {
        let tls = url.tls.connector();
        let tls =
            tls.map_err(|error| CallFault::new("connect", Means::Person, error.to_string()))?;
        let opened = match tokio::time::timeout(limit, config.connect(tls)).await {
            Ok(opened) => opened,
            Err(_) => return Err(late("connect", limit)),
        };
        match opened {
            Ok((client, connection)) => {
                // If the connection ends, the next call shows why.
                let driver = tokio::spawn(async move { drop(connection.await) });
                Ok(Ok(Connection { client, driver }))
            }
            Err(error) if is_refusal(&error) => Ok(Err(fault("connect", &error))),
            Err(error) => Err(fault("connect", &error)),
        }
    }
}

/// Whether another way to connect may meet another answer: the server's rules of who may come
/// how, and what is wrong with TLS, are of one way only.
fn is_refusal(error: &Error) -> bool {
    match error.code() {
        Some(code) => code.code().starts_with("28"),
        None => error.to_string().starts_with("error performing TLS"),
    }
}
