//! The configuration: read once, from flags, environment and file, and checked as a whole before
//! anything else happens.
//!
//! Every setting has one name; the flag `--write-wait`, the variable `HUB_WRITE_WAIT` and the
//! file's key `write_wait` are made from it. Flags win over variables, variables over the file,
//! the file over defaults. What is not known is an error, never skipped.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

pub(crate) mod auth;
mod database;
mod doors;
mod listen;
mod machine;
pub(crate) mod memory;
mod sources;
mod suggest;
mod table;
mod telemetry;
mod tls;
mod toml;

pub use listen::Inherited;
pub use machine::Machine;
pub use sources::{GivenText, Source, Sources, flag};
pub use suggest::nearest;
pub use table::{MAIN, MainSetting};

use crate::edge::auth::Credentials;
use crate::edge::tls::Identity;
use crate::edge::{Hosts, Names, Origins, Proxies};
use crate::limits::{Limits, SHARDS_MAX, Setting, settings};
use crate::shard::Accept;
use crate::store::postgres::DatabaseUrl;
use crate::telemetry::Plan;

/// How log lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// A readable line for each event.
    Text,
    /// A JSON object for each event.
    Json,
}

/// Everything the hub is told, sound and complete.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The certificate that it shows there; `None`: HTTP is plain.
    pub(crate) tls: Option<Identity>,
    /// Where it listens for plain HTTP beside TLS.
    pub plain_listen: Option<SocketAddr>,
    /// Where journals and the embedded store live.
    pub data_dir: PathBuf,
    /// The PostgreSQL database to store in; `None`: the embedded one.
    pub database_url: Option<DatabaseUrl>,
    /// Shard threads.
    pub shards: usize,
    /// When a chat is accepted.
    pub accept: Accept,
    /// Whether shard threads keep to a core each.
    pub pinned: bool,
    /// Whether journals that were made for another store are stored in this one.
    pub take_journals: bool,
    /// Whether messages are found by their words, for which the store keeps an index.
    pub search: bool,
    /// Whether it may listen beyond loopback without any authentication.
    pub insecure: bool,
    /// Whether testers have an endpoint that sends back what it is sent.
    pub debug_endpoints: bool,
    /// Keys, by which it is known who is who; nobody is asked where none are given.
    pub(crate) credentials: Credentials,
    /// Pages of these origins may use it.
    pub origins: Origins,
    /// It goes by these names too.
    pub hosts: Hosts,
    /// Who is believed to speak for others.
    pub proxies: Proxies,
    /// Where traces are sent; `None`: there are none.
    pub(crate) telemetry: Option<Plan>,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Which log lines are written, as `RUST_LOG` has it.
    pub log: String,
    /// Every bound, fitted to the descriptors and the memory allowed.
    pub limits: Limits,
    /// What the operator should know, one line each; to be logged at start.
    pub warnings: Vec<String>,
    origin: BTreeMap<&'static str, (String, Source)>,
}

/// Where a hub's data are: what the tools need to know of a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataLocation {
    /// Where journals and the embedded store live.
    pub data_dir: PathBuf,
    /// The PostgreSQL database; `None`: the embedded one.
    pub database_url: Option<DatabaseUrl>,
    /// The fixed offset of stored times, in seconds east of UTC.
    pub utc_offset: i32,
    /// Whether messages are found by their words.
    pub search: bool,
}

impl DataLocation {
    /// Checks these settings only: a tool runs where a hub might not be allowed to listen.
    pub fn load(sources: &Sources) -> Result<DataLocation, BadConfig> {
        let mut reading = Reading { sources, origin: BTreeMap::new() };
        Ok(DataLocation {
            data_dir: reading.data_dir()?,
            database_url: database::url(&mut reading)?,
            utc_offset: reading.limits()?.utc_offset,
            search: reading.value("search", BOOL, "false", parse_bool)?,
        })
    }
}

/// A configuration that can't be run with, in one line: exit 78.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadConfig(pub String);

