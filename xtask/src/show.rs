//! `cargo xtask demo` and `cargo xtask bench`: programs of the tests' crate, started with an optimised agent.

use std::process::Command;

use anyhow::Result;

use crate::build::{self, Profile};
use crate::{bpf, setup, shell, test};

/// What the program gets.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Passed on; `--help` tells what there is
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Builds all binaries optimised and runs the one of this name.
pub(crate) fn run(name: &str, args: &Args) -> Result<()> {
    if !shell::is_root() {
        anyhow::bail!("this chore makes network namespaces and loads eBPF programs: run it as root");
    }
    setup::require(setup::LAB)?;
    let object = bpf::build()?;
    build::binaries(Profile::Release, &object)?;
    let mut program = Command::new(build::artifact(Profile::Release, name)?);
    shell::run(
        program
            .args(&args.rest)
            .env(build::OBJECT, object)
            .env(test::BINARY, build::binary(Profile::Release)?),
    )
}
