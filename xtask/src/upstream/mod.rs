//! A real Kubernetes for the lab: its programs, what they stand on, its end-to-end tests, and the images that pods run.
//!
//! Everything is built on this machine, from Go modules (`tests/upstream/*/go.mod`, which pin every version) and the
//! machine's own package mirror; no container engine and no image registry takes part. What is built is kept outside the
//! source tree, named by all that went into it (see [`cache`]), so a checkout finds what another one built.
//!
//! Programs that are started with a cluster in mind find it by two variables, see [`Tools::environment`].

mod cache;
mod go;
mod group;
mod images;
mod prune;
mod root;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum as _;

pub(crate) use group::Group;

use crate::setup;

/// Folders of programs, separated by colons as in `PATH`; the first that has a program is right.
const TOOLS: &str = "PENSTOCK_TOOLS";
/// Image archives, separated by colons, for `ctr images import`.
const IMAGES: &str = "PENSTOCK_IMAGES";
/// Where etcd, kube-apiserver and kubectl lie already: the name that test frameworks of Kubernetes know.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// What to build.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build these; everything where none is named
    groups: Vec<Group>,
    /// Build nothing: tell what is there
    #[arg(long)]
    list: bool,
}

/// What was asked for, built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tools {
    pub(crate) folders: Vec<PathBuf>,
    images: Vec<PathBuf>,
}

/// Builds what is missing, and prints where everything is, with the variables that tell programs so.
pub(crate) fn run(args: &Args) -> Result<()> {
    let groups = if args.groups.is_empty() { Group::value_variants() } else { &args.groups };
    let tools = if args.list { None } else { Some(ensure(groups)?) };
    let assets = assets()?;
    for &group in groups {
        let version = group.version()?;
        let given = assets.as_deref().filter(|assets| group.is_in(assets));
        let folder = match given {
            Some(assets) => Some(assets.to_owned()),
            None => cache::look(&group.key()?)?,
        };
        let told = folder.as_deref().map_or_else(|| Ok("not built".to_owned()), told)?;
        println!("{:<12} {version:<9} {told}", group.name());
    }
    if let Some(tools) = tools {
        for (name, value) in tools.environment()? {
            println!("{name}={}", value.display());
        }
    }
    Ok(())
}

/// Sees to it that these groups are built, and tells where they are. With containerd come the machine's own packages that a
/// node needs.
///
/// # Errors
/// Where Go or a package of the machine is missing and cannot be had, Go is too old, or a build fails.
pub(crate) fn ensure(groups: &[Group]) -> Result<Tools> {
    let assets = assets()?;
    let mut tools = Tools::default();
    tools.folders.extend(assets.clone());
    for group in groups {
        if assets.as_deref().is_some_and(|assets| group.is_in(assets)) {
            continue;
        }
        if *group == Group::Containerd {
            setup::require(setup::CLUSTER)?;
        }
        let folder = group.ensure()?;
        if *group == Group::Images {
            tools.images = images::archives(&folder)?;
        } else {
            tools.folders.push(folder);
        }
    }
    Ok(tools)
}

impl Tools {
    /// The variables that programs find all this by.
    ///
    /// # Errors
    /// Where a path has a colon in it.
    pub(crate) fn environment(&self) -> Result<[(&'static str, OsString); 2]> {
        let join = |paths: &[PathBuf]| {
            std::env::join_paths(paths).context("what is built lies in a folder with a colon in its name")
        };
        Ok([(TOOLS, join(&self.folders)?), (IMAGES, join(&self.images)?)])
    }
}

fn assets() -> Result<Option<PathBuf>> {
    let Some(folder) = std::env::var_os(ASSETS).filter(|folder| !folder.is_empty()) else { return Ok(None) };
    let folder = PathBuf::from(folder);
    ensure!(folder.is_dir(), "{ASSETS} is set to {}, which is no folder", folder.display());
    Ok(Some(folder))
}

/// A folder and the names and sizes of its files.
fn told(folder: &Path) -> Result<String> {
    let mut files = Vec::new();
    for file in cache::files(folder)? {
        let size = file.metadata().with_context(|| format!("cannot look at {}", file.display()))?.len();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push(format!("{name} ({} MB)", size.div_ceil(1 << 20)));
    }
    Ok(format!("{}\n    {}", folder.display(), files.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::Tools;

    #[test]
    fn programs_find_folders_and_archives_in_the_order_given() {
        let tools = Tools {
            folders: ["/given", "/cache/etcd"].map(PathBuf::from).to_vec(),
            images: vec![PathBuf::from("/cache/images/pause.tar")],
        };
        let [(tools_name, folders), (images_name, images)] = tools.environment().unwrap();
        assert_eq!((tools_name, folders.to_str()), ("PENSTOCK_TOOLS", Some("/given:/cache/etcd")));
        assert_eq!((images_name, images.to_str()), ("PENSTOCK_IMAGES", Some("/cache/images/pause.tar")));
    }
}
