//! `cpi-hub bench`: what a hub gives its clients, seen from here: how fast they join, how late
//! messages come at a rate, how many come at most, how soon they are durable; and whether all of
//! them came, once and in order.
//!
//! Bounded in time and in number. Never judges by one figure where a count says that messages are
//! missing.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::CliExit;
use super::arguments::json_argument;
use super::chat::number;
use super::remote::{self, Remote};
use super::terminal::Progress;
use crate::clock::Clock;
use crate::edge::auth::random_id;

mod histogram;
mod member;
mod scenarios;
mod verdict;

use scenarios::{Bench, Measured};
use verdict::Verdict;

/// Which hub, and how much.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    hub: Remote,
    space: i32,
    /// The first of the users that join.
    first_user: i32,
    members: usize,
    rate: u64,
    time: Duration,
    is_sure: bool,
    json: bool,
}

/// Far from what people use.
const SPACE: i32 = 1_900_000_000;
const FIRST_USER: i32 = 1_900_000_000;
/// What can be asked for: members, messages a second, seconds.
const MEMBERS: std::ops::RangeInclusive<u64> = 2..=5_000;
const RATE: std::ops::RangeInclusive<u64> = 1..=10_000;
const SECONDS: std::ops::RangeInclusive<u64> = 1..=60;

const AFTER: &str = "Four scenarios in one space, one after the other. joins: all members connect, \
    16 at once. latency: messages at --rate from several members, each timed at every member from \
    when it was to be sent. fan-out: eight members with four messages in flight each, as fast as \
    the hub lets them. durable: messages one after the other until the store has each. Lost, \
    doubled and reordered messages are counted in all.\n\
    It stores messages (in space 1900000000, as users from 1900000000 on): where the database has \
    users and spaces of its own, name some of those. Rates of the hub's (message_rate, \
    user_message_rate) hold it back, and it says so; with a token all members are one user. A hub \
    that is not on this machine is asked with --yes alone: it is load.\n\n\
    Exit code: 0 done and nothing lost, doubled or reordered, 1 else, 78 a bad option.";

/// The subcommand's own command line.
pub(super) fn command() -> clap::Command {
    let arg = |name: &'static str, form: &'static str| {
        Arg::new(name).long(name).value_name(form).allow_hyphen_values(true)
    };
    clap::Command::new("bench")
        .about("Measures a running hub, and says in words how it does")
        .after_help(AFTER)
        .args([
            arg("members", "N").help("Members of the space, 2 to 5000 [default: 100]"),
            arg("rate", "N").help("Messages a second for the latency, 1 to 10000 [default: 50]"),
            arg("time", "TIME").help("How long each part may take, 1s to 60s [default: 5s]"),
            arg("space", "N").help("The space [default: 1900000000]"),
            arg("first-user", "N").help("The first member's user id [default: 1900000000]"),
            Arg::new("yes")
                .long("yes")
                .action(ArgAction::SetTrue)
                .help("Yes, load a hub that other machines may be using"),
        ])
        .arg(json_argument("Print all figures as JSON"))
        .args(remote::arguments())
}

impl Options {
    pub(super) fn read(
        matches: &ArgMatches,
        environment: &[(OsString, OsString)],
    ) -> Result<Options, CliExit> {
        let bad = |text: String| CliExit::bad(text);
        let count = |name: &str, range: std::ops::RangeInclusive<u64>, default: u64| {
            let Some(given) = matches.get_one::<String>(name) else { return Ok(default) };
            let number = given.parse().ok().filter(|number| range.contains(number));
            let (least, most) = (range.start(), range.end());
            let text = format!("--{name}: `{given}` is not a number from {least} to {most}");
            number.ok_or_else(|| bad(text))
        };
        let given = matches.get_one::<String>("time").map_or("5s", String::as_str);
        let time = super::time(given).filter(|time| {
            let rest = time.subsec_nanos() == 0;
            rest && SECONDS.contains(&time.as_secs())
        });
        let members = usize::try_from(count("members", MEMBERS, 100)?).unwrap_or(2);
        let first = number(matches, "first-user", "--first-user")?.unwrap_or(FIRST_USER);
        let room = i32::MAX.saturating_sub(first);
        if usize::try_from(room).is_ok_and(|room| room < members) {
            return Err(bad(format!("--first-user: `{first}` leaves no ids for all members")));
        }
        Ok(Options {
            hub: Remote::read(matches, environment)?,
            space: number(matches, "space", "--space")?.unwrap_or(SPACE),
            first_user: first,
            members,
            rate: count("rate", RATE, 50)?,
            time: time.ok_or_else(|| {
                bad(format!("--time: `{given}` is not a time of whole seconds, 1s to 60s"))
            })?,
            is_sure: matches.get_flag("yes"),
            json: matches.get_flag("json"),
        })
    }
}

/// All figures.
#[derive(Serialize, Debug)]
struct Report {
    hub: String,
    members: usize,
    rate: u64,
    seconds: u64,
    #[serde(flatten)]
    measured: Measured,
    /// The share of this machine that the measuring took: near 1, it was the limit itself.
    client_cpu: f64,
    verdict: Verdict,
}

/// Measures; what to print, and the exit code.
pub fn run(options: &Options) -> CliExit {
    measure(options).unwrap_or_else(|exit| exit)
}

fn measure(options: &Options) -> Result<CliExit, CliExit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliExit::failed(format!("start: {error}")))?;
    let hub = &options.hub;
    if !options.is_sure && !runtime.block_on(hub.is_loopback())? {
        let text = format!("{} is not on this machine: say --yes to load it", hub.base());
        return Err(CliExit::bad(text));
    }
    let no_randomness = || CliExit::failed("the system has no randomness");
    let run = random_id().ok_or_else(no_randomness)?[..8].to_owned();
    let clock = Clock::start();
    let (cpu, begin) = (cpu_seconds(), clock.now().unix.0);
    let mut progress = Progress::new(!options.json);
    let mut bench = Bench::new(options, run, clock.clone());
    let measured = runtime.block_on(bench.measure(&mut progress));
    progress.end();
    let measured = measured?;
    let wall = (clock.now().unix.0 - begin) as f64 / 1e6;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let client_cpu = (cpu_seconds() - cpu) / (wall * cores as f64).max(f64::EPSILON);
    let client_cpu = (client_cpu * 100.0).round() / 100.0;
    let verdict = Verdict::of(&measured, options.members, client_cpu);
    let code = if verdict.is_sound { 0 } else { 1 };
    let report = Report {
        hub: hub.base(),
        members: options.members,
        rate: options.rate,
        seconds: options.time.as_secs(),
        measured,
        client_cpu,
        verdict,
    };
    let text = match options.json {
        true => serde_json::to_string(&report).expect("plain structs serialise"),
        false => verdict::shown(&report),
    };
    Ok(CliExit::told(code, text))
}

/// What this process has used of the processors so far.
fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}
