//! Entering namespaces and cgroups: the one module of the lab with `unsafe` in it.
#![expect(unsafe_code, reason = "std has no safe way to run code between fork and exec")]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use nix::sched::{CloneFlags, setns};

/// Open handles of what a process is to enter.
#[derive(Debug)]
pub(crate) struct Doors {
    /// The network namespace.
    pub(crate) net: File,
    /// The mount namespace and the cgroup namespace, where they are not the starter's.
    pub(crate) mounts: Option<(File, File)>,
    /// `cgroup.procs` of the cgroup, open for writing.
    pub(crate) cgroup: File,
}

impl Doors {
    fn enter(&self) -> io::Result<()> {
        // "0" stands for the writer. The group first: its file is open, whichever the mount namespace.
        nix::unistd::write(&self.cgroup, b"0")?;
        setns(self.net.as_fd(), CloneFlags::CLONE_NEWNET)?;
        if let Some((mounts, cgroups)) = &self.mounts {
            setns(cgroups.as_fd(), CloneFlags::CLONE_NEWCGROUP)?;
            setns(mounts.as_fd(), CloneFlags::CLONE_NEWNS)?;
        }
        Ok(())
    }
}

/// Makes the command's process enter before it executes.
pub(crate) fn enter_on_exec(command: &mut Command, doors: Arc<Doors>) {
    // SAFETY: `enter` makes system calls on open descriptors only; it neither allocates nor takes a lock.
    unsafe { command.pre_exec(move || doors.enter()) };
}
