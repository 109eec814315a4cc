//! `cargo xtask demo`, `cargo xtask bench` and `cargo xtask e2e`: programs of the tests' crate, started with an optimised
//! agent, and with a real Kubernetes where they make clusters.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Result, bail};

use crate::build::{self, Profile};
use crate::passed_on::PassedOn;
use crate::upstream::Group;
use crate::{bpf, cluster, setup, shell, test, workspace};

/// Tells the benchmark where the object of its yardsticks is.
const YARDSTICKS_OBJECT: &str = "PENSTOCK_YARDSTICKS_OBJECT";

/// The demo.
pub(crate) fn demo(args: &PassedOn) -> Result<()> {
    run("demo", args, [])
}

/// The benchmark, beside the minimal programs that it compares with; `bench cluster` needs a Kubernetes instead.
pub(crate) fn bench(args: &PassedOn) -> Result<()> {
    if args.ask_for_help() {
        return run("bench", args, []);
    }
    if args.words.iter().any(|word| word == "cluster") {
        return run("bench", args, cluster::environment(&[])?);
    }
    let yardsticks = bpf::build(workspace::YARDSTICKS)?;
    run("bench", args, [(YARDSTICKS_OBJECT, yardsticks.into())])
}

/// Upstream's own tests, against clusters made here.
pub(crate) fn e2e(args: &PassedOn) -> Result<()> {
    if args.ask_for_help() {
        return run("e2e", args, []);
    }
    run("e2e", args, cluster::environment(&[Group::E2e])?)
}

/// Builds all binaries optimised and runs the one of this name.
fn run(
    name: &str,
    args: &PassedOn,
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
        .args(&args.words)
        .env(build::OBJECT, object)
        .env(test::BINARY, build::binary(Profile::Release)?)
        .envs(environment);
    shell::run(&mut program)
}
