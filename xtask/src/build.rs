//! `cargo xtask build`: the agent's binary, with the eBPF programs inside.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{bpf, shell, workspace};

/// The variable that tells the build of `penstock-kernel` which object to embed.
pub(crate) const OBJECT: &str = "PENSTOCK_BPF_OBJECT";

/// Which binary to build.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Optimise, as for a machine that serves traffic; without this the programs log each verdict
    #[arg(long)]
    release: bool,
}

/// How the host's crates are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
}

/// Builds the agent and prints the binary's path.
pub(crate) fn run(args: &Args) -> Result<()> {
    let profile = if args.release { Profile::Release } else { Profile::Debug };
    let object = match profile {
        Profile::Debug => bpf::build_logging()?,
        Profile::Release => bpf::build(workspace::PROGRAMS)?,
    };
    shell::run(cargo(profile, &object).args(["--package", workspace::AGENT]))?;
    println!("{}", binary(profile)?.display());
    Ok(())
}

/// Builds the agent and the programs of the tests' crate (demo, benchmark and their helpers), in one go.
pub(crate) fn binaries(profile: Profile, object: &Path) -> Result<()> {
    shell::run(cargo(profile, object).args([
        "--package",
        workspace::AGENT,
        "--package",
        workspace::TESTS,
        "--bins",
    ]))
}

/// The agent's binary that a build of this profile left.
pub(crate) fn binary(profile: Profile) -> Result<PathBuf> {
    artifact(profile, workspace::AGENT)
}

/// A binary that a build of this profile left.
pub(crate) fn artifact(profile: Profile, name: &str) -> Result<PathBuf> {
    let folder = match profile {
        Profile::Debug => "debug",
        Profile::Release => "release",
    };
    let binary = workspace::target().join(folder).join(name);
    binary.canonicalize().with_context(|| format!("the build left no binary at {}", binary.display()))
}

fn cargo(profile: Profile, object: &Path) -> std::process::Command {
    let mut cargo = workspace::cargo();
    cargo.arg("build").env(OBJECT, object);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    cargo
}
