//! What upstream's tests and the benchmark reach a cluster by, beside kubectl.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use super::kubectl;
use super::{Cluster, tools};
use crate::lab::Place;

impl Cluster {
    /// The administrator's kubeconfig. It is of use where the API server is reached: in [`Cluster::beside_api_server`].
    pub fn kubeconfig(&self) -> PathBuf {
        kubectl::kubeconfig(&self.run)
    }

    /// The place of the control plane's processes. Pods are reached from there by their addresses, and Services by none.
    pub fn beside_api_server(&self) -> &Place {
        self.kubectl.place()
    }

    /// A command beside the API server, with the cluster's programs in its search path.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.beside_api_server().command(program);
        command.env("PATH", tools::search_path(&kubectl::programs(&self.run)));
        command
    }
}

/// Where a program that was built with the cluster in mind is.
pub fn program(name: &str) -> Option<PathBuf> {
    tools::find(name)
}
