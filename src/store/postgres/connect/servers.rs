//! The servers that an address names, each tried for itself: in which order, for how long, and
//! which of them may be used (`target_session_attrs`, as libpq means it).
//!
//! Owns no state. A server that swallows what it is sent must not keep the others from being
//! tried, so each address of each server has a time limit of its own.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, LoadBalanceHosts};

use super::{CALL_MAX, CallFault, Connection, DEFAULT_PORT, Means, column};
use crate::wire::random::SplitMix64;

/// The longest that one of several addresses may take, where `connect_timeout` says nothing.
const ONE_OF_MANY_MAX: Duration = Duration::from_secs(2);

/// Which servers may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

const WANTED: [(&str, Wanted); 6] = [
    ("any", Wanted::Any),
    ("read-write", Wanted::ReadWrite),
    ("read-only", Wanted::ReadOnly),
    ("primary", Wanted::Primary),
    ("standby", Wanted::Standby),
    ("prefer-standby", Wanted::PreferStandby),
];

impl Wanted {
    /// Reads `target_session_attrs`; what is wrong with it.
    pub(super) fn parse(text: Option<&str>) -> Result<Wanted, String> {
        let text = text.filter(|text| !text.is_empty()).unwrap_or("any");
        let known = WANTED.iter().find(|(name, _)| *name == text);
        known.map(|(_, wanted)| *wanted).ok_or_else(|| {
            let names: Vec<&str> = WANTED.iter().map(|(name, _)| *name).collect();
            format!("target_session_attrs is none of {}", names.join(", "))
        })
    }

    fn name(self) -> &'static str {
        WANTED.iter().find(|(_, wanted)| *wanted == self).map_or("any", |(name, _)| name)
    }

    /// What is asked of the servers, one round after the other.
    pub(super) fn rounds(self) -> &'static [Wanted] {
        match self {
            Wanted::Any => &[Wanted::Any],
            Wanted::ReadWrite => &[Wanted::ReadWrite],
            Wanted::ReadOnly => &[Wanted::ReadOnly],
            Wanted::Primary => &[Wanted::Primary],
            Wanted::Standby => &[Wanted::Standby],
            Wanted::PreferStandby => &[Wanted::Standby, Wanted::Any],
        }
    }

    /// Refuses a server that is not what is wanted. It may become so: a failover may be under way.
    pub(super) async fn check(self, connection: &Connection) -> Result<(), CallFault> {
        if self == Wanted::Any {
            return Ok(());
        }
        let (what, sql) = (
            "look what server this is",
            "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'",
        );
        let rows = connection.query(what, sql, &[]).await?;
        let told = |n| rows.first().map_or(Ok(false), |row| column(what, row, n));
        let (standby, read_only): (bool, bool) = (told(0)?, told(1)?);
        let fits = match self {
            Wanted::Any | Wanted::PreferStandby => true,
            Wanted::ReadWrite => !read_only,
            Wanted::ReadOnly => read_only,
            Wanted::Primary => !standby,
            Wanted::Standby => standby,
        };
        let reason = format!("it is not {}, as target_session_attrs wants it", self.name());
        fits.then_some(()).ok_or(CallFault::new("connect", Means::Away, reason))
    }
}

/// One server of an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Server {
    host: Host,
    address: Option<IpAddr>,
    port: u16,
}

impl Server {
    /// All of them, in the order of the address or, if it wants that, in any.
    pub(super) fn all(config: &Config) -> Vec<Server> {
        let (addresses, ports) = (config.get_hostaddrs(), config.get_ports());
        let server = |(n, host): (usize, &Host)| Server {
            host: host.clone(),
            address: addresses.get(n).copied(),
            port: ports.get(n).or(ports.first()).copied().unwrap_or(DEFAULT_PORT),
        };
        let mut servers: Vec<Server> = config.get_hosts().iter().enumerate().map(server).collect();
        shuffle(config, &mut servers);
        servers
    }

    /// Whether it is reached by a socket of this machine, which knows no TLS.
    pub(super) fn is_local(&self) -> bool {
        self.address.is_none() && matches!(self.host, Host::Unix(_))
    }

