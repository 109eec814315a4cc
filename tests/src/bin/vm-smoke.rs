//! An agent's life under traffic: attached, killed, ended, started again, cleaned up. What `cargo xtask vm` runs on each
//! kernel, where the way of attaching is the one that this kernel has.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use penstock_tests::lab::AgentOptions;
use penstock_tests::traffic::{Connections, Traffic};

/// An emulated processor must have time left for the agents beside sixteen loads.
const PAUSE_MS: u64 = 100;

fn main() -> Result<()> {
    for without_socket_hooks in [false, true] {
        let options = AgentOptions { without_socket_hooks, ..AgentOptions::default() };
        let way = if without_socket_hooks { "translated by the packet" } else { "translated at the socket" };
        live(&options).with_context(|| way.to_owned())?;
        println!("{way}: no request has failed");
    }
    Ok(())
}

fn live(options: &AgentOptions) -> Result<()> {
    let traffic = Traffic::start(options, Connections::OpenAndNew, PAUSE_MS)?;
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        traffic.end_agents(signal)?;
        traffic.goes_on().with_context(|| format!("without agents, after {signal}"))?;
        traffic.lab.start_agents(options)?;
        traffic.goes_on().with_context(|| format!("with new agents, after {signal}"))?;
    }
    traffic.changes_are_followed()?;
    let lab = traffic.stop()?;
    for node in lab.nodes() {
        node.end_agent(Signal::SIGTERM)?;
        node.penstock(&["cleanup"])?;
        let pins = std::fs::read_dir(node.bpffs().join("penstock")).map_or(0, Iterator::count);
        ensure!(pins == 0, "cleanup has left {pins} pins on {}", node.name());
    }
    Ok(())
}
