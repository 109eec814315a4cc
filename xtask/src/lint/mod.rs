//! `cargo xtask lint`: formatting, the direction of dependencies, clippy for both targets, docs, cargo-deny.

mod direction;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::{bpf, setup, shell, workspace};

/// What to check.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these checks; all where none is named
    #[arg(value_enum)]
    checks: Vec<Check>,
}

/// One check.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Check {
    /// Formatting
    Format,
    /// Dependencies point one way, and what is pure stays pure
    Direction,
    /// Clippy, for the host
    Host,
    /// Clippy, for the bpf target
    Bpf,
    /// The documentation builds without a warning
    Docs,
    /// Licences, bans and sources of dependencies, by deny.toml
    Deny,
}

/// Runs the checks, all of them even where one fails.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::checkers()?;
    let checks = if args.checks.is_empty() { Check::value_variants() } else { &args.checks };
    let mut failed = Vec::new();
    for check in checks {
        if let Err(error) = check.run() {
            eprintln!("error: {error:#}");
            failed.push(format!("{check:?}").to_lowercase());
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

impl Check {
    fn run(self) -> Result<()> {
        let mut cargo = workspace::cargo();
        match self {
            Self::Format => shell::run(cargo.args(["fmt", "--all", "--check"])),
            Self::Direction => dependencies(),
            Self::Host => {
                cargo.arg("clippy").args(workspace::HOST).args(["--all-targets", "--", "--deny", "warnings"]);
                shell::run(&mut cargo)
            }
            Self::Bpf => {
                setup::bpf_toolchain()?;
                for package in [workspace::PROGRAMS, workspace::YARDSTICKS] {
                    shell::run(bpf::cargo("clippy", package)?.args(["--", "--deny", "warnings"]))?;
                }
                Ok(())
            }
            Self::Docs => {
                cargo.args(["doc", "--no-deps"]).args(workspace::HOST).env("RUSTDOCFLAGS", "--deny warnings");
                shell::run(&mut cargo)
            }
            // Advisories are left out: they need a database from the network.
            Self::Deny => {
                shell::run(cargo.args(["deny", "--locked", "check", "bans", "licenses", "sources"]))
            }
        }
    }
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
