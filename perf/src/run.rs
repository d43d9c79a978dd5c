//! The command `run`: scenario files against one server, their figures on standard output and as
//! JSON, one object a line.
//!
//! A run that can't be made is written as that, so that a report over many runs can say so.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use cpi_hub_perf::client::connection::Server;
use cpi_hub_perf::client::dialect::Dialect;
use cpi_hub_perf::client::token::Signer;
use cpi_hub_perf::measure::figures::{Figures, quoted};
use cpi_hub_perf::measure::process;
use cpi_hub_perf::report::Report;
use cpi_hub_perf::scenario::{self, Scenario, Target};

use crate::OTHER_FILES;

#[derive(Args)]
pub(crate) struct RunArgs {
    /// Scenario files, such as perf/scenarios/fanout-1000.toml; run one after the other.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Where the server listens: HOST:PORT or ws://HOST:PORT.
    #[arg(long, default_value = "127.0.0.1:8080")]
    url: String,
    /// The certificate of a wss:// server, or the one that signed it (PEM).
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The secret that the server knows tokens by: each handshake shows one of its user.
    #[arg(long, value_name = "FILE")]
    token_secret: Option<PathBuf>,
    /// The server's process on this machine, for its CPU time and memory.
    #[arg(long)]
    pid: Option<u32>,
    /// Pin this generator to a core; pin the server to another.
    #[arg(long)]
    core: Option<usize>,
    /// Write each run as a JSON object, one a line.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with charts of these runs.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// A key of the scenario, over the file's: --set rate=5000.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// How the server is spoken to: hub, hub-v1, socketio, nats, bytes, pusher or
    /// centrifugo.
    #[arg(long, default_value = "hub", value_parser = Dialect::named)]
    dialect: Dialect,
    /// What the server is called in reports.
    #[arg(long, default_value = "hub")]
    server: String,
    /// Which round this is, where runs are repeated.
    #[arg(long, default_value_t = 1)]
    round: u32,
    /// The number of the first space.
    #[arg(long, default_value_t = 1)]
    first_space: i32,
}

/// Runs the scenarios; whether each could be made and all promises were kept.
pub(crate) fn run(arguments: &RunArgs) -> io::Result<bool> {
    let scenarios = arguments.files.iter().map(|file| arguments.read(file));
    let scenarios = scenarios.collect::<io::Result<Vec<Scenario>>>()?;
    arguments.core.map_or(Ok(()), process::pin)?;
    let (mut lines, mut is_good, mut broken) = (String::new(), true, None);
    for scenario in &scenarios {
        writeln!(io::stderr(), "== {}: {}", scenario.name, scenario.about)?;
        let outcome = arguments.run(scenario);
        lines.push_str(&arguments.line(scenario, &outcome));
        // Written each time: a run that was stopped keeps what is done.
        arguments.json.as_ref().map_or(Ok(()), |file| fs::write(file, &lines))?;
        match outcome {
            Ok(figures) => {
                let head =
                    format!("{} of {} at {}", scenario.name, arguments.server, arguments.url);
                writeln!(io::stdout(), "{head}\n{}", figures.to_text())?;
                is_good &= figures.faults().is_empty();
            }
            Err(error) => {
                let told = io::Error::other(format!("{}: {error}", scenario.name));
                broken.get_or_insert(told);
            }
        }
    }
    if let Some(file) = &arguments.html {
        let report = Report::of_lines(&lines).map_err(io::Error::other)?;
        fs::write(file, report.to_html())?;
    }
    broken.map_or(Ok(is_good), Err)
}

impl RunArgs {
    fn read(&self, file: &Path) -> io::Result<Scenario> {
        let told = |error: String| io::Error::other(format!("{}: {error}", file.display()));
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let text = fs::read_to_string(file).map_err(|error| told(error.to_string()))?;
        scenario::read(&name, &text, &self.set).map_err(told)
    }

    fn run(&self, scenario: &Scenario) -> io::Result<Figures> {
        process::allow_files(scenario.connections() as u64 + OTHER_FILES)?;
        let signer = self.token_secret.as_deref().map(Signer::with_secret_of).transpose()?;
        let server = Server::at(&self.url, self.ca.as_deref(), self.dialect)?;
        let server = Server { signer, ..server };
        scenario.run(Target { server, pid: self.pid, first_space: self.first_space })
    }

    fn line(&self, scenario: &Scenario, outcome: &io::Result<Figures>) -> String {
        let outcome = match outcome {
            Ok(figures) => format!("\"figures\":{}", figures.to_json().trim_end()),
            Err(error) => format!("\"failed\":{}", quoted(&error.to_string())),
        };
        let [name, about] = [&scenario.name, &scenario.about].map(|text| quoted(text));
        let (kind, server) = (quoted(scenario.kind()), quoted(&self.server));
        let round = self.round;
        format!(
            "{{\"scenario\":{name},\"kind\":{kind},\"about\":{about},\"server\":{server},\
             \"round\":{round},{outcome}}}\n"
        )
    }
}
