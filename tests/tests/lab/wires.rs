//! The lab itself, with the kernel's own routing and no agent: what the other tests stand on.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use penstock_tests::lab::{Family, Lab, Node, Pod, Run, Runs, sweep, wait_until};
use penstock_tests::needs;
use penstock_tests::probe::{self, Ask, Serve, Style, Task};

const PORT: u16 = 8080;

fn assert_served(client: &impl Runs, server: SocketAddr, name: &str) -> Result<()> {
    for style in [Style::TcpEach, Style::UdpConnected, Style::UdpUnconnected] {
        for answer in client.ask(&Ask::new(server, style).times(2))? {
            assert_eq!(answer.error, None, "{style:?} to {server}");
            assert_eq!(answer.server.as_deref(), Some(name));
            assert_eq!(answer.peer, Some(server));
        }
    }
    Ok(())
}

/// Does for two nodes what the agent does for a cluster.
fn route_between(one: &Node, other: &Node) -> Result<()> {
    for (from, to) in [(one, other), (other, one)] {
        let [cidr4, cidr6] = to.pod_cidrs();
        from.output(&["ip", "route", "add", &cidr4, "via", &to.ip4().to_string()])?;
        from.output(&["ip", "route", "add", &cidr6, "via", &to.ip6().to_string()])?;
    }
    Ok(())
}

fn addresses(pod: &Pod) -> [SocketAddr; 2] {
    Family::BOTH.map(|family| SocketAddr::new(pod.ip(family), PORT))
}

#[test]
fn pods_with_single_addresses_reach_each_other_through_arp_and_neighbour_discovery() -> Result<()> {
    needs!(Root);
    let lab = Lab::new(2)?;
    let (client, near, far) = (lab.node(1).pod("client")?, lab.node(1).pod("near")?, lab.node(2).pod("far")?);
    let _servers = [near.serve(&Serve::on("near", PORT))?, far.serve(&Serve::on("far", PORT))?];
    route_between(lab.node(1), lab.node(2))?;
    for (pod, name) in [(&near, "near"), (&far, "far")] {
        for address in addresses(pod) {
            assert_served(&client, address, name)?;
        }
    }
    Ok(())
}

#[test]
fn a_node_and_its_pods_reach_each_other() -> Result<()> {
    needs!(Root);
    let lab = Lab::new(1)?;
    let (node, pod) = (lab.node(1), lab.node(1).pod("pod")?);
    let _servers = [pod.serve(&Serve::on("pod", PORT))?, node.serve(&Serve::on("node", PORT))?];
    for address in addresses(&pod) {
        assert_served(node, address, "pod")?;
    }
    assert_served(&pod, SocketAddr::new(node.ip4().into(), PORT), "node")?;
    assert_served(&pod, SocketAddr::new(node.ip6().into(), PORT), "node")
}

#[test]
fn a_node_sees_only_its_own_control_group_and_bpffs() -> Result<()> {
    needs!(Root);
    let lab = Lab::new(2)?;
    let mounts = lab.node(1).output(&["cat", "/proc/self/mounts"])?;
    let cgroup2: Vec<&str> = mounts.lines().filter(|line| line.contains(" cgroup2 ")).collect();
    assert!(matches!(cgroup2[..], [line] if line.contains(" /sys/fs/cgroup ")), "{cgroup2:?}");
    let groups = lab.node(1).output(&["ls", "/sys/fs/cgroup"])?;
    assert!(groups.lines().any(|line| line == "host"), "{groups}");
    lab.node(1).output(&["mkdir", "/sys/fs/bpf/mine"])?;
    assert!(lab.node(2).output(&["ls", "/sys/fs/bpf/mine"]).is_err());
    Ok(())
}

#[test]
fn nothing_is_left_of_a_lab_that_was_dropped() -> Result<()> {
    needs!(Root);
    let lab = Lab::new(1)?;
    let run = lab.run().clone();
    let pod = lab.node(1).pod("pod")?;
    // A process that nobody ends by hand.
    let server = pod.serve(&Serve::on("pod", PORT))?;
    assert!(run.exists());
    drop(lab);
    assert!(!run.exists());
    drop(server);
    Ok(())
}

/// A process that holds a lab, and the name of its run.
fn holder() -> Result<(Child, Run)> {
    let holder = probe::command(&Task::HoldLab)?;
    // Whoever runs the tests in the background of a shell ignores interruptions, and so would every child.
    let mut child = Command::new("env")
        .arg("--default-signal=INT")
        .arg(holder.get_program())
        .args(holder.get_args())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
    Ok((child, line.trim_end().parse()?))
}

fn kill(signal: &str, pid: u32) -> Result<()> {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status()?;
    ensure!(status.success(), "kill {signal} {pid} failed");
    Ok(())
}

#[test]
fn nothing_is_left_of_a_lab_whose_process_was_killed() -> Result<()> {
    needs!(Root);
    for signal in ["-INT", "-TERM", "-KILL"] {
        let (mut child, run) = holder()?;
        assert!(run.exists());
        kill(signal, child.id())?;
        child.wait()?;
        wait_until("the janitor has removed the run", Duration::from_secs(20), || Ok(!run.exists()))?;
    }
    Ok(())
}

#[test]
fn what_is_left_where_the_janitor_was_killed_too_is_swept_by_the_next_run() -> Result<()> {
    needs!(Root);
    let (mut child, run) = holder()?;
    let janitor = serde_json::to_string(&Task::Janitor { run: run.to_string() })?;
    let pids = std::fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_janitor = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words.contains(&janitor))
    };
    let janitor = pids.into_iter().find(is_janitor).context("the run has no janitor")?;
    kill("-KILL", janitor)?;
    kill("-KILL", child.id())?;
    child.wait()?;
    assert!(run.exists());
    sweep()?;
    assert!(!run.exists());
    Ok(())
}
