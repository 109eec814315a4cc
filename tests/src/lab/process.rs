//! Processes inside nodes and pods.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::probe::Answer;

/// A process that ends with its handle.
#[derive(Debug)]
pub struct Process {
    child: Child,
    what: String,
    output: Option<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts the command. Its standard output is read by [`Process::line`].
    pub(crate) fn start(mut command: Command, what: &str) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {what}"))?;
        Ok(Self::adopt_with_output(child, what))
    }

    /// Takes over a process that was started already.
    pub fn adopt(child: Child, what: &str) -> Self {
        Self { child, what: what.to_owned(), output: None }
    }

    /// As [`Process::adopt`], of a process whose standard output is a pipe.
    pub fn adopt_with_output(mut child: Child, what: &str) -> Self {
        let output = child.stdout.take().map(BufReader::new);
        Self { child, what: what.to_owned(), output }
    }

    /// The next line of its output; `None` at the end.
    pub fn line(&mut self) -> Result<Option<String>> {
        let Some(output) = &mut self.output else { return Ok(None) };
        let mut line = String::new();
        let read = output.read_line(&mut line).with_context(|| format!("reading from {}", self.what))?;
        Ok((read > 0).then(|| line.trim_end().to_owned()))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal and waits for the end.
    pub fn end(&mut self, signal: Signal) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        let pid = Pid::from_raw(self.child.id().try_into().context("a process id out of range")?);
        kill(pid, signal).with_context(|| format!("sending {signal} to {}", self.what))?;
        self.wait(Duration::from_secs(20))
    }

    /// Lets it go on after this program's end.
    pub fn leave(self) {
        std::mem::forget(self);
    }

    /// Waits for the end, at most this long.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} has not ended in {limit:?}", self.what);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left to report to.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Requests that go on until they are stopped.
#[derive(Debug)]
pub struct Load {
    process: Process,
    answers: Arc<Mutex<Vec<Answer>>>,
    reader: Option<JoinHandle<Result<()>>>,
}

impl Load {
    /// Starts a client, which ends when its standard input does: a process of this build's, here or in a container.
    pub fn start(mut command: Command) -> Result<Self> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting the client")?;
        let output = BufReader::new(child.stdout.take().context("the client has no output")?);
        let answers = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&answers);
        let reader = std::thread::spawn(move || {
            for line in output.lines() {
                let line = line?;
                let answer =
                    serde_json::from_str(&line).with_context(|| format!("the client said {line:?}"))?;
                lock(&sink).push(answer);
            }
            Ok(())
        });
        Ok(Self { process: Process::adopt(child, "the client"), answers, reader: Some(reader) })
    }

    /// The outcomes from the given one on.
    pub fn since(&self, first: usize) -> Vec<Answer> {
        lock(&self.answers).get(first..).unwrap_or_default().to_vec()
    }

    /// Number of outcomes until now.
    pub fn count(&self) -> usize {
        lock(&self.answers).len()
    }

    /// Waits until so many more requests have had an outcome.
    pub fn wait_for_more(&self, more: usize) -> Result<()> {
        let target = self.count() + more;
        super::wait_until("the load goes on", Duration::from_secs(20), || Ok(self.count() >= target))
    }

    /// Stops after the request that is under way, and gives all outcomes.
    pub fn stop(mut self) -> Result<Vec<Answer>> {
        drop(self.process.child.stdin.take());
        let status = self.process.wait(Duration::from_secs(20))?;
        if let Some(reader) = self.reader.take() {
            reader.join().map_err(|_| anyhow::anyhow!("the reader of the load has panicked"))??;
        }
        if !status.success() {
            bail!("the client failed: {status}");
        }
        Ok(std::mem::take(&mut lock(&self.answers)))
    }
}

/// Answers are only ever appended, so a panic elsewhere leaves them whole.
fn lock(answers: &Mutex<Vec<Answer>>) -> MutexGuard<'_, Vec<Answer>> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}
