//! From objects as they were read to what the view keeps. What makes no sense is skipped with a warning that names it.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use penstock_abi::Protocol;
use smallvec::SmallVec;

use super::{Endpoint, NameParts, NodeView, Port, Service, Slice};
use crate::objects::{self, AddressText, AddressType, Kind, Metadata, ObjectKey, ProtocolText, ServiceType};
use crate::tables::{Family, PerFamily};
use crate::warning::{Problem, Warning};

/// Where the warnings of one object go.
struct Judge<'a> {
    kind: Kind,
    metadata: &'a Metadata,
    warnings: &'a mut Vec<Warning>,
}

impl Judge<'_> {
    fn warn(&mut self, field: impl Into<Box<str>>, problem: Problem) {
        let object = ObjectKey::new(self.kind, &self.metadata.namespace, &self.metadata.name);
        self.warnings.push(Warning { object, field: field.into(), problem });
    }

    /// The address of one host that others reach.
    fn host(&mut self, field: impl Fn() -> String, text: &AddressText) -> Option<IpAddr> {
        match text {
            AddressText::Ip(addr) if addr.is_unspecified() || addr.is_loopback() || addr.is_multicast() => {
                self.warn(field(), Problem::NotAHost { addr: *addr });
                None
            }
            AddressText::Ip(addr) => Some(*addr),
            AddressText::Other(text) => {
                self.warn(field(), Problem::NotAnAddress { text: text.clone() });
                None
            }
        }
    }

    /// Ranges without the bits of a host.
    fn ranges(&mut self, field: &str, texts: &[Box<str>]) -> Box<[IpNetwork]> {
        let mut ranges = Vec::with_capacity(texts.len());
        for (i, text) in texts.iter().enumerate() {
            let range = text.parse::<IpNetwork>().ok();
            match range.and_then(|range| IpNetwork::new(range.network(), range.prefix()).ok()) {
                Some(range) => ranges.push(range),
                None => self.warn(format!("{field}[{i}]"), Problem::NotARange { text: text.clone() }),
            }
        }
        ranges.into()
    }

    fn port(&mut self, field: impl Fn() -> String, value: i32) -> Option<u16> {
        let port = u16::try_from(value).ok().filter(|port| *port != 0);
        if port.is_none() {
            self.warn(field(), Problem::NotAPort { value });
        }
        port
    }

    fn protocol(&mut self, field: impl Fn() -> String, text: &ProtocolText) -> Option<Protocol> {
        match text {
            ProtocolText::Known(protocol @ (Protocol::TCP | Protocol::UDP)) => Some(*protocol),
            ProtocolText::Known(protocol) => {
                self.warn(field(), Problem::NotServed { protocol: *protocol });
                None
            }
            ProtocolText::Other(text) => {
                self.warn(field(), Problem::Unknown { text: text.clone() });
                None
            }
        }
    }
}

/// The Service, where it is one for this proxy: not another proxy's (KEP-2447), not headless, not a mere name.
pub(super) fn service(service: &objects::Service, warnings: &mut Vec<Warning>) -> Option<Service> {
    let spec = &service.spec;
    let mut judge = Judge { kind: Kind::Service, metadata: &service.metadata, warnings };
    if service.metadata.labels.service_proxy_name.is_some() {
        return None;
    }
    match &spec.service_type {
        ServiceType::ClusterIp | ServiceType::NodePort | ServiceType::LoadBalancer => {}
        ServiceType::ExternalName => return None,
        ServiceType::Other(text) => {
            judge.warn("spec.type", Problem::Unknown { text: text.clone() });
            return None;
        }
    }
    let addresses = cluster_addresses(spec, &mut judge);
    if addresses.is_empty() {
        return None;
    }
    let ports = service_ports(spec, &mut judge);
    Some(Service { created: service.metadata.creation_timestamp, addresses, ports })
}

fn cluster_addresses(spec: &objects::ServiceSpec, judge: &mut Judge<'_>) -> Box<[IpAddr]> {
    let (texts, one) = match (spec.cluster_ips.as_slice(), &spec.cluster_ip) {
        ([], Some(text)) => (std::slice::from_ref(text), true),
        (texts, _) => (texts, false),
    };
    let mut addresses = Vec::with_capacity(texts.len());
    for (i, text) in texts.iter().enumerate() {
        let field = || if one { "spec.clusterIP".into() } else { format!("spec.clusterIPs[{i}]") };
        // Headless, or not given an address yet.
        if matches!(text, AddressText::Other(text) if matches!(&**text, "None" | "")) {
            continue;
        }
        let Some(addr) = judge.host(field, text) else { continue };
        if addresses.contains(&addr) {
            judge.warn(field(), Problem::Duplicate { what: addr.to_string().into() });
        } else {
            addresses.push(addr);
        }
    }
    addresses.into()
}

fn service_ports(spec: &objects::ServiceSpec, judge: &mut Judge<'_>) -> Box<[Port]> {
    let mut ports: Vec<Port> = Vec::with_capacity(spec.ports.len());
    for (i, port) in spec.ports.iter().enumerate() {
        let number = judge.port(|| format!("spec.ports[{i}].port"), port.port);
        let protocol = judge.protocol(|| format!("spec.ports[{i}].protocol"), &port.protocol);
        let (Some(number), Some(protocol)) = (number, protocol) else { continue };
        if ports.iter().any(|known| *known.name == *port.name) {
            judge.warn(
                format!("spec.ports[{i}].name"),
                Problem::Duplicate { what: format!("{:?}", port.name).into() },
            );
        } else if ports.iter().any(|known| (known.port, known.protocol) == (number, protocol)) {
            judge.warn(
                format!("spec.ports[{i}].port"),
                Problem::Duplicate { what: format!("{number}/{protocol}").into() },
            );
        } else {
            ports.push(Port { name: (&*port.name).into(), protocol, port: number });
        }
    }
    ports.into()
}

