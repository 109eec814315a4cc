//! The system's own tools: those on the search path, or those of the host below another root.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Where tools are below a host's root, and its search path.
const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Where to find tools.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tools {
    host_root: Option<PathBuf>,
}

impl Tools {
    /// Tools on the search path, then those of the host whose root is mounted there.
    pub(crate) fn new(host_root: Option<&Path>) -> Self {
        Self { host_root: host_root.map(Path::to_path_buf) }
    }

    /// The root of the host, where it is another.
    pub(super) fn host_root(&self) -> Option<&Path> {
        self.host_root.as_deref()
    }

    /// Runs a tool and gives what it prints; `None` where there is no such tool.
    ///
    /// # Errors
    /// It cannot be started, or fails.
    pub(super) fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<Option<String>> {
        let Some(mut command) = self.command(program) else { return Ok(None) };
        let mut child = command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {program}"))?;
        // The input is read whole before anything is printed, by each of the tools.
        let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().with_context(|| format!("wait for {program}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{program} {}: {}: {}", arguments.join(" "), output.status, said.trim());
        }
        written.with_context(|| format!("write to {program}"))?;
        Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    fn command(&self, program: &str) -> Option<Command> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
            return Some(Command::new(program));
        }
        let root = self.host_root.as_deref()?;
        // A link there may be one from the root, so where it leads is not looked at.
        let found = |folder: &&&str| {
            root.join(folder.trim_start_matches('/')).join(program).symlink_metadata().is_ok()
        };
        let folder = FOLDERS.iter().find(found)?;
        let mut command = Command::new("/proc/self/exe");
        command.arg("in-root").arg(root).arg(format!("{folder}/{program}"));
        Some(command)
    }
}

/// Becomes a program below another root: what a process does between its start and the tool's. It has the search path of
/// that root, so that the tool finds others.
///
/// # Errors
/// The root cannot be entered, which takes `CAP_SYS_CHROOT`, or the program not be started.
pub(crate) fn enter(root: &Path, program: &OsStr, arguments: &[std::ffi::OsString]) -> Result<()> {
    ensure!(root.is_dir(), "{} is no directory", root.display());
    std::os::unix::fs::chroot(root)
        .with_context(|| format!("enter {}, which takes CAP_SYS_CHROOT", root.display()))?;
    std::env::set_current_dir("/").context("enter the root")?;
    let error = Command::new(program).args(arguments).env("PATH", FOLDERS.join(":")).exec();
    Err(error).with_context(|| format!("start {}", Path::new(program).display()))
}
