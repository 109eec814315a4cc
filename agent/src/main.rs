//! Pod networking and Services on eBPF: the agent of a node, and the operator's commands.
#![forbid(unsafe_code)]

mod agent;
mod cleanup;
mod cli;
mod config;
mod kube_proxy;
mod mount;
mod observe;
mod runtime;
mod show;
mod source;
mod tables;
mod usage;

use std::process::ExitCode;

use crate::cli::{CleanupCommand, Command};
use crate::config::Loaded;

fn main() -> ExitCode {
    let Loaded { cli, effective, warnings } = match config::load(std::env::args_os()) {
        Ok(loaded) => loaded,
        Err(config::Error::CommandLine(error)) => error.exit(),
        Err(error) => {
            eprintln!("penstock: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = match &cli.command {
        Command::Agent(args) => agent::run(args, &cli.places, &warnings),
        Command::Service(command) => show::services(&cli.places, command),
        Command::Backend(command) => show::backends(&cli.places, command),
        Command::Flow(command) => show::flows(&cli.places, command),
        Command::Drops(args) => show::drops(&cli.places, *args),
        Command::Status(args) => show::status(&cli.places, *args),
        Command::Config(args) => effective.show(args.output),
        Command::Cleanup(args) => match args.what {
            None => cleanup::run(args.wait, &cli.places),
            Some(CleanupCommand::KubeProxy(args)) => kube_proxy::command::run(args, &cli.places),
        },
        Command::InRoot(args) => kube_proxy::enter(&args.root, &args.program, &args.arguments),
        Command::MountBpffs => mount::run(&cli.places),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("penstock: {error:#}");
            ExitCode::FAILURE
        }
    }
}
