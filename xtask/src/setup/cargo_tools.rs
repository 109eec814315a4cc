//! Programs that `cargo install` provides, at their pinned versions.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{pins, shell, workspace};

/// bpf-linker, which makes the eBPF object.
pub(crate) fn bpf_linker() -> Result<()> {
    ensure("bpf-linker", pins::BPF_LINKER)
}

/// cargo-deny, which checks `deny.toml`.
pub(crate) fn cargo_deny() -> Result<()> {
    ensure("cargo-deny", pins::CARGO_DENY)
}

/// Installs a crate's program of the same name, unless it is there at this version.
fn ensure(name: &str, version: &str) -> Result<()> {
    let installed = shell::output(Command::new(name).arg("--version")).unwrap_or_default();
    // <name> <version>
    if installed.split_whitespace().nth(1) == Some(version) {
        return Ok(());
    }
    let package = format!("{name}@{version}");
    shell::run(workspace::cargo().args(["install", "--locked", "--force", &package]))
        .with_context(|| format!("{name} {version} is needed: `cargo install --locked {package}`"))
}
