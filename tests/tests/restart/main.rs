//! Agents that end, come back and are upgraded under live connections: no connection is reset, no echo lost. Needs root
//! rights.

use std::fs;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use penstock_abi::SCHEMA;
use penstock_tests::lab::{AgentOptions, Attach, Lab, Runs};
use penstock_tests::needs;
use penstock_tests::traffic::{Connections, Traffic};

/// Between a request and the next one: half a thousand a second of each kind meet every step of an agent.
const PAUSE_MS: u64 = 2;

fn options(arguments: &[&str]) -> AgentOptions {
    AgentOptions {
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        ..AgentOptions::default()
    }
}

fn without_socket_hooks(options: AgentOptions) -> AgentOptions {
    AgentOptions { without_socket_hooks: true, ..options }
}

/// Ends every agent by the signal and starts it again, with other options each time, under traffic.
fn survives(
    signal: Signal,
    connections: Connections,
    first: &AgentOptions,
    next: &[AgentOptions],
) -> Result<()> {
    let traffic = Traffic::start(first, connections, PAUSE_MS)?;
    for options in next {
        traffic.end_agents(signal)?;
        traffic.goes_on().context("without an agent")?;
        traffic.lab.start_agents(options)?;
        traffic.goes_on().with_context(|| format!("with the agent of {options:?}"))?;
    }
    traffic.changes_are_followed()?;
    traffic.stop().map(drop)
}

fn end_all(lab: &Lab, signal: Signal) -> Result<()> {
    lab.nodes().iter().try_for_each(|node| node.end_agent(signal).map(drop))
}

/// Both ways of translating Services, each with its own cluster; no connection notices, open or new.
fn survives_both_ways(signal: Signal, first: &AgentOptions, next: &[AgentOptions]) -> Result<()> {
    let all = Connections::OpenAndNew;
    survives(signal, all, first, next).context("translated at the socket")?;
    survives(signal, all, &without_socket_hooks(first.clone()), &each_without_socket_hooks(next))
        .context("translated by the packet")
}

/// As above, for agents that build new tables. Links are updated one by one, so a connection of the packet path that begins
/// at that instant may have its halves in two tables: there, only open connections are promised not to notice.
fn survives_new_tables_both_ways(first: &AgentOptions, next: &[AgentOptions]) -> Result<()> {
    let signal = Signal::SIGTERM;
    survives(signal, Connections::OpenAndNew, first, next).context("translated at the socket")?;
    let packets = without_socket_hooks(first.clone());
    survives(signal, Connections::Open, &packets, &each_without_socket_hooks(next))
        .context("translated by the packet")
}

fn each_without_socket_hooks(options: &[AgentOptions]) -> Vec<AgentOptions> {
    options.iter().cloned().map(without_socket_hooks).collect()
}

#[test]
fn traffic_outlives_an_agent_that_is_killed_again_and_again() -> Result<()> {
    needs!(Agent);
    let same = options(&[]);
    survives_both_ways(Signal::SIGKILL, &same, &[same.clone(), same.clone()])
}

#[test]
fn traffic_outlives_an_agent_that_is_asked_to_end() -> Result<()> {
    needs!(Agent);
    let same = options(&[]);
    survives_both_ways(Signal::SIGTERM, &same, std::slice::from_ref(&same))
}

#[test]
fn traffic_outlives_an_upgrade_to_another_schema_and_back() -> Result<()> {
    needs!(Agent);
    let other = (SCHEMA + 1).to_string();
    survives_new_tables_both_ways(&options(&[]), &[options(&["--schema", &other]), options(&[])])
}

#[test]
fn traffic_outlives_tables_of_another_size() -> Result<()> {
    needs!(Agent);
    let larger = options(&["--max-flows", "1000000", "--max-backends", "300000", "--max-services", "70000"]);
    survives_new_tables_both_ways(&options(&[]), &[larger])
}

