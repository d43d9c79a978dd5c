//! What was given, and where: flags, `HUB_` variables, and the file, each a map of texts.
//!
//! Knows which names there are, not what their values mean.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::{BadConfig, MAIN, nearest};
use crate::edge::auth::Secret;
use crate::limits::settings;
use crate::store::postgres::TlsDefaults;

/// The variable of the secret that tokens are signed with.
pub(super) const SECRET_VARIABLE: &str = "HUB_JWT_SECRET";

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// The command line.
    Flag,
    /// A variable, by its name.
    Variable(String),
    /// The file, by its path.
    File(String),
    /// The setting was not given.
    Default,
}

impl Source {
    /// What a setting is called there.
    pub fn name_of(&self, name: &str) -> String {
        match self {
            Source::Flag => flag(name),
            Source::Variable(variable) => variable.clone(),
            Source::File(path) => format!("{path}: {name}"),
            Source::Default => name.into(),
        }
    }

    /// Whether `PORT` gives way to an address from there.
    pub(super) fn beats_port(&self) -> bool {
        matches!(self, Source::Flag | Source::Variable(_))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag => out.write_str("command line"),
            Source::Variable(name) => out.write_str(name),
            Source::File(path) => out.write_str(path),
            Source::Default => out.write_str("default"),
        }
    }
}

/// A value that was given.
#[derive(Clone, PartialEq, Eq)]
pub struct GivenText {
    /// The value as it was written.
    pub text: String,
    /// Where it was given.
    pub source: Source,
}

impl fmt::Debug for GivenText {
    /// Without the value: it may be an address with a password, or a secret in a wrong place.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("GivenText").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Everything that was given; a setting is there once, from its strongest source.
#[derive(Clone, Default, Debug)]
pub struct Sources {
    given: BTreeMap<&'static str, GivenText>,
    pub(super) port: Option<String>,
    /// `PGSSLMODE` and `PGSSLROOTCERT`, which count where the database's address says nothing.
    pub(super) tls: TlsDefaults,
    /// The secret that tokens are signed with. No flag, which others can see, and no file's key.
    pub(super) jwt_secret: Option<Secret>,
    /// The directory that systemd gives a service for its secrets.
    pub(super) credentials: Option<String>,
    /// What a collector of traces is shown. No flag and no key either.
    pub(super) otlp_headers: Option<String>,
}

/// The variable of headers for a collector of traces.
pub(super) const OTLP_HEADERS_VARIABLE: &str = "OTEL_EXPORTER_OTLP_HEADERS";
/// Variables of OpenTelemetry that stand for a setting of the hub's, which wins.
const OTEL: [(&str, &str); 3] = [
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry_endpoint"),
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", "telemetry_ca"),
    ("OTEL_SERVICE_NAME", "telemetry_service_name"),
];
/// The variable of that directory.
pub(super) const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// A setting's flag.
pub fn flag(name: &str) -> String {
    format!("--{}", name.replace('_', "-"))
}

fn names() -> impl Iterator<Item = &'static str> {
    MAIN.iter().map(|main| main.name).chain(settings().into_iter().map(|setting| setting.name))
}

impl Sources {
    /// A setting's value, if it was given.
    pub fn get(&self, name: &str) -> Option<&GivenText> {
        self.given.get(name)
    }

    /// Where systemd has a secret of this name for the service, if it has one.
    pub(super) fn credential(&self, name: &str) -> Option<PathBuf> {
        let path = Path::new(self.credentials.as_ref()?).join(name);
        path.exists().then_some(path)
    }

    /// Adds a flag's value.
    pub fn add_flag(&mut self, name: &'static str, text: String) {
        self.add(name, text, Source::Flag);
    }

    /// Keeps the first: sources are added from the strongest to the weakest.
    fn add(&mut self, name: &'static str, text: String, source: Source) {
        self.given.entry(name).or_insert(GivenText { text, source });
    }

