//! kubectl, as the cluster's administrator.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::tools::search_path;
use crate::lab::{Place, Run, cgroup};

/// The thing of a run that has the control plane's processes.
pub(crate) const CONTROL_PLANE: &str = "control";

/// The folder of links to the cluster's programs.
pub(crate) fn programs(run: &Run) -> PathBuf {
    run.directory().join("bin")
}

/// The administrator's kubeconfig: where it is, the run is a cluster.
pub(crate) fn kubeconfig(run: &Run) -> PathBuf {
    run.directory().join("admin.kubeconfig")
}

/// kubectl for one cluster.
#[derive(Clone, Debug)]
pub struct Kubectl {
    run: Run,
    place: Place,
}

impl Kubectl {
    /// kubectl for a cluster that is up, whoever started it.
    pub fn of(run: &Run) -> Result<Self> {
        ensure!(kubeconfig(run).exists(), "there is no cluster {run}");
        let name = run.name(CONTROL_PLANE);
        let place = Place::open(&name, &cgroup::root()?.join(&name), None)?;
        Ok(Self { run: run.clone(), place })
    }

    /// Where kubectl runs.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// A command of kubectl. Its process runs beside the API server, and sees the files of the machine.
    pub fn command(&self, arguments: &[impl AsRef<std::ffi::OsStr>]) -> Command {
        let programs = programs(&self.run);
        let mut command = self.place.command(programs.join("kubectl"));
        command
            .arg("--kubeconfig")
            .arg(kubeconfig(&self.run))
            .arg("--cache-dir")
            .arg(self.run.directory().join("kubectl-cache"))
            .args(arguments)
            .env("PATH", search_path(&programs));
        command
    }

    /// A line of shell, in which `kubectl` is the administrator's.
    pub fn shell(&self, line: &str) -> Command {
        let mut command = self.place.command("sh");
        command
            .args(["-c", line])
            .env("PATH", search_path(&programs(&self.run)))
            .env("KUBECONFIG", kubeconfig(&self.run))
            .env("KUBECACHEDIR", self.run.directory().join("kubectl-cache"));
        command
    }

    /// Runs kubectl to its end and gives its output; a failure is an error with what it said.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        self.feed(arguments, "")
    }

    /// As [`Kubectl::run`], with this standard input.
    pub fn feed(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting kubectl")?;
        let mut pipe = child.stdin.take().context("kubectl has no standard input")?;
        let input = input.to_owned();
        // On a thread of its own: kubectl may say more than a pipe holds before it has read everything. Where it reads
        // nothing, its failure tells more than that of the pipe.
        let writer = std::thread::spawn(move || drop(pipe.write_all(input.as_bytes())));
        let output = child.wait_with_output().context("waiting for kubectl")?;
        let _ = writer.join();
        ensure!(
            output.status.success(),
            "kubectl {} failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The output of a command that is asked for JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.run(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("kubectl {} gave no JSON", arguments.join(" ")))
    }

    /// Applies manifests, YAML or JSON.
    pub fn apply(&self, manifests: &str) -> Result<String> {
        self.feed(&["apply", "-f", "-"], manifests)
    }
}
