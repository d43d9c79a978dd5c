//! The binary: reads what it is told, runs it, and ends with a code that says how it went: 0 done,
//! 78 a configuration that can't be run with, 1 anything else.

use std::io::Write;
use std::process::ExitCode;

use cpi_hub::cli::{self, EXIT_CONFIG, Subcommand, logging};
use cpi_hub::config::{Config, Machine};
use cpi_hub::server::{self, Fault};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os(), std::env::vars_os(), Machine::here()) {
        Ok(Subcommand::Serve(config)) => serve(*config),
        Ok(Subcommand::Chat(options)) => cli::chat::run(&options),
        Ok(Subcommand::Migrate(options)) => cli::migrate::run(&options).report(),
        Ok(Subcommand::Backup(options)) => cli::backup::run(&options).report(),
        Ok(Subcommand::Journal(options)) => {
            let (shown, exit) = cli::journal::run(&options);
            cli::show(&shown);
            exit.report()
        }
        Ok(Subcommand::DeadLetters(options)) => cli::letters::run(&options).report(),
        Err(exit) => exit.report(),
    }
}

fn serve(config: Config) -> ExitCode {
    if let Err(bad) = logging::start(&config) {
        return cli::CliExit::from(bad).report();
    }
    match server::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            // Whoever closed our output does not want to know.
            _ = writeln!(std::io::stderr(), "cpi-hub: {}", cli::one_line(&fault.to_string()));
            let code = if Fault::is_configuration(&fault) { EXIT_CONFIG } else { 1 };
            ExitCode::from(code)
        }
    }
}
