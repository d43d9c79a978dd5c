//! The command line: `cpi-hub` serves; `config` and `doctor` look at what it would serve with, and
//! on what, and `ready` asks whether it does; `chat`, `tail`, `say` and `bench` are clients of a
//! hub; `migrate`, `backup`, `journal` and `dead-letters` are tools over a hub's data; `key` and
//! `token` make what programs and people show; `completions` and `man` tell of all these.
//!
//! What ends before anything runs (help, version, a bad configuration) is a [`CliExit`], and so is
//! the end of each command.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use clap::ArgMatches;

mod arguments;
pub mod backup;
pub mod bench;
pub mod chat;
mod command;
pub mod doctor;
mod generate;
pub mod journal;
pub mod key;
pub mod letters;
pub mod lines;
pub mod logging;
pub mod migrate;
mod ready;
mod remote;
pub mod say;
mod screen;
mod settings;
mod table;
pub mod tail;
mod terminal;
pub mod token;

pub use command::command;
use command::{explain, sources};

use crate::config::{BadConfig, Config, DataLocation, Machine};
use crate::limits::parse_time;

/// The exit code of a bad configuration (`EX_CONFIG` of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;

/// The exit code of what may be done or not, and is to be tried again (`EX_TEMPFAIL`).
pub const EXIT_UNKNOWN: u8 = 75;

/// How long the last line of a command, or of a log, may take to be written.
pub const LAST_WAIT: Duration = Duration::from_millis(300);

/// What to run.
#[derive(Debug)]
pub enum Subcommand {
    /// Serve.
    Serve(Box<Config>),
    /// Chat from the terminal.
    Chat(chat::Options),
    /// Print what goes on in a space.
    Tail(tail::Options),
    /// Say one thing.
    Say(say::Options),
    /// Measure a hub.
    Bench(bench::Options),
    /// Look for what would hurt.
    Doctor(doctor::Options),
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
    /// What to print: to standard output if the code is 0, else to standard error, in one line.
    pub text: String,
    /// What to print to standard output before, whatever the code is.
    pub shown: String,
}

impl CliExit {
    /// All went well; what to print.
    pub fn done(text: impl Into<String>) -> CliExit {
        CliExit { code: 0, text: text.into(), shown: String::new() }
    }

    /// It could not be done; why, in one line.
    pub fn failed(text: impl Into<String>) -> CliExit {
        CliExit { code: 1, ..CliExit::done(text) }
    }

    /// What was asked for can't be; why, in one line.
    pub fn bad(text: impl Into<String>) -> CliExit {
        CliExit { code: EXIT_CONFIG, ..CliExit::done(text) }
    }

    /// A report, and how it ends.
    pub fn told(code: u8, shown: impl Into<String>) -> CliExit {
        CliExit { code, shown: shown.into(), ..CliExit::done("") }
    }

    /// Prints the text and gives back the code.
    pub fn report(&self) -> ExitCode {
        show(&self.shown);
        if self.code == 0 {
            show(&self.text);
        } else if !self.text.is_empty() {
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
        CliExit::bad(bad.0)
    }
}

/// Reads the command line and the environment; `machine` is [`Machine::here`] but for tests.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    machine: Machine,
) -> Result<Subcommand, CliExit> {
    let matches = command().try_get_matches_from(arguments).map_err(explain)?;
    let environment: Vec<(OsString, OsString)> = environment.into_iter().collect();
    let given = |matches: &ArgMatches| sources(matches, environment.iter().cloned());
    let configured =
        |matches: &ArgMatches| Ok::<_, CliExit>(Config::load(&given(matches)?, machine)?);
    let place = |matches: &ArgMatches| Ok::<_, CliExit>(DataLocation::load(&given(matches)?)?);
    let Some((name, matches)) = matches.subcommand() else {
        return Ok(Subcommand::Serve(Box::new(configured(&matches)?)));
    };
    let environment = &environment;
    Ok(match name {
        "config" => {
            return Err(settings::run(matches, &given(matches)?, machine)?);
        }
        "ready" => return Err(ready::run(&configured(matches)?)),
        "completions" => return Err(generate::completions(matches, command())),
        "man" => return Err(generate::man(matches, command())),
        "doctor" => {
            let known = (configured(matches)?, machine);
            Subcommand::Doctor(doctor::Options::read(matches, known, environment)?)
        }
        "migrate" => Subcommand::Migrate(migrate::Options::read(matches, place(matches)?)),
        "backup" => Subcommand::Backup(backup::Options::read(matches, place(matches)?)),
        "journal" => Subcommand::Journal(journal::Options::read(matches, place(matches)?)),
        "dead-letters" => {
            Subcommand::DeadLetters(letters::Options::read(matches, place(matches)?)?)
        }
        "key" => Subcommand::Key(key::Options::read(matches)?),
        "token" => Subcommand::Token(token::Options::read(matches, &given(matches)?)?),
        "chat" => Subcommand::Chat(chat::Options::read(matches, environment)?),
        "tail" => Subcommand::Tail(tail::Options::read(matches, environment)?),
        "say" => Subcommand::Say(say::Options::read(matches, environment)?),
        "bench" => Subcommand::Bench(bench::Options::read(matches, environment)?),
        _serve => Subcommand::Serve(Box::new(configured(matches)?)),
    })
}

