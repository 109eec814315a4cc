//! The same build in another folder, to see whether it gives the same bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{shell, workspace};

/// Copies the sources, builds the image there with a target directory of its own, and returns the archive's path.
///
/// The target directory is kept: asked again, only what has changed is built.
///
/// # Errors
/// This is no git checkout, or the copy does not build.
pub(super) fn build(tag: &str) -> Result<PathBuf> {
    let folder = workspace::target().join("oci").join("elsewhere");
    let (checkout, target) = (folder.join("another-checkout"), folder.join("target"));
    copy_sources(&checkout)?;
    let archive = folder.join("penstock.tar");
    let mut cargo = workspace::cargo();
    cargo
        .current_dir(&checkout)
        .env("CARGO_TARGET_DIR", &target)
        .args(["run", "--quiet", "--locked", "--package", "xtask", "--", "image", "--tag", tag, "--output"])
        .arg(&archive);
    shell::run(&mut cargo)?;
    Ok(archive)
}

/// Copies what git knows of, and what is new and not ignored, as it is now: a change need not be committed to be checked.
fn copy_sources(checkout: &Path) -> Result<()> {
    if checkout.exists() {
        fs::remove_dir_all(checkout).with_context(|| format!("cannot remove {}", checkout.display()))?;
    }
    let mut git = Command::new("git");
    git.current_dir(workspace::root()).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let files = shell::output(&mut git).context("which files are sources? --check asks git")?;
    for file in files.split_terminator('\0') {
        let (from, to) = (workspace::root().join(file), checkout.join(file));
        // A file that was removed and not yet committed.
        if !from.exists() {
            continue;
        }
        let parent = to.parent().context("a file has a folder")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}
