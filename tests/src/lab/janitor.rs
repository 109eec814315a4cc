//! Clean-up that outlives its run: a process that waits for the lab's process to end, however it ends.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};

use anyhow::{Context, Result};

use super::run::Run;
use crate::probe::{self, Task};

/// What the lab says to its janitor where everything is to stay.
const KEEP: &[u8] = b"keep";

/// The lab's end of its janitor.
#[derive(Debug)]
pub(crate) struct Janitor {
    child: Child,
}

impl Janitor {
    /// Starts a janitor for the run. It removes the run when this process ends: by a return, a panic or any signal.
    pub(crate) fn start(run: &Run) -> Result<Self> {
        let child = probe::command(&Task::Janitor { run: run.to_string() })?
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // A process group of its own: an interruption from the keyboard is not for it.
            .process_group(0)
            .spawn()
            .context("starting the janitor")?;
        Ok(Self { child })
    }

    /// Lets the janitor go without removing anything.
    pub(crate) fn dismiss(mut self) -> Result<()> {
        let mut pipe = self.child.stdin.take().context("the janitor has no pipe")?;
        pipe.write_all(KEEP).context("dismissing the janitor")
    }
}

/// Lets the janitor do its work now, and waits for it.
impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // A janitor that was killed has no status worth telling; the next sweep does its work.
        let _ = self.child.wait();
    }
}

/// The janitor's process: waits until its standard input ends, then removes the run.
pub fn janitor(run: &str) -> Result<()> {
    let mut said = Vec::new();
    std::io::stdin().read_to_end(&mut said)?;
    if said == KEEP {
        return Ok(());
    }
    run.parse::<Run>()?.remove()
}
