//! `cargo xtask build`: the agent's binary, with the eBPF programs inside.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{bpf, shell, workspace};

/// The variable that tells the build of `penstock-kernel` which object to embed.
pub(crate) const OBJECT: &str = "PENSTOCK_BPF_OBJECT";

/// Which binary to build.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Optimise, as for a machine that serves traffic
    #[arg(long)]
    release: bool,
}

/// Builds the agent and prints the binary's path.
pub(crate) fn run(args: &Args) -> Result<()> {
    let object = bpf::build()?;
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--package", "penstock"]).env(OBJECT, object);
    if args.release {
        cargo.arg("--release");
    }
    shell::run(&mut cargo)?;
    let binary = binary(if args.release { "release" } else { "debug" })?;
    println!("{}", binary.display());
    Ok(())
}

/// The agent's binary that a build of this profile left.
pub(crate) fn binary(profile: &str) -> Result<PathBuf> {
    let binary = workspace::target().join(profile).join("penstock");
    binary.canonicalize().with_context(|| format!("the build left no binary at {}", binary.display()))
}
