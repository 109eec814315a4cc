//! Control groups: the socket hooks of a node serve the processes below its group.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::cluster::wait_until;

/// Where the cgroup2 tree is mounted: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` beside a version 1 tree.
pub(crate) fn root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading /proc/self/mounts")?;
    mounts
        .lines()
        .find_map(|line| {
            let mut fields = line.split(' ');
            let (_, path, kind) = (fields.next()?, fields.next()?, fields.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(path))
        })
        .context("no cgroup2 tree is mounted; the lab needs one for the socket hooks")
}

/// Makes a group.
pub(crate) fn create(path: &Path) -> Result<()> {
    fs::create_dir(path).with_context(|| format!("making the cgroup {}", path.display()))
}

/// Kills every process in the group and below, then removes it.
pub(crate) fn remove(path: &Path) -> Result<()> {
    fs::write(path.join("cgroup.kill"), "1")
        .with_context(|| format!("ending the processes of {}", path.display()))?;
    let events = path.join("cgroup.events");
    wait_until("the processes of a cgroup have ended", Duration::from_secs(10), || {
        Ok(fs::read_to_string(&events)?.lines().any(|line| line == "populated 0"))
    })?;
    remove_tree(path)
}

fn remove_tree(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path).with_context(|| format!("listing {}", path.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path).with_context(|| format!("removing the cgroup {}", path.display()))
}
