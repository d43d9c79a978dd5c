//! The binary: reads what it is told, runs it, and ends with a code that says how it went: 0 done,
//! 78 a configuration that can't be run with, 1 anything else.

use std::process::ExitCode;
use std::sync::Arc;

use cpi_hub::cli::{self, EXIT_CONFIG, Subcommand, logging};
use cpi_hub::config::{BadConfig, Config, Machine};
use cpi_hub::metrics::Metrics;
use cpi_hub::server::{self, Beside, Fault, Service};
use rustix::fs::Mode;
use rustix::process::umask;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // What the hub and its tools write holds what people say: no file is for others, whoever
    // makes it, SQLite too.
    umask(Mode::RWXG | Mode::RWXO);
    // Before all that opens something: it changes the environment, and knows which descriptors
    // are its own.
    let service = match Service::take() {
        Ok(service) => service,
        Err(bad) => return cli::CliExit::from(bad).report(),
    };
    let machine = Machine::here(service.inherited());
    let read = move || cli::parse(std::env::args_os(), std::env::vars_os(), machine);
    match read() {
        Ok(Subcommand::Serve(config)) => serve(*config, service, move || match read() {
            Ok(Subcommand::Serve(config)) => Ok(*config),
            Ok(_) => Err(BadConfig("the command line asks for something else".into())),
            Err(exit) => Err(BadConfig(exit.text)),
        }),
        Ok(tool) => tool.run(),
        Err(exit) => exit.report(),
    }
}

fn serve(
    config: Config,
    service: Service,
    reread: impl Fn() -> Result<Config, BadConfig> + Send + Sync + 'static,
) -> ExitCode {
    let metrics = Arc::new(Metrics::new(config.shards));
    let log = match logging::start(&config, Arc::clone(&metrics)) {
        Ok(log) => log,
        Err(bad) => return cli::CliExit::from(bad).report(),
    };
    let lines = log.lines().clone();
    let beside = Beside { metrics, log, reread: Arc::new(reread), service };
    let ended = server::run(config, beside);
    let code = match ended {
        Ok(()) => 0,
        Err(fault) => {
            lines.put(format!("cpi-hub: {}\n", cli::one_line(&fault.to_string())).as_bytes());
            if Fault::is_configuration(&fault) { EXIT_CONFIG } else { 1 }
        }
    };
    // What nobody reads is not waited for.
    lines.flush(cli::LAST_WAIT);
    ExitCode::from(code)
}
