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
    /// Further namespaces with their kinds, in the order of entering; where they are not the starter's.
    pub(crate) namespaces: Vec<(File, CloneFlags)>,
    /// `cgroup.procs` of the cgroup, open for writing; one file for each tree of groups.
    pub(crate) cgroups: Vec<File>,
}

impl Doors {
    fn enter(&self) -> io::Result<()> {
        // "0" stands for the writer. The groups first: their files are open, whichever the mount namespace.
        for cgroup in &self.cgroups {
            nix::unistd::write(cgroup, b"0")?;
        }
        setns(self.net.as_fd(), CloneFlags::CLONE_NEWNET)?;
        for (namespace, kind) in &self.namespaces {
            setns(namespace.as_fd(), *kind)?;
        }
        Ok(())
    }
}

/// Makes the command's process enter before it executes.
pub(crate) fn enter_on_exec(command: &mut Command, doors: Arc<Doors>) {
    // SAFETY: `enter` makes system calls on open descriptors only; it neither allocates nor takes a lock.
    unsafe { command.pre_exec(move || doors.enter()) };
}
