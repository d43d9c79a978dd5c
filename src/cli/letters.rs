//! `cpi-hub dead-letters`: lists the messages that the store refused, and tries them again.
//!
//! Prints what people said only if it is asked to.

use std::hash::{BuildHasher, Hasher, RandomState};

use clap::{Arg, ArgAction, ArgMatches};

use super::table::table;
use super::{CliExit, logging, one_line};
use crate::config::DataLocation;
use crate::store::sqlite::wall::WallFormat;
use crate::store::{Letter, Letters, OpenError, Retried, journal, retry};

/// Which letters, and what to do with them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    place: DataLocation,
    retry: bool,
    json: bool,
    content: bool,
}

const AFTER: &str = "A message that the database refuses for what it is, such as one of a user \
    that does not exist, goes to dead-letters.jsonl in the data directory, so that it holds up no \
    other.\n\n\
    list: shows them (the default), each message once; what was said, and who is called how, \
    only with --content.\n\
    retry: once the cause is mended, tries to store each one again, exactly once; those that are \
    refused again stay, with the new reason. Needs the data directory for itself: stop the hub \
    first.\n\n\
    Exit code: 0 done (retry: none is left), 1 some were refused again, the database is away or \
    a hub runs, 78 a bad setting.";

const ACTIONS: [&str; 2] = ["list", "retry"];

/// The subcommand's own command line, but for where the data are.
pub(super) fn command() -> clap::Command {
    let action = Arg::new("action").value_name("list|retry").default_value(ACTIONS[0]);
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    clap::Command::new("dead-letters")
        .about("Lists the messages that the database refused, and tries them again")
        .arg(action.value_parser(ACTIONS).hide_possible_values(true).help("What to do"))
        .arg(flag("json").help("list: print the file's lines instead of a table"))
        .arg(flag("content").help("list: show what was said too"))
        .after_help(AFTER)
}

impl Options {
    pub(super) fn read(matches: &ArgMatches, place: DataLocation) -> Result<Options, CliExit> {
        let action = matches.get_one::<String>("action");
        let flag = |name: &str| matches.get_flag(name);
        let retry = action.is_some_and(|action| action == ACTIONS[1]);
        if let Some(name) = ["json", "content"].into_iter().find(|name| retry && flag(name)) {
            let text = format!("--{name}: belongs to dead-letters list, not to retry");
            return Err(CliExit::bad(text));
        }
        Ok(Options { place, retry, json: flag("json"), content: flag("content") })
    }
}

/// Does it; what to print, and the exit code.
pub fn run(options: &Options) -> CliExit {
    match options.retry {
        true => retried(options),
        false => listed(options),
    }
}

fn listed(options: &Options) -> CliExit {
    let data_dir = &options.place.data_dir;
    let read = std::fs::metadata(data_dir).and_then(|_| Letters::read(data_dir));
    let letters = match read {
        Ok(letters) => letters,
        Err(error) => {
            return super::bad_place(&format!("{}: {error}", data_dir.display())).into();
        }
    };
    let text = match (options.json, letters.letters.is_empty()) {
        (true, _) => letters.letters.iter().map(|letter| json(letter, options.content)).collect(),
        (false, true) if letters.unread.is_empty() => "no dead letters".into(),
        (false, _) => shown(&letters, options),
    };
    CliExit::done(text)
}

fn json(letter: &Letter, content: bool) -> String {
    let mut line = letter.line.clone();
    if !content {
        line.remove("content");
        line.remove("username");
    }
    format!("{}\n", serde_json::Value::Object(line))
}

fn shown(letters: &Letters, options: &Options) -> String {
    let mut wall = WallFormat::new(options.place.utc_offset);
    let mut heading = vec!["id", "when", " space", " user", "reason"];
    if options.content {
        heading.extend(["name", "content"]);
    }
    let mut row = |letter: &Letter| {
        let at = wall.text(letter.at);
        let at = at.split('.').next().unwrap_or_default().to_owned();
        let (space, user) = (letter.space.0.to_string(), letter.user.0.to_string());
        let mut row = vec![letter.id.to_string(), at, space, user, one_line(&letter.reason)];
        if options.content {
            row.extend([one_line(&letter.username), one_line(&letter.content)]);
        }
        row
    };
    let rows: Vec<Vec<String>> = letters.letters.iter().map(&mut row).collect();
    let unread = match letters.unread.len() {
        0 => String::new(),
        1 => "; 1 line can't be read".into(),
        lines => format!("; {lines} lines can't be read"),
    };
    let count = match rows.len() {
        1 => "1 dead letter".to_owned(),
        rows => format!("{rows} dead letters"),
    };
    format!("{}\n\n{count}{unread}", table(&heading, &rows))
}

fn retried(options: &Options) -> CliExit {
    if let Err(bad) = logging::start_for_people() {
        return bad.into();
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return CliExit::failed(format!("start: {error}")),
    };
    let DataLocation { data_dir, database_url, utc_offset, .. } = &options.place;
    if let Err(error) = std::fs::metadata(data_dir) {
        return super::bad_place(&format!("{}: {error}", data_dir.display())).into();
    }
    // Seeded by the system, anew each time.
    let word = || u128::from(RandomState::new().build_hasher().finish());
    let random = word() << 64 | word();
    match runtime.block_on(retry(data_dir, database_url.as_ref(), *utc_offset, random)) {
        Ok(retried) => told(&retried),
        Err(OpenError::Journal(journal::JournalOpenError::Locked { .. })) => {
            let text = format!("{} is in use by a hub; stop it first", data_dir.display());
            CliExit::failed(text)
        }
        Err(error) => CliExit::failed(error.to_string()),
    }
}

fn told(retried: &Retried) -> CliExit {
    let Retried { stored, already, refused, left, stopped } = retried;
    let done = format!("{stored} stored, {already} were stored already, {refused} refused again");
    match stopped {
        Some(error) => CliExit::failed(format!("{done}, {left} left: {error}")),
        None => CliExit { code: u8::from(*refused > 0), ..CliExit::done(done) },
    }
}
