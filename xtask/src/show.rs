//! `cargo xtask demo`, `cargo xtask bench` and `cargo xtask e2e`: programs of the tests' crate, started with an optimised
//! agent, and with a real Kubernetes where they make clusters.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Result, bail};

use crate::build::{self, Profile};
use crate::upstream::Group;
use crate::{bpf, cluster, setup, shell, test, workspace};

/// What the program gets.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Passed on; `--help` tells what there is
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Tells the benchmark where the object of its yardsticks is.
const YARDSTICKS_OBJECT: &str = "PENSTOCK_YARDSTICKS_OBJECT";

/// The demo.
pub(crate) fn demo(args: &Args) -> Result<()> {
    run("demo", args, [])
}

/// The benchmark, beside the minimal programs that it compares with; `bench cluster` needs a Kubernetes instead.
pub(crate) fn bench(args: &Args) -> Result<()> {
    if args.rest.iter().any(|word| word == "cluster") {
        return run("bench", args, cluster::environment(&[])?);
    }
    let yardsticks = bpf::build(workspace::YARDSTICKS)?;
    run("bench", args, [(YARDSTICKS_OBJECT, yardsticks.into())])
}

/// Upstream's own tests, against clusters made here.
pub(crate) fn e2e(args: &Args) -> Result<()> {
    run("e2e", args, cluster::environment(&[Group::E2e])?)
}

/// Builds all binaries optimised and runs the one of this name.
fn run(
    name: &str,
    args: &Args,
    environment: impl IntoIterator<Item = (&'static str, OsString)>,
) -> Result<()> {
    if !shell::is_root() {
        bail!("this chore makes network namespaces and loads eBPF programs: run it as root");
    }
    setup::require(setup::LAB)?;
    let object = bpf::build(workspace::PROGRAMS)?;
    build::binaries(Profile::Release, &object)?;
    let mut program = Command::new(build::artifact(Profile::Release, name)?);
    program
        .args(&args.rest)
        .env(build::OBJECT, object)
        .env(test::BINARY, build::binary(Profile::Release)?)
        .envs(environment);
    shell::run(&mut program)
}
