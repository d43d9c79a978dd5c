//! The command line as clap reads it: every command with its options, what was given of the
//! settings, and what is said of a mistake, in one line.
//!
//! Every setting's flag is made from the tables in `config.rs` and `limits.rs`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches};

use super::arguments::names;
use super::{
    CliExit, backup, bench, chat, doctor, generate, journal, key, letters, migrate, ready, say,
    settings, tail, token,
};
use crate::config::{MAIN, Sources, flag, nearest};
use crate::edge::{COMMIT, VERSION};
use crate::limits::{Setting, Unit, settings as bounds};

/// The whole command line.
pub fn command() -> clap::Command {
    const ABOUT: &str = "The real-time event server of CPI Hub.\n\n\
        People connect by WebSocket to a numbered space, see who joins and leaves, and chat; \
        chat is stored.\nWithout arguments it serves on http://127.0.0.1:8080, with its data in \
        ./data.";
    const AFTER: &str = "Every option is also a variable (--write-wait: HUB_WRITE_WAIT) and a key \
        of the file (write_wait).\nOptions win over variables, variables over the file. \
        `cpi-hub config` shows what comes of it.\n\
        Sizes are written 512 or 64KiB, times 250ms, 10s or 5m, rates 50/100 (a second/at once) \
        or off.\n\n\
        Signals: TERM and INT end it in order, a second one or QUIT at once; HUP reads the \
        configuration again\n(the log filter changes; what else has changed is logged, and waits \
        for a restart).\n\n\
        Exit code: 0 ended in order, 1 a fault, 78 a configuration that can't be run with.";
    let version: &'static str = format!("{VERSION} (commit {COMMIT})").leak();
    let serve = clap::Command::new("serve").about("Serves; the same as without a command");
    clap::Command::new("cpi-hub")
        .version(version)
        .about(ABOUT)
        .after_help(AFTER)
        .max_term_width(100)
        .disable_help_subcommand(true)
        .args_conflicts_with_subcommands(true)
        .args(serve_arguments())
        .subcommand(serve.args(serve_arguments()).after_help(AFTER))
        .subcommand(settings::command().args(serve_arguments()))
        .subcommand(ready::command().args(serve_arguments()))
        .subcommand(doctor::command().args(serve_arguments()))
        .subcommand(migrate::command().args(place_arguments(&["search"])))
        .subcommand(backup::command().args(place_arguments(&[])))
        .subcommand(journal::command().args(place_arguments(&[])))
        .subcommand(letters::command().args(place_arguments(&["utc_offset"])))
        .subcommand(key::command())
        .subcommand(token::command().args(arguments_of(&TOKEN_SETTINGS)))
        .subcommand(chat::command())
        .subcommand(tail::command())
        .subcommand(say::command())
        .subcommand(bench::command())
        .subcommand(generate::completions_command())
        .subcommand(generate::man_command())
}

/// What a token is made with.
const TOKEN_SETTINGS: [&str; 5] =
    ["config_file", "jwt_secret_file", "jwt_algorithm", "jwt_audience", "jwt_issuer"];

/// Where a hub's data are, and what else a tool has to know.
fn place_arguments(more: &[&str]) -> Vec<Arg> {
    arguments_of(&[&["config_file", "data_dir", "database_url"], more].concat())
}

/// Some of the settings.
fn arguments_of(names: &[&str]) -> Vec<Arg> {
    let arguments = serve_arguments().into_iter();
    arguments.filter(|argument| names.contains(&argument.get_id().as_str())).collect()
}

fn serve_arguments() -> Vec<Arg> {
    let file = Arg::new("config_file")
        .long("config")
        .value_name("FILE")
        .value_parser(ValueParser::path_buf())
        .help("TOML file to read settings from [env: HUB_CONFIG]");
    let main = MAIN.iter().map(|main| match main.name {
        name if SWITCHES.contains(&name) => switch(name).help(main.help),
        name => argument(name, main.form).help(main.help),
    });
    let limits = bounds().into_iter().map(|setting| {
        let help = format!("{} [default: {}]", setting.help, setting.show(setting.default));
        argument(setting.name, form(&setting)).help(help).help_heading("Limits")
    });
    std::iter::once(file).chain(main).chain(limits).collect()
}

