//! API servers that hang, end, and come back, with Penstock as the only Service proxy.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use penstock_tests::cluster::{NAMESPACE, Proxy, until};
use penstock_tests::needs;
use serde_json::Value;

use super::traffic::Traffic;
use super::world::{World, answer};

/// Backends by Service's port and address.
type Services = BTreeMap<(String, String), u64>;

/// What the cluster says.
fn wanted(world: &World) -> Result<Services> {
    let list = |kind: &str| world.cluster.kubectl_handle().json(&["get", kind, "--all-namespaces"]);
    let (services, slices) = (list("services")?, list("endpointslices")?);
    let mut wanted = Services::new();
    for service in items(&services)? {
        let (namespace, name) = (text(&service["metadata"]["namespace"]), text(&service["metadata"]["name"]));
        for port in service["spec"]["ports"].as_array().into_iter().flatten() {
            for address in service["spec"]["clusterIPs"].as_array().into_iter().flatten().map(text) {
                let family = if address.contains(':') { "IPv6" } else { "IPv4" };
                let of_port = |slice: &&Value| {
                    slice["metadata"]["namespace"] == namespace
                        && slice["metadata"]["labels"]["kubernetes.io/service-name"] == name
                        && slice["addressType"] == family
                        && slice["ports"]
                            .as_array()
                            .into_iter()
                            .flatten()
                            // A port without a name has none in a Service, and an empty one in a slice.
                            .any(|of| text(&of["name"]) == text(&port["name"]))
                };
                let ready = |slice: &Value| {
                    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
                    endpoints.filter(|endpoint| endpoint["conditions"]["ready"] != false).count() as u64
                };
                let count = items(&slices)?.iter().filter(of_port).map(ready).sum();
                let key = match text(&port["name"]) {
                    "" => format!("{namespace}/{name}"),
                    port => format!("{namespace}/{name}:{port}"),
                };
                wanted.insert((key, address.to_owned()), count);
            }
        }
    }
    Ok(wanted)
}

/// What the tables of the node say where this agent's pod is.
fn served(world: &World, pod: &str) -> Result<Services> {
    let listed = world.system(&["exec", pod, "--", "penstock", "service", "list", "-o", "json"])?;
    let listed: Value = serde_json::from_str(&listed)?;
    let services = listed.as_array().context("services are a list")?.iter();
    Ok(services
        .map(|port| {
            let key = (text(&port["service"]).to_owned(), text(&port["address"]).to_owned());
            (key, port["backends"].as_u64().unwrap_or_default())
        })
        .collect())
}

/// Waits until every node's tables are what the cluster says.
pub(crate) fn follows(world: &World) -> Result<()> {
    let pods = world.cluster.kubectl_handle().json(&["get", "pods", "--namespace", NAMESPACE])?;
    for pod in items(&pods)? {
        let name = text(&pod["metadata"]["name"]);
        until(&format!("the tables of {name} follow"), || {
            let (wanted, served) = (wanted(world)?, served(world, name)?);
            ensure!(wanted == served, "wanted are {wanted:?}, served are {served:?}");
            Ok(true)
        })?;
    }
    Ok(())
}

fn items(list: &Value) -> Result<&Vec<Value>> {
    list["items"].as_array().context("kubectl gave no list")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn no_request_fails_while_the_api_server_hangs_ends_and_comes_back() -> Result<()> {
    needs!(Cluster);
    let world = World::new(Proxy::Penstock)?;
    world.served()?;
    let mut traffic = Traffic::start(&world)?;
    let control_plane = world.cluster.control_plane();

    traffic.step("while the API server hangs");
    control_plane.api_server().pause()?;
    let went_on = traffic.goes_on();
    control_plane.api_server().resume()?;
    went_on?;

    traffic.step("while API server and etcd are gone");
    control_plane.api_server().end(Signal::SIGKILL)?;
    control_plane.etcd().end(Signal::SIGKILL)?;
    traffic.goes_on()?;

    traffic.step("with the API server back");
    control_plane.etcd().start()?;
    control_plane.api_server().start()?;
    control_plane.wait_ready()?;
    // What is changed now is told by a watch that began after the gap.
    world.cluster.kubectl(&[
        "expose",
        "pod",
        "server-n2-1",
        "--name=late",
        "--port=80",
        "--target-port=8080",
    ])?;
    follows(&world)?;
    traffic.goes_on()?;
    traffic.stop()?;

    // While the node is being removed, load balancers are told, and nothing restarts the agent.
    let node = world.cluster.node(2);
    let health = |path: &str| answer(node, &format!("http://127.0.0.1:10256/{path}"));
    world.cluster.kubectl(&["taint", "node", "n2", "ToBeDeletedByClusterAutoscaler=1:NoSchedule"])?;
    until("load balancers are told", || Ok(health("healthz")?.starts_with("503 ")))?;
    ensure!(health("livez")?.starts_with("200 "), "{}", health("livez")?);
    world.cluster.kubectl(&["taint", "node", "n2", "ToBeDeletedByClusterAutoscaler-"])?;
    until("load balancers are told again", || Ok(health("healthz")?.starts_with("200 ")))
}
