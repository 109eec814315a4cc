//! The Node object of an agent's node, as others change it and take it away.

use anyhow::{Context, Result};
use penstock_tests::cluster::{Node, until};
use penstock_tests::lab::Runs as _;
use penstock_tests::needs;

use super::fixture;
use super::traffic::Traffic;

/// What the autoscaler says of a node that it is about to remove.
const TAINT: &str = "ToBeDeletedByClusterAutoscaler";

/// The code of a node's answer.
fn code(node: &Node, path: &str) -> Result<String> {
    let url = format!("http://127.0.0.1:10256/{path}");
    node.output(&["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", &url])
}

#[test]
fn a_node_that_is_about_to_go_tells_load_balancers_and_its_agent_lives_on() -> Result<()> {
    needs!(Cluster);
    let fixture = fixture::shared();
    let node = fixture.cluster.node(2);
    until("load balancers may send", || Ok(code(node, "healthz")? == "200"))?;
    fixture.cluster.kubectl(&["taint", "node", &node.name(), &format!("{TAINT}=soon:PreferNoSchedule")])?;
    until("load balancers are told", || Ok(code(node, "healthz")? == "503"))?;
    assert_eq!(code(node, "livez")?, "200");
    fixture.cluster.kubectl(&["taint", "node", &node.name(), &format!("{TAINT}-")])?;
    until("load balancers may send again", || Ok(code(node, "healthz")? == "200"))
}

#[test]
fn a_node_object_that_is_deleted_and_made_again_costs_no_request() -> Result<()> {
    needs!(Cluster);
    let fixture = fixture::alone();
    let traffic = Traffic::start(&fixture.cluster, "node")?;
    let node = fixture.cluster.node(2);
    let nodes_known = |count: u8| {
        let line = format!("penstock_objects{{kind=\"Node\"}} {count}\n");
        until(&format!("the agent knows of {count} Nodes"), || {
            Ok(node.output(&["curl", "--silent", "http://127.0.0.1:10249/metrics"])?.contains(&line))
        })
    };
    nodes_known(2)?;
    let mut object = fixture.cluster.kubectl_handle().json(&["get", "node", &node.name()])?;
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["resourceVersion", "uid", "creationTimestamp"] {
            metadata.remove(field);
        }
    }
    fixture.cluster.kubectl(&["delete", "node", &node.name(), "--wait=false"])?;
    nodes_known(1)?;
    // As with kube-proxy: it runs, so the node is there, whatever has become of its object.
    assert_eq!(code(node, "healthz")?, "200");
    traffic.goes_on().context("without the Node object")?;
    fixture.cluster.kubectl_handle().feed(&["create", "-f", "-"], &object.to_string())?;
    nodes_known(2)?;
    traffic.goes_on().context("with the Node object again")?;
    traffic.stop()?;
    fixture.rolled_out()
}
