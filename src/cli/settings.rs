//! `cpi-hub config`: prints the configuration as it comes of options, variables and file, says
//! whether a hub could start with it, or prints a file with all defaults to begin with.

use clap::{Arg, ArgMatches};
use serde_json::{Map, Value, json};

use super::arguments::json_argument;
use super::{CliExit, table};
use crate::config::{BadConfig, Config, MAIN, Machine, Sources};
use crate::limits::{settings, sum};

const AFTER: &str = "print: the configuration as TOML, where each value came from, and what it may \
    cost in memory (the default).\n\
    check: whether a hub would start with it; its warnings.\n\
    default: a file for --config with every setting, each with its default, and commented out.\n\n\
    Exit code: 0 sound, 78 a bad setting, which is named in one line.";

const ACTIONS: [&str; 3] = ["print", "check", "default"];

/// The subcommand's own command line, but for the settings.
pub(super) fn command() -> clap::Command {
    let action = Arg::new("action").value_name("print|check|default").default_value(ACTIONS[0]);
    clap::Command::new("config")
        .about(
            "Prints the configuration with the source of each value, checks it, or prints defaults",
        )
        .arg(action.value_parser(ACTIONS).hide_possible_values(true).help("What to do"))
        .arg(json_argument("Print the configuration, or what is to be known of it, as JSON"))
        .after_help(AFTER)
}

/// Does it; an error is a setting's.
pub(super) fn run(
    matches: &ArgMatches,
    sources: &Sources,
    machine: Machine,
) -> Result<CliExit, BadConfig> {
    let json = matches.get_flag("json");
    let action = matches.get_one::<String>("action").map_or(ACTIONS[0], String::as_str);
    // The defaults are those of a machine of this size, whatever else is set here.
    let none = Sources::default();
    let sources = if action == "default" { &none } else { sources };
    let config = Config::load(sources, machine)?;
    let text = match (action, json) {
        ("check", true) => json!({"status": "sound", "warnings": config.warnings}).to_string(),
        ("check", false) => {
            let lines = config.warnings.iter().map(|warning| format!("warning: {warning}\n"));
            format!("{}the configuration is sound", lines.collect::<String>())
        }
        (_, true) => as_json(&config).to_string(),
        ("default", false) => defaults(&config),
        (_, false) => format!("{config}#\n{}", memory_table(&config)),
    };
    Ok(CliExit::done(text))
}

fn as_json(config: &Config) -> Value {
    let entries = config.entries().into_iter();
    let all: Map<String, Value> = entries
        .map(|(name, value, source)| {
            (name.to_owned(), json!({"value": value, "source": source.to_string()}))
        })
        .collect();
    let parts = sum::memory(&config.limits, config.shards, config.tls.is_some());
    let memory: Vec<Value> = parts
        .iter()
        .map(|part| json!({"name": part.name, "bytes": part.bytes, "bounds": part.bounds}))
        .collect();
    json!({
        "settings": all,
        "warnings": config.warnings,
        "memory": memory,
        "memory_bytes": sum::total(&parts),
    })
}

/// Every setting with what it is for; those without a default show what a value looks like.
fn defaults(config: &Config) -> String {
    let mut text = String::from(
        "# Every setting of cpi-hub with its default. Take the # away before what you change.\n",
    );
    let (entries, bounds) = (config.entries(), settings());
    let main = MAIN.iter().map(|main| {
        let value = entries.iter().find(|(name, ..)| *name == main.name);
        let value = value.map_or(main.form, |(_, value, _)| value);
        (main.name, main.help, value.to_owned())
    });
    // What fits this machine may be less than the default.
    let bounds = bounds.iter().map(|bound| (bound.name, bound.help, bound.show(bound.default)));
    for (name, help, value) in main.chain(bounds) {
        let value = config.toml_value(name, &value);
        text.push_str(&format!("\n# {help}\n#{name} = {value}\n"));
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Inherited;

    const MACHINE: Machine = Machine {
        cores: 4,
        descriptors_max: None,
        memory_max: Some(1 << 30),
        inherited: Inherited { main: None, plain: None },
    };

    fn of_file(text: &str) -> Sources {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("hub.toml");
        std::fs::write(&path, text).expect("it writes");
        let mut sources = Sources::default();
        sources.add_file(&path).expect("it is read");
        sources
    }

    #[test]
    fn the_file_of_defaults_has_every_setting_and_changes_nothing_when_it_is_read() {
        let config = Config::load(&Sources::default(), MACHINE).expect("defaults");
        let file = defaults(&config);
        let mut taken = String::new();
        for bound in settings() {
            let begin = format!("#{} = ", bound.name);
            let line = file.lines().find(|line| line.starts_with(&begin));
            taken.push_str(&line.expect(bound.name)[1..]);
            taken.push('\n');
        }
        for main in MAIN {
            assert!(file.contains(&format!("\n#{} = ", main.name)), "{}", main.name);
        }
        let again = Config::load(&of_file(&taken), MACHINE).expect("it is sound");
        assert_eq!(again.limits, config.limits);
        let all: toml::Table = file.replace("\n#", "\n# ").parse().expect("all comments");
        assert!(all.is_empty());
    }

    #[test]
    fn the_configuration_is_json_with_sources_and_no_secret() {
        let sources = of_file("database_url = \"postgresql://ana:s3cret@db/hub\"");
        let json = as_json(&Config::load(&sources, MACHINE).expect("sound"));
        assert_eq!(json["settings"]["write_wait"]["value"], "10s");
        assert_eq!(json["settings"]["write_wait"]["source"], "default");
        assert!(json["memory_bytes"].as_u64().expect("bytes") > 0);
        assert!(!json.to_string().contains("s3cret"));
    }
}
