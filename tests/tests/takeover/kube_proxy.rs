//! From kube-proxy to Penstock, and back.

use anyhow::{Context, Result, ensure};
use penstock_tests::cluster::{Mode, Proxy, until};
use penstock_tests::lab::{Runs, penstock_binary};
use penstock_tests::needs;

use super::rules::{self, Rules};
use super::traffic::Traffic;
use super::world::{World, answer};

/// What both do on each node.
const HEALTH: &str = "http://127.0.0.1:10256/healthz";
const MODE: &str = "http://127.0.0.1:10249/proxyMode";

/// Who removes what kube-proxy has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remover {
    /// The agents, when they take over.
    Agents,
    /// `penstock cleanup kube-proxy` on the first node, and the agent on the second.
    Command,
}

fn there_and_back(mode: Mode, remover: Remover) -> Result<()> {
    let world = World::new(Proxy::None)?;
    let nodes = world.cluster.nodes();
    let mut foreign = Vec::new();
    for node in nodes {
        rules::make_own(node)?;
        foreign.push(Rules::of(node)?);
        node.start_kube_proxy(mode)?;
    }
    world.served()?;
    let mut traffic = Traffic::start(&world)?;

    traffic.step("beside kube-proxy");
    world.apply("beside-kube-proxy")?;
    traffic.goes_on()?;
    let rule = match mode {
        Mode::Iptables => "iptables-legacy-save *nat :KUBE-SERVICES",
        Mode::IptablesNft => "iptables-nft-save *nat :KUBE-SERVICES",
        Mode::Nftables => "table ip kube-proxy {",
    };
    for node in nodes {
        assert_eq!(answer(node, MODE)?, format!("200 {}", mode.name()), "on {}", node.name());
        assert!(Rules::of(node)?.have(rule), "{rule} is not on {}", node.name());
    }

    traffic.step("in place of kube-proxy");
    for node in nodes {
        node.stop_kube_proxy()?;
    }
    if remover == Remover::Command {
        let binary = penstock_binary()?;
        let binary = binary.to_str().context("the agent's path is not UTF-8")?;
        let removed = nodes[0].output(&[binary, "cleanup", "kube-proxy"])?;
        ensure!(removed.contains("removed "), "nothing was removed: {removed}");
        traffic.goes_on()?;
    }
    world.apply("replace-kube-proxy")?;
    for (node, foreign) in nodes.iter().zip(&foreign) {
        let mut remain = String::new();
        let gone = until(&format!("nothing of kube-proxy's is on {}", node.name()), || {
            let rules = Rules::of(node)?;
            remain = rules.beyond(foreign).join("\n");
            Ok(remain.is_empty())
        });
        gone.with_context(|| format!("what remains is:\n{remain}"))?;
        assert_eq!(Rules::of(node)?, *foreign, "rules of others have gone from {}", node.name());
        until("the agent has kube-proxy's ports", || Ok(answer(node, MODE)? == "200 ebpf"))?;
        until("the agent answers load balancers", || Ok(answer(node, HEALTH)?.starts_with("200 ")))?;
    }
    traffic.goes_on()?;

    traffic.step("back beside kube-proxy");
    world.apply("beside-kube-proxy")?;
    for node in nodes {
        node.start_kube_proxy(mode)?;
    }
    for node in nodes {
        until("kube-proxy has its ports", || Ok(answer(node, MODE)? == format!("200 {}", mode.name())))?;
        until("kube-proxy serves", || Ok(answer(node, HEALTH)?.starts_with("200 ")))?;
    }
    traffic.goes_on()?;

    // Connections that kube-proxy began before Penstock came may be reset when the one leaves that took them over. All others go
    // on.
    traffic.stop()?;
    let mut traffic = Traffic::start(&world)?;
    traffic.step("uninstalled");
    world.apply("uninstall")?;
    world.delete("uninstall")?;
    for node in nodes {
        ensure!(!node.root().join("sys/fs/bpf/penstock").exists(), "tables remain on {}", node.name());
        ensure!(!Rules::of(node)?.have("penstock"), "rules remain on {}", node.name());
    }
    traffic.goes_on()?;
    traffic.stop().map(drop)
}

#[test]
fn no_request_fails_from_kube_proxy_with_iptables_to_penstock_and_back() -> Result<()> {
    needs!(Cluster);
    there_and_back(Mode::IptablesNft, Remover::Agents)
}

#[test]
fn no_request_fails_from_kube_proxy_with_legacy_iptables_to_penstock_and_back() -> Result<()> {
    needs!(Cluster);
    there_and_back(Mode::Iptables, Remover::Agents)
}

#[test]
fn no_request_fails_from_kube_proxy_with_nftables_to_penstock_and_back() -> Result<()> {
    needs!(Cluster);
    there_and_back(Mode::Nftables, Remover::Command)
}