/// Settings whose flag stands without a value.
const SWITCHES: [&str; 4] = ["debug_endpoints", "insecure", "search", "take_journals"];

fn switch(name: &'static str) -> Arg {
    let long: &'static str = name.replace('_', "-").leak();
    Arg::new(name).long(long).action(ArgAction::SetTrue)
}

fn argument(name: &'static str, form: &'static str) -> Arg {
    // clap wants names that live as long as the process; they do, once each.
    let long: &'static str = name.replace('_', "-").leak();
    // Values may begin with a hyphen: `--utc-offset -03:00`.
    Arg::new(name).long(long).value_name(form).allow_hyphen_values(true)
}

fn form(setting: &Setting) -> &'static str {
    match setting.unit {
        Unit::Bytes => "SIZE",
        Unit::Millis => "TIME",
        Unit::Count => "N",
        Unit::Rate => "RATE[/BURST]|off",
        Unit::Offset => "+HH:MM",
    }
}

/// What was given, as far as the command has options for it.
pub(super) fn sources(
    matches: &ArgMatches,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Sources, CliExit> {
    let mut sources = Sources::default();
    for name in MAIN.iter().map(|main| main.name).chain(bounds().iter().map(|it| it.name)) {
        if SWITCHES.contains(&name) {
            if matches.try_get_one::<bool>(name).ok().flatten() == Some(&true) {
                sources.add_flag(name, "true".into());
            }
        } else if let Ok(Some(text)) = matches.try_get_one::<String>(name) {
            sources.add_flag(name, text.clone());
        }
    }
    let from_environment = sources.add_environment(environment.into_iter())?;
    let from_flag = matches.get_one::<PathBuf>("config_file").cloned();
    if let Some(path) = from_flag.or(from_environment.map(PathBuf::from)) {
        sources.add_file(&path)?;
    }
    Ok(sources)
}

/// Help and version as they are; everything else in one line.
pub(super) fn explain(error: clap::Error) -> CliExit {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return CliExit::done(error.to_string());
    }
    let given = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(given)) => given.as_str(),
        Some(ContextValue::Strings(given)) => given.first().map_or("", String::as_str),
        _ => "",
    };
    let option = given.split([' ', '=']).next().unwrap_or_default();
    let text = match error.kind() {
        ErrorKind::UnknownArgument if option.starts_with('-') => {
            format!("{option}: there is no such option{}", meant(option))
        }
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand => {
            let given = match error.get(ContextKind::InvalidSubcommand) {
                Some(ContextValue::String(given)) => given,
                _ => given,
            };
            // An address holds a password.
            let shown = if given.contains("://") { "an address" } else { &format!("`{given}`") };
            format!("{shown} is no command; there are {}", names(&command()))
        }
        ErrorKind::ArgumentConflict if option.starts_with('-') => {
            format!("{option}: given twice, or before the command it belongs to")
        }
        ErrorKind::MissingRequiredArgument => format!("{option}: required, and not given"),
        ErrorKind::InvalidValue if value_is_missing(&error) => {
            format!("{option}: a value was expected behind it")
        }
        ErrorKind::InvalidValue => none_of(&error).unwrap_or_else(|| first_line(&error)),
        _ => first_line(&error),
    };
    CliExit::bad(text)
}

/// The problem with a value that is none of the choices, if that is the error.
fn none_of(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidValue) else {
        return None;
    };
    let Some(ContextValue::Strings(choices)) = error.get(ContextKind::ValidValue) else {
        return None;
    };
    Some(format!("`{given}` is none of {}", choices.join(", ")))
}

fn value_is_missing(error: &clap::Error) -> bool {
    match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.is_empty(),
        _ => true,
    }
}

fn meant(option: &str) -> String {
    let names = MAIN.iter().map(|main| main.name).chain(bounds().into_iter().map(|it| it.name));
    let flags: Vec<String> = names.map(flag).chain(["--config".into()]).collect();
    match nearest(option, flags.iter().map(String::as_str)) {
        Some(near) => format!("; did you mean {near}?"),
        None => "; `cpi-hub --help` lists all".into(),
    }
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}
