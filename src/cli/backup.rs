//! `cpi-hub backup`: copies the embedded database to a file, beside a hub that runs or not.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches};
use serde_json::json;

use super::CliExit;
use crate::config::DataLocation;
use crate::store::{BackupError, backup};

/// What to copy, and where to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    place: DataLocation,
    file: PathBuf,
    force: bool,
    json: bool,
}

const AFTER: &str = "The copy is of one moment, whatever a hub beside it writes, is checked, and \
    can be read by its owner alone. It takes its name only when it is whole and on the disk; until \
    then it is FILE.part. What waits in the journals is not in it: a message that was answered \
    200 is.\n\
    To restore it: stop the hub, remove hub.sqlite3-wal and hub.sqlite3-shm, put the copy in the \
    place of hub.sqlite3, start the hub. docs/BACKUP.md says more, also of PostgreSQL.\n\n\
    Exit code: 0 done, 1 it could not be made, 78 a bad setting.";

/// The subcommand's own command line, but for where the database is.
pub(super) fn command() -> clap::Command {
    let file = Arg::new("file").value_name("FILE").required(true);
    let force = Arg::new("force").long("force").action(ArgAction::SetTrue);
    clap::Command::new("backup")
        .about("Copies the embedded database to a file, also while a hub runs")
        .arg(file.value_parser(ValueParser::path_buf()).help("The copy"))
        .arg(force.help("Replace FILE if it is there"))
        .arg(super::arguments::json_argument("Print what was copied as JSON"))
        .after_help(AFTER)
}

impl Options {
    pub(super) fn read(matches: &ArgMatches, place: DataLocation) -> Options {
        let file = matches.get_one::<PathBuf>("file").cloned().unwrap_or_default();
        Options { place, file, force: matches.get_flag("force"), json: matches.get_flag("json") }
    }
}

/// Does it; what to print, and the exit code.
pub fn run(options: &Options) -> CliExit {
    let Options { place, file, force, json } = options;
    if let Some(url) = &place.database_url {
        let text = format!(
            "messages are in {url}, which pg_dump copies: `pg_dump --format=custom`, \
             as docs/BACKUP.md says"
        );
        return CliExit::bad(text);
    }
    // It ends its line when it goes.
    let mut shown = Shown { percent: None, terminal: std::io::stderr().is_terminal() };
    let done = backup(&place.data_dir, file, *force, move |copied, all| {
        shown.show(copied, all);
        true
    });
    match done {
        Ok(copy) => {
            let (messages, bytes) = (copy.messages, copy.bytes);
            let file = file.display().to_string();
            let text = match json {
                true => json!({"file": file, "messages": messages, "bytes": bytes}).to_string(),
                false => format!("{file}: {messages} messages, {bytes} bytes"),
            };
            CliExit::done(text)
        }
        Err(error @ BackupError::Missing(_)) => super::bad_place(&error).into(),
        Err(error) => CliExit::failed(error.to_string()),
    }
}

/// How far it is, on a terminal.
struct Shown {
    percent: Option<u64>,
    terminal: bool,
}

impl Shown {
    fn show(&mut self, copied: u64, all: u64) {
        let percent = copied.saturating_mul(100).checked_div(all).unwrap_or(100);
        if self.terminal && self.percent.replace(percent) != Some(percent) {
            // If nobody reads it, nobody misses it.
            let _ = write!(std::io::stderr(), "\r{percent} % of {} MiB copied", all >> 20);
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if self.percent.is_some() {
            let _ = writeln!(std::io::stderr());
        }
    }
}