#[test]
fn filters_of_clsact_outlive_their_agent_and_are_found_again() -> Result<()> {
    needs!(Agent);
    let clsact = AgentOptions { attach: Some(Attach::Clsact), ..options(&[]) };
    survives_both_ways(Signal::SIGKILL, &clsact, &[clsact.clone(), clsact.clone()])?;

    let lab = Lab::new(1)?;
    let node = lab.node(1);
    let filters = || node.output(&["tc", "filter", "show", "dev", "eth0", "ingress"]);
    for _ in 0..2 {
        lab.start_agents(&clsact)?;
        assert_eq!(filters()?.matches("direct-action").count(), 1, "{}", filters()?);
        end_all(&lab, Signal::SIGKILL)?;
    }
    Ok(())
}

#[test]
fn an_agent_that_was_killed_while_it_started_is_followed_by_one_that_serves() -> Result<()> {
    needs!(Agent);
    let traffic = Traffic::start(&options(&[]), Connections::OpenAndNew, PAUSE_MS)?;
    let same = options(&[]);
    for patience in [0, 5, 10, 20, 40, 80, 160] {
        traffic.end_agents(Signal::SIGKILL)?;
        traffic.lab.nodes().iter().try_for_each(|node| node.start_agent(&same))?;
        std::thread::sleep(std::time::Duration::from_millis(patience));
    }
    traffic.end_agents(Signal::SIGKILL)?;
    traffic.lab.start_agents(&same)?;
    traffic.goes_on()?;
    traffic.changes_are_followed()?;
    traffic.stop().map(drop)
}

#[test]
fn nothing_is_pruned_before_the_manifests_were_read() -> Result<()> {
    needs!(Agent);
    let traffic = Traffic::start(&options(&[]), Connections::OpenAndNew, PAUSE_MS)?;
    traffic.end_agents(Signal::SIGKILL)?;
    let manifests = traffic.lab.manifests();
    let away = manifests.with_extension("away");
    fs::rename(&manifests, &away)?;
    let node = traffic.lab.node(1);
    node.start_agent(&options(&[]))?;
    traffic.goes_on().context("with an agent whose source is missing")?;
    fs::rename(&away, &manifests)?;
    // It may wait for its source, or have given up: either way nothing was lost.
    node.end_agent(Signal::SIGKILL)?;
    traffic.lab.start_agents(&options(&[]))?;
    traffic.changes_are_followed()?;
    traffic.stop().map(drop)
}

#[test]
fn cleanup_removes_everything_that_penstock_made_and_nothing_else() -> Result<()> {
    needs!(Agent);
    let lab = Lab::new(2)?;
    let node = lab.node(1);
    let _pod = node.pod("pod")?;
    node.output(&["ip", "route", "add", "198.51.100.0/24", "via", "172.30.0.254"])?;
    let state = || -> Result<String> {
        let mut text = String::new();
        for command in [
            &["ip", "-4", "route", "show", "table", "all"][..],
            &["ip", "-6", "route", "show", "table", "all"],
            &["ip", "-details", "link", "show"],
            &["find", "/sys/fs/bpf", "-mindepth", "1", "-not", "-name", "*.debug"],
            &["tc", "qdisc", "show"],
            &["bpftool", "net", "show"],
            &["bpftool", "cgroup", "tree", "/sys/fs/cgroup"],
        ] {
            text += &node.output(command)?;
        }
        Ok(text)
    };
    let before = state()?;
    for attach in [Attach::Tcx, Attach::Clsact] {
        lab.start_agents(&AgentOptions { attach: Some(attach), ..options(&[]) })?;
        assert_ne!(state()?, before, "the agent has made nothing that this test sees");
        end_all(&lab, Signal::SIGTERM)?;
        node.penstock(&["cleanup"])?;
        lab.node(2).penstock(&["cleanup"])?;
        assert_eq!(state()?, before, "after {attach:?}");
    }
    Ok(())
}
