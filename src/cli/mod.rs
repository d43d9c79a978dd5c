//! The command line: `cpi-hub` serves, `config` shows what it would serve with, `ready` asks
//! whether it does, `chat` talks; `migrate`, `backup`, `journal` and `dead-letters` are tools over
//! a hub's data; `key` and `token` make what programs and people show.
//!
//! Every setting's flag is made from the tables in `config.rs` and `limits.rs`. What ends before
//! anything runs (help, version, a bad configuration) is a [`CliExit`].

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches};

pub mod backup;
pub mod chat;
pub mod journal;
pub mod key;
pub mod letters;
pub mod lines;
pub mod logging;
pub mod migrate;
mod ready;
mod table;
pub mod token;

use crate::config::{BadConfig, Config, DataLocation, MAIN, Machine, Sources, flag, nearest};
use crate::edge::{COMMIT, VERSION};
use crate::limits::{Setting, Unit, settings, sum};

/// The exit code of a bad configuration (`EX_CONFIG` of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;

/// How long the last line of a command, or of a log, may take to be written.
pub const LAST_WAIT: Duration = Duration::from_millis(300);

const COMMANDS: &str =
    "serve, config, ready, migrate, backup, journal, dead-letters, key, token and chat";

/// What to run.
#[derive(Debug)]
pub enum Subcommand {
    /// Serve.
    Serve(Box<Config>),
    /// Chat from the terminal.
    Chat(chat::ChatOptions),
    /// Bring the database up to date.
    Migrate(migrate::Options),
    /// Copy the embedded database.
    Backup(backup::Options),
    /// Look at the dead letters, or try them again.
    DeadLetters(letters::Options),
    /// Look at the journals.
    Journal(journal::Options),
    /// Make a key for a program.
    Key(key::Options),
    /// Make a token of a user.
    Token(token::Options),
}

/// The end of a command, or one before anything ran.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CliExit {
    /// 0 for what was asked for, 78 for a bad configuration, 1 for anything else.
    pub code: u8,
    /// What to print: to standard output if the code is 0, else to standard error.
    pub text: String,
}

impl CliExit {
    /// Prints the text and gives back the code.
    pub fn report(&self) -> ExitCode {
        if self.code == 0 {
            show(&self.text);
        } else {
            last_line(&self.text);
        }
        ExitCode::from(self.code)
    }
}

/// Says on standard error why a command ends. If that takes nothing, the code still tells.
pub fn last_line(text: &str) {
    let line = format!("cpi-hub: {}\n", one_line(text));
    let (written, ended) = sync_channel(1);
    let write = move || {
        _ = std::io::stderr().write_all(line.as_bytes());
        _ = written.send(());
    };
    // Whoever began the command waits for its end, not for a thread that can't write.
    if std::thread::Builder::new().spawn(write).is_ok() {
        _ = ended.recv_timeout(LAST_WAIT);
    }
}

/// Prints what stands before the end of a command.
pub fn show(text: &str) {
    if !text.is_empty() {
        // If nobody reads it, the code still tells.
        let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
    }
}

/// A problem as one line that no terminal obeys, whatever was typed or stands in a file.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for letter in text.trim_end().chars() {
        if letter.is_control() {
            line.extend(letter.escape_default());
        } else {
            line.push(letter);
        }
    }
    line
}

impl From<BadConfig> for CliExit {
    fn from(bad: BadConfig) -> CliExit {
        CliExit { code: EXIT_CONFIG, text: bad.0 }
    }
}

/// Reads the command line and the environment; `machine` is [`Machine::here`] but for tests.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    machine: Machine,
) -> Result<Subcommand, CliExit> {
    let matches = command().try_get_matches_from(arguments).map_err(explain)?;
    let given = |matches: &ArgMatches| sources(matches, environment);
    match matches.subcommand() {
        Some(("chat", matches)) => Ok(Subcommand::Chat(chat::ChatOptions::read(matches)?)),
        Some(("config", matches)) => {
            let config = Config::load(&given(matches)?, machine)?;
            Err(CliExit { code: 0, text: format!("{config}#\n{}", memory_table(&config)) })
        }
        Some(("ready", matches)) => Err(ready::run(&Config::load(&given(matches)?, machine)?)),
        Some(("migrate", matches)) => {
            let place = DataLocation::load(&given(matches)?)?;
            Ok(Subcommand::Migrate(migrate::Options::read(matches, place)))
        }
        Some(("backup", matches)) => {
            let place = DataLocation::load(&given(matches)?)?;
            Ok(Subcommand::Backup(backup::Options::read(matches, place)))
        }
        Some(("journal", matches)) => {
            let place = DataLocation::load(&given(matches)?)?;
            Ok(Subcommand::Journal(journal::Options::read(matches, place)))
        }
        Some(("dead-letters", matches)) => {
            let place = DataLocation::load(&given(matches)?)?;
            Ok(Subcommand::DeadLetters(letters::Options::read(matches, place)?))
        }
        Some(("key", matches)) => Ok(Subcommand::Key(key::Options::read(matches)?)),
        Some(("token", matches)) => {
            let sources = given(matches)?;
            Ok(Subcommand::Token(token::Options::read(matches, &sources)?))
        }
        Some((_serve, matches)) => {
            Ok(Subcommand::Serve(Box::new(Config::load(&given(matches)?, machine)?)))
        }
        None => Ok(Subcommand::Serve(Box::new(Config::load(&given(&matches)?, machine)?))),
    }
}

