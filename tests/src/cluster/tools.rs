//! The programs that a cluster is made of, and where they are.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Names folders of programs: those that `cargo xtask cluster` has built.
pub const TOOLS: &str = "PENSTOCK_TOOLS";
/// Names the folder of etcd, kube-apiserver and kubectl, as controller-runtime's `setup-envtest` sets it.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// What every cluster needs.
const NEEDED: [&str; 11] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "kube-proxy",
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "runc",
];
/// Commands of iptables. Kubernetes' own are from the legacy back end: the other one needs minutes for large tables.
const XTABLES: [&str; 6] =
    ["iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"];
/// The program of each back end of iptables, and the folder of its commands below that of all programs.
const BACK_ENDS: [(&str, &str); 2] = [("xtables-legacy-multi", ""), ("xtables-nft-multi", "xtables-nft")];
/// Where CNI plugins are: Debian's package, and everybody else's.
const PLUGINS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];
/// The plugins that a node's network is made of.
const NEEDED_PLUGINS: [&str; 3] = ["ptp", "host-local", "portmap"];

/// A folder of links to everything a cluster runs, first in its programs' search path.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    folder: PathBuf,
    plugins: PathBuf,
}

impl Tools {
    /// Links what the environment names into `folder`.
    ///
    /// # Errors
    /// Names all that is missing.
    pub(crate) fn collect(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let mut missing = Vec::new();
        for name in NEEDED {
            match find(name) {
                Some(path) => link(&path, &folder.join(name))?,
                None => missing.push(name),
            }
        }
        let plugins = PLUGINS
            .iter()
            .map(Path::new)
            .find(|folder| NEEDED_PLUGINS.iter().all(|plugin| folder.join(plugin).is_file()));
        for (program, below) in BACK_ENDS {
            let Some(path) = find(program) else {
                missing.push("both back ends of iptables (package iptables)");
                break;
            };
            let folder = folder.join(below);
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
            XTABLES.iter().try_for_each(|name| link(&path, &folder.join(name)))?;
        }
        let Some(plugins) = plugins.filter(|_| missing.is_empty()) else {
            if plugins.is_none() {
                missing.push("the CNI plugins (package containernetworking-plugins)");
            }
            bail!(
                "a cluster needs programs that are not there: {}; `cargo xtask cluster up` builds or installs them",
                missing.join(", ")
            );
        };
        Ok(Self { folder, plugins: plugins.to_owned() })
    }

    /// A program's path.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The search path for programs of the cluster.
    pub(crate) fn search_path(&self) -> String {
        search_path(&self.folder)
    }

    /// The same, with iptables from its nftables back end.
    pub(crate) fn search_path_with_nft(&self) -> String {
        format!("{}:{}", self.folder.join("xtables-nft").display(), self.search_path())
    }

    /// The folder of CNI plugins.
    pub(crate) fn plugins(&self) -> &Path {
        &self.plugins
    }
}

/// The search path with a cluster's folder of links first.
pub(crate) fn search_path(folder: &Path) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{}:{path}:/usr/sbin:/sbin", folder.display())
}

/// Where a program is.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let assets = std::env::var_os(ASSETS).unwrap_or_default();
    let tools = std::env::var_os(TOOLS).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&assets)
        .chain(std::env::split_paths(&tools))
        .chain(std::env::split_paths(&path))
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

fn link(target: &Path, link: &Path) -> Result<()> {
    symlink(target, link).with_context(|| format!("linking {} to {}", link.display(), target.display()))
}
