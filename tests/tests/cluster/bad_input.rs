//! Objects that the API takes and that make no sense to a Service proxy: named, counted, and everything else goes on.

use anyhow::{Result, ensure};
use penstock_tests::cluster::until;
use penstock_tests::lab::Family;
use penstock_tests::needs;
use serde_json::{Value, json};

use super::clients::{Client, in_url};
use super::fixture::{self, until_told};
use super::namespace::Namespace;
use super::objects::{HTTP, UDP, service};

/// A slice as somebody writes it by hand.
fn slice(name: &str, service: Option<&str>, port: u16, endpoints: &[Value]) -> Value {
    let mut slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": { "name": name },
        "addressType": "IPv4",
        "ports": [{ "name": "tcp", "port": port, "protocol": "TCP" }],
        "endpoints": endpoints,
    });
    if let Some(service) = service {
        slice["metadata"]["labels"] = json!({ "kubernetes.io/service-name": service });
    }
    slice
}

fn endpoint(address: &str) -> Value {
    json!({ "addresses": [address], "conditions": { "ready": true } })
}

/// A Service that no controller makes slices for.
fn by_hand(name: &str) -> Value {
    let mut service = service(name, "nobody", HTTP, UDP);
    if let Some(spec) = service["spec"].as_object_mut() {
        spec.remove("selector");
    }
    service
}

#[test]
fn what_the_api_refuses_reaches_no_agent() -> Result<()> {
    needs!(Cluster);
    let fixture = fixture::shared();
    let namespace = Namespace::new(&fixture.cluster, "refused")?;
    let mut no_port = by_hand("no-port");
    no_port["spec"]["ports"] = json!([{ "name": "tcp", "port": 0, "protocol": "TCP" }]);
    let mut no_protocol = by_hand("no-protocol");
    no_protocol["spec"]["ports"] = json!([{ "name": "tcp", "port": 80, "protocol": "QUIC" }]);
    for (object, why) in [(no_port, "between 1 and 65535"), (no_protocol, "Unsupported value: \"QUIC\"")] {
        let error = namespace.apply(&[object]).err().map(|error| error.to_string()).unwrap_or_default();
        ensure!(error.contains(why), "{error:?}");
    }
    Ok(())
}

#[test]
fn slices_that_make_no_sense_are_named_and_counted_and_the_rest_is_served() -> Result<()> {
    needs!(Cluster);
    let fixture = fixture::shared();
    let namespace = Namespace::new(&fixture.cluster, "bad")?;
    let mut sctp = by_hand("sctp");
    sctp["spec"]["ports"] = json!([
        { "name": "sctp", "port": 81, "protocol": "SCTP" },
        { "name": "tcp", "port": 80, "protocol": "TCP" },
    ]);
    namespace.apply(&[
        namespace.client("client", "n1")?,
        namespace.deployment("web", 1, &json!({})),
        sctp,
    ])?;
    namespace.ready("app")?;
    let pods = namespace.get("pods")?;
    let web =
        pods["items"].as_array().into_iter().flatten().find(|pod| pod["metadata"]["labels"]["app"] == "web");
    let web = web.and_then(|pod| pod["status"]["podIP"].as_str()).unwrap_or_default().to_owned();
    namespace.apply(&[
        slice("orphan", None, HTTP, &[endpoint("10.244.9.9")]),
        slice("twice", Some("sctp"), HTTP, &[endpoint(&web), endpoint(&web)]),
    ])?;
    let client = Client { namespace: &namespace, pod: "client" };
    let address = in_url(&namespace.address("sctp", Family::V4)?);
    until("the Service's TCP is served", || Ok(client.http(Family::V4, &address, 80)?.len() == 1))?;

    let agent = fixture.agent("n1")?;
    for parts in [
        ["EndpointSlice bad/orphan", "kubernetes.io/service-name"],
        ["EndpointSlice bad/twice", &web],
        ["Service bad/sctp", "SCTP"],
    ] {
        until_told(&parts, || {
            // In one line each.
            let log = fixture.log(&agent)?;
            let lines: Vec<_> = log.lines().filter(|line| line.contains(parts[0])).collect();
            Ok(lines.join("\n"))
        })?;
    }
    let metrics = |name: &str| format!("penstock_warnings_total{{kind=\"{name}\"}}");
    let node = fixture.cluster.node(1);
    let text =
        penstock_tests::lab::Runs::output(node, &["curl", "--silent", "http://127.0.0.1:10249/metrics"])?;
    for kind in ["Service", "EndpointSlice"] {
        let line = text.lines().find(|line| line.starts_with(&metrics(kind))).unwrap_or_default();
        ensure!(!line.ends_with(" 0") && !line.is_empty(), "{line:?} in:\n{text}");
    }
    Ok(())
}

#[test]
fn ten_thousand_endpoints_of_one_service_leave_the_others_alone() -> Result<()> {
    needs!(Cluster);
    let fixture = fixture::shared();
    let namespace = Namespace::new(&fixture.cluster, "many")?;
    namespace.apply(&[
        namespace.client("client", "n1")?,
        namespace.deployment("web", 1, &json!({})),
        service("web", "web", HTTP, UDP),
        by_hand("many"),
    ])?;
    namespace.ready("app")?;
    let slices: Vec<Value> = (0..10)
        .map(|i| {
            let endpoints: Vec<Value> = (0..1_000)
                .map(|j| endpoint(&format!("10.200.{}.{}", i * 4 + j / 250, 1 + j % 250)))
                .collect();
            slice(&format!("many-{i}"), Some("many"), HTTP, &endpoints)
        })
        .collect();
    // Each by itself: one annotation of kubectl's would not hold them all.
    for slice in &slices {
        namespace.create(slice)?;
    }
    let address = namespace.address("many", Family::V4)?;
    let agent = fixture.agent("n1")?;
    until("ten thousand endpoints are in the tables", || {
        let services: Value =
            serde_json::from_str(&fixture.penstock(&agent, &["service", "list", "-o", "json"])?)?;
        Ok(services.to_string().contains(&address) && services.to_string().contains("10000"))
    })?;
    let client = Client { namespace: &namespace, pod: "client" };
    until("the other Service is served", || Ok(client.http(Family::V4, "web", 80)?.len() == 1))?;
    namespace.kubectl(&["scale", "deployment/web", "--replicas=2"])?;
    until("the other Service follows", || Ok(client.http(Family::V4, "web", 80)?.len() == 2))
}
