//! Nothing of this is done by netfilter.

use anyhow::Result;
use penstock_tests::lab::Runs;

use crate::cluster::Cluster;
use crate::terminal::{Terminal, failures, name};

/// Counts the netfilter rules of each node: those of nftables (which iptables' newer back end uses too), and the tables
/// of iptables' older back end.
pub(crate) fn show(terminal: &mut Terminal, cluster: &Cluster) -> Result<()> {
    terminal.heading("Netfilter rules in the nodes");
    let (mut rows, mut total) = (Vec::new(), 0);
    for node in cluster.lab.nodes() {
        let rules = node.output(&["nft", "list", "ruleset"])?.lines().count();
        let legacy: usize = ["ip_tables_names", "ip6_tables_names"]
            .iter()
            // The file is there once a table was loaded.
            .map(|file| {
                node.output(&["cat", &format!("/proc/net/{file}")]).unwrap_or_default().lines().count()
            })
            .sum();
        total += rules + legacy;
        rows.push(vec![name(node.name()), failures(rules), failures(legacy)]);
    }
    terminal.table(&["node", "nft ruleset, lines", "legacy iptables, tables"], rows);
    terminal.check(total == 0, "there is no iptables and no nftables rule anywhere");
    Ok(())
}
