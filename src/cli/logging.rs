//! Where log lines go: standard error, as text for people or as JSON for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{BadConfig, Config, LogFormat};

/// Starts logging for the whole process; once.
pub fn start(config: &Config) -> Result<(), BadConfig> {
    let text = match config.log_format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    begin(&config.log, text)
}

/// Starts logging for a tool, which has a person before it.
pub fn start_for_people() -> Result<(), BadConfig> {
    begin("info", true)
}

fn begin(filter: &str, text: bool) -> Result<(), BadConfig> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| BadConfig(format!("log: `{filter}`: {error}")))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A line that can't be written is lost: to complain about it there panics.
    let lines = lines.log_internal_errors(false);
    let started = if text {
        lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init()
    } else {
        lines.json().flatten_event(true).try_init()
    };
    started.map_err(|error| BadConfig(format!("log: {error}")))
}