impl Config {
    /// Merges what was given, and checks all of it.
    pub fn load(sources: &Sources, machine: Machine) -> Result<Config, BadConfig> {
        let mut reading = Reading { sources, origin: BTreeMap::new() };
        let listen = listen::address(&mut reading, machine.inherited.main)?;
        let tls = tls::identity(&mut reading)?;
        let plain = machine.inherited.plain;
        let plain_listen = tls::plain_listen(&mut reading, tls.is_some(), plain)?;
        let data_dir = reading.data_dir()?;
        let database_url = database::url(&mut reading)?;
        let shards = reading.shards(machine.cores)?;
        let pinned = reading.value("pinned", BOOL, "true", parse_bool)?;
        let take_journals = reading.value("take_journals", BOOL, "false", parse_bool)?;
        let accept = reading.value("accept", "journaled or stored", "journaled", Accept::parse)?;
        let search = reading.value("search", BOOL, "false", parse_bool)?;
        let insecure = reading.value("insecure", BOOL, "false", parse_bool)?;
        let debug_endpoints = reading.value("debug_endpoints", BOOL, "false", parse_bool)?;
        let credentials = auth::credentials(&mut reading)?;
        let origins = reading.origins()?;
        let hosts = reading.hosts()?;
        let proxies = reading.proxies()?;
        let telemetry = telemetry::plan(&mut reading)?;
        let log = reading.log()?;
        let log_format = reading.log_format()?;
        let mut limits = reading.limits()?;
        let mut warnings = Vec::new();
        if !credentials.are_asked() && !insecure {
            listen::within_loopback("listen", Some(listen), &reading)?;
            listen::within_loopback("tls_plain_listen", plain_listen, &reading)?;
        }
        if debug_endpoints && !insecure {
            listen::debug_within_loopback(&[Some(listen), plain_listen], &reading)?;
        }
        warnings.extend(machine::fit(&mut limits, (shards, tls.is_some()), machine)?);
        let origin = reading.origin;
        let config = Config {
            listen,
            tls,
            plain_listen,
            data_dir,
            database_url,
            shards,
            accept,
            pinned,
            take_journals,
            search,
            insecure,
            debug_endpoints,
            credentials,
            origins,
            hosts,
            proxies,
            telemetry,
            log_format,
            log,
            limits,
            warnings,
            origin,
        };
        Ok(config)
    }

    /// Where everybody is whoever they say, although other machines may reach it.
    pub(crate) fn open_at(&self) -> Option<SocketAddr> {
        let is_open = |address: &SocketAddr| !address.ip().is_loopback();
        let open = [Some(self.listen), self.plain_listen].into_iter().flatten().find(is_open);
        open.filter(|_| !self.credentials.are_asked())
    }

    /// The names that requests may come under.
    pub(crate) fn names(&self) -> Names {
        Names { origins: self.origins.clone(), hosts: self.hosts.clone() }
    }
}

impl Config {
    /// The settings that another configuration has differently, in the order of the help.
    pub fn differing(&self, other: &Config) -> Vec<&'static str> {
        let text = |config: &Config, name| config.origin.get(name).map(|(text, _)| text.clone());
        let differs = |name: &&'static str| match *name {
            // Its text does not show the password.
            "database_url" => self.database_url != other.database_url,
            // What their files hold may have changed.
            name if auth::SETTINGS.contains(&name) => {
                !self.credentials.agree(&other.credentials, name)
            }
            name if tls::SETTINGS.contains(&name) => {
                let [certificate, key] = match (&self.tls, &other.tls) {
                    (Some(one), Some(other)) => one.agrees(other),
                    (one, other) => [one.is_none() && other.is_none(); 2],
                };
                !(if name == tls::SETTINGS[0] { certificate } else { key })
            }
            name => text(self, name) != text(other, name),
        };
        let bounds = settings().into_iter().map(|setting| setting.name);
        MAIN.iter().map(|main| main.name).chain(bounds).filter(differs).collect()
    }

    /// Notes that a setting is now as another configuration has it.
    pub fn take(&mut self, name: &'static str, other: &Config) {
        if let Some(origin) = other.origin.get(name) {
            self.origin.insert(name, origin.clone());
        }
        if auth::SETTINGS.contains(&name) {
            self.credentials = other.credentials.clone();
        }
        if tls::SETTINGS.contains(&name) {
            self.tls = other.tls.clone();
        }
    }
}

/// What is read by [`parse_bool`], for errors.
const BOOL: &str = "true or false";

fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Reads settings one by one, and remembers where each came from.
struct Reading<'a> {
    sources: &'a Sources,
    origin: BTreeMap<&'static str, (String, Source)>,
}

