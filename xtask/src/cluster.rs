//! `cargo xtask cluster`: a real Kubernetes on this machine, made by a program of the tests' crate out of what is built here.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::build::{self, Profile};
use crate::upstream::{self, Group};
use crate::{bpf, setup, shell, workspace};

/// What the program gets.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Passed on; `--help` tells what there is
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// The program, in the tests' crate.
const PROGRAM: &str = "cluster";

/// What a cluster is made of.
pub(crate) const PARTS: &[Group] =
    &[Group::Etcd, Group::Apiserver, Group::Kubernetes, Group::Containerd, Group::Images];

/// Starts the program. `up` builds all that a cluster needs first; for the rest, what built the cluster is there.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !shell::is_root() {
        bail!("a cluster is made of network namespaces and mounts: run this chore as root");
    }
    let goes_up = args.rest.first().is_some_and(|verb| verb == "up");
    let asks_for_help = args.rest.iter().any(|word| word == "--help" || word == "-h");
    let mut command = if goes_up && !asks_for_help { prepared()? } else { Command::new(program()?) };
    // This process has nothing more to say: signals and the terminal are the program's.
    Err(command.args(&args.rest).exec()).context("cannot start the program that makes clusters")
}

/// The program with all that a cluster needs, built.
fn prepared() -> Result<Command> {
    setup::require(setup::LAB)?;
    let parts = upstream::ensure(PARTS)?;
    build()?;
    let mut command = Command::new(build::artifact(Profile::Debug, PROGRAM)?);
    command.envs(parts.environment()?);
    Ok(command)
}

/// The program as it was built last.
fn program() -> Result<std::path::PathBuf> {
    build::artifact(Profile::Debug, PROGRAM).or_else(|_| {
        build()?;
        build::artifact(Profile::Debug, PROGRAM)
    })
}

fn build() -> Result<()> {
    let object = bpf::build(workspace::PROGRAMS)?;
    build::binaries(Profile::Debug, &object)
}
