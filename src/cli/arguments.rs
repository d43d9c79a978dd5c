//! What several commands' options have in common, and how commands are named to people.

use clap::{Arg, ArgAction};

/// The names of all commands, for people.
pub(super) fn names(command: &clap::Command) -> String {
    let mut names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    names.retain(|name| *name != "help");
    let last = names.pop().unwrap_or_default();
    format!("{} and {last}", names.join(", "))
}

/// The option by which a command prints JSON.
pub(super) fn json_argument(help: &'static str) -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help(help)
}
