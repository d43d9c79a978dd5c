//! The reference of the command line in `docs/CLI.md`, made from the command line itself.

use clap::{Arg, Command};
use cpi_hub::config::MAIN;
use cpi_hub::limits::settings;

const BEGIN: &str = "<!-- commands: written by `UPDATE_DOCS=1 cargo test --test tidy` -->\n";
const END: &str = "<!-- commands: end -->";

/// The page with its reference put in; `None` where the marks are missing.
pub fn with_reference(page: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{}{END}{after}", reference()))
}

/// Every command with its options, in the order of the help.
fn reference() -> String {
    let mut root = cpi_hub::cli::command();
    root.build();
    let mut text = String::new();
    for command in root.get_subcommands() {
        section(command, &mut text);
        command.get_subcommands().for_each(|inner| section(inner, &mut text));
    }
    text
}

fn section(command: &Command, text: &mut String) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    text.push_str(&format!("## {name}\n\n{about}.\n\n    {usage}\n\n"));
    let is_own =
        |arg: &&Arg| !is_setting(arg) && arg.get_id() != "help" && arg.get_id() != "version";
    let own: Vec<&Arg> = command.get_arguments().filter(is_own).collect();
    if !own.is_empty() {
        text.push_str("| option | what it is |\n| --- | --- |\n");
        own.iter().for_each(|arg| text.push_str(&row(arg)));
        text.push('\n');
    }
    let taken: Vec<String> =
        command.get_arguments().filter(|arg| is_setting(arg)).map(flag).collect();
    match taken.len() {
        0 => {}
        1..12 => {
            text.push_str(&format!("Settings, as `serve` takes them: {}.\n\n", taken.join(", ")))
        }
        _ => text.push_str("All settings of [CONFIGURATION.md](CONFIGURATION.md).\n\n"),
    }
    // Each of its lines is a paragraph.
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    for line in after.lines().filter(|line| !line.is_empty()) {
        text.push_str(&format!("{}\n\n", line.replace('<', "&lt;")));
    }
}

fn is_setting(arg: &Arg) -> bool {
    let id = arg.get_id().as_str();
    let main = MAIN.iter().any(|main| main.name == id);
    main || id == "config_file" || settings().iter().any(|bound| bound.name == id)
}

fn flag(arg: &Arg) -> String {
    format!("`--{}`", arg.get_long().unwrap_or_default())
}

fn row(arg: &Arg) -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let value = arg.get_value_names().and_then(|names| names.first()).map(|name| name.as_str());
    let takes = arg.get_action().takes_values();
    let name = match (arg.get_long(), value.filter(|_| takes)) {
        (Some(long), Some(value)) => format!("--{long} {value}"),
        (Some(long), None) => format!("--{long}"),
        (None, value) => value.unwrap_or_else(|| arg.get_id().as_str()).to_owned(),
    };
    let needed = if arg.is_required_set() { " (required)" } else { "" };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    format!("| `{}` | {}{needed} |\n", cell(&name), cell(&help))
}