/// What the configuration can cost in memory, as comments of its file.
fn memory_table(config: &Config) -> String {
    let parts = sum::memory(&config.limits, config.shards, config.tls.is_some());
    let row = |name: &str, bytes, bounds: &str| {
        vec![name.to_owned(), sum::readable(bytes), bounds.to_owned()]
    };
    let mut rows: Vec<_> =
        parts.iter().map(|part| row(part.name, part.bytes, part.bounds)).collect();
    rows.push(row("all together", sum::total(&parts), ""));
    let table = table::table(&["memory at most", " bytes", "bounded by"], &rows);
    table.lines().map(|line| format!("# {line}\n")).collect()
}

/// What was given, as far as the command has options for it.
fn sources(
    matches: &ArgMatches,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Sources, CliExit> {
    let mut sources = Sources::default();
    for name in MAIN.iter().map(|main| main.name).chain(settings().iter().map(|it| it.name)) {
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

/// A data directory that can't be used.
fn bad_place(error: &impl std::fmt::Display) -> BadConfig {
    BadConfig(format!("data_dir: {error}"))
}

fn command() -> clap::Command {
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
        for a restart).";
    let version: &'static str = format!("{VERSION} (commit {COMMIT})").leak();
    let serve = clap::Command::new("serve").about("Serves; the same as without a command");
    let config = clap::Command::new("config").about(
        "Prints the configuration as TOML, where each value came from, and what it may cost",
    );
    clap::Command::new("cpi-hub")
        .version(version)
        .about(ABOUT)
        .after_help(AFTER)
        .max_term_width(100)
        .disable_help_subcommand(true)
        .args_conflicts_with_subcommands(true)
        .args(serve_arguments())
        .subcommand(serve.args(serve_arguments()).after_help(AFTER))
        .subcommand(config.args(serve_arguments()).after_help(AFTER))
        .subcommand(ready::command().args(serve_arguments()))
        .subcommand(migrate::command().args(place_arguments(&[])))
        .subcommand(backup::command().args(place_arguments(&[])))
        .subcommand(journal::command().args(place_arguments(&[])))
        .subcommand(letters::command().args(place_arguments(&["utc_offset"])))
        .subcommand(key::command())
        .subcommand(token::command().args(arguments_of(&TOKEN_SETTINGS)))
        .subcommand(chat::command())
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
    let limits = settings().into_iter().map(|setting| {
        let help = format!("{} [default: {}]", setting.help, setting.show(setting.default));
        argument(setting.name, form(&setting)).help(help).help_heading("Limits")
    });
    std::iter::once(file).chain(main).chain(limits).collect()
}

/// Settings whose flag stands without a value.
const SWITCHES: [&str; 3] = ["debug_endpoints", "insecure", "take_journals"];

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

/// Help and version as they are; everything else in one line.
fn explain(error: clap::Error) -> CliExit {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return CliExit { code: 0, text: error.to_string() };
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
            format!("{shown} is no command; there are {COMMANDS}")
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
    CliExit { code: EXIT_CONFIG, text }
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
    let names = MAIN.iter().map(|main| main.name).chain(settings().into_iter().map(|it| it.name));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Inherited;

    const MACHINE: Machine = Machine {
        cores: 4,
        descriptors_max: None,
        memory_max: None,
        inherited: Inherited { main: None, plain: None },
    };

    fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Subcommand, CliExit> {
        let arguments = std::iter::once("cpi-hub").chain(arguments.iter().copied());
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        parse(arguments.map(OsString::from), environment, MACHINE)
    }

    fn served(arguments: &[&str]) -> Config {
        match run(arguments, &[]) {
            Ok(Subcommand::Serve(config)) => *config,
            other => panic!("{arguments:?}: {other:?}"),
        }
    }

    fn refused(arguments: &[&str]) -> String {
        let exit = run(arguments, &[]).expect_err("refused");
        assert_eq!(exit.code, EXIT_CONFIG);
        assert!(!exit.text.contains('\n'), "{}", exit.text);
        exit.text
    }

    #[test]
    fn clap_agrees_with_the_command() {
        command().debug_assert();
    }

    #[test]
    fn options_are_taken_with_and_without_the_command() {
        assert_eq!(served(&[]).listen.to_string(), "127.0.0.1:8080");
        for before in [&[][..], &["serve"]] {
            let options = ["--write-wait", "3s", "--message-rate=off", "--utc-offset", "-05:00"];
            let config = served(&[before, &options].concat());
            assert_eq!((config.limits.write_wait, config.limits.utc_offset), (3_000, -18_000));
            assert_eq!(config.limits.message_rate.per_second, 0);
        }
        let open = served(&["--listen", "0.0.0.0:1", "--insecure", "--shards", "2"]);
        assert_eq!((open.shards, open.insecure), (2, true));
        assert_eq!(served(&["--announce-members-max", "0"]).limits.announce_members_max, 0);
    }

    #[test]
    fn a_mistake_is_one_line_that_names_it() {
        for (arguments, expected) in [
            (
                &["--write-wiat", "1s"][..],
                "--write-wiat: there is no such option; did you mean \
              --write-wait?",
            ),
            (&["--colour"], "--colour: there is no such option; `cpi-hub --help` lists all"),
            (
                &["serv"],
                "`serv` is no command; there are serve, config, migrate, backup, journal, \
                 dead-letters, key, token and chat",
            ),
            (
                &["postgresql://ana:s3cret@db/hub"],
                "an address is no command; there are serve, config, migrate, backup, journal, \
                 dead-letters, key, token and chat",
            ),
            (&["--write-wait"], "--write-wait: a value was expected behind it"),
            (&["--write-wait", "x"], "--write-wait: `x` is not a time such as 250ms, 10s or 5m"),
            (
                &["--shards=1", "--shards=2"],
                "--shards: given twice, or before the command it \
              belongs to",
            ),
            (
                &["--config", "/no/such/file"],
                "/no/such/file: can't be read: No such file or \
              directory (os error 2)",
            ),
            (&["chat", "--user-id", "7"], "--space: required, and not given"),
        ] {
            assert_eq!(refused(arguments), expected);
        }
    }

    #[test]
    fn help_names_every_setting_and_version_the_build() {
        let help = run(&["--help"], &[]).expect_err("help");
        assert_eq!(help.code, 0);
        for setting in settings() {
            assert!(help.text.contains(&format!("{} <", flag(setting.name))), "{setting}");
        }
        let limits = help.text.find("Limits:").expect("a heading");
        let listen = help.text.find("--listen").expect("an option");
        assert!(listen < limits, "main options come first");
        let version = run(&["--version"], &[]).expect_err("version");
        assert_eq!(version.text.trim(), format!("cpi-hub {VERSION} (commit {COMMIT})"));
    }

    #[test]
    fn the_configuration_can_be_printed() {
        let variables = [("HUB_WRITE_WAIT", "7s")];
        let printed = run(&["config", "--pong-wait", "2m"], &variables).expect_err("printed");
        assert_eq!(printed.code, 0);
        assert!(printed.text.contains("pong_wait = \"2m\""), "{}", printed.text);
        assert!(printed.text.contains("# HUB_WRITE_WAIT"), "{}", printed.text);
        let part = printed.text.lines().find(|line| line.starts_with("# space logs "));
        let part = part.expect("the parts of memory");
        assert!(part.ends_with("  1.0 GiB  logs_bytes_max"), "{part}");
        printed.text.parse::<toml::Table>().expect("all but the settings is comments");
    }

    #[test]
    fn chat_needs_a_space_and_a_user() {
        let arguments = ["chat", "--space", "1", "--user-id", "7", "--username", "Ana"];
        let Ok(Subcommand::Chat(options)) = run(&arguments, &[("HUB_BAD", "x")]) else {
            panic!("chat reads no configuration")
        };
        assert_eq!(options.url, "ws://127.0.0.1:8080");
        assert!(refused(&["chat", "--space", "x", "--user-id", "7"]).starts_with("--space: `x`"));
    }
}
