//! Where log lines go: standard error, as text for people or as JSON for machines.
//!
//! A hub's lines, and what a panic says, go through [`Lines`], for which nobody waits. A tool has
//! a person before it, who may hold it up.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::lines::{LOG_THREAD, Lines};
use super::one_line;
use crate::config::{BadConfig, Config, LogFormat};
use crate::metrics::Metrics;

/// Puts another filter in the place of the one that is used.
type SetFilter = dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync;

/// A hub's log. Cheap to clone; all clones are one log.
#[derive(Clone)]
pub struct Log {
    lines: Lines,
    set_filter: Arc<SetFilter>,
}

impl fmt::Debug for Log {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Log").field("lines", &self.lines).finish_non_exhaustive()
    }
}

impl Log {
    /// Its lines.
    pub fn lines(&self) -> &Lines {
        &self.lines
    }

    /// From here on, lines are chosen by this filter.
    pub fn filter(&self, filter: &str) -> Result<(), String> {
        (self.set_filter)(parse(filter).map_err(|bad| bad.0)?)
    }
}

/// Starts logging for the whole process; once.
pub fn start(config: &Config, metrics: Arc<Metrics>) -> Result<Log, BadConfig> {
    let text = match config.log_format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let lines = Lines::start(metrics).map_err(|error| BadConfig(format!("log: {error}")))?;
    let writer = lines.clone();
    let set_filter = begin(&config.log, text, move || writer.clone())?;
    panic::set_hook(Box::new(tell_panic));
    Ok(Log { lines, set_filter })
}

/// Starts logging for a tool, which has a person before it.
pub fn start_for_people() -> Result<(), BadConfig> {
    begin("info", true, io::stderr).map(drop)
}

fn parse(filter: &str) -> Result<EnvFilter, BadConfig> {
    EnvFilter::try_new(filter).map_err(|error| BadConfig(format!("log: `{filter}`: {error}")))
}

fn begin<W>(filter: &str, text: bool, writer: W) -> Result<Arc<SetFilter>, BadConfig>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt().with_env_filter(parse(filter)?).with_writer(writer);
    // A line that can't be written is lost: to complain about it there panics.
    let lines = lines.log_internal_errors(false);
    let set: Arc<SetFilter>;
    let started = if text {
        let lines =
            lines.with_ansi(io::stderr().is_terminal()).with_target(false).with_filter_reloading();
        let handle = lines.reload_handle();
        set = Arc::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()));
        lines.try_init()
    } else {
        let lines = lines.json().flatten_event(true).with_span_list(false).with_filter_reloading();
        let handle = lines.reload_handle();
        set = Arc::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()));
        lines.try_init()
    };
    started.map_err(|error| BadConfig(format!("log: {error}")))?;
    Ok(set)
}

/// A panic is a line of the log like any other: the thread must not wait for it to be read, since
/// others wait to be told that the thread has ended.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("?");
    if thread == LOG_THREAD {
        // The line would be the next to meet the bug: what it meets now is counted as lost.
        return;
    }
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    let said = panic.payload();
    let text = said.downcast_ref::<&str>().copied();
    let text = text.or_else(|| said.downcast_ref::<String>().map(String::as_str));
    let said = one_line(text.unwrap_or("without words"));
    let trace = Backtrace::capture();
    match trace.status() {
        BacktraceStatus::Captured => tracing::error!(thread, at, %trace, "a panic: {said}"),
        _ => tracing::error!(thread, at, "a panic: {said}"),
    }
}
