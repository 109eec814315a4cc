//! bpf-linker at its pinned version.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{pins, shell, workspace};

/// Installs bpf-linker unless the pinned version is there.
pub(crate) fn ensure() -> Result<()> {
    let installed = shell::output(Command::new("bpf-linker").arg("--version")).unwrap_or_default();
    if installed.split_whitespace().nth(1) == Some(pins::BPF_LINKER) {
        return Ok(());
    }
    let package = format!("bpf-linker@{}", pins::BPF_LINKER);
    shell::run(workspace::cargo().args(["install", "--locked", "--force", &package])).with_context(|| {
        format!("bpf-linker {0} is needed: `cargo install {package} --locked`", pins::BPF_LINKER)
    })
}
