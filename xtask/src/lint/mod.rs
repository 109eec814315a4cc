//! `cargo xtask lint`: formatting, clippy for both targets, docs, the direction of dependencies, cargo-deny.

mod direction;

use anyhow::{Result, bail};

use crate::{bpf, setup, shell, workspace};

/// Runs every check; the first that fails ends it.
pub(crate) fn run() -> Result<()> {
    setup::checkers()?;
    shell::run(workspace::cargo().args(["fmt", "--all", "--check"]))?;
    dependencies()?;
    setup::bpf_toolchain()?;
    shell::run(workspace::cargo().arg("clippy").args(workspace::HOST).args([
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]))?;
    shell::run(bpf::cargo("clippy").args(["--", "--deny", "warnings"]))?;
    shell::run(
        workspace::cargo()
            .args(["doc", "--no-deps"])
            .args(workspace::HOST)
            .env("RUSTDOCFLAGS", "--deny warnings"),
    )?;
    deny()
}

/// Fails where a dependency points against the design.
fn dependencies() -> Result<()> {
    let faults = direction::check(&direction::Graph::of_workspace()?);
    if faults.is_empty() {
        eprintln!("dependencies point one way");
        return Ok(());
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    bail!("{} dependencies point the wrong way, see above", faults.len());
}

/// Licences, bans and sources of what we depend on. Advisories are left out: they need a database from the network.
fn deny() -> Result<()> {
    shell::run(workspace::cargo().args(["deny", "--locked", "check", "bans", "licenses", "sources"]))
}
