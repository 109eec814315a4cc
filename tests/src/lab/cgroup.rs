//! Control groups: the socket hooks of a node serve the processes below its group.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::cluster::wait_until;

/// Whose processes and limits a tree of groups holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// A tree for some controllers.
    One,
    /// The tree that the socket hooks go by.
    Two,
}

/// One of the machine's trees of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) version: Version,
    /// Where it is mounted.
    pub(crate) mount: PathBuf,
    /// A version 1 tree's controllers or its name, as `mount` takes them: `cpu,cpuacct`, `name=systemd`.
    pub(crate) options: String,
    /// This process's own group.
    own: PathBuf,
}

impl Tree {
    /// Where the group of this name belongs: at the root of the version 2 tree; else below this process's own group, so
    /// that the limits which hold for this process hold for what it starts. (In the version 2 tree a group of processes
    /// can have no limits for groups below it.)
    pub(crate) fn group(&self, name: &str) -> PathBuf {
        match self.version {
            Version::One => self.own.join(name),
            Version::Two => self.mount.join(name),
        }
    }

    /// Makes a group that processes can be moved into.
    pub(crate) fn create(&self, group: &Path) -> Result<()> {
        create(group)?;
        if self.options.split(',').any(|controller| controller == "cpuset") {
            // A new group has no processor and no memory, and takes no process before it has.
            let parent = group.parent().context("a group has a parent")?;
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let value = fs::read(parent.join(file)).with_context(|| format!("reading {file}"))?;
                fs::write(group.join(file), value).with_context(|| format!("setting {file}"))?;
            }
        }
        Ok(())
    }
}

/// All trees that are mounted.
pub(crate) fn trees() -> Result<Vec<Tree>> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("reading {path}"));
    let trees = parse_trees(&read("/proc/self/mounts")?, &read("/proc/self/cgroup")?);
    ensure!(
        trees.iter().any(|tree| tree.version == Version::Two),
        "no cgroup2 tree is mounted; a node needs one for the socket hooks"
    );
    Ok(trees)
}

/// The trees, from the mounts of this process and from its own groups.
fn parse_trees(mounts: &str, groups: &str) -> Vec<Tree> {
    groups
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (options, own) = (parts.next()?, parts.next()?);
            let version = if options.is_empty() { Version::Two } else { Version::One };
            let mount = mounts.lines().find_map(|line| {
                let mut fields = line.split(' ').skip(1);
                let (path, kind, flags) = (fields.next()?, fields.next()?, fields.next()?);
                let is_it = match version {
                    Version::One => {
                        let has = |option| flags.split(',').any(|flag| flag == option);
                        kind == "cgroup" && options.split(',').all(has)
                    }
                    Version::Two => kind == "cgroup2",
                };
                is_it.then(|| PathBuf::from(path))
            })?;
            let own = mount.join(own.trim_start_matches('/'));
            Some(Tree { version, mount, options: options.to_owned(), own })
        })
        .collect()
}

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

/// Removes a group of a version 1 tree and those below it. Its processes have been ended: they were in a group of the
/// version 2 tree too.
pub(crate) fn remove_emptied(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let mut last = Ok(());
    wait_until("a cgroup is empty", Duration::from_secs(10), || {
        last = remove_tree(path);
        Ok(last.is_ok())
    })
    .or(last)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trees_of_a_machine_with_both_versions_are_found() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0\n\
            cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n\
            cgroup /sys/fs/cgroup/systemd cgroup rw,xattr,name=systemd 0 0\n\
            cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
        let groups = "9:name=systemd:/\n5:pids:/\n2:cpu,cpuacct:/jobs/1\n0::/session\n";
        let trees = parse_trees(mounts, groups);
        let places: Vec<_> = trees.iter().map(|tree| tree.group("pst-1-1-n1")).collect();
        let expected = [
            "/sys/fs/cgroup/systemd/pst-1-1-n1",
            "/sys/fs/cgroup/cpu,cpuacct/jobs/1/pst-1-1-n1",
            "/sys/fs/cgroup/unified/pst-1-1-n1",
        ];
        assert_eq!(places, expected.map(PathBuf::from), "a tree that is not mounted is none");
    }
}
