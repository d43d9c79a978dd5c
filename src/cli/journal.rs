//! `cpi-hub journal`: looks at the journals of a data directory and at what the store lacks of
//! them; changes nothing but what is acknowledged.

use std::path::Path;

use clap::{Arg, ArgMatches};
use serde_json::{Value, json};

use super::CliExit;
use super::table::table;
use crate::clock::unix_now;
use crate::config::DataLocation;
use crate::store::journal::{JournalOpenError, JournalReport, JournalState, Reports, inspect};
use crate::store::{self, stored_positions};
use crate::wire::Id;

/// What to look at, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    place: DataLocation,
    action: Action,
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    Inspect,
    Verify,
    Acknowledge,
}

const AFTER: &str = "inspect: a table of all journals (the default).\n\
    verify: reads all of them as a start would, and says whether a hub could start on them. A \
    torn tail is sound: what a kill or a power cut left behind the last append that counts.\n\
    acknowledge: says that you know of the messages that the store had and lacks, so that \
    `/readyz` is ready again; holes.jsonl keeps them. The others only read.\n\n\
    All take no lock, and may run beside a hub; what a hub writes right now may show as a torn \
    tail. `stored` is how far the embedded database has it, `?` where that is not \
    known, as with PostgreSQL.\n\n\
    Exit code: 0 sound, 1 damaged (verify names file and offset), 78 a bad setting.";

const ACTIONS: [&str; 3] = ["inspect", "verify", "acknowledge"];

/// The subcommand's own command line, but for where the data are.
pub(super) fn command() -> clap::Command {
    let action =
        Arg::new("action").value_name("inspect|verify|acknowledge").default_value(ACTIONS[0]);
    clap::Command::new("journal")
        .about("Inspects or verifies journals, or acknowledges what the store lacks of them")
        .arg(action.value_parser(ACTIONS).hide_possible_values(true).help("What to do"))
        .arg(super::arguments::json_argument("inspect, verify: print the journals as JSON"))
        .after_help(AFTER)
}

impl Options {
    pub(super) fn read(matches: &ArgMatches, place: DataLocation) -> Options {
        let action = matches.get_one::<String>("action");
        let action = match action.and_then(|it| ACTIONS.iter().position(|known| known == it)) {
            Some(1) => Action::Verify,
            Some(2) => Action::Acknowledge,
            _ => Action::Inspect,
        };
        Options { place, action, json: matches.get_flag("json") }
    }
}

/// Looks; what to print before the end, and the end.
pub fn run(options: &Options) -> CliExit {
    let data_dir = &options.place.data_dir;
    if options.action == Action::Acknowledge {
        return acknowledged(data_dir);
    }
    let looked = match std::fs::metadata(data_dir) {
        Ok(_) => inspect(&data_dir.join("journal")),
        Err(error) => Err(JournalOpenError::Io { path: data_dir.clone(), error }),
    };
    let reports = match looked {
        Ok(reports) => reports,
        Err(error) => return super::bad_place(&error).into(),
    };
    let embedded = options.place.database_url.is_none();
    let stored = embedded.then(|| stored_positions(data_dir)).flatten();
    let stored = |report: &JournalReport| match &stored {
        Some(all) => all.get(&report.journal.to_string()).unwrap_or(&0).to_string(),
        None => "?".into(),
    };
    let rows: Vec<Vec<String>> =
        reports.journals.iter().map(|report| row(report, stored(report))).collect();
    let mut shown = format!("{}\n\n{}", table(&HEADING, &rows), summary(&reports));
    let missing = store::missing(data_dir).ok().flatten();
    if let Some(missing) = &missing {
        shown.push_str(&format!("\nthe store lacks {missing}, which no journal holds"));
    }
    if options.json {
        shown = as_json(&rows, &reports, missing.map(|it| it.to_string()));
    }
    let damaged: Vec<String> = reports.journals.iter().filter_map(problem).collect();
    match damaged.first().filter(|_| options.action == Action::Verify) {
        None => CliExit::done(shown),
        Some(first) => {
            let more = match damaged.len() {
                1 => String::new(),
                all => format!(" (and {} more)", all - 1),
            };
            CliExit { shown, ..CliExit::failed(format!("{first}{more}")) }
        }
    }
}

fn acknowledged(data_dir: &Path) -> CliExit {
    let done = std::fs::metadata(data_dir).and_then(|_| store::acknowledge(data_dir, unix_now()));
    match done {
        Ok(Some(missing)) => CliExit::done(format!("acknowledged: {missing}")),
        Ok(None) => CliExit::done("nothing is missing that was not acknowledged"),
        Err(error) => super::bad_place(&format!("{}: {error}", data_dir.display())).into(),
    }
}

const HEADING: [&str; 10] = [
    "journal",
    " segments",
    " files",
    " from",
    " to",
    " stored",
    " records",
    " bytes",
    "highest id",
    "state",
];

fn row(report: &JournalReport, stored: String) -> Vec<String> {
    let state = match &report.state {
        JournalState::Sound => "sound".into(),
        JournalState::Torn { bytes } => format!("sound, torn tail of {bytes} bytes"),
        JournalState::Unusable(JournalOpenError::Damaged { .. }) | JournalState::Odd { .. } => {
            "DAMAGED".into()
        }
        JournalState::Unusable(_) => "UNUSABLE".into(),
    };
    vec![
        report.journal.to_string(),
        report.segments.to_string(),
        report.files.to_string(),
        report.offsets.0.to_string(),
        report.offsets.1.to_string(),
        stored,
        report.records.to_string(),
        report.bytes.to_string(),
        match report.highest {
            Id::MIN => "-".into(),
            highest => highest.to_string(),
        },
        state,
    ]
}

/// The table as JSON: what is a number is one, and what is not known is left out.
fn as_json(rows: &[Vec<String>], reports: &Reports, missing: Option<String>) -> String {
    let cell = |(heading, cell): (&&str, &String)| {
        let name = heading.trim_start().replace(' ', "_");
        let value = match (heading.starts_with(' '), cell.parse::<u64>()) {
            (true, Ok(number)) => number.into(),
            _ => Value::from(cell.as_str()),
        };
        (!matches!(cell.as_str(), "?" | "-")).then_some((name, value))
    };
    let row = |row: &Vec<String>| Value::Object(HEADING.iter().zip(row).filter_map(cell).collect());
    let journals: Vec<Value> = rows.iter().map(row).collect();
    json!({"journals": journals, "in_use": reports.open, "missing": missing}).to_string()
}

fn summary(reports: &Reports) -> String {
    let journals = reports.journals.len();
    let records: u64 = reports.journals.iter().map(|report| report.records).sum();
    let bytes: u64 = reports.journals.iter().map(|report| report.bytes).sum();
    let open = match reports.open {
        Some(true) => "a hub has them open",
        Some(false) => "no hub has them open",
        None => "whether a hub has them open is not known",
    };
    let counted = |number: u64, one: &str| match number {
        1 => format!("1 {one}"),
        number => format!("{number} {one}s"),
    };
    let (journals, records) = (counted(journals as u64, "journal"), counted(records, "record"));
    format!("{journals}, {records}, {bytes} bytes; {open}")
}

fn problem(report: &JournalReport) -> Option<String> {
    match &report.state {
        JournalState::Sound | JournalState::Torn { .. } => None,
        JournalState::Unusable(error) => Some(error.to_string()),
        JournalState::Odd { file, offset } => Some(format!(
            "{}: the block at byte {offset} holds no ascending records",
            file.display()
        )),
    }
}
