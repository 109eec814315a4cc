//! Fixed names for the folders that compilers write into what they make, so that one source gives the same bytes wherever it
//! is built.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{shell, workspace};

/// A folder of this machine, and what stands for it.
pub(crate) struct Folder {
    here: PathBuf,
    name: String,
}

impl Folder {
    /// As rustc is told.
    pub(crate) fn for_rustc(&self) -> String {
        format!("--remap-path-prefix={}={}", self.here.display(), self.name)
    }

    /// As GCC and Clang are told.
    pub(crate) fn for_cc(&self) -> String {
        format!("-ffile-prefix-map={}={}", self.here.display(), self.name)
    }
}

/// Every folder that sources are read from. Of two that fit, compilers take the one that comes later.
///
/// # Errors
/// There is no rustc, or no home to look for crates in.
pub(crate) fn folders() -> Result<Vec<Folder>> {
    let folder = |here: &Path, name: &str| Folder { here: here.to_owned(), name: name.to_owned() };
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let crates = home
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")))
        .context("there is no CARGO_HOME and no home: set one")?;
    let sysroot = shell::output(workspace::rustc().args(["--print", "sysroot"]))?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib/src/rust");
    Ok(vec![
        folder(workspace::root(), "/penstock"),
        // Below the checkout mostly, hence behind it.
        folder(&workspace::target(), "/target"),
        folder(&crates, "/cargo"),
        // What stands in a standard library that is built already.
        folder(&library, &format!("/rustc/{}", commit(workspace::rustc())?)),
    ])
}

/// The commit that the compiler was built from.
fn commit(mut rustc: Command) -> Result<String> {
    let verbose = shell::output(rustc.args(["--version", "--verbose"]))?;
    let commit = verbose.lines().find_map(|line| line.strip_prefix("commit-hash: "));
    Ok(commit.with_context(|| format!("rustc names no commit: {verbose}"))?.to_owned())
}