    /// Adds the environment: `HUB_…`, `PORT`, `RUST_LOG`, `DATABASE_URL`, `PGSSLMODE`,
    /// `PGSSLROOTCERT`, `CREDENTIALS_DIRECTORY`, and those of `OTEL_…` that it knows. Gives back
    /// `HUB_CONFIG`, if it is there.
    pub fn add_environment(
        &mut self,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Option<String>, BadConfig> {
        let (mut file, mut rust_log, mut database_url) = (None, None, None);
        let mut otel = Vec::new();
        for (variable, value) in variables {
            let Some(variable) = variable.to_str().filter(|name| is_ours(name)) else { continue };
            let Some(text) = value.to_str().map(str::to_owned) else {
                return Err(BadConfig(format!("{variable}: its value is no UTF-8")));
            };
            match variable {
                "PORT" => self.port = Some(text),
                "PGSSLMODE" => self.tls.mode = Some(text),
                "PGSSLROOTCERT" => self.tls.roots = Some(text),
                CREDENTIALS_VARIABLE => self.credentials = Some(text),
                SECRET_VARIABLE => self.jwt_secret = Some(Secret::new(text.into_bytes())),
                OTLP_HEADERS_VARIABLE => self.otlp_headers = Some(text),
                _ if is_otel(variable) => otel.push((variable.to_owned(), text)),
                "RUST_LOG" => rust_log = Some(text),
                "DATABASE_URL" => database_url = Some(text),
                "HUB_CONFIG" if text.is_empty() => {
                    return Err(BadConfig("HUB_CONFIG: `` is not a file".into()));
                }
                "HUB_CONFIG" => file = Some(text),
                // What commands show to a hub; the hub itself shows nothing to anybody.
                "HUB_TOKEN" => {}
                _ if is_foreign(variable, &text) => {}
                _ => {
                    let name = known_variable(variable)?;
                    self.add(name, text, Source::Variable(variable.into()));
                }
            }
        }
        if let Some(text) = rust_log.filter(|text| !text.is_empty()) {
            self.add("log", text, Source::Variable("RUST_LOG".into()));
        }
        if let Some(text) = database_url {
            self.add("database_url", text, Source::Variable("DATABASE_URL".into()));
        }
        for (variable, text) in otel.into_iter().filter(|(_, text)| !text.is_empty()) {
            let its = OTEL.iter().find(|(name, _)| *name == variable);
            if let Some((_, name)) = its {
                self.add(name, text, Source::Variable(variable));
            }
        }
        Ok(file)
    }

    /// Adds a TOML file.
    pub fn add_file(&mut self, path: &Path) -> Result<(), BadConfig> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| BadConfig(format!("{shown}: can't be read: {error}")))?;
        self.add_toml(&text, &shown)
    }

    pub(super) fn add_toml(&mut self, text: &str, path: &str) -> Result<(), BadConfig> {
        let table = text.parse::<toml::Table>().map_err(|error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            let problem = error.message().lines().next().unwrap_or_default().to_owned();
            BadConfig(format!("{path}: line {line}: {problem}"))
        })?;
        for (key, value) in table {
            let Some(name) = names().find(|name| *name == key) else {
                return Err(unknown(&format!("{path}: {key}"), "key", nearest(&key, names())));
            };
            let text = plain(&value).ok_or_else(|| {
                let kind = value.type_str();
                BadConfig(format!("{path}: {key}: a plain value was expected, not {kind}"))
            })?;
            self.add(name, text, Source::File(path.into()));
        }
        Ok(())
    }
}

fn unknown(place: &str, kind: &str, meant: Option<impl fmt::Display>) -> BadConfig {
    let hint = meant.map_or_else(
        || "; `cpi-hub --help` lists all".to_owned(),
        |meant| format!("; did you mean {meant}?"),
    );
    BadConfig(format!("{place}: there is no such {kind}{hint}"))
}

fn is_ours(variable: &str) -> bool {
    const OTHERS: [&str; 6] =
        ["PORT", "RUST_LOG", "DATABASE_URL", "PGSSLMODE", "PGSSLROOTCERT", CREDENTIALS_VARIABLE];
    let is_headers = variable == OTLP_HEADERS_VARIABLE;
    variable.starts_with("HUB_") || OTHERS.contains(&variable) || is_otel(variable) || is_headers
}

fn is_otel(variable: &str) -> bool {
    OTEL.iter().any(|(name, _)| *name == variable)
}

/// Variables that others set and that only look like ours: Kubernetes tells every container
/// about a service named `hub`, and the tests of this repository have some of their own.
fn is_foreign(variable: &str, value: &str) -> bool {
    let kubernetes = variable.starts_with("HUB_SERVICE_")
        || variable.starts_with("HUB_PORT_")
        || (variable == "HUB_PORT" && value.contains("://"));
    let tests = variable.starts_with("HUB_TEST_")
        || ["HUB_SLOW_TESTS", "HUB_REQUIRE_SERVICES"].contains(&variable);
    kubernetes || tests
}

fn known_variable(variable: &str) -> Result<&'static str, BadConfig> {
    let key = variable.trim_start_matches("HUB_").to_ascii_lowercase();
    // The names are in capitals all through: `HUB_listen` is a mistake too.
    let exact = |name: &&str| variable == variable_of(name);
    names().find(exact).ok_or_else(|| {
        let meant = if key == "port" { Some("PORT".into()) } else { None };
        let meant = meant.or_else(|| nearest(&key, names()).map(variable_of));
        unknown(variable, "setting", meant)
    })
}

fn variable_of(name: &str) -> String {
    format!("HUB_{}", name.to_ascii_uppercase())
}

/// A file's value as a flag would have it.
fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(items) if items.is_empty() => Some("none".into()),
        toml::Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            texts.map(|texts| texts.join(","))
        }
        _ => None,
    }
}
