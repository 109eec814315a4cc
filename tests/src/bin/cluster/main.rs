//! A real Kubernetes on this machine: `cargo xtask cluster` starts this program with what it has built.

mod select;
mod up;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use penstock_tests::cluster::{self, Kubectl};

/// A real Kubernetes on this machine, without Docker: control plane and nodes out of namespaces.
#[derive(Parser)]
#[command(name = "cargo xtask cluster", bin_name = "cargo xtask cluster")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a cluster, and leave it up
    Up(up::Arguments),
    /// Run kubectl as the cluster's administrator: `kubectl [CLUSTER] ARGUMENTS...`
    #[command(disable_help_flag = true)]
    Kubectl {
        /// The cluster, where there are several, and kubectl's own arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Run a command, or a shell, on a node: `node [CLUSTER] N [COMMAND...]`
    Node {
        /// The cluster, where there are several, the node's number, and the command
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        words: Vec<String>,
    },
    /// Run a command, or a shell, on the client outside the cluster: `client [CLUSTER] [COMMAND...]`
    Client {
        /// The cluster, where there are several, and the command
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Remove a cluster and all that it has made: `down [CLUSTER]`
    Down {
        /// The cluster, where there are several
        words: Vec<String>,
        /// Every cluster
        #[arg(long, conflicts_with = "words")]
        all: bool,
    },
    /// The clusters that are up
    List,
}

fn main() -> ExitCode {
    match run(Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Up(arguments) => up::up(&arguments),
        Verb::Kubectl { words } => {
            let (run, words) = select::cluster(&words)?;
            become_it(&mut Kubectl::of(&run)?.command(words))
        }
        Verb::Node { words } => {
            let (run, words) = select::cluster(&words)?;
            let (number, words) = words.split_first().context("which node? 1 is the first")?;
            let number =
                number.parse().with_context(|| format!("{number:?} is no node's number; 1 is the first"))?;
            let node = cluster::place(&run, number)?;
            become_it(&mut cluster::shell(&run, &node, words))
        }
        Verb::Client { words } => {
            let (run, words) = select::cluster(&words)?;
            become_it(&mut cluster::shell(&run, &cluster::client(&run)?, words))
        }
        Verb::Down { all: true, .. } => cluster::all()?.iter().try_for_each(select::remove),
        Verb::Down { words, .. } => select::remove(&select::cluster(&words)?.0),
        Verb::List => {
            for run in cluster::all()? {
                println!("{run}  nodes: {}", cluster::node_numbers(&run).len());
            }
            Ok(())
        }
    }
}

/// Becomes the command. Returns only where that fails.
fn become_it(command: &mut Command) -> Result<()> {
    let error = command.exec();
    Err(error).with_context(|| format!("running {}", command.get_program().display()))
}
