//! `cpi-hub doctor`: what of this machine, these settings, the store and a hub that runs would
//! hurt, each with what to do about it.
//!
//! Reads and measures; changes nothing but a file of its own in the data directory, which it
//! removes again. What it can't see it says so, rather than that all is well.

use std::ffi::OsString;
use std::time::Duration;

use clap::ArgMatches;
use serde::Serialize;

use super::CliExit;
use super::arguments::json_argument;
use super::remote::{self, Remote};
use super::screen::safe;
use super::terminal::{Colour, Paint};
use crate::config::{Config, Machine};

mod disk;
mod machine;
mod running;
mod settings;
mod store;

/// What to look at.
#[derive(Debug)]
pub struct Options {
    config: Box<Config>,
    machine: Machine,
    hub: Option<Remote>,
    json: bool,
}

const AFTER: &str = "It takes the settings of `serve`, from the same options, variables and file, \
    and looks at what a hub would meet with them here; run it as the hub's user. With --url it \
    asks a hub that runs, too. Each finding is ok, a warning, a problem, or unknown where it can't \
    be seen from here; below it stands what to do.\n\
    With --json: {\"status\", \"findings\": [{\"name\", \"grade\", \"what\", \"fix\"?}]}.\n\n\
    Exit code: 0 no problem and no warning, 1 a problem, 2 warnings alone, 78 a bad setting.";

/// The subcommand's own command line, but for the settings.
pub(super) fn command() -> clap::Command {
    clap::Command::new("doctor")
        .about("Looks at machine, settings, store and a running hub for what would hurt")
        .after_help(AFTER)
        .args(remote::arguments().map(|argument| match argument.get_id().as_str() {
            "url" => argument.help("A hub that runs, to be asked too [default: none]"),
            _ => argument,
        }))
        .arg(json_argument("Print the findings as JSON"))
}

impl Options {
    pub(super) fn read(
        matches: &ArgMatches,
        (config, machine): (Config, Machine),
        environment: &[(OsString, OsString)],
    ) -> Result<Options, CliExit> {
        let is_asked = matches.get_one::<String>("url").is_some();
        let hub = is_asked.then(|| Remote::read(matches, environment)).transpose()?;
        Ok(Options { config: Box::new(config), machine, hub, json: matches.get_flag("json") })
    }
}

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Debug)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Ok,
    Unknown,
    Warning,
    Problem,
}

impl Grade {
    fn word(self) -> (Colour, &'static str) {
        match self {
            Grade::Ok => (Colour::Green, "ok"),
            Grade::Unknown => (Colour::Dim, "unknown"),
            Grade::Warning => (Colour::Yellow, "warning"),
            Grade::Problem => (Colour::Red, "problem"),
        }
    }
}

/// What was found of one thing.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
struct Finding {
    /// What was looked at; scripts know it by this.
    name: &'static str,
    grade: Grade,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn ok(name: &'static str, what: impl Into<String>) -> Finding {
        Finding { name, grade: Grade::Ok, what: what.into(), fix: None }
    }

    fn unknown(name: &'static str, what: impl Into<String>) -> Finding {
        Finding { name, grade: Grade::Unknown, what: what.into(), fix: None }
    }

    fn bad(grade: Grade, name: &'static str, what: impl Into<String>, fix: &str) -> Finding {
        Finding { name, grade, what: what.into(), fix: Some(fix.to_owned()) }
    }

    fn warning(name: &'static str, what: impl Into<String>, fix: &str) -> Finding {
        Finding::bad(Grade::Warning, name, what, fix)
    }

    fn problem(name: &'static str, what: impl Into<String>, fix: &str) -> Finding {
        Finding::bad(Grade::Problem, name, what, fix)
    }
}

/// Looks; what to print, and the exit code.
pub fn run(options: &Options) -> CliExit {
    let runtime = match remote::runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let Options { config, machine, hub, json } = options;
    let mut findings = machine::look(config, *machine);
    findings.extend(settings::look(config, *machine));
    findings.extend(disk::look(config));
    findings.extend(runtime.block_on(store::look(config)));
    if let Some(hub) = hub {
        match runtime.block_on(running::look(hub)) {
            Ok(of_hub) => findings.extend(of_hub),
            Err(exit) => return exit,
        }
    }
    for finding in &mut findings {
        finding.what = safe(&finding.what);
    }
    report(&findings, *json, Paint::of_stdout())
}

fn report(findings: &[Finding], json: bool, paint: Paint) -> CliExit {
    let count = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
    let (problems, warnings) = (count(Grade::Problem), count(Grade::Warning));
    let (code, status) = match (problems, warnings) {
        (0, 0) => (0, "ok"),
        (0, _) => (2, "warnings"),
        _ => (1, "problems"),
    };
    let text = if json {
        serde_json::json!({"status": status, "findings": findings}).to_string()
    } else {
        let summary = format!(
            "{} looked at: {problems} problems, {warnings} warnings, {} unknown",
            findings.len(),
            count(Grade::Unknown)
        );
        let lines = findings.iter().map(|finding| line(finding, paint));
        lines.chain([summary]).collect::<Vec<_>>().join("\n")
    };
    CliExit::told(code, text)
}

fn line(finding: &Finding, paint: Paint) -> String {
    let Finding { name, grade, what, fix } = finding;
    let (colour, word) = grade.word();
    let word = paint.word(colour, &format!("{word:<8}"));
    let mut line = format!("{word} {name:<29} {what}");
    if let Some(fix) = fix {
        line.push_str(&format!("\n{:>10}do: {fix}", ""));
    }
    line
}

/// The middle and the greatest of some times.
fn middle_and_longest(mut times: Vec<Duration>) -> Option<(Duration, Duration)> {
    times.sort();
    Some((*times.get(times.len() / 2)?, *times.last()?))
}

/// A time in milliseconds, for people.
fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_that_of_the_worst_finding() {
        let ok = Finding::ok("a", "well");
        let unknown = Finding::unknown("b", "not shown here");
        let warning = Finding::warning("c", "odd", "mend it");
        let problem = Finding::problem("d", "bad", "mend it at once");
        let code = |findings: &[Finding]| report(findings, false, Paint::NONE).code;
        assert_eq!(code(&[ok.clone(), unknown.clone()]), 0);
        assert_eq!(code(&[ok.clone(), warning.clone()]), 2);
        assert_eq!(code(&[problem.clone(), warning.clone(), ok.clone()]), 1);
        let shown = report(&[ok, problem], false, Paint::NONE).shown;
        let expected = "ok       a                             well\n\
            problem  d                             bad\n          do: mend it at once\n\
            2 looked at: 1 problems, 0 warnings, 0 unknown";
        assert_eq!(shown, expected);
        let json = report(&[unknown, warning], true, Paint::NONE).shown;
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["status"], "warnings");
        assert_eq!(json["findings"][0]["grade"], "unknown");
        assert_eq!(json["findings"][0].get("fix"), None);
        assert_eq!(json["findings"][1]["fix"], "mend it");
    }
}
