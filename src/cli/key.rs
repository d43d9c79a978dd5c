//! `cpi-hub key new`: makes a key for a program. It is shown once; its file gets its digest alone.

use clap::{Arg, ArgMatches};
use serde_json::json;

use super::CliExit;
use crate::edge::auth::{KeyList, NewKey, Scopes};

/// The new key's name, and what it is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    name: String,
    scopes: Scopes,
    json: bool,
}

const AFTER: &str = "Prints the key, and below it the line for the file of `api_keys_file`, which \
    holds no key but what tells a right one. A hub that runs reads the file again when it gets \
    SIGHUP. A key is sent as `Authorization: Bearer KEY`, or as `X-Api-Key: KEY`.\n\n\
    Scopes: say (post chat as any user), read (history, who is where, join a space), notify (push \
    notifications), kick, operate (list \
    spaces, watch the hub, see and retry dead letters, copy the store, call tokens back), \
    metrics.\n\n\
    Exit code: 0 made, 1 the system has no randomness, 78 a bad option.";

/// The subcommand's own command line.
pub(super) fn command() -> clap::Command {
    let arg = |name: &'static str, form: &'static str| {
        Arg::new(name).long(name).value_name(form).required(true)
    };
    let new = clap::Command::new("new").about("Makes a key").after_help(AFTER).args([
        arg("name", "NAME").help("What the key is called, without spaces"),
        arg("scope", "LIST").help("What it may be used for, with commas"),
        super::arguments::json_argument("Print the key and its line as JSON"),
    ]);
    clap::Command::new("key")
        .about("Makes keys for programs")
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommand(new)
}

impl Options {
    pub(super) fn read(matches: &ArgMatches) -> Result<Options, CliExit> {
        let matches = matches.subcommand_matches("new").unwrap_or(matches);
        let text = |name: &str| matches.get_one::<String>(name).map_or("", String::as_str);
        let bad = |text: String| CliExit::bad(text);
        let scopes = Scopes::parse(text("scope")).map_err(|it| bad(format!("--scope: {it}")))?;
        let name = text("name").to_owned();
        // The file is to take the line: its own reader judges the name.
        let line = format!("{name} {scopes} {:064}", 0);
        let is_comment = name.starts_with('#');
        if is_comment || name.split_whitespace().count() != 1 || KeyList::parse(&line).is_err() {
            return Err(bad("--name: a word of at most 64 letters was expected".into()));
        }
        Ok(Options { name, scopes, json: matches.get_flag("json") })
    }
}

/// Does it; what to print, and the exit code.
pub fn run(options: &Options) -> CliExit {
    match NewKey::make(&options.name, options.scopes) {
        Some(NewKey { key, line }) if options.json => {
            CliExit::done(json!({"key": key, "line": line}).to_string())
        }
        Some(NewKey { key, line }) => CliExit::done(format!("{key}\n\n{line}")),
        None => CliExit::failed("the system has no randomness"),
    }
}