/// The Service whose endpoints the slice holds. A headless Service's slice has none here.
pub(super) fn slice_owner<'a>(
    slice: &'a objects::EndpointSlice,
    warnings: &mut Vec<Warning>,
) -> Option<NameParts<'a>> {
    let labels = &slice.metadata.labels;
    if labels.headless.is_some() {
        return None;
    }
    let Some(service) = &labels.service_name else {
        let mut judge = Judge { kind: Kind::EndpointSlice, metadata: &slice.metadata, warnings };
        judge.warn("metadata.labels[kubernetes.io/service-name]", Problem::Missing);
        return None;
    };
    Some(NameParts { name: service, ..NameParts::of(&slice.metadata) })
}

/// The slice, where it holds addresses.
pub(super) fn slice(slice: &objects::EndpointSlice, warnings: &mut Vec<Warning>) -> Option<Slice> {
    let mut judge = Judge { kind: Kind::EndpointSlice, metadata: &slice.metadata, warnings };
    if slice.metadata.labels.headless.is_some() {
        return None;
    }
    let family = match &slice.address_type {
        AddressType::Ipv4 => Family::V4,
        AddressType::Ipv6 => Family::V6,
        AddressType::Fqdn => return None,
        AddressType::Other(text) => {
            judge.warn("addressType", Problem::Unknown { text: text.clone() });
            return None;
        }
    };
    Some(Slice {
        name: (&*slice.metadata.name).into(),
        family,
        ports: slice_ports(slice, &mut judge),
        endpoints: slice_endpoints(slice, family, &mut judge),
    })
}

fn slice_ports(slice: &objects::EndpointSlice, judge: &mut Judge<'_>) -> SmallVec<[Port; 1]> {
    let mut ports = SmallVec::with_capacity(slice.ports.len());
    for (i, port) in slice.ports.iter().enumerate() {
        // Without a name or a number a port is not for proxies (kube-proxy skips it alike).
        let (Some(name), Some(number)) = (&port.name, port.port) else { continue };
        let number = judge.port(|| format!("ports[{i}].port"), number);
        let protocol = judge.protocol(|| format!("ports[{i}].protocol"), &port.protocol);
        let (Some(number), Some(protocol)) = (number, protocol) else { continue };
        ports.push(Port { name: (&**name).into(), protocol, port: number });
    }
    ports
}

fn slice_endpoints(slice: &objects::EndpointSlice, family: Family, judge: &mut Judge<'_>) -> Box<[Endpoint]> {
    let mut endpoints = Vec::with_capacity(slice.endpoints.len());
    for (i, endpoint) in slice.endpoints.iter().enumerate() {
        let field = || format!("endpoints[{i}].addresses[0]");
        let Some(text) = &endpoint.address else {
            judge.warn(field(), Problem::Missing);
            continue;
        };
        let Some(addr) = judge.host(field, text) else { continue };
        if Family::of(addr) != family {
            judge.warn(field(), Problem::WrongFamily { addr, family });
            continue;
        }
        let conditions = endpoint.conditions;
        endpoints.push(Endpoint {
            addr,
            ready: conditions.ready.unwrap_or(true),
            serving: conditions.serving.unwrap_or(true),
            terminating: conditions.terminating.unwrap_or(false),
        });
    }
    warn_of_duplicates(&endpoints, judge);
    endpoints.into()
}

/// Both copies are kept: which of them counts is decided where the slices of a Service are merged.
fn warn_of_duplicates(endpoints: &[Endpoint], judge: &mut Judge<'_>) {
    let mut addresses: Vec<IpAddr> = endpoints.iter().map(|endpoint| endpoint.addr).collect();
    addresses.sort_unstable();
    for pair in addresses.windows(2) {
        if let [one, other] = pair
            && one == other
        {
            judge.warn("endpoints", Problem::DuplicateEndpoint { addr: *one });
        }
    }
}

/// The ways to a node.
pub(super) fn node(node: &objects::Node, warnings: &mut Vec<Warning>) -> NodeView {
    let mut judge = Judge { kind: Kind::Node, metadata: &node.metadata, warnings };
    let mut addresses = Vec::new();
    let mut internal: PerFamily<Option<IpAddr>> = PerFamily::default();
    for (i, address) in node.status.addresses.iter().enumerate().filter(|(_, address)| address.is_internal())
    {
        let field = || format!("status.addresses[{i}].address");
        let Some(addr) = judge.host(field, &address.address) else { continue };
        addresses.push(addr);
        internal.get_mut(Family::of(addr)).get_or_insert(addr);
    }
    let pod_cidrs = judge.ranges("spec.podCIDRs", &node.spec.pod_cidrs);
    NodeView { addresses: addresses.into(), internal, pod_cidrs }
}

/// The ranges of a ServiceCIDR.
pub(super) fn service_cidr(cidr: &objects::ServiceCidr, warnings: &mut Vec<Warning>) -> Box<[IpNetwork]> {
    let mut judge = Judge { kind: Kind::ServiceCidr, metadata: &cidr.metadata, warnings };
    judge.ranges("spec.cidrs", &cidr.spec.cidrs)
}

/// The addresses that are a pod's own.
pub(super) fn pod(pod: &objects::Pod) -> Box<[IpAddr]> {
    if pod.spec.host_network {
        return Box::default();
    }
    pod.status.pod_ips.iter().filter_map(|ip| ip.ip.ip()).collect()
}
