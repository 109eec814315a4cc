//! `cargo xtask cluster`: a real Kubernetes on this machine, made by a program of the tests' crate out of what is built here.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::build::{self, Profile};
use crate::passed_on::PassedOn;
use crate::upstream::{self, Group};
use crate::{bpf, image, setup, shell, workspace};

/// The program, in the tests' crate.
const PROGRAM: &str = "cluster";

/// Tells where the archive of the agent's image is.
const IMAGE: &str = "PENSTOCK_IMAGE";
/// Tells where the manifests are.
const MANIFESTS: &str = "PENSTOCK_MANIFESTS";

/// What a cluster is made of.
const PARTS: &[Group] = &[Group::Etcd, Group::Apiserver, Group::Kubernetes, Group::Containerd, Group::Images];

/// Starts the program. `up` builds all that a cluster needs first; for the rest, what built the cluster is there.
pub(crate) fn run(args: &PassedOn) -> Result<()> {
    if !shell::is_root() {
        bail!("a cluster is made of network namespaces and mounts: run this chore as root");
    }
    let goes_up = args.words.first().is_some_and(|verb| verb == "up");
    let mut command = if goes_up && !args.ask_for_help() { prepared()? } else { Command::new(program()?) };
    // This process has nothing more to say: signals and the terminal are the program's.
    Err(command.args(&args.words).exec()).context("cannot start the program that makes clusters")
}

/// The program with all that a cluster needs, built.
fn prepared() -> Result<Command> {
    setup::require(setup::LAB)?;
    build()?;
    let mut command = Command::new(build::artifact(Profile::Debug, PROGRAM)?);
    command.envs(environment(&[])?);
    Ok(command)
}

/// Builds the parts of a cluster, these others, and the agent's image, and gives the variables that tell where they are.
pub(crate) fn environment(others: &[Group]) -> Result<Vec<(&'static str, OsString)>> {
    let mut variables = parts(others)?;
    variables.push((IMAGE, image::build()?.into()));
    variables.push((MANIFESTS, workspace::root().join("manifests").into()));
    Ok(variables)
}

/// Where the programs and images of Kubernetes are, for one that takes the agent as a program.
pub(crate) fn parts(others: &[Group]) -> Result<Vec<(&'static str, OsString)>> {
    Ok(upstream::ensure(&[PARTS, others].concat())?.environment()?.to_vec())
}

/// The program as it was built last.
fn program() -> Result<PathBuf> {
    build::artifact(Profile::Debug, PROGRAM).or_else(|_| {
        build()?;
        build::artifact(Profile::Debug, PROGRAM)
    })
}

fn build() -> Result<()> {
    let object = bpf::build(workspace::PROGRAMS)?;
    build::binaries(Profile::Debug, &object)
}
