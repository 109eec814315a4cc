//! Agents are killed and come back while requests run.

use anyhow::Result;
use nix::sys::signal::Signal;
use penstock_tests::lab::{AgentOptions, Family, Load, Node, Protocol, Runs};
use penstock_tests::probe::{Ask, Style};

use crate::cluster::Cluster;
use crate::terminal::{Terminal, failures, name, value};

const KINDS: [(&str, Style, Protocol); 3] = [
    ("new TCP connections", Style::TcpEach, Protocol::Tcp),
    ("standing TCP connections", Style::TcpStanding, Protocol::Tcp),
    ("UDP echo", Style::UdpUnconnected, Protocol::Udp),
];

/// Kills every agent by SIGKILL, leaves the nodes without one for a while, and starts them again.
pub(crate) fn show(terminal: &mut Terminal, cluster: &Cluster) -> Result<()> {
    terminal.heading("Agents killed and started again under traffic");
    let mut loads: Vec<(usize, Load)> = Vec::new();
    for client in &cluster.clients {
        for (index, (_, style, protocol)) in KINDS.iter().enumerate() {
            for family in Family::BOTH {
                let target = cluster.service.address(family, *protocol);
                loads.push((index, client.load(&Ask::new(target, *style).every_ms(2))?));
            }
        }
    }
    let go_on = |loads: &[(usize, Load)]| loads.iter().try_for_each(|(_, load)| load.wait_for_more(50));
    go_on(&loads)?;
    let nodes = cluster.lab.nodes();
    nodes.iter().try_for_each(|node| node.end_agent(Signal::SIGKILL).map(drop))?;
    terminal.say("all agents are dead (SIGKILL)");
    let died = counts(&loads);
    // A client whose connection broke says nothing more: then the count below tells, not a wait.
    let alone = go_on(&loads);
    let alive = counts(&loads);
    terminal.check(
        alone.is_ok(),
        &format!("{} requests were served without an agent", alive.saturating_sub(died)),
    );
    nodes.iter().try_for_each(|node| node.start_agent(&AgentOptions::default()))?;
    nodes.iter().try_for_each(Node::wait_synced)?;
    terminal.say("all agents are back");
    let after = go_on(&loads);
    terminal.check(after.is_ok(), "traffic goes on with the new agents");

    let mut sums = [(0, 0); KINDS.len()];
    for (index, load) in loads {
        let answers = load.stop()?;
        sums[index].0 += answers.len();
        sums[index].1 += answers.iter().filter(|answer| !answer.is_ok()).count();
    }
    let rows = KINDS
        .iter()
        .zip(sums)
        .map(|((kind, _, _), (total, failed))| vec![name(kind), value(total), failures(failed)]);
    terminal.table(&["traffic", "requests", "failed"], rows.collect());
    let failed: usize = sums.iter().map(|(_, failed)| failed).sum();
    terminal.check(failed == 0, "no request has failed and no connection was reset");
    Ok(())
}

fn counts(loads: &[(usize, Load)]) -> usize {
    loads.iter().map(|(_, load)| load.count()).sum()
}
