//! `cargo xtask bpf`: the eBPF object, built for `bpfel-unknown-none` and inspected.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{setup, shell, workspace};

/// What the programs are compiled for: little-endian eBPF.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// BTF of maps and programs comes from the compiler's debug information, by way of the linker.
const RUSTFLAGS: &[&str] = &["-Cdebuginfo=2", "-Clinker=bpf-linker", "-Clink-arg=--btf"];

/// Builds the object and prints what `inspect` finds; fails where the kernel would refuse it.
pub(crate) fn run() -> Result<()> {
    let object = build()?;
    println!("{}", object.display());
    Ok(())
}

/// Builds the object and returns its path.
pub(crate) fn build() -> Result<PathBuf> {
    setup::bpf_toolchain()?;
    shell::run(cargo("build").args(["--profile", "bpf"]))?;
    let object = workspace::target().join("bpf").join(TARGET).join("bpf").join(workspace::PROGRAMS);
    object.canonicalize().with_context(|| format!("the build left no object at {}", object.display()))
}

/// Cargo's subcommand for the programs' crate and target.
///
/// A target folder of its own, so that a change of these flags rebuilds nothing for the host. The stable compiler takes
/// `-Z build-std` only under `RUSTC_BOOTSTRAP`: the bpf target ships no built `core`.
pub(crate) fn cargo(subcommand: &str) -> std::process::Command {
    let mut command = workspace::cargo();
    command
        .args([subcommand, "--package", workspace::PROGRAMS, "--target", TARGET, "-Zbuild-std=core"])
        .arg("--target-dir")
        .arg(workspace::target().join("bpf"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\x1f"));
    command
}
