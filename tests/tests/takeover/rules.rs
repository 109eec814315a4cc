//! Netfilter's rules on a node.

use std::collections::BTreeSet;

use anyhow::Result;
use penstock_tests::cluster::Node;
use penstock_tests::lab::Runs;

/// What prints rules of iptables: both families, both back ends.
const SAVE: [&str; 4] =
    ["iptables-nft-save", "ip6tables-nft-save", "iptables-legacy-save", "ip6tables-legacy-save"];
/// The tables of iptables' nft back end, which stay once they were made.
const OF_IPTABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];
/// Keeps open connections translated that kube-proxy began, until the last has ended.
const KEEPER: &str = "penstock-established";
/// kubelet's chain, which kube-proxy fills too and, by its own cleanup, leaves alone.
const SHARED: &str = "KUBE-FIREWALL";

/// The chains and rules of a node, without counters, each with where it is; and tables of nftables, whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rules(BTreeSet<String>);

impl Rules {
    /// Those of a node, without what [`KEEPER`] and [`SHARED`] name.
    pub(crate) fn of(node: &Node) -> Result<Self> {
        let mut rules = BTreeSet::new();
        for save in SAVE {
            let mut table = "";
            let text = node.output(&[save])?;
            for line in text.lines().filter(|line| !line.contains(SHARED)) {
                match line.as_bytes().first() {
                    Some(b'*') => table = line,
                    // A chain of the kernel's own says nothing.
                    Some(b':') if line.contains(" - [") => {
                        let chain = line.split(' ').next().unwrap_or_default();
                        rules.insert(format!("{save} {table} {chain}"));
                    }
                    Some(b'-') => drop(rules.insert(format!("{save} {table} {line}"))),
                    _ => {}
                }
            }
        }
        for line in node.output(&["nft", "list", "tables"])?.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [_, family, name] = words[..] else { continue };
            if name == KEEPER || (family != "inet" && OF_IPTABLES.contains(&name)) {
                continue;
            }
            rules.insert(node.output(&["nft", "--stateless", "list", "table", family, name])?);
        }
        Ok(Self(rules))
    }

    /// Those that are here and not there.
    pub(crate) fn beyond(&self, other: &Self) -> Vec<String> {
        self.0.difference(&other.0).cloned().collect()
    }

    /// Whether one has this in it.
    pub(crate) fn have(&self, text: &str) -> bool {
        self.0.iter().any(|rule| rule.contains(text))
    }
}

/// Makes rules as a node's owner does: a chain in each back end of iptables, and a table.
pub(crate) fn make_own(node: &Node) -> Result<()> {
    for tool in ["iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"] {
        node.output(&[tool, "-N", "OWN-FORWARD"])?;
        node.output(&[
            tool,
            "-A",
            "OWN-FORWARD",
            "-m",
            "comment",
            "--comment",
            "not KUBE-SERVICES",
            "-j",
            "RETURN",
        ])?;
        node.output(&[tool, "-A", "FORWARD", "-j", "OWN-FORWARD"])?;
    }
    node.output(&["nft", "add table inet own"])?;
    node.output(&["nft", "add chain inet own forward { type filter hook forward priority 10; }"])?;
    node.output(&["nft", "add rule inet own forward counter"]).map(drop)
}
