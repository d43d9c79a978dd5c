//! `cpi-hub migrate`: brings the database up to date and says what that was.

use std::fmt::Write;

use clap::{Arg, ArgAction, ArgMatches};
use serde_json::{Value, json};

use super::{CliExit, logging};
use crate::config::DataLocation;
use crate::store::migrate::MigrateStep;
use crate::store::{OpenError, upgrade};

/// What to migrate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    place: DataLocation,
    dry_run: bool,
    json: bool,
}

const AFTER: &str = "A hub does the same at its start; this is for those who want it done, or \
    seen, before. Several may run at once, beside hubs too: they wait for each other. A dry run \
    prints the statements as a script and changes nothing.\n\n\
    Exit code: 0 up to date (dry run: or would be), 1 the database refused or is away, 78 a bad \
    setting.";

/// The subcommand's own command line, but for where the database is.
pub(super) fn command() -> clap::Command {
    let dry_run = Arg::new("dry_run").long("dry-run").action(ArgAction::SetTrue);
    clap::Command::new("migrate")
        .about("Brings the database up to date, and says what it did")
        .arg(dry_run.help("Print the statements that are missing, and change nothing"))
        .arg(super::arguments::json_argument("Print what is missing, or was brought, as JSON"))
        .after_help(AFTER)
}

impl Options {
    pub(super) fn read(matches: &ArgMatches, place: DataLocation) -> Options {
        Options { place, dry_run: matches.get_flag("dry_run"), json: matches.get_flag("json") }
    }

    /// What the database is called in what is printed.
    fn database(&self) -> String {
        match &self.place.database_url {
            Some(url) => url.to_string(),
            None => {
                self.place.data_dir.join(crate::store::sqlite::DATABASE_FILE).display().to_string()
            }
        }
    }
}

/// Does it; what to print, and the exit code.
pub fn run(options: &Options) -> CliExit {
    if let Err(bad) = logging::start_for_people() {
        return bad.into();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return CliExit::failed(format!("start: {error}")),
    };
    let DataLocation { data_dir, database_url, search, .. } = &options.place;
    let upgrading = upgrade(data_dir, database_url.as_ref(), *search, options.dry_run);
    let done = runtime.block_on(upgrading);
    let database = options.database();
    match done {
        Ok(steps) if options.json => CliExit::done(as_json(&database, &steps, options.dry_run)),
        Ok(steps) => CliExit::done(told(&database, &steps, options.dry_run)),
        Err(error @ OpenError::Io { .. }) => CliExit::from(super::bad_place(&error)),
        Err(error @ OpenError::Database { .. }) => CliExit::failed(error.to_string()),
        Err(error) => CliExit::failed(format!("{database}: {error}")),
    }
}

fn as_json(database: &str, steps: &[MigrateStep], dry_run: bool) -> String {
    let steps = steps.iter().map(|step| json!({"name": step.name, "sql": step.sql}));
    let steps: Vec<Value> = steps.collect();
    json!({"database": database, "dry_run": dry_run, "steps": steps}).to_string()
}

fn told(database: &str, steps: &[MigrateStep], dry_run: bool) -> String {
    let mut text = match (steps.len(), dry_run) {
        (0, false) => format!("{database} is up to date; nothing was changed"),
        (0, true) => format!("-- {database} is up to date"),
        (_, false) => format!("{database} was brought up to date:"),
        (_, true) => format!("-- {database} is not up to date; missing, in this order:"),
    };
    for MigrateStep { name, sql } in steps {
        // A string takes whatever is written to it.
        let _ = match dry_run {
            true => write!(text, "\n\n-- {name}\n{sql};"),
            false => write!(text, "\n  {name}"),
        };
    }
    text
}
