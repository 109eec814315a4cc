//! Pod networking and Services on eBPF: the agent of a node, and the operator's commands.
#![forbid(unsafe_code)]

mod agent;
mod cli;
mod source;
mod tables;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Agent(args) => agent::run(args, &cli.places),
        _ => Ok(()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("penstock: {error:#}");
            ExitCode::FAILURE
        }
    }
}