    /// What it is called.
    pub(super) fn name(&self) -> String {
        match &self.host {
            Host::Tcp(name) => format!("{name}:{}", self.port),
            Host::Unix(path) => path.display().to_string(),
        }
    }

    /// Where it is: `None` stands for its socket.
    pub(super) async fn addresses(
        &self,
        config: &Config,
        limit: Duration,
    ) -> Result<Vec<Option<IpAddr>>, CallFault> {
        let name = match (&self.host, self.address) {
            (_, Some(address)) => return Ok(vec![Some(address)]),
            (Host::Unix(_), None) => return Ok(vec![None]),
            (Host::Tcp(name), None) => name,
        };
        let away = |reason: String| CallFault::new("connect", Means::Away, reason);
        let looked = tokio::time::timeout(limit, lookup_host((name.as_str(), self.port))).await;
        let found = looked
            .map_err(|_| away(format!("the name server gave no answer within {limit:?}")))?
            .map_err(|error| away(format!("its name is not known: {error}")))?;
        let mut addresses: Vec<Option<IpAddr>> = found.map(|found| Some(found.ip())).collect();
        addresses.dedup();
        shuffle(config, &mut addresses);
        match addresses.is_empty() {
            true => Err(away("its name has no address".into())),
            false => Ok(addresses),
        }
    }

    /// What else an address says, for this server alone.
    pub(super) fn config(&self, all: &Config, address: Option<IpAddr>, limit: Duration) -> Config {
        let mut config = Config::new();
        match &self.host {
            Host::Tcp(name) => config.host(name),
            Host::Unix(path) => config.host_path(path),
        };
        if let Some(address) = address {
            config.hostaddr(address);
        }
        if let Some(user) = all.get_user() {
            config.user(user);
        }
        if let Some(password) = all.get_password() {
            config.password(password);
        }
        if let Some(name) = all.get_dbname() {
            config.dbname(name);
        }
        if let Some(options) = all.get_options() {
            config.options(options);
        }
        if let Some(name) = all.get_application_name() {
            config.application_name(name);
        }
        if let Some(timeout) = all.get_tcp_user_timeout() {
            config.tcp_user_timeout(*timeout);
        }
        if let Some(interval) = all.get_keepalives_interval() {
            config.keepalives_interval(interval);
        }
        config
            .port(self.port)
            .connect_timeout(limit)
            .keepalives(all.get_keepalives())
            .keepalives_idle(all.get_keepalives_idle())
            .ssl_negotiation(all.get_ssl_negotiation())
            .channel_binding(all.get_channel_binding());
        config
    }
}

/// How long one address may take.
pub(super) fn limit_of(config: &Config, addresses: usize) -> Duration {
    let given = config.get_connect_timeout().copied();
    let limit = given.unwrap_or(if addresses > 1 { ONE_OF_MANY_MAX } else { CALL_MAX });
    limit.min(CALL_MAX)
}

fn shuffle<T>(config: &Config, all: &mut [T]) {
    if config.get_load_balance_hosts() != LoadBalanceHosts::Random {
        return;
    }
    // Seeded by the system, anew each time.
    let mut random = SplitMix64(RandomState::new().build_hasher().finish());
    for last in (1..all.len()).rev() {
        let place = random.next() % (last as u64 + 1);
        all.swap(last, usize::try_from(place).unwrap_or(0));
    }
}

/// What is told of several tries: each server by its name; of one, what it said.
pub(super) fn told(mut faults: Vec<(String, CallFault)>) -> CallFault {
    if faults.len() <= 1 {
        let none = || CallFault::new("connect", Means::Person, "no way".into());
        return faults.pop().map_or_else(none, |(_, fault)| fault);
    }
    let person = faults.iter().any(|(_, fault)| fault.means == Means::Person);
    let mut all: Vec<String> =
        faults.into_iter().map(|(name, fault)| format!("{name}: {}", fault.reason)).collect();
    all.dedup();
    let means = if person { Means::Person } else { Means::Away };
    CallFault::new("connect", means, all.join("; "))
}
