//! The images that a cluster's pods run: archives, since nothing is pulled from anywhere.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Names the archives that every node gets.
pub const IMAGES: &str = "PENSTOCK_IMAGES";
/// Names the archive of the agent's image.
pub const AGENT_IMAGE: &str = "PENSTOCK_IMAGE";

/// Image archives, and the names of what is in them.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    shared: Vec<Archive>,
    own: Vec<Archive>,
}

/// An archive, and the names of the images in it.
#[derive(Clone, Debug)]
struct Archive {
    path: PathBuf,
    names: Vec<String>,
}

impl Images {
    /// What the environment names.
    pub(crate) fn from_environment() -> Result<Self> {
        let (shared, own) = (named_by(IMAGES)?, named_by(AGENT_IMAGE)?);
        ensure!(!shared.is_empty(), "no images: {IMAGES} names none; `cargo xtask cluster up` builds them");
        Ok(Self { shared, own })
    }

    /// The archives that stay as they are from one cluster to the next.
    pub(crate) fn shared(&self) -> impl Iterator<Item = &Path> {
        self.shared.iter().map(|archive| archive.path.as_path())
    }

    /// The archive of the agent, which is another one with each build.
    pub(crate) fn own(&self) -> impl Iterator<Item = &Path> {
        self.own.iter().map(|archive| archive.path.as_path())
    }

    /// The image that holds a pod's namespaces.
    pub(crate) fn pause(&self) -> Result<&str> {
        self.named("pause")
    }

    /// The full name of the image whose path ends in `name`, whatever its registry and its tag.
    pub(crate) fn named(&self, name: &str) -> Result<&str> {
        let names = self.shared.iter().chain(&self.own).flat_map(|archive| &archive.names);
        let mut names = names.map(String::as_str);
        let found = names.find(|full| {
            let path = full.rsplit_once(':').map_or(*full, |(path, _)| path);
            path.rsplit('/').next() == Some(name)
        });
        found.with_context(|| format!("no image {name} is in what {IMAGES} names"))
    }
}

/// The archives that a variable names.
fn named_by(variable: &str) -> Result<Vec<Archive>> {
    let list = std::env::var_os(variable).unwrap_or_default();
    std::env::split_paths(&list)
        .filter(|path| !path.as_os_str().is_empty())
        .map(|path| Ok(Archive { names: names(&path)?, path }))
        .collect()
}

/// The names of an archive's images, from docker's `manifest.json` in it.
fn names(archive: &Path) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Entry {
        repo_tags: Vec<String>,
    }
    let output = Command::new("tar")
        .arg("--extract")
        .arg("--to-stdout")
        .arg("--file")
        .arg(archive)
        .arg("manifest.json")
        .stdin(Stdio::null())
        .output()
        .context("starting tar")?;
    ensure!(
        output.status.success(),
        "{} is no archive of images: {}",
        archive.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let entries: Vec<Entry> = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("reading manifest.json of {}", archive.display()))?;
    Ok(entries.into_iter().flat_map(|entry| entry.repo_tags).collect())
}
