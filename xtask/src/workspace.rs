//! Where things are in the repository, and the `cargo` that started this chore.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The crate of the eBPF programs.
pub(crate) const PROGRAMS: &str = "penstock-programs";
/// The agent's crate, and its binary.
pub(crate) const AGENT: &str = "penstock";
/// The crate of lab, integration tests, demo and benchmarks.
pub(crate) const TESTS: &str = "penstock-tests";
/// The crate of the minimal eBPF programs that the benchmark compares with.
pub(crate) const YARDSTICKS: &str = "penstock-yardsticks";
/// What cargo is asked for to take all crates that are compiled for the host.
pub(crate) const HOST: &[&str] = &["--workspace", "--exclude", PROGRAMS, "--exclude", YARDSTICKS];

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

/// Cargo's target directory.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// The `cargo` of the pinned toolchain, started in the repository's root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// The `rustc` of the pinned toolchain.
pub(crate) fn rustc() -> Command {
    let mut command = Command::new("rustc");
    command.current_dir(root());
    command
}
