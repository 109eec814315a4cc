//! A Node object that says less than it should, or nothing: what goes without it is said, and Services are served.

use anyhow::{Context, Result};
use penstock_tests::cluster::addresses;
use penstock_tests::needs;
use serde_json::json;

use super::fixture::{Agent, Api, api};

/// An agent that takes a Node object of this name for its own.
fn agent_named<'a>(api: &'a mut Api, name: &str) -> Result<Agent<'a>> {
    api.account()?;
    let kubeconfig = api.kubeconfig(None)?;
    let agent = api.agent_of(name, &kubeconfig, &[])?;
    agent.wait("the agent has synced", |status| status["synced"] == true)?;
    Ok(agent)
}

fn serves(agent: &Agent<'_>, name: &str) -> Result<()> {
    for endpoints in [2, 3] {
        agent.service(name, endpoints)?;
        agent.wait_backends(&format!("default/{name}:http"), Some(endpoints.into()))?;
    }
    Ok(())
}

/// Waits until the agent says that its Node object lacks this.
fn wait_lack(agent: &Agent<'_>, lack: &str) -> Result<()> {
    agent.wait(&format!("the agent says: {lack}"), |status| {
        status["node_problem"].as_str().is_some_and(|problem| problem.contains(lack))
    })
}

#[test]
fn a_node_object_without_pod_ranges_is_said_to_be_so_until_it_has_them() -> Result<()> {
    needs!(Kubernetes);
    let mut api = api()?;
    // They give ranges to every Node object that has none.
    api.cluster.control_plane().controllers().stop()?;
    let agent = agent_named(&mut api, "bare")?;
    wait_lack(&agent, "no Node object")?;

    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "bare"}});
    agent.api.cluster.apply(&node.to_string())?;
    wait_lack(&agent, "no InternalIP")?;
    let address = json!({"type": "InternalIP", "address": addresses::node(1).v4});
    let status = json!({"status": {"addresses": [address]}}).to_string();
    let patch = ["patch", "node", "bare", "--subresource=status", "--type=merge", "-p", &status];
    agent.api.cluster.kubectl(&patch)?;
    wait_lack(&agent, "no podCIDRs")?;
    assert!(agent.metric(r#"penstock_warnings_total{kind="Node"}"#)? >= 3.0, "each is counted");
    serves(&agent, "bare").context("without pod ranges")?;

    agent.api.cluster.control_plane().controllers().start()?;
    agent.wait("the Node object lacks nothing", |status| status["node_problem"].is_null())?;
    serves(&agent, "bare").context("with pod ranges")?;
    agent.api.cluster.kubectl(&["delete", "node", "bare"])?;
    agent.end()
}
