//! The command line of the load generator: reads the flags, runs scenarios, prints their figures,
//! and makes a report of many.
//!
//! Exit code 1: the hub lost, doubled or reordered something, or closed a member; 2: the run
//! could not be made.

#![warn(unreachable_pub)]

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use cpi_hub_perf::client::connection::Server;
use cpi_hub_perf::client::dialect::Dialect;
use cpi_hub_perf::floor;
use cpi_hub_perf::measure::process;
use cpi_hub_perf::report::Report;
use cpi_hub_perf::scenario::fanout::{self, Load};
use cpi_hub_perf::scenario::{Kind, RUN_SECONDS_MAX, Target, Times, idle};

mod run;

/// Loads a cpi-hub from one core and tells what a delivery costs it, and whether anything was
/// lost, doubled or reordered. Start the hub with `--message-rate off --user-message-rate off`.
#[derive(Parser)]
#[command(name = "cpi-hub-perf", version)]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// Closed loop: each publisher keeps a number of messages in flight.
    Fanout {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        shape: Shape,
        /// Messages of one publisher on their way.
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
        in_flight: u32,
    },
    /// Open loop: a rate of messages in all; latency counts from when each was due.
    Open {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        shape: Shape,
        /// Messages a second, all publishers together.
        #[arg(long, value_parser = positive)]
        rate: f64,
    },
    /// Scenario files: fan-out, many spaces, idle connections, churn, herds, stalled readers,
    /// durable messages.
    Run(run::RunArgs),
    /// Serves as the floor that servers are held against: what a member sends goes to everybody in
    /// its space as it came, unread. For `--dialect bytes` alone.
    Floor {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:8080")]
        listen: std::net::SocketAddr,
    },
    /// Tables, report.json and report.html of a folder of runs.
    Report {
        /// The folder: `runs/*.json` as `run --json` writes them, `servers.tsv`, `machine.tsv`.
        folder: PathBuf,
    },
    /// Connections that say nothing: resident memory of each.
    Idle {
        #[command(flatten)]
        place: Place,
        /// How many.
        #[arg(long, default_value_t = 10_000)]
        connections: usize,
        /// Members of each space.
        #[arg(long, default_value_t = 10, value_parser = at_least_1)]
        members: usize,
        /// Connections a second at most; the hub's own limit is 2,000.
        #[arg(long, default_value_t = 1_500.0, value_parser = positive)]
        connect_rate: f64,
        /// Seconds they stay before memory is read.
        #[arg(long, default_value_t = 3.0, value_parser = positive)]
        hold: f64,
    },
}

#[derive(Args)]
struct Place {
    /// Where the hub listens: HOST:PORT, ws://HOST:PORT or wss://HOST:PORT.
    #[arg(long, default_value = "127.0.0.1:8080")]
    url: String,
    /// The certificate of a wss:// server, or the one that signed it (PEM).
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The hub's process on this machine, for its CPU time and memory.
    #[arg(long)]
    pid: Option<u32>,
    /// Pin this generator to a core; pin the hub to another.
    #[arg(long)]
    core: Option<usize>,
    /// Write the figures to a file as JSON too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The number of the first space.
    #[arg(long, default_value_t = 1)]
    first_space: i32,
}

#[derive(Args)]
struct Shape {
    /// Spaces.
    #[arg(long, default_value_t = 1, value_parser = at_least_1)]
    spaces: usize,
    /// Members of each space.
    #[arg(long, default_value_t = 1_000, value_parser = at_least_1)]
    members: usize,
    /// How many of each space's members publish.
    #[arg(long, default_value_t = 8, value_parser = at_least_1)]
    publishers: usize,
    /// Bytes of a content, at least 32.
    #[arg(long, default_value_t = 128)]
    content_bytes: usize,
    /// Seconds before anything is measured.
    #[arg(long, default_value_t = 3.0)]
    warmup: f64,
    /// Seconds that are measured; all seconds of a run together are at most an hour.
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    seconds: f64,
    /// Seconds that the last messages may take to arrive.
    #[arg(long, default_value_t = 5.0)]
    settle: f64,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && number < 1e9 => Ok(number),
        _ => Err("expected a number above 0".into()),
    }
}

fn at_least_1(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=10_000_000) => Ok(number),
        _ => Err("expected a whole number from 1".into()),
    }
}

/// Beside the connections: the epoll, files of `/proc`, standard streams.
const OTHER_FILES: u64 = 64;

fn main() -> ExitCode {
    match obey(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("cpi-hub-perf: {error}");
            ExitCode::from(2)
        }
    }
}

/// Does what is asked; whether the server kept its promises.
fn obey(cli: Cli) -> io::Result<bool> {
    match cli.scenario {
        Scenario::Run(arguments) => run::run(&arguments),
        Scenario::Floor { listen } => {
            process::allow_files(OTHER_FILES)?;
            floor::serve(mio::net::TcpListener::bind(listen)?).map(|()| true)
        }
        Scenario::Report { folder } => {
            let report = Report::load(&folder).map_err(io::Error::other)?;
            fs::write(folder.join("report.json"), report.to_json())?;
            fs::write(folder.join("report.html"), report.to_html())?;
            io::stdout().write_all(report.to_text().as_bytes()).map(|()| true)
        }
        Scenario::Fanout { place, shape, in_flight } => {
            run_fanout(&place, &shape, Load::Closed { in_flight })
        }
        Scenario::Open { place, shape, rate } => run_fanout(&place, &shape, Load::Open { rate }),
        Scenario::Idle { place, connections, members, connect_rate, hold } => {
            let half = connections / 2;
            let plan = idle::Plan {
                steps: [half, connections].into_iter().filter(|step| *step > 0).collect(),
                members,
                connect_rate,
                hold: Duration::from_secs_f64(hold),
            };
            place.run("idle", &plan)
        }
    }
}

fn run_fanout(place: &Place, shape: &Shape, load: Load) -> io::Result<bool> {
    if shape.publishers > shape.members {
        return Err(io::Error::other("--publishers are members: at most --members"));
    }
    let seconds = shape.warmup + shape.seconds + shape.settle;
    if !(0.0..=RUN_SECONDS_MAX).contains(&seconds) || shape.warmup < 0.0 || shape.settle < 0.0 {
        return Err(io::Error::other("--warmup, --seconds and --settle: an hour together at most"));
    }
    let plan = fanout::Plan {
        spaces: shape.spaces,
        members: shape.members,
        publishers: shape.publishers,
        load,
        content_bytes: shape.content_bytes,
        times: Times {
            warm_up: Duration::from_secs_f64(shape.warmup),
            measure: Duration::from_secs_f64(shape.seconds),
            settle: Duration::from_secs_f64(shape.settle),
        },
    };
    place.run(if matches!(load, Load::Open { .. }) { "open" } else { "fanout" }, &plan)
}

impl Place {
    /// Runs a plan, prints and writes its figures; whether all that must be zero is.
    fn run(&self, scenario: &'static str, plan: &impl Kind) -> io::Result<bool> {
        let server = Server::at(&self.url, self.ca.as_deref(), Dialect::Hub)?;
        process::allow_files(plan.connections() as u64 + OTHER_FILES)?;
        self.core.map_or(Ok(()), process::pin)?;
        let target = Target { server, pid: self.pid, first_space: self.first_space };
        let figures = plan.run(target)?;
        writeln!(io::stdout(), "scenario {scenario} at {}\n{}", self.url, figures.to_text())?;
        if let Some(file) = &self.json {
            fs::write(file, figures.to_json())?;
        }
        Ok(figures.faults().is_empty())
    }
}
