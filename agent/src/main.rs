//! Pod networking and Services on eBPF: the agent of a node, and the operator's commands.
#![forbid(unsafe_code)]

mod agent;
mod cleanup;
mod cli;
mod runtime;
mod show;
mod source;
mod tables;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Agent(args) => agent::run(args, &cli.places),
        Command::Service(command) => show::services(&cli.places, command),
        Command::Backend(command) => show::backends(&cli.places, command),
        Command::Flow(command) => show::flows(&cli.places, command),
        Command::Drops(args) => show::drops(&cli.places, *args),
        Command::Status(args) => show::status(&cli.places, *args),
        Command::Cleanup => cleanup::run(&cli.places),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("penstock: {error:#}");
            ExitCode::FAILURE
        }
    }
}
