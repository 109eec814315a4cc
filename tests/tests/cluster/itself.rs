//! The real Kubernetes that other tests, and users, try Penstock on: that it is one, and that nothing remains of it.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use penstock_tests::cluster::{Cluster, Mode, Options, Proxy};
use penstock_tests::lab::{Process, Run, Runs as _};
use penstock_tests::needs;
use penstock_tests::probe::{self, Task};

use super::leftovers::nothing_is_left;
use super::pods::Pods;

fn with(nodes: u8, proxy: Proxy) -> Result<Cluster> {
    Cluster::up(&Options { nodes, proxy, ..Options::default() })
}

#[test]
fn pods_reach_each_other_and_find_services_by_name_through_penstock() -> Result<()> {
    needs!(Cluster);
    let cluster = with(2, Proxy::Penstock)?;
    let pods = Pods::new(&cluster);
    pods.serve("web")?;
    for node in 1..=2 {
        let client = format!("client-{node}");
        pods.client(&client, node)?;
        pods.wait_ready(&client)?;
        let answer =
            pods.exec(&client, &["wget", "-q", "-O", "-", "http://web.default.svc.cluster.local/hostname"])?;
        ensure!(answer.starts_with("web-"), "the client on node {node} was told {answer:?}");
    }
    let rules = cluster.node(1).output(&["iptables-save"])?;
    ensure!(!rules.contains("KUBE-SERVICES"), "somebody else implements Services:\n{rules}");

    let run = cluster.run().clone();
    drop(cluster);
    nothing_is_left(&run)
}

#[test]
fn two_clusters_stand_side_by_side_with_the_real_kube_proxy_in_either_mode() -> Result<()> {
    needs!(Cluster);
    let clusters = [Mode::Iptables, Mode::Nftables].map(|mode| with(1, Proxy::KubeProxy(mode)));
    for cluster in clusters {
        let cluster = cluster?;
        let pods = Pods::new(&cluster);
        pods.serve("web")?;
        pods.client("client", 1)?;
        pods.wait_ready("client")?;
        let answer = pods.exec("client", &["wget", "-q", "-O", "-", "http://web/hostname"])?;
        ensure!(answer.starts_with("web-"), "the client was told {answer:?}");
        let settings =
            cluster.kubectl(&["get", "configmap", "kube-proxy", "--namespace=kube-system", "-o", "yaml"])?;
        ensure!(settings.contains("KubeProxyConfiguration"), "kubeadm's ConfigMap is not there: {settings}");
    }
    Ok(())
}

#[test]
fn a_control_plane_can_be_paused_restarted_and_emptied() -> Result<()> {
    needs!(Cluster);
    let cluster = with(1, Proxy::None)?;
    cluster.apply(r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"mark"}}"#)?;
    let mark = ["get", "configmap", "mark", "--request-timeout=2s"];
    let control_plane = cluster.control_plane();

    control_plane.api_server().pause()?;
    ensure!(cluster.kubectl(&mark).is_err(), "a paused API server has answered");
    control_plane.api_server().resume()?;
    control_plane.api_server().end(Signal::SIGKILL)?;
    control_plane.etcd().end(Signal::SIGKILL)?;
    control_plane.etcd().start()?;
    control_plane.api_server().start()?;
    control_plane.wait_ready()?;
    cluster.kubectl(&mark).context("the object did not outlive a restart")?;

    control_plane.empty()?;
    let error = cluster.kubectl(&mark).err().context("the object outlived its store")?;
    ensure!(error.to_string().contains("NotFound"), "{error:#}");
    Ok(())
}

#[test]
fn a_node_changes_nothing_of_the_machine() -> Result<()> {
    needs!(Cluster);
    let read = || std::fs::read_to_string("/proc/sys/kernel/panic");
    let before = read()?;
    let cluster = with(1, Proxy::None)?;
    let node = cluster.node(1);
    ensure!(node.output(&["cat", "/proc/sys/kernel/panic"])?.trim() == "10", "kubelet's wish was not met");
    ensure!(read()? == before, "a setting of the whole kernel has changed");
    node.output(&["touch", "/etc/pst-mark", "/opt/pst-mark", "/var/pst-mark", "/run/pst-mark"])?;
    for folder in ["/etc", "/opt", "/var", "/run"] {
        ensure!(!std::path::Path::new(folder).join("pst-mark").exists(), "a node has written to {folder}");
    }
    ensure!(
        node.output(&["sh", "-c", "echo 1 > /proc/sys/vm/swappiness"]).is_err(),
        "a node may set swappiness"
    );
    ensure!(node.output(&["hostname"])?.trim() == "n1", "the node has the machine's name");
    Ok(())
}

#[test]
fn nothing_is_left_of_a_cluster_whose_maker_was_killed() -> Result<()> {
    needs!(Cluster);
    let child = probe::command(&Task::HoldCluster)?.stdout(std::process::Stdio::piped()).spawn()?;
    let mut holder = Process::adopt_with_output(child, "the holder of a cluster");
    let run: Run = holder.line()?.context("the holder has made no cluster")?.parse()?;
    ensure!(run.exists(), "there is no run {run}");
    holder.end(Signal::SIGKILL)?;
    nothing_is_left(&run)
}
