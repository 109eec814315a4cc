//! One agent a node.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::Path;
use std::process;

use crate::Error;

/// The right to serve this node, given up when dropped or when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of this run folder (made where it is missing) and writes our process id into `agent.pid` there.
    ///
    /// # Errors
    /// [`Error::Locked`] with the other's process id where another agent has it.
    pub fn take(run_folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(run_folder).map_err(Error::system("mkdir", run_folder.display()))?;
        let path = run_folder.join("agent.pid");
        // Not truncated: the file is the other agent's until the lock is ours.
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::system("open", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
                return Err(Error::Locked { path, pid });
            }
            Err(TryLockError::Error(error)) => return Err(Error::system("flock", path.display())(error)),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", process::id()))
            .map_err(Error::system("write", path.display()))?;
        Ok(Self { _file: file })
    }

    /// The process id of the agent that has the lock, if one has.
    #[must_use]
    pub fn holder(run_folder: &Path) -> Option<u32> {
        let path = run_folder.join("agent.pid");
        let file = File::open(&path).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => fs::read_to_string(&path).ok()?.trim().parse().ok(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_refused_and_told_who_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        match Lock::take(folder.path()) {
            Err(Error::Locked { pid, .. }) => assert_eq!(pid, Some(process::id())),
            other => panic!("{other:?}"),
        }
        assert_eq!(Lock::holder(folder.path()), Some(process::id()));
        drop(lock);
        assert_eq!(Lock::holder(folder.path()), None);
        Lock::take(folder.path()).unwrap();
    }
}