impl Reading<'_> {
    fn note(&mut self, name: &'static str, text: impl Into<String>, source: Source) {
        self.origin.insert(name, (text.into(), source));
    }

    /// What to call a setting in an error: the way it was given.
    fn name_of(&self, name: &'static str) -> String {
        self.sources.get(name).map_or_else(|| name.into(), |given| given.source.name_of(name))
    }

    fn bad(&self, name: &'static str, problem: impl fmt::Display) -> BadConfig {
        BadConfig(format!("{}: {problem}", self.name_of(name)))
    }

    /// A setting's value; `expected` says what it should look like.
    fn value<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        default: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, BadConfig> {
        let given = self.sources.get(name);
        let text = given.map_or(default, |given| &given.text);
        let value = parse(text)
            .ok_or_else(|| self.bad(name, format_args!("`{text}` is not {expected}")))?;
        self.note(name, text, given.map_or(Source::Default, |given| given.source.clone()));
        Ok(value)
    }

    fn data_dir(&mut self) -> Result<PathBuf, BadConfig> {
        let parse = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        self.value("data_dir", "a directory", "data", parse)
    }

    fn shards(&mut self, cores: usize) -> Result<usize, BadConfig> {
        let default = cores.saturating_sub(1).clamp(1, SHARDS_MAX).to_string();
        let parse = |text: &str| text.parse().ok().filter(|count| (1..=SHARDS_MAX).contains(count));
        let expected = format!("a number of threads from 1 to {SHARDS_MAX}");
        self.value("shards", &expected, &default, parse)
    }

    fn log(&mut self) -> Result<String, BadConfig> {
        let parse = |text: &str| EnvFilter::try_new(text).is_ok().then(|| text.to_owned());
        self.value("log", "a filter such as info or cpi_hub=debug", "info", parse)
    }

    fn log_format(&mut self) -> Result<LogFormat, BadConfig> {
        self.value("log_format", "auto, text or json", "auto", |text| match text {
            "auto" => Some(LogFormat::Auto),
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        })
    }

    fn limits(&mut self) -> Result<Limits, BadConfig> {
        let mut limits = Limits::default();
        for setting in settings() {
            let given = self.sources.get(setting.name);
            if let Some(given) = given {
                let value = setting.parse(&given.text);
                let set = value.and_then(|value| limits.set(&setting, value));
                set.map_err(|error| self.bad(setting.name, error.problem))?;
            }
            let source = given.map_or(Source::Default, |given| given.source.clone());
            self.note(setting.name, shown(&limits, &setting), source);
        }
        limits.check().map_err(|error| self.bad(error.name, error.problem))?;
        Ok(limits)
    }
}

fn shown(limits: &Limits, setting: &Setting) -> String {
    setting.show(limits.get(setting.name).unwrap_or(setting.default))
}

impl Config {
    /// Each setting that has a value, that value as text, and where it came from, in the order of
    /// the help. A password is in none of them.
    pub fn entries(&self) -> Vec<(&'static str, &str, &Source)> {
        let bounds = settings().into_iter().map(|it| it.name);
        let names = MAIN.iter().map(|main| main.name).chain(bounds);
        let entry = |name| self.origin.get(name).map(|(text, from)| (name, text.as_str(), from));
        names.filter_map(entry).collect()
    }

    /// A setting's value as the file has it.
    pub(crate) fn toml_value(&self, name: &str, text: &str) -> String {
        let number = name == "shards" || self.limits.get(name).is_some();
        match name {
            "insecure" => self.insecure.to_string(),
            "debug_endpoints" => self.debug_endpoints.to_string(),
            "take_journals" => self.take_journals.to_string(),
            "search" => self.search.to_string(),
            "pinned" => self.pinned.to_string(),
            _ if number && text.parse::<i64>().is_ok() => text.to_owned(),
            _ => toml::text(text),
        }
    }
}

impl fmt::Display for Config {
    /// As a file that `--config` reads, with where each value came from behind it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, text, source) in self.entries() {
            // Without its password it is no setting that could be read back.
            let mark = if name == "database_url" { "# " } else { "" };
            let line = format!("{mark}{name} = {}", self.toml_value(name, text));
            writeln!(out, "{line:<48} # {source}")?;
        }
        self.warnings.iter().try_for_each(|warning| writeln!(out, "# {warning}"))
    }
}

#[cfg(test)]
mod tests;
