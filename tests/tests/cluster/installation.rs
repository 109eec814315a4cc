//! The DaemonSet as its manifests make it.

use anyhow::{Context, Result, ensure};
use penstock_tests::cluster::{NAMESPACE, Node};
use penstock_tests::lab::Runs;
use penstock_tests::needs;
use serde_json::Value;

use super::fixture::{self, until_told};

/// What a path on a node itself answers, and its code.
fn ask(node: &Node, url: &str) -> Result<(String, String)> {
    let words = [
        "curl",
        "--silent",
        "--show-error",
        "--globoff",
        "--max-time",
        "10",
        "--write-out",
        "\n%{http_code}",
        url,
    ];
    let answer = node.output(&words)?;
    let (body, code) = answer.rsplit_once('\n').context("curl gave no code")?;
    Ok((body.to_owned(), code.to_owned()))
}

#[test]
fn the_daemon_set_runs_on_every_node_from_the_image_that_was_loaded() -> Result<()> {
    needs!(Cluster);
    let fixture = fixture::shared();
    fixture.rolled_out()?;
    let agents = fixture.agents()?;
    let nodes: Vec<&str> = agents.iter().map(|agent| agent.node.as_str()).collect();
    assert_eq!(nodes, ["n1", "n2"]);
    assert!(agents.iter().all(|agent| agent.ready), "{agents:?}");
    let events = fixture.cluster.kubectl_handle().json(&["get", "events", "--all-namespaces"])?;
    for event in events["items"].as_array().context("kubectl gave no list")? {
        let reason = event["reason"].as_str().unwrap_or_default();
        assert!(!matches!(reason, "Pulling" | "ErrImagePull" | "ErrImageNeverPull"), "{event}");
    }
    Ok(())
}

#[test]
fn the_operators_commands_answer_through_kubectl_exec() -> Result<()> {
    needs!(Cluster);
    let fixture = fixture::shared();
    fixture.rolled_out()?;
    let exec =
        |words: &[&str]| fixture.system(&[&["exec", "daemonset/penstock", "--", "penstock"], words].concat());
    let status = exec(&["status"])?;
    ensure!(status.contains(", synced") && status.contains("health: served at 0.0.0.0:10256"), "{status}");
    ensure!(!status.contains("problem:") && !status.contains("failure:"), "{status}");
    let services = exec(&["service", "list"])?;
    for address in ["10.96.0.1", "10.96.0.10", "fd96::a"] {
        ensure!(services.contains(address), "{address} is not in:\n{services}");
    }
    let backends = exec(&["backend", "list"])?;
    ensure!(backends.contains("172.30.1.1"), "the API server is not in:\n{backends}");
    let config = exec(&["config"])?;
    ensure!(config.contains("/etc/penstock/agent.yaml"), "the file is not named in:\n{config}");
    Ok(())
}

#[test]
fn health_readiness_and_metrics_answer_on_each_node() -> Result<()> {
    needs!(Cluster);
    let fixture = fixture::shared();
    fixture.rolled_out()?;
    for node in fixture.cluster.nodes() {
        for host in ["127.0.0.1", "[::1]"] {
            for path in ["livez", "readyz", "healthz"] {
                let (body, code) = ask(node, &format!("http://{host}:10256/{path}"))?;
                assert_eq!(code, "200", "{path} of {}: {body}", node.name());
            }
        }
        let (metrics, code) = ask(node, "http://127.0.0.1:10249/metrics")?;
        assert_eq!(code, "200");
        for name in ["penstock_ready 1", "kubeproxy_sync_proxy_rules_duration_seconds"] {
            ensure!(metrics.contains(name), "{name} is not in:\n{metrics}");
        }
        let (mode, _) = ask(node, "http://127.0.0.1:10249/proxyMode")?;
        assert_eq!(mode, "ebpf");
    }
    Ok(())
}

#[test]
fn an_event_at_the_node_tells_that_its_agent_serves() -> Result<()> {
    needs!(Cluster);
    let fixture = fixture::shared();
    for node in ["n1", "n2"] {
        let about = format!("--field-selector=reason=ServiceProxyReady,involvedObject.name={node}");
        until_told(&["ServiceProxyReady", &format!("node/{node}")], || {
            fixture.cluster.kubectl(&["get", "events", "--all-namespaces", &about])
        })?;
    }
    Ok(())
}

#[test]
fn the_agent_runs_with_the_token_of_its_account_and_the_capabilities_that_are_named() -> Result<()> {
    needs!(Cluster);
    let fixture = fixture::shared();
    let set =
        fixture.cluster.kubectl_handle().json(&["get", "daemonset/penstock", "--namespace", NAMESPACE])?;
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["serviceAccountName"], "penstock");
    for container in pod["containers"].as_array().context("no containers")? {
        let context = &container["securityContext"];
        assert_eq!(context["privileged"], Value::Null, "{container}");
        assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
    }
    let account = format!("--as=system:serviceaccount:{NAMESPACE}:penstock");
    for (verb, resource) in [
        ("list", "secrets"),
        ("list", "configmaps"),
        ("delete", "services"),
        ("patch", "nodes"),
        ("list", "pods"),
    ] {
        // `auth can-i` says no by its exit code too.
        let may = fixture.cluster.kubectl(&["auth", "can-i", verb, resource, "--all-namespaces", &account]);
        assert!(may.is_err(), "the agent's account may {verb} {resource}");
    }
    Ok(())
}
