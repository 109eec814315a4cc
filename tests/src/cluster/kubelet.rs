//! kubelet on a node.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context, Result};
use serde_json::json;

use super::addresses::{self, DNS_SERVICE};
use super::certificates::{Authority, Subject};
use super::containerd::SOCKET;
use super::daemon::Daemon;
use super::node::Site;
use super::{dns, kubeconfig};
use crate::lab::Place;

/// Zones, given to the nodes in turn.
const ZONES: [&str; 3] = ["a", "b", "c"];

/// kubelet, which does not run yet.
pub(crate) fn daemon(site: &Site<'_>, place: &Place, authority: &Authority) -> Result<Daemon> {
    let own = addresses::node(site.number);
    let identity = authority.issue(
        &format!("kubelet-{}", site.name),
        &Subject {
            name: &format!("system:node:{}", site.name),
            group: Some("system:nodes"),
            hosts: &[&site.name],
            addresses: &[IpAddr::V4(own.v4), IpAddr::V6(own.v6)],
        },
    )?;
    let kubeconfig = kubeconfig::write(site.directory.join("kubelet.kubeconfig"), authority, &identity)?;
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": authority.identity().certificate },
        },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": identity.certificate,
        "tlsPrivateKeyFile": identity.key,
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        "clusterDomain": dns::DOMAIN,
        "clusterDNS": [DNS_SERVICE.v4],
        // The machine's resolvers are of no use to pods.
        "resolvConf": "",
        "cgroupDriver": "cgroupfs",
        // The node's groups are inside those of whoever started the cluster: limits of kubelet's own are not for there.
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        // The disk is the machine's, and how full it is says nothing about the node.
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
        // Images come from archives, and what is collected does not come back.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    });
    let path = site.directory.join("kubelet.json");
    fs::write(&path, serde_json::to_string_pretty(&config)?).context("writing kubelet's configuration")?;
    let zone = ZONES[usize::from(site.number - 1) % ZONES.len()];
    let arguments = vec![
        format!("--config={}", path.display()),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--hostname-override={}", site.name),
        format!("--node-ip={},{}", own.v4, own.v6),
        format!("--node-labels=topology.kubernetes.io/zone={zone}"),
    ];
    let program = site.tools.program("kubelet");
    Ok(Daemon::new(site.what("kubelet"), place, program, arguments, site.log("kubelet"))
        .env("PATH", site.tools.search_path()))
}
