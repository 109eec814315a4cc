//! The agent's word about itself, in a file for `penstock status`: the tables tell everything else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::observe::Listener;

/// What the agent says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct AgentStatus {
    /// The process that wrote it.
    pub(crate) pid: u32,
    /// The agent's version.
    pub(crate) version: String,
    /// The version of the tables.
    pub(crate) schema: u32,
    /// The name of the Node object.
    pub(crate) node: String,
    /// Where objects come from.
    pub(crate) source: String,
    /// The source has told everything, the tables follow it and the programs are attached.
    pub(crate) synced: bool,
    /// How programs are attached to devices: `tcx` or `clsact`.
    pub(crate) attach: String,
    /// Whether Services are translated at the socket.
    pub(crate) socket_lb: bool,
    /// The group below which they are.
    pub(crate) cgroup: Option<PathBuf>,
    /// What there is of a kube-proxy on this node, in words; empty before the first look.
    #[serde(default)]
    pub(crate) kube_proxy: String,
    /// The devices towards the other nodes.
    pub(crate) uplinks: Vec<String>,
    /// The addresses of pods on this node.
    pub(crate) pods: usize,
    /// The ranges that the cluster takes the addresses of Services from, where it tells.
    #[serde(default)]
    pub(crate) service_cidrs: Vec<String>,
    /// Objects of kinds that are of no use here.
    pub(crate) ignored_objects: usize,
    /// What the source cannot read at present.
    pub(crate) source_problems: Vec<String>,
    /// Whether load balancers should send to this node; `None` while its Node object was not seen.
    pub(crate) node_eligible: Option<bool>,
    /// What the node's own object lacks, and what goes without it.
    #[serde(default)]
    pub(crate) node_problem: Option<String>,
    /// Where health and metrics are served.
    pub(crate) servers: Vec<Listener>,
    /// What could not be done at the last attempt, and will be tried again.
    pub(crate) failures: Vec<String>,
}

impl AgentStatus {
    fn path(run_dir: &Path) -> PathBuf {
        run_dir.join("status.json")
    }

    /// Puts it in the place of what was said before.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub(super) fn write(&self, run_dir: &Path) -> Result<()> {
        let path = Self::path(run_dir);
        let next = path.with_extension("next");
        let text = serde_json::to_string_pretty(self).context("write the status as JSON")?;
        fs::write(&next, text + "\n").with_context(|| format!("write {}", next.display()))?;
        fs::rename(&next, &path).with_context(|| format!("rename {}", next.display()))
    }

    /// What the last agent said; `None` where none has run.
    ///
    /// # Errors
    /// The file cannot be read, or is another version's.
    pub(crate) fn read(run_dir: &Path) -> Result<Option<Self>> {
        let path = Self::path(run_dir);
        match fs::read(&path) {
            Ok(text) => {
                serde_json::from_slice(&text).map(Some).with_context(|| format!("read {}", path.display()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Removes it.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub(crate) fn remove(run_dir: &Path) -> Result<()> {
        let path = Self::path(run_dir);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_it_was_written_and_may_be_missing() {
        let run_dir = tempfile::tempdir().unwrap();
        assert_eq!(AgentStatus::read(run_dir.path()).unwrap(), None);
        let status = AgentStatus { pid: 7, synced: true, ..AgentStatus::default() };
        status.write(run_dir.path()).unwrap();
        assert_eq!(AgentStatus::read(run_dir.path()).unwrap(), Some(status));
        AgentStatus::remove(run_dir.path()).unwrap();
        AgentStatus::remove(run_dir.path()).unwrap();
        assert_eq!(AgentStatus::read(run_dir.path()).unwrap(), None);
    }
}
