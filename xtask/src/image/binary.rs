//! The agent as the image holds it: static, and the same bytes wherever it is built.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{bpf, build, remap, setup, shell, workspace};

/// musl inside: nothing of the system is linked, and names are looked up without `/etc/nsswitch.conf` and its libraries.
const TARGET: &str = "x86_64-unknown-linux-musl";

/// That target, as OCI spells it.
pub(super) const ARCHITECTURE: &str = "amd64";

/// The profile in the workspace's `Cargo.toml`.
const PROFILE: &str = "image";

/// Builds the agent with the eBPF programs inside and returns the binary's path.
///
/// # Errors
/// The toolchain is not complete, or something does not compile.
pub(super) fn build() -> Result<PathBuf> {
    setup::target(TARGET)?;
    let object = bpf::build(workspace::PROGRAMS)?;
    let folders = remap::folders()?;
    let flags: Vec<_> = folders.iter().map(remap::Folder::for_rustc).collect();
    let c_flags: Vec<_> = folders.iter().map(remap::Folder::for_cc).collect();
    let variable = |name: &str| format!("{name}_{}", TARGET.replace('-', "_"));
    let mut cargo = workspace::cargo();
    cargo
        .args(["build", "--locked", "--package", workspace::AGENT])
        .args(["--target", TARGET, "--profile", PROFILE])
        .env(build::OBJECT, &object)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        // The parts in C and assembly call no C library: the system's own compiler does, musl's wrapper is not needed.
        .env(variable("CC"), "cc")
        .env(variable("CFLAGS"), c_flags.join(" "));
    shell::run(&mut cargo)?;
    let binary = workspace::target().join(TARGET).join(PROFILE).join(workspace::AGENT);
    binary.canonicalize().with_context(|| format!("the build left no binary at {}", binary.display()))
}
