//! What the benchmark applies to the cluster.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use serde_json::{Value, json};

use crate::world::ENDPOINTS;

/// Where everything is.
pub(crate) const NAMESPACE: &str = "default";
/// Port of Services.
pub(crate) const PORT: u16 = 80;
/// Port of the servers that rates are measured with.
pub(crate) const RATE_PORT: u16 = 8080;
/// Port of the servers that tell their names.
pub(crate) const NAME_PORT: u16 = 8081;
/// Where pods have the benchmark's programs.
pub(crate) const PROGRAMS: &str = "/bench";

/// What each container of the benchmark asks for of a processor. Without, it would get next to nothing while others have work,
/// and be late by itself for longer than what is measured.
const PROCESSOR: &str = "500m";

/// A pod on a node whose containers do these things, each with the benchmark's programs at [`PROGRAMS`].
pub(crate) fn pod(
    name: &str,
    node: &str,
    image: &str,
    programs: &Path,
    containers: &[(&str, &[&str])],
) -> Value {
    let containers: Vec<Value> = containers
        .iter()
        .map(|(name, command)| {
            json!({
                "name": name,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": command,
                "resources": { "requests": { "cpu": PROCESSOR } },
                "volumeMounts": [{ "name": "programs", "mountPath": PROGRAMS, "readOnly": true }],
            })
        })
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "containers": containers,
            "volumes": [{ "name": "programs", "hostPath": { "path": programs, "type": "Directory" } }],
        },
    })
}

/// A Service without a selector.
pub(crate) fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": { "ports": [{ "name": "tcp", "protocol": "TCP", "port": PORT }] },
    })
}

/// The slice of a Service, by the Service's name.
pub(crate) fn slice(service: &str, port: u16, endpoints: &[IpAddr]) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": service,
            "namespace": NAMESPACE,
            "labels": {
                "kubernetes.io/service-name": service,
                "endpointslice.kubernetes.io/managed-by": "bench.penstock.io",
            },
        },
        "addressType": "IPv4",
        "ports": [{ "name": "tcp", "protocol": "TCP", "port": port }],
        "endpoints": ready(endpoints),
    })
}

/// A change of a slice that gives it these endpoints.
pub(crate) fn endpoints(endpoints: &[IpAddr]) -> Value {
    json!({ "endpoints": ready(endpoints) })
}

fn ready(endpoints: &[IpAddr]) -> Vec<Value> {
    let endpoint = |ip: &IpAddr| json!({ "addresses": [ip], "conditions": { "ready": true } });
    endpoints.iter().map(endpoint).collect()
}

/// One of the Services that nobody asks for.
pub(crate) fn other_service(number: u32) -> Value {
    service(&other(number))
}

/// Its slice, with endpoints that no pod has.
pub(crate) fn other_slice(number: u32) -> Value {
    let first = Ipv4Addr::new(10, 128, 0, 0).to_bits() + number * ENDPOINTS;
    let ips: Vec<IpAddr> = (0..ENDPOINTS).map(|place| Ipv4Addr::from_bits(first + place).into()).collect();
    slice(&other(number), RATE_PORT, &ips)
}

fn other(number: u32) -> String {
    format!("other-{number}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use k8s_openapi::api::core::v1::{Pod, Service};
    use k8s_openapi::api::discovery::v1::EndpointSlice;

    use super::*;

    #[test]
    fn the_objects_are_of_their_kinds() {
        let pod = pod("client", "n1", "agnhost", Path::new("/programs"), &[("main", &["sleep", "infinity"])]);
        let pod: Pod = serde_json::from_value(pod).unwrap();
        assert_eq!(pod.spec.unwrap().containers.len(), 1);
        let service: Service = serde_json::from_value(other_service(7)).unwrap();
        let slice: EndpointSlice = serde_json::from_value(other_slice(7)).unwrap();
        let labels = slice.metadata.labels.unwrap();
        assert_eq!(labels.get("kubernetes.io/service-name"), service.metadata.name.as_ref());
    }

    #[test]
    fn no_two_slices_share_an_endpoint() {
        let mut seen = BTreeSet::new();
        for number in [0, 1, 9_999] {
            let slice: EndpointSlice = serde_json::from_value(other_slice(number)).unwrap();
            for endpoint in slice.endpoints {
                assert!(seen.insert(endpoint.addresses.concat()));
            }
        }
        assert_eq!(seen.len(), 3 * ENDPOINTS as usize);
    }
}
