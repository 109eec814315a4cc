//! What an operator sees of a running agent: probes, metrics, and who has its ports.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use penstock_tests::lab::{AgentOptions, Family, Lab, Node, Protocol, Runs, ServicePort, wait_until};
use penstock_tests::needs;
use penstock_tests::probe::{Ask, Serve, Style};
use serde_json::Value;

/// What the node itself is answered at a port: status and body. bash brings its own way to connect.
fn get(node: &Node, address: &str, port: u16, path: &str) -> Result<(u16, String)> {
    let script = format!(
        "exec 3<>/dev/tcp/{address}/{port} && \
         printf 'GET {path} HTTP/1.1\\r\\nHost: node\\r\\nConnection: close\\r\\n\\r\\n' >&3 && cat <&3"
    );
    let answer = node.output(&["bash", "-c", &script])?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: {answer:?}"))?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.with_context(|| format!("no status: {head}"))?, body.to_owned()))
}

fn status(node: &Node) -> Result<Value> {
    Ok(serde_json::from_str(&node.penstock(&["status", "-o", "json"])?)?)
}

/// The sample of a metric, by its name with labels.
fn sample(metrics: &str, name: &str) -> Result<f64> {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value
        .with_context(|| format!("there is no {name} in:\n{metrics}"))?
        .parse()
        .context("a sample is a number")
}

#[test]
fn a_running_agent_answers_probes_and_tells_metrics() -> Result<()> {
    needs!(Agent);
    let lab = Lab::new(1)?;
    let node = lab.node(1);
    let (client, server) = (node.pod("client")?, node.pod("server")?);
    let _process = server.serve(&Serve::on("server", 8080))?;
    lab.start_agents(&AgentOptions::default())?;
    let service = lab.service("seen", &[ServicePort::tcp(80, 8080)]).with([&server]);
    lab.apply(&service)?;
    wait_until("the Service is served", Duration::from_secs(10), || node.serves(&service))?;
    client.ask(&Ask::new(service.address(Family::V4, Protocol::Tcp), Style::TcpEach).times(3))?;

    for address in ["127.0.0.1", "::1", &node.ip4().to_string()] {
        let (code, body) = get(node, address, 10_256, "/healthz")?;
        let body: Value = serde_json::from_str(&body)?;
        assert_eq!(
            (code, &body["nodeEligible"], &body["healthy"]),
            (200, &true.into(), &true.into()),
            "{body}"
        );
        assert_eq!(body["status"]["IPv6"]["healthy"], true, "{body}");
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(get(node, "127.0.0.1", 10_256, path)?.0, 200, "{path}");
    }
    assert_eq!(get(node, "127.0.0.1", 10_249, "/proxyMode")?, (200, "ebpf".into()));
    let (code, metrics) = get(node, "127.0.0.1", 10_249, "/metrics")?;
    assert_eq!(code, 200);
    for (name, expected) in [
        ("penstock_ready", 1.0),
        ("penstock_node_eligible", 1.0),
        ("penstock_pods", 4.0),
        ("penstock_objects{kind=\"Service\"}", 1.0),
        ("penstock_map_entries{map=\"frontends4\"}", 1.0),
        ("penstock_map_entries{map=\"backends6\"}", 1.0),
        ("penstock_service_flows_total", 3.0),
        ("penstock_service_unserved_total", 0.0),
        ("penstock_drops_total{reason=\"no-endpoints\"}", 0.0),
        ("kubeproxy_sync_proxy_rules_service_changes_pending", 0.0),
        ("kubeproxy_proxy_healthz_total{code=\"200\"}", 3.0),
    ] {
        assert_eq!(sample(&metrics, name)?, expected, "{name}");
    }
    assert!(sample(&metrics, "penstock_map_max_entries{map=\"frontends4\"}")? > 1.0);
    assert!(sample(&metrics, "kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv4\"}")? > 0.0);

    // A Service that goes takes nothing from what was counted.
    lab.delete("seen")?;
    wait_until("the Service is gone", Duration::from_secs(10), || {
        let (_, metrics) = get(node, "127.0.0.1", 10_249, "/metrics")?;
        assert_eq!(sample(&metrics, "penstock_service_flows_total")?, 3.0);
        Ok(sample(&metrics, "penstock_map_entries{map=\"service_names\"}")? == 0.0)
    })
}

#[test]
fn a_node_that_the_autoscaler_is_about_to_remove_fails_healthz_alone() -> Result<()> {
    needs!(Agent);
    let lab = Lab::new(1)?;
    let node = lab.node(1);
    lab.start_agents(&AgentOptions::default())?;
    assert_eq!(get(node, "127.0.0.1", 10_256, "/healthz")?.0, 200);
    let manifest = fs::read_to_string(lab.manifests().join("nodes.yaml"))?;
    let taint = "spec:\n  taints: [{ key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule }]\n";
    lab.write("nodes", &manifest.replace("spec:\n", taint))?;
    wait_until("/healthz says no", Duration::from_secs(10), || {
        Ok(get(node, "127.0.0.1", 10_256, "/healthz")?.0 == 503)
    })?;
    assert_eq!(get(node, "127.0.0.1", 10_256, "/livez")?.0, 200);
    assert_eq!(status(node)?["node_eligible"], false);
    Ok(())
}

#[test]
fn a_port_that_another_process_has_is_told_of_and_taken_once_it_is_free() -> Result<()> {
    needs!(Agent);
    let lab = Lab::new(1)?;
    let node = lab.node(1);
    let mut holder = node.serve(&Serve::on("kube-proxy", 10_256))?;
    lab.start_agents(&AgentOptions::default())?;
    let problems = || -> Result<Vec<String>> {
        let status = status(node)?;
        let servers = status["servers"].as_array().cloned().context("no servers in the status")?;
        Ok(servers.iter().filter_map(|server| server["problem"].as_str().map(str::to_owned)).collect())
    };
    wait_until("both addresses are told to be taken", Duration::from_secs(10), || {
        Ok(problems()?.iter().filter(|problem| problem.contains("kube-proxy")).count() == 2)
    })?;
    assert!(node.penstock(&["status"])?.contains("health: not served at 0.0.0.0:10256"));
    holder.end(Signal::SIGKILL)?;
    wait_until("both addresses are served", Duration::from_secs(20), || Ok(problems()?.is_empty()))?;
    assert_eq!(get(node, "127.0.0.1", 10_256, "/readyz")?.0, 200);
    Ok(())
}
