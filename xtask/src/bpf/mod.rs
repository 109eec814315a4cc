//! `cargo xtask bpf`: eBPF objects, built for `bpfel-unknown-none` and inspected.

mod endless;
mod inspect;
mod instruction;
mod object;
mod stack;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{remap, setup, shell, workspace};

/// What the programs are compiled for: little-endian eBPF.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// BTF of maps and programs comes from the compiler's debug information, by way of the linker.
const RUSTFLAGS: &[&str] = &["-Cdebuginfo=2", "-Ctarget-cpu=v3", "-Clinker=bpf-linker", "-Clink-arg=--btf"];

/// Builds the object, prints what is in it, and its path.
pub(crate) fn run() -> Result<()> {
    let object = build(workspace::PROGRAMS)?;
    println!("{}", object.display());
    Ok(())
}

/// Builds the object of a crate of programs, prints what is in it to stderr, and returns its path.
///
/// # Errors
/// Where the kernel would refuse a program that the compiler did not: a stack too deep, a panic that can be reached.
pub(crate) fn build(package: &str) -> Result<PathBuf> {
    build_with(package, &[])
}

/// As [`build`], of Penstock's own programs, which then tell of each verdict through the agent's log: for debug builds.
pub(crate) fn build_logging() -> Result<PathBuf> {
    build_with(workspace::PROGRAMS, &["--features", "log"])
}

fn build_with(package: &str, features: &[&str]) -> Result<PathBuf> {
    setup::bpf_toolchain()?;
    shell::run(cargo("build", package)?.args(["--bin", package]).args(features))?;
    let object = workspace::target().join("bpf").join(TARGET).join("bpf").join(package);
    let object =
        object.canonicalize().with_context(|| format!("the build left no object at {}", object.display()))?;
    check(&object)?;
    Ok(object)
}

fn check(path: &Path) -> Result<()> {
    let elf = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let functions = object::functions(&elf).with_context(|| format!("cannot inspect {}", path.display()))?;
    let reports = inspect::inspect(&functions);
    eprint!("{}", inspect::table(&reports));
    if reports.is_empty() {
        bail!("{} holds no program", path.display());
    }
    let mut faults = 0;
    for report in &reports {
        for fault in &report.faults {
            eprintln!("{}: {fault}", report.name);
            faults += 1;
        }
    }
    if faults > 0 {
        bail!("the kernel would refuse this object: {faults} faults, see above");
    }
    Ok(())
}

/// Cargo's subcommand for a crate of programs and their target.
///
/// A target folder of its own, so that a change of these flags rebuilds nothing for the host. The stable compiler takes
/// `-Z build-std` only under `RUSTC_BOOTSTRAP`: the bpf target ships no built `core`.
///
/// # Errors
/// The compiler does not tell where its sources are.
pub(crate) fn cargo(subcommand: &str, package: &str) -> Result<std::process::Command> {
    let mut flags: Vec<_> = RUSTFLAGS.iter().map(|&flag| flag.to_owned()).collect();
    // The debug information tells the kernel's log where each instruction comes from.
    flags.extend(remap::folders()?.iter().map(remap::Folder::for_rustc));
    let mut command = workspace::cargo();
    command
        .args([subcommand, "--package", package, "--profile", "bpf"])
        .args(["--target", TARGET, "-Zbuild-std=core"])
        .arg("--target-dir")
        .arg(workspace::target().join("bpf"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    Ok(command)
}
