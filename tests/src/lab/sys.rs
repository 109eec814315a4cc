//! Entering namespaces and cgroups, with no more than one needs there: the one module of the lab with `unsafe` in it.
#![expect(unsafe_code, reason = "std has no safe way to run code between fork and exec")]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use nix::libc;
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

/// Makes the command's process enter before it executes. Of the open files it gets the standard streams alone: whoever started this
/// program may wait for the end of a pipe that it has passed on, and a daemon may outlive this program by days.
pub(crate) fn enter_on_exec(command: &mut Command, doors: Arc<Doors>) {
    let prepare = move || {
        doors.enter()?;
        close_others_on_exec()
    };
    // SAFETY: both steps make system calls on open descriptors only; they neither allocate nor take a lock.
    unsafe { command.pre_exec(prepare) };
}

/// Marks all open files but the standard streams to be closed when a program is executed (Linux 5.11).
fn close_others_on_exec() -> io::Result<()> {
    let (first, last, flags) = (3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
    // SAFETY: no file is closed here, and no memory is passed.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    #[test]
    fn what_this_program_was_given_open_is_not_passed_on() {
        // As from a shell: without the mark that closes it when another program is executed.
        let _given = nix::unistd::pipe().unwrap();
        let mut command = Command::new("sleep");
        // SAFETY: it makes one system call.
        unsafe { command.arg("60").pre_exec(close_others_on_exec) };
        let mut child = command.spawn().unwrap();
        let open = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
        let open: BTreeSet<_> = open.map(|entry| entry.unwrap().file_name()).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(open, ["0", "1", "2"].map(Into::into).into());
    }
}
