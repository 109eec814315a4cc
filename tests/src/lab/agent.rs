//! Penstock's agent on a node.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::manifest;
use super::node::Node;
use super::place::Runs;
use super::process::Process;
use super::wait_until;

/// How the agent attaches its packet programs.
#[derive(Clone, Copy, Debug)]
pub enum Attach {
    /// TCX links (kernel 6.6 and later).
    Tcx,
    /// Filters of the clsact qdisc.
    Clsact,
}

/// What differs from the agent's defaults.
#[derive(Clone, Debug, Default)]
pub struct AgentOptions {
    /// Leaves the socket hooks off: every packet to a Service is translated at TC.
    pub without_socket_hooks: bool,
    /// In place of what the agent finds best.
    pub attach: Option<Attach>,
    /// Further arguments.
    pub arguments: Vec<String>,
}

/// The binary under test: `PENSTOCK_BIN`, or `penstock` beside this program.
pub fn penstock_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("PENSTOCK_BIN") {
        return std::fs::canonicalize(&path).with_context(|| format!("PENSTOCK_BIN is {path:?}"));
    }
    crate::probe::beside_this_program("penstock").context(
        "there is no penstock binary: build one with `cargo xtask build`, or name one by PENSTOCK_BIN",
    )
}

impl Node {
    /// Starts the node's agent. It may not have synced yet when this returns.
    pub fn start_agent(&self, options: &AgentOptions) -> Result<()> {
        let mut agent = self.agent();
        if let Some(running) = agent.as_mut() {
            ensure!(!running.is_running(), "{} has an agent already", self.name());
        }
        let mut command = self.agent_command(options)?;
        let log = OpenOptions::new().create(true).append(true).open(self.agent_log())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A keyboard's interruption is for the lab alone, which then ends the agents.
            .process_group(0)
            .spawn()
            .context("starting the agent")?;
        *agent = Some(Process::adopt(child, "the agent"));
        Ok(())
    }

    /// The command that starts the node's agent with these options.
    pub fn agent_command(&self, options: &AgentOptions) -> Result<std::process::Command> {
        let mut command = self.place().command(super::penstock_binary()?);
        command.args(["agent", "--node", &self.name(), "--source"]);
        command.arg(format!("manifests:{}", manifest::directory(self.run_id()).display()));
        if options.without_socket_hooks {
            command.args(["--socket-lb", "off"]);
        }
        match options.attach {
            None => {}
            Some(Attach::Tcx) => drop(command.args(["--attach", "tcx"])),
            Some(Attach::Clsact) => drop(command.args(["--attach", "clsact"])),
        }
        command.args(&options.arguments);
        Ok(command)
    }

    /// Waits until the node's agent says that it has synced with everything it was told.
    pub fn wait_synced(&self) -> Result<()> {
        wait_until(&format!("the agent of {} has synced", self.name()), Duration::from_secs(120), || {
            if let Some(agent) = self.agent().as_mut()
                && !agent.is_running()
            {
                bail!("the agent of {} has ended by itself", self.name());
            }
            Ok(self.is_synced())
        })
        .with_context(|| format!("its log ends with:\n{}", self.log_tail()))
    }

    fn is_synced(&self) -> bool {
        // Before the agent has made its tables, the command fails: that is "not yet" too.
        self.penstock(&["status", "-o", "json"])
            .ok()
            .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok())
            .is_some_and(|status| status["synced"] == true)
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.agent_log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// The process id of the node's agent.
    pub fn agent_pid(&self) -> Option<u32> {
        self.agent().as_ref().map(Process::pid)
    }

    /// Ends the node's agent by a signal.
    pub fn end_agent(&self, signal: Signal) -> Result<ExitStatus> {
        self.agent().take().with_context(|| format!("{} has no agent", self.name()))?.end(signal)
    }
}
