//! Long-running programs of the cluster, which tests stop, pause and start again.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{Place, Process};

/// A program with its arguments and its place, running or not. It ends with its handle.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    place: Place,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    log: PathBuf,
    process: Mutex<Option<Process>>,
}

impl Daemon {
    /// A program that does not run yet. What it says is appended to `log`.
    pub(crate) fn new(
        name: impl Into<String>,
        place: &Place,
        program: PathBuf,
        arguments: Vec<String>,
        log: PathBuf,
    ) -> Self {
        Self {
            name: name.into(),
            place: place.clone(),
            program,
            arguments,
            environment: Vec::new(),
            log,
            process: Mutex::new(None),
        }
    }

    /// With a variable of its environment.
    #[must_use]
    pub(crate) fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Starts it. It may not be ready for anything yet when this returns.
    pub fn start(&self) -> Result<()> {
        self.start_with(&[])
    }

    /// As [`Daemon::start`], with further arguments.
    pub fn start_with(&self, more: &[&str]) -> Result<()> {
        let mut process = self.process();
        ensure!(process.as_mut().is_none_or(|process| !process.is_running()), "{} runs already", self.name);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("opening {}", self.log.display()))?;
        let mut command = self.place.command(&self.program);
        let child = command
            .args(&self.arguments)
            .args(more)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A keyboard's interruption is for the one who holds the cluster, who then ends everything.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", self.name))?;
        *process = Some(Process::adopt(child, &self.name));
        Ok(())
    }

    /// Ends it by SIGTERM and waits for that.
    pub fn stop(&self) -> Result<()> {
        self.end(Signal::SIGTERM)
    }

    /// Ends it by a signal and waits for that.
    pub fn end(&self, signal: Signal) -> Result<()> {
        let mut process = self.process().take().with_context(|| format!("{} does not run", self.name))?;
        process.end(signal).map(drop)
    }

    /// Holds it: it keeps its sockets, and answers nothing.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on after a pause.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// An error, with what it said last, where it has ended by itself.
    pub fn check(&self) -> Result<()> {
        if let Some(process) = self.process().as_mut()
            && !process.is_running()
        {
            bail!(
                "{} has ended by itself; its log, {}, ends with:\n{}",
                self.name,
                self.log.display(),
                self.tail()
            );
        }
        Ok(())
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Process::pid)
    }

    /// Where it writes what it says.
    pub fn log(&self) -> &std::path::Path {
        &self.log
    }

    /// Lets it go on after this program's end.
    pub(crate) fn leave(&self) {
        if let Some(process) = self.process().take() {
            process.leave();
        }
    }

    /// The last lines of its log.
    fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().with_context(|| format!("{} does not run", self.name))?;
        let pid = Pid::from_raw(pid.try_into().context("a process id out of range")?);
        kill(pid, signal).with_context(|| format!("sending {signal} to {}", self.name))
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        // The guarded value is a process handle, whole at any time.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
