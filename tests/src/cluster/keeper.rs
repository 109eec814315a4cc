//! What a node's processes see of the machine: a process that makes the node's namespaces and holds them.
//!
//! Invariants:
//! - Nothing that runs on a node changes the machine: its mounts are its own, `/etc`, `/opt` and `/var` are overlays, and
//!   kernel settings that are not a network namespace's own are read-only, or plain files where kubelet would set them.
//! - A node's own groups are the roots of the trees under `/sys/fs/cgroup`, so that what is attached at "the root" there
//!   touches that node alone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use serde::{Deserialize, Serialize};

use super::cni;
use crate::lab::cgroup::{self, Tree, Version};

/// The group of a node's daemons, below the node's own. The root itself has no process: only so may it give limits to the
/// groups below it.
pub(crate) const HOST_GROUP: &str = "host";
/// The group of the keeper.
pub(crate) const KEEPER_GROUP: &str = "keeper";

/// Where the node's files are on the machine, below its directory, and where the node sees them.
pub(crate) const BOUND: [(&str, &str); 4] =
    [("kubelet", "/var/lib/kubelet"), ("containerd", "/var/lib/containerd"), cni::CONFIG, cni::PLUGINS];
/// Folders of the machine that the node sees, and writes to a layer of its own.
pub(crate) const OVERLAID: [&str; 3] = ["/etc", "/opt", "/var"];

/// Settings of the whole kernel, as kubelet wants them (`setupKernelTunables` in its `container_manager_linux.go`). It
/// finds them so, and the kernel's own remain as they are.
const TUNABLES: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// What a keeper is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Keep {
    /// The node's name.
    pub hostname: String,
    /// The node's directory on the machine.
    pub directory: PathBuf,
}

/// The keeper's process: it starts in the node's network namespace and groups, makes the other namespaces, says `ready`,
/// and stays until it is killed.
pub fn keep(keep: &Keep) -> Result<()> {
    let trees = cgroup::trees()?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP | CloneFlags::CLONE_NEWUTS)
        .context("unsharing mounts, cgroups and the host's name")?;
    nix::unistd::sethostname(&keep.hostname).context("setting the host's name")?;
    change("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE).context("making mounts private")?;
    for folder in OVERLAID {
        overlay(&keep.directory, folder)?;
    }
    for (source, target) in BOUND {
        fs::create_dir_all(target).with_context(|| format!("making {target}"))?;
        bind(&keep.directory.join(source), Path::new(target), MsFlags::MS_REC)?;
    }
    umount2("/sys", MntFlags::MNT_DETACH).context("unmounting /sys")?;
    mount_new("sysfs", Path::new("/sys"), "")?;
    mount_groups(&trees)?;
    mount_new("bpf", Path::new("/sys/fs/bpf"), "")?;
    clear_run()?;
    mount_new("tmpfs", Path::new("/run"), "mode=755")?;
    // Where `ip netns` and containerd look for names.
    fs::create_dir("/run/netns").context("making /run/netns")?;
    protect_settings(&keep.directory)?;
    // As systemd has it, and as pods with mounts that propagate expect it.
    change("/", MsFlags::MS_REC | MsFlags::MS_SHARED).context("making mounts shared")?;
    for tree in &trees {
        let procs = seen(&trees, tree)?.join(KEEPER_GROUP).join("cgroup.procs");
        fs::write(&procs, "0").with_context(|| format!("moving to the group of {}", procs.display()))?;
    }
    println!("ready");
    loop {
        std::thread::park();
    }
}

/// Lets go of what is mounted below `/run`: names of network namespaces above all, which would live as long as the node.
fn clear_run() -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading /proc/self/mounts")?;
    let below =
        mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|path| path.starts_with("/run/"));
    for path in below.collect::<Vec<_>>().into_iter().rev() {
        // A mount that is below another one has gone with it.
        let _ = umount2(path, MntFlags::MNT_DETACH);
    }
    Ok(())
}

/// Where the node sees a tree of groups: where the machine does.
fn seen(trees: &[Tree], tree: &Tree) -> Result<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    if trees.len() == 1 {
        return Ok(root.to_owned());
    }
    let name = tree.mount.file_name().context("a tree of groups is mounted at the root")?;
    Ok(root.join(name))
}

/// Mounts the trees of groups again, from inside the cgroup namespace.
fn mount_groups(trees: &[Tree]) -> Result<()> {
    if trees.len() > 1 {
        mount_new("tmpfs", Path::new("/sys/fs/cgroup"), "mode=755")?;
    }
    for tree in trees {
        let target = seen(trees, tree)?;
        fs::create_dir_all(&target).with_context(|| format!("making {}", target.display()))?;
        match tree.version {
            Version::Two => mount_new("cgroup2", &target, "")?,
            Version::One if tree.options.starts_with("name=") => {
                mount_new("cgroup", &target, &format!("none,{}", tree.options))?;
            }
            Version::One => mount_new("cgroup", &target, &tree.options)?,
        }
    }
    Ok(())
}

/// Makes the kernel's settings read-only, but for those of the network namespace, and lets kubelet find what it wants.
fn protect_settings(directory: &Path) -> Result<()> {
    let root = Path::new("/proc/sys");
    for entry in fs::read_dir(root).context("listing /proc/sys")? {
        let entry = entry?;
        if entry.file_name() != "net" {
            bind_read_only(&entry.path(), &entry.path())?;
        }
    }
    for (setting, value) in TUNABLES {
        let file = directory.join("sysctl").join(setting.replace('/', "."));
        fs::write(&file, format!("{value}\n")).with_context(|| format!("writing {}", file.display()))?;
        bind(&file, &root.join(setting), MsFlags::empty())?;
    }
    Ok(())
}

/// Puts a layer of the node's own over a folder.
fn overlay(directory: &Path, folder: &str) -> Result<()> {
    let layer = directory.join("overlay").join(folder.trim_start_matches('/'));
    let (upper, work) = (layer.join("upper"), layer.join("work"));
    for folder in [&upper, &work] {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let options = format!("lowerdir={folder},upperdir={},workdir={}", upper.display(), work.display());
    mount_new("overlay", Path::new(folder), &options)
}

fn mount_new(kind: &str, target: &Path, options: &str) -> Result<()> {
    mount(Some(kind), target, Some(kind), MsFlags::empty(), Some(options))
        .with_context(|| format!("mounting {kind} at {}", target.display()))
}

fn bind(source: &Path, target: &Path, flags: MsFlags) -> Result<()> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND | flags, None::<&str>)
        .with_context(|| format!("binding {} to {}", source.display(), target.display()))
}

fn bind_read_only(source: &Path, target: &Path) -> Result<()> {
    bind(source, target, MsFlags::empty())?;
    change(target, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY)
        .with_context(|| format!("making {} read-only", target.display()))
}

/// Changes a mount that is there.
fn change(target: impl AsRef<Path>, flags: MsFlags) -> nix::Result<()> {
    mount(None::<&str>, target.as_ref(), None::<&str>, flags, None::<&str>)
}