impl Subcommand {
    /// Runs what is not `serve`; how it went. `serve` itself is the binary's.
    pub fn run(&self) -> ExitCode {
        match self {
            Subcommand::Serve(_) => ExitCode::FAILURE,
            Subcommand::Chat(options) => chat::run(options).report(),
            Subcommand::Tail(options) => tail::run(options).report(),
            Subcommand::Say(options) => say::run(options).report(),
            Subcommand::Bench(options) => bench::run(options).report(),
            Subcommand::Doctor(options) => doctor::run(options).report(),
            Subcommand::Migrate(options) => migrate::run(options).report(),
            Subcommand::Backup(options) => backup::run(options).report(),
            Subcommand::Journal(options) => journal::run(options).report(),
            Subcommand::DeadLetters(options) => letters::run(options).report(),
            Subcommand::Key(options) => key::run(options).report(),
            Subcommand::Token(options) => token::run(options).report(),
        }
    }
}

/// A time of an option: `250ms`, `10s`, `5m`.
fn time(text: &str) -> Option<Duration> {
    let millis = parse_time(text).and_then(|millis| u64::try_from(millis).ok())?;
    Some(Duration::from_millis(millis))
}

/// A data directory that can't be used.
fn bad_place(error: &impl std::fmt::Display) -> BadConfig {
    BadConfig(format!("data_dir: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Inherited, flag};
    use crate::edge::{COMMIT, VERSION};
    use crate::limits::settings;

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
                "`serv` is no command; there are serve, config, ready, doctor, migrate, \
                 backup, journal, dead-letters, key, token, chat, tail, say, bench, completions \
                 and man",
            ),
            (
                &["postgresql://ana:s3cret@db/hub"],
                "an address is no command; there are serve, config, ready, doctor, migrate, \
                 backup, journal, dead-letters, key, token, chat, tail, say, bench, completions \
                 and man",
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
        let chat = run(&arguments, &[("HUB_BAD", "x")]);
        assert!(matches!(chat, Ok(Subcommand::Chat(_))), "chat reads no configuration: {chat:?}");
        assert!(refused(&["chat", "--space", "x", "--user-id", "7"]).starts_with("--space: `x`"));
    }

    #[test]
    fn commands_that_talk_to_a_hub_say_what_is_wrong_with_an_option() {
        for (arguments, expected) in [
            (&["tail", "--space", "1", "--after", "x"][..], "--after: `x` is no id of a message"),
            (&["tail", "--space", "1", "--count", "0"], "--count: `0` is not a number from 1 on"),
            (
                &["say", "--space", "1", "hola"],
                "--user-id: required where no token says who speaks",
            ),
            (
                &["say", "--space", "1", "--user-id", "7", "--wait", "1h", "hola"],
                "--wait: `1h` is not a time such as 10s, up to 100s",
            ),
            (
                &["say", "--space", "1", "--user-id", "7", "--key", "a b", "hola"],
                "--key: 1 to 64 visible letters were expected",
            ),
            (&["bench", "--members", "1"], "--members: `1` is not a number from 2 to 5000"),
            (
                &["bench", "--time", "500ms"],
                "--time: `500ms` is not a time of whole seconds, 1s to 60s",
            ),
            (
                &["bench", "--first-user", "2147483647"],
                "--first-user: `2147483647` leaves no ids for all members",
            ),
            (&["completions", "tcsh"], "`tcsh` is none of bash, zsh, fish"),
            (&["config", "chek"], "`chek` is none of print, check, default"),
        ] {
            assert_eq!(refused(arguments), expected);
        }
        let url = refused(&["tail", "--space", "1", "--url", "hub"]);
        assert!(url.starts_with("--url: `hub` is not a hub's address"), "{url}");
    }

    #[test]
    fn every_command_says_what_its_exit_codes_mean() {
        for subcommand in command().get_subcommands() {
            let after = subcommand.get_after_help().map(ToString::to_string).unwrap_or_default();
            let is_group = subcommand.has_subcommands();
            assert!(is_group || after.contains("Exit code: 0 "), "{}", subcommand.get_name());
        }
    }
}
