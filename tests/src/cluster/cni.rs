//! A node's pod network out of the reference plugins: a wire for each pod (ptp), addresses from the node's own ranges
//! (host-local), ports of the host (portmap). The cluster sets the routes between nodes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use super::node::Site;

/// The node's folder of configurations, below its directory, and where containerd looks.
pub(crate) const CONFIG: (&str, &str) = ("cni-config", "/etc/cni/net.d");
/// The same of plugins.
pub(crate) const PLUGINS: (&str, &str) = ("cni-plugins", "/opt/cni/bin");
/// What the configuration names, and what containerd itself wants.
const USED: [&str; 4] = ["ptp", "host-local", "portmap", "loopback"];

/// Copies the plugins. A node's folder is its own: CNI's DaemonSets install what they bring there.
pub(crate) fn install(site: &Site<'_>) -> Result<()> {
    let folder = site.directory.join(PLUGINS.0);
    for plugin in USED {
        let from = site.tools.plugins().join(plugin);
        fs::copy(&from, folder.join(plugin)).with_context(|| format!("copying {}", from.display()))?;
    }
    Ok(())
}

/// Configures the node's network; with that it becomes Ready.
pub(crate) fn configure(directory: &Path, ranges: &[String]) -> Result<()> {
    let subnets: Vec<_> = ranges.iter().map(|range| json!([{ "subnet": range }])).collect();
    let config = json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": false,
                "mtu": 1500,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni-addresses",
                    "ranges": subnets,
                    "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    });
    let folder = directory.join(CONFIG.0);
    // Whole at once: containerd reads the folder whenever it changes.
    let (new, name) = (folder.join(".new"), folder.join("10-pods.conflist"));
    fs::write(&new, serde_json::to_string_pretty(&config)?)
        .and_then(|()| fs::rename(&new, &name))
        .with_context(|| format!("writing {}", name.display()))
}
