//! The real kube-proxy: a process on a node, with the objects that kubeadm leaves in the cluster.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::addresses::POD_RANGES;
use super::certificates::{Authority, Subject};
use super::kubeconfig;

/// Where kube-proxy's pods have their kubeconfig, under kubeadm.
const KUBECONFIG: &str = "/var/lib/kube-proxy/kubeconfig.conf";

/// What kube-proxy programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// iptables, by its legacy back end.
    Iptables,
    /// iptables, by its nftables back end.
    IptablesNft,
    /// nftables.
    Nftables,
}

impl Mode {
    /// Its name in kube-proxy's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Iptables | Self::IptablesNft => "iptables",
            Self::Nftables => "nftables",
        }
    }
}

/// kube-proxy's credentials, the same on every node.
pub(crate) fn credentials(directory: &std::path::Path, authority: &Authority) -> Result<PathBuf> {
    let subject = Subject { name: "system:kube-proxy", ..Subject::default() };
    let identity = authority.issue("kube-proxy", &subject)?;
    kubeconfig::write(directory.join("kube-proxy.kubeconfig"), authority, &identity)
}

/// Writes a node's configuration.
pub(crate) fn configure(
    directory: &std::path::Path,
    credentials: &std::path::Path,
    mode: Mode,
) -> Result<PathBuf> {
    let path = directory.join("kube-proxy.json");
    let text = serde_json::to_string_pretty(&configuration(mode, &credentials.display().to_string()))?;
    fs::write(&path, text).context("writing kube-proxy's configuration")?;
    Ok(path)
}

/// The ConfigMap that kubeadm makes, from which others learn how kube-proxy is configured.
pub(crate) fn config_map(mode: Mode) -> Result<Value> {
    Ok(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "kube-proxy",
            "namespace": "kube-system",
            "labels": { "app": "kube-proxy" },
        },
        "data": { "config.conf": serde_json::to_string_pretty(&configuration(mode, KUBECONFIG))? },
    }))
}

fn configuration(mode: Mode, kubeconfig: &str) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": mode.name(),
        "clusterCIDR": POD_RANGES,
        "clientConnection": { "kubeconfig": kubeconfig },
        // That limit is the whole kernel's, and no node sets it.
        "conntrack": { "maxPerCore": 0 },
    })
}
