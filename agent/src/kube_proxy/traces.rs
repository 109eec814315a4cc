//! What kube-proxy has left in this network namespace.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;

use anyhow::{Context, Result};

use super::names;
use super::rules::Plan;
use super::running::{self, Running};
use super::tables::NftTables;
use super::tools::Tools;

/// One of the four sets of rules that iptables keeps: by family and by the part of the kernel that holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backend {
    /// For people.
    pub(super) title: &'static str,
    /// As nftables calls the family.
    pub(super) family: &'static str,
    pub(super) save: &'static str,
    pub(super) restore: &'static str,
    /// Which tables there are, where the kernel's older part holds them. To list them by other means would make them.
    names: Option<&'static str>,
}

const BACKENDS: [Backend; 4] = [
    Backend {
        title: "iptables-nft",
        family: "ip",
        save: "iptables-nft-save",
        restore: "iptables-nft-restore",
        names: None,
    },
    Backend {
        title: "ip6tables-nft",
        family: "ip6",
        save: "ip6tables-nft-save",
        restore: "ip6tables-nft-restore",
        names: None,
    },
    Backend {
        title: "iptables-legacy",
        family: "ip",
        save: "iptables-legacy-save",
        restore: "iptables-legacy-restore",
        names: Some("/proc/self/net/ip_tables_names"),
    },
    Backend {
        title: "ip6tables-legacy",
        family: "ip6",
        save: "ip6tables-legacy-save",
        restore: "ip6tables-legacy-restore",
        names: Some("/proc/self/net/ip6_tables_names"),
    },
];

impl Backend {
    /// Whether there may be rules, as far as can be told without the tool.
    fn in_use(&self, nft: Option<&NftTables>) -> bool {
        match self.names {
            Some(names) => fs::read_to_string(names).is_ok_and(|names| !names.trim().is_empty()),
            None => nft.is_none_or(|nft| nft.iptables.contains(self.family)),
        }
    }
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Traces {
    /// A kube-proxy that runs.
    pub(super) running: Option<Running>,
    /// Rules of iptables that are its own.
    pub(super) rules: Vec<(Backend, Plan)>,
    /// Tables of nftables.
    pub(super) nft: NftTables,
    /// Whether the device of ipvs mode is there.
    pub(super) device: bool,
    /// Sets of ipset's.
    pub(super) sets: Vec<String>,
    /// What could not be looked at, for want of a tool.
    pub(super) unseen: Vec<String>,
}

impl Traces {
    /// Looks.
    ///
    /// # Errors
    /// A tool fails.
    pub(super) fn look(tools: &Tools) -> Result<Self> {
        let mut traces = Self { running: running::look(tools.host_root()), ..Self::default() };
        let nft = match tools.run("nft", &["-j", "list", "tables"], "")? {
            Some(listed) => Some(NftTables::new(&listed).context("read what nft lists")?),
            None => None,
        };
        for backend in BACKENDS {
            if !backend.in_use(nft.as_ref()) {
                continue;
            }
            match tools.run(backend.save, &[], "")? {
                Some(dump) => {
                    let plan = Plan::new(&dump);
                    if !plan.tables.is_empty() {
                        traces.rules.push((backend, plan));
                    }
                }
                None => {
                    traces.unseen.push(format!("rules of {}: {} is not found", backend.title, backend.save))
                }
            }
        }
        match nft {
            Some(nft) => traces.nft = nft,
            None => traces.unseen.push("tables of nftables: nft is not found".into()),
        }
        let devices = fs::read_to_string("/proc/self/net/dev").context("read the devices")?;
        traces.device = has_device(&devices);
        match tools.run("ipset", &["list", "-n"], "") {
            Ok(Some(sets)) => {
                traces.sets = sets.lines().filter(|set| names::is_set(set)).map(str::to_owned).collect();
            }
            // Without the tool, or without sets in the kernel, ipvs mode has not run unless its device says so.
            Ok(None) if traces.device => traces.unseen.push("sets of addresses: ipset is not found".into()),
            Err(error) if traces.device => return Err(error),
            Ok(None) | Err(_) => {}
        }
        Ok(traces)
    }

    /// Whether there is nothing of kube-proxy's to remove.
    pub(super) fn is_clean(&self) -> bool {
        self.rules.iter().all(|(_, plan)| plan.is_empty())
            && self.nft.kube_proxy.is_empty()
            && !self.device
            && self.sets.is_empty()
    }

    /// The families in which kube-proxy may have translated connections.
    pub(super) fn translated(&self) -> BTreeSet<&str> {
        let rules =
            self.rules.iter().filter(|(_, plan)| plan.tables.iter().any(|table| table.table == "nat"));
        let rules = rules.map(|(backend, _)| backend.family);
        rules.chain(self.nft.kube_proxy.iter().map(String::as_str)).collect()
    }

    /// What there is to remove, one line each.
    pub(super) fn remains(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (backend, plan) in &self.rules {
            for table in plan.tables.iter().filter(|table| !table.chains.is_empty()) {
                lines.push(format!(
                    "{}: {} chains of table {}, {} jumps to them",
                    backend.title,
                    table.chains.len(),
                    table.table,
                    table.jumps.len()
                ));
            }
        }
        lines.extend(
            self.nft.kube_proxy.iter().map(|family| format!("nftables: table {family} {}", names::NFT_TABLE)),
        );
        lines.extend(self.device.then(|| format!("ipvs: device {}", names::IPVS_DEVICE)));
        if !self.sets.is_empty() {
            lines.push(format!("ipvs: {} sets", self.sets.len()));
        }
        lines
    }

    /// What stays though it is kube-proxy's, and what could not be looked at, one line each.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (backend, plan) in &self.rules {
            for table in plan.tables.iter().filter(|table| !table.kept.is_empty()) {
                lines.push(format!(
                    "{}: {} of table {} stay: rules of others lead there",
                    backend.title,
                    table.kept.join(", "),
                    table.table
                ));
            }
        }
        lines.extend(self.unseen.iter().map(|unseen| format!("not looked at: {unseen}")));
        lines
    }
}

impl fmt::Display for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chains: usize = self.rules.iter().map(|(_, plan)| plan.chains()).sum();
        let mut parts = Vec::new();
        parts.extend(self.running.as_ref().map(ToString::to_string));
        if chains > 0 {
            parts.push(format!("{chains} chains of iptables"));
        }
        if !self.nft.kube_proxy.is_empty() {
            parts.push(format!("{} tables of nftables", self.nft.kube_proxy.len()));
        }
        if self.device || !self.sets.is_empty() {
            parts.push("leftovers of ipvs".into());
        }
        if parts.is_empty() { f.write_str("none") } else { f.write_str(&parts.join(", ")) }
    }
}

/// Whether `/proc/net/dev` has the device of ipvs mode.
fn has_device(devices: &str) -> bool {
    let name = |line: &str| line.split_once(':').map(|(name, _)| name.trim() == names::IPVS_DEVICE);
    devices.lines().any(|line| name(line) == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_of_ipvs_mode_is_found_by_its_whole_name() {
        let line = |name: &str| format!("Inter-|   Receive\n    lo:  0 0\n {name}:  0 0\n");
        assert!(has_device(&line("kube-ipvs0")));
        assert!(!has_device(&line("kube-ipvs01")) && !has_device(""));
    }

    #[test]
    fn a_node_without_kube_proxy_is_clean() {
        let traces = Traces::default();
        assert!(traces.is_clean() && traces.remains().is_empty());
        assert_eq!(traces.to_string(), "none");
    }
}
