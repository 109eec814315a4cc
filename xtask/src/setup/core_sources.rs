//! The sources of `core` for exactly the running compiler, which the bpf target is built from (`-Z build-std`).
//!
//! rustup has them as the component `rust-src`. Where rustup cannot fetch it, Debian's package `rust-src` of the same
//! version holds the same tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::Apt;
use crate::{shell, workspace};

/// Debian's package of them.
const PACKAGE: &str = "rust-src";

/// Sees to it that `-Z build-std=core` finds the sources.
pub(crate) fn ensure() -> Result<()> {
    let library = library()?;
    if is_complete(&library) {
        return Ok(());
    }
    eprintln!("the sources of `core` are not at {}", library.display());
    let asked = shell::run(Command::new("rustup").current_dir(workspace::root()).args([
        "component",
        "add",
        "rust-src",
    ]));
    let Err(refused) = asked else { return Ok(()) };
    eprintln!("rustup cannot provide them ({refused:#}); trying Debian's package rust-src");
    from_debian(&library).with_context(|| {
        format!("the sources of `core` are needed at {}: `rustup component add rust-src`", library.display())
    })
}

/// Unpacks Debian's package `rust-src` of the compiler's version and puts its `library` folder at `library`.
pub(crate) fn from_debian(library: &Path) -> Result<()> {
    let release = release()?;
    let scratch = workspace::target().join("rust-src");
    let apt = Apt::new()?;
    let package = apt
        .find(|suite| {
            let version = suite.versions_of(PACKAGE)?.into_iter().find(|version| is_of(version, &release));
            Ok(version.map(|version| (PACKAGE.to_owned(), version)))
        })?
        .with_context(|| format!("no suite of this machine's package mirror has {PACKAGE} {release}"))?;
    let unpacked = package.unpack(&scratch)?;
    let found = unpacked.join("usr/src").join(format!("rustc-{release}")).join("library");
    if !is_complete(&found) {
        bail!("the package {PACKAGE} {} holds no library folder at {}", package.version, found.display());
    }
    // Copied aside and renamed, so that an interrupted copy is never taken for the whole.
    let aside = library.with_extension("partial");
    let parent = library.parent().context("the library folder has no parent")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    for stale in [&aside, library] {
        if stale.exists() {
            fs::remove_dir_all(stale).with_context(|| format!("cannot remove {}", stale.display()))?;
        }
    }
    shell::run(Command::new("cp").arg("-r").arg(&found).arg(&aside))?;
    fs::rename(&aside, library).with_context(|| format!("cannot make {}", library.display()))?;
    fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
    eprintln!("sources of `core` {release} are at {}", library.display());
    Ok(())
}

/// Where rustc looks for the sources.
fn library() -> Result<PathBuf> {
    let sysroot = shell::output(workspace::rustc().args(["--print", "sysroot"]))?;
    Ok(Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library"))
}

/// The compiler's version, such as `1.95.0`.
fn release() -> Result<String> {
    let verbose = shell::output(workspace::rustc().args(["--version", "--verbose"]))?;
    let release = verbose.lines().find_map(|line| line.strip_prefix("release: "));
    Ok(release.with_context(|| format!("rustc names no release: {verbose}"))?.to_owned())
}

/// Whether Debian's package version (`1.95.0+dfsg1-2~bpo13+1`) is of the upstream `release` (`1.95.0`).
fn is_of(version: &str, release: &str) -> bool {
    version.strip_prefix(release).is_some_and(|rest| rest.starts_with(['+', '-']))
}

fn is_complete(library: &Path) -> bool {
    library.join("core/src/lib.rs").is_file() && library.join("Cargo.lock").is_file()
}

#[cfg(test)]
mod tests {
    use super::is_of;

    #[test]
    fn only_the_package_of_exactly_the_compilers_version_fits() {
        assert!(is_of("1.95.0+dfsg1-2~bpo13+1", "1.95.0"));
        assert!(is_of("1.95.0-1", "1.95.0"));
        assert!(!is_of("1.95.01+dfsg1-1", "1.95.0"));
        assert!(!is_of("1.95.0~beta.1+dfsg1-1", "1.95.0"));
        assert!(!is_of("1.96.1+dfsg1-2~bpo13+1", "1.95.0"));
    }
}
