//! Objects that make no sense to a Service proxy and that the API server takes all the same: named, counted, and everything else
//! goes on.

use anyhow::{Context, Result};
use penstock_tests::needs;
use serde_json::{Value, json};

use super::fixture::api;

/// A slice of the Service that its name begins with, as somebody writes it by hand.
fn slice(name: &str, protocol: &str, port: &Value, addresses: &[String]) -> Value {
    let endpoints: Vec<_> = addresses.iter().map(|address| json!({"addresses": [address]})).collect();
    let service = name.split('-').next();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "ports": [{"name": "http", "port": port, "protocol": protocol}], "endpoints": endpoints,
    })
}

/// The slice with another type of addresses.
fn of_type(mut slice: Value, address_type: &str) -> Value {
    slice["addressType"] = json!(address_type);
    slice
}

#[test]
fn slices_that_the_api_server_takes_and_nobody_can_use_cost_themselves_alone() -> Result<()> {
    const ODD: &str = "default/odd:http";
    needs!(Kubernetes);
    let mut api = api()?;
    let agent = api.agent()?;
    agent.service("odd", 2)?;
    agent.wait_backends(ODD, Some(2))?;
    let counted = r#"penstock_warnings_total{kind="EndpointSlice"}"#;
    let before = agent.metric(counted)?;

    let addresses = |numbers: &[u8]| numbers.iter().map(|i| format!("10.98.0.{i}")).collect::<Vec<_>>();
    let slices = [
        // The API server looks at no number of a slice's port.
        slice("odd-zero", "TCP", &json!(0), &addresses(&[1])),
        slice("odd-below", "TCP", &json!(-1), &addresses(&[2])),
        slice("odd-above", "TCP", &json!(70_000), &addresses(&[3])),
        slice("odd-sctp", "SCTP", &json!(8080), &addresses(&[4])),
        slice("odd-twice", "TCP", &json!(8080), &addresses(&[5, 5])),
        // All ports, and names instead of addresses: neither is for proxies, and neither is a mistake.
        slice("odd-all", "TCP", &Value::Null, &addresses(&[6])),
        of_type(slice("odd-names", "TCP", &json!(8080), &["example.org".to_owned()]), "FQDN"),
        slice("odd-empty", "TCP", &json!(8080), &[]),
    ];
    let list = json!({"apiVersion": "v1", "kind": "List", "items": slices});
    agent.api.cluster.apply(&list.to_string())?;
    for (slice, why) in [
        ("odd-zero: ports[0].port", "0 is not a port"),
        ("odd-below: ports[0].port", "-1 is not a port"),
        ("odd-above: ports[0].port", "70000 is not a port"),
        ("odd-sctp: ports[0].protocol", "SCTP is not served"),
        ("odd-twice: endpoints", "10.98.0.5 is here twice"),
    ] {
        agent.wait_said(&["EndpointSlice default/", slice, why])?;
    }
    let warned = agent.metric(counted)? - before;
    assert!(warned >= 5.0, "{warned} were counted");
    // Those of before, and the one that was there twice.
    agent.wait_backends(ODD, Some(3))?;

    // Two slices may hold one endpoint while a controller moves it.
    agent.api.cluster.apply(&slice("odd-moved", "TCP", &json!(8080), &addresses(&[5, 7])).to_string())?;
    agent.wait_backends(ODD, Some(4))?;
    agent.api.cluster.kubectl(&["delete", "endpointslice", "odd-twice"])?;
    agent.service("odd", 1)?;
    agent.wait_backends(ODD, Some(3))?;
    let slices = list["items"].as_array().context("a list")?.iter().map(|slice| &slice["metadata"]["name"]);
    let names: Vec<&str> = slices.filter_map(Value::as_str).filter(|name| *name != "odd-twice").collect();
    agent.api.cluster.kubectl(&[&["delete", "endpointslice", "odd-moved"], &names[..]].concat())?;
    agent.wait_backends(ODD, Some(1))?;
    agent.end()
}

#[test]
fn a_service_of_ten_thousand_endpoints_in_a_hundred_slices_is_served_and_leaves_the_others_alone()
-> Result<()> {
    const MANY: &str = "default/many:http";
    needs!(Kubernetes);
    let mut api = api()?;
    let agent = api.agent()?;
    agent.service("many", 1)?;
    agent.service("beside", 1)?;
    let slices = |count: u8| {
        let addresses = |i: u8| (1..=100).map(|j| format!("10.97.{i}.{j}")).collect::<Vec<_>>();
        let slices =
            (0..count).map(|i| slice(&format!("many-by-hand-{i}"), "TCP", &json!(8080), &addresses(i)));
        json!({"apiVersion": "v1", "kind": "List", "items": slices.collect::<Vec<_>>()}).to_string()
    };
    let kubectl = agent.api.cluster.kubectl_handle();
    kubectl.feed(&["create", "-f", "-"], &slices(100))?;
    // As many as there are slices for, and the one of before.
    agent.wait_backends(MANY, Some(10_001))?;
    agent.service("beside", 2)?;
    agent.wait_backends("default/beside:http", Some(2))?;
    kubectl.feed(&["delete", "--wait=false", "-f", "-"], &slices(100))?;
    agent.wait_backends(MANY, Some(1))?;
    agent.end()
}
