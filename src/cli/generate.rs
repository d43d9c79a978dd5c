//! `cpi-hub completions` and `cpi-hub man`: what a shell and a reader of manuals want to know of
//! the command line, made from the very command line.

use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::builder::{PossibleValuesParser, ValueParser};
use clap::{Arg, ArgMatches};
use clap_complete::Shell;
use clap_mangen::Man;

use super::CliExit;
use crate::edge::VERSION;

const SHELLS: [(&str, Shell); 3] =
    [("bash", Shell::Bash), ("zsh", Shell::Zsh), ("fish", Shell::Fish)];

const COMPLETIONS_AFTER: &str = "bash: `source <(cpi-hub completions bash)`, or its output in \
    /etc/bash_completion.d. zsh: in a file _cpi-hub of a folder of $fpath. fish: in \
    ~/.config/fish/completions/cpi-hub.fish.\n\n\
    Exit code: 0 printed, 78 no such shell.";

const MAN_AFTER: &str = "`cpi-hub man tail | man -l -` shows the page of a command. --dir writes \
    all of them, cpi-hub.1 and one for each command.\n\n\
    Exit code: 0 printed or written, 1 a file can't be written, 78 no such command.";

/// The command line of `completions`.
pub(super) fn completions_command() -> clap::Command {
    let names = SHELLS.map(|(name, _)| name);
    clap::Command::new("completions")
        .about("Prints what a shell completes the command line with")
        .after_help(COMPLETIONS_AFTER)
        .arg(
            Arg::new("shell")
                .value_name("bash|zsh|fish")
                .required(true)
                .value_parser(PossibleValuesParser::new(names))
                .hide_possible_values(true)
                .help("The shell"),
        )
}

/// The command line of `man`.
pub(super) fn man_command() -> clap::Command {
    clap::Command::new("man")
        .about("Prints the manual page of a command, or writes all")
        .after_help(MAN_AFTER)
        .arg(
            Arg::new("command").value_name("COMMAND").help("The command [default: cpi-hub itself]"),
        )
        .arg(
            Arg::new("dir")
                .long("dir")
                .value_name("DIR")
                .value_parser(ValueParser::path_buf())
                .conflicts_with("command")
                .help("Write all pages into this folder, which exists"),
        )
}

/// What a shell is to read.
pub(super) fn completions(matches: &ArgMatches, mut command: clap::Command) -> CliExit {
    let name = matches.get_one::<String>("shell").map_or("", String::as_str);
    let shell = SHELLS.iter().find(|(known, _)| *known == name).map_or(Shell::Bash, |it| it.1);
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "cpi-hub", &mut text);
    let text = String::from_utf8_lossy(&text);
    // What bash goes by has a name with a hyphen in two forms, of which one is never met
    // (clap-rs/clap#6421): no option of a command would be completed.
    CliExit::done(text.replace("cpi__subcmd__hub", "cpi__hub"))
}

/// A page, or the end of writing all.
pub(super) fn man(matches: &ArgMatches, mut command: clap::Command) -> CliExit {
    command.build();
    if let Some(dir) = matches.get_one::<PathBuf>("dir") {
        return match written(&command, dir) {
            Ok(()) => CliExit::done(""),
            Err(error) => CliExit::failed(format!("{}: {error}", dir.display())),
        };
    }
    let page = match matches.get_one::<String>("command") {
        None => command,
        Some(name) => match command.find_subcommand(name) {
            Some(found) => found.clone(),
            None => {
                let text = format!(
                    "`{name}` is no command; there are {}",
                    super::arguments::names(&command)
                );
                return CliExit::bad(text);
            }
        },
    };
    match rendered(page) {
        Ok(text) => CliExit::done(String::from_utf8_lossy(&text)),
        Err(error) => CliExit::failed(error.to_string()),
    }
}

fn rendered(command: clap::Command) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let page = Man::new(command).source(format!("cpi-hub {VERSION}")).manual("cpi-hub");
    page.render(&mut text)?;
    Ok(text)
}

/// Writes the page of a command, and of each command that it has.
fn written(command: &clap::Command, dir: &Path) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    fs::write(dir.join(format!("{name}.1")), rendered(command.clone())?)?;
    command.get_subcommands().try_for_each(|inner| written(inner, dir))
}
