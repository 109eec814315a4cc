//! `cargo xtask setup`, and what other chores ask for before they start: each step looks first, and does nothing where
//! what it provides is there.

mod apt;
mod cargo_tools;
mod core_sources;
mod system;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

pub(crate) use apt::{Apt, Suite};
pub(crate) use system::{CLUSTER, IMAGES, LAB, VM, require};

use crate::{shell, workspace};

/// Prepares a machine for the chores.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Take the sources of `core` from Debian's package, without asking rustup, into this folder. For testing that way.
    #[arg(long, hide = true, value_name = "FOLDER")]
    debian_core_sources: Option<PathBuf>,
}

/// Everything that any chore needs.
pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(folder) = &args.debian_core_sources {
        return core_sources::from_debian(folder);
    }
    bpf_toolchain()?;
    checkers()?;
    require(&system::ALL.concat())
}

/// What compiling for the bpf target needs.
pub(crate) fn bpf_toolchain() -> Result<()> {
    core_sources::ensure()?;
    cargo_tools::bpf_linker()
}

/// The standard library for another target of the compiler.
pub(crate) fn target(target: &str) -> Result<()> {
    let library = shell::output(workspace::rustc().args(["--print", "target-libdir", "--target", target]))?;
    if Path::new(library.trim()).is_dir() {
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    shell::run(rustup.current_dir(workspace::root()).args(["target", "add", target]))
        .with_context(|| format!("the standard library for {target} is needed: `rustup target add {target}`"))
}

/// What `cargo xtask lint` checks with.
pub(crate) fn checkers() -> Result<()> {
    for component in ["rustfmt", "clippy"] {
        let subcommand = component.trim_start_matches("rust");
        if shell::output(workspace::cargo().args([subcommand, "--version"])).is_err() {
            let mut rustup = Command::new("rustup");
            shell::run(rustup.current_dir(workspace::root()).args(["component", "add", component]))
                .with_context(|| format!("{component} is needed: `rustup component add {component}`"))?;
        }
    }
    cargo_tools::cargo_deny()
}
