//! What the agents are told: ordinary Kubernetes YAML in a directory.

use std::fmt::{self, Write};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::node::Node;
use super::pod::Pod;
use super::run::Run;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// One port of a Service.
#[derive(Clone, Debug)]
pub struct ServicePort {
    /// Its transport protocol.
    pub protocol: Protocol,
    /// Where clients connect.
    pub port: u16,
    /// Where the endpoints listen.
    pub target_port: u16,
}

impl ServicePort {
    /// A TCP port.
    pub fn tcp(port: u16, target_port: u16) -> Self {
        Self { protocol: Protocol::Tcp, port, target_port }
    }

    /// A UDP port.
    pub fn udp(port: u16, target_port: u16) -> Self {
        Self { protocol: Protocol::Udp, port, target_port }
    }

    fn name(&self) -> String {
        format!("{}-{}", self.protocol, self.port).to_lowercase()
    }
}

/// One endpoint of a Service, in both families.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its IPv4 address.
    pub ip4: Ipv4Addr,
    /// Its IPv6 address.
    pub ip6: Ipv6Addr,
    /// The name of its node.
    pub node: String,
    /// Whether it takes new connections.
    pub ready: bool,
}

/// A Service of type ClusterIP in namespace `default`, and its EndpointSlices.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name, and the name of its manifest.
    pub name: String,
    /// Its first address.
    pub ip4: Ipv4Addr,
    /// Its second address.
    pub ip6: Ipv6Addr,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

impl Service {
    /// The Service with the pods as its endpoints.
    #[must_use]
    pub fn with<'a>(mut self, pods: impl IntoIterator<Item = &'a Pod>) -> Self {
        self.endpoints = pods.into_iter().map(Pod::endpoint).collect();
        self
    }

    /// Its address of this family.
    pub fn ip(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.ip4.into(),
            Family::V6 => self.ip6.into(),
        }
    }

    /// Its address and first port of this protocol.
    ///
    /// # Panics
    /// Where the Service has no port of this protocol.
    pub fn address(&self, family: Family, protocol: Protocol) -> SocketAddr {
        let port = self.ports.iter().find(|port| port.protocol == protocol).expect("a port of this protocol");
        SocketAddr::new(self.ip(family), port.port)
    }

    /// The Service and its EndpointSlices as YAML.
    pub fn manifest(&self) -> String {
        let Self { name, ip4, ip6, .. } = self;
        let mut text = format!(
            "apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: default
spec:
  type: ClusterIP
  ipFamilyPolicy: RequireDualStack
  ipFamilies: [IPv4, IPv6]
  clusterIP: {ip4}
  clusterIPs:
    - {ip4}
    - \"{ip6}\"
  ports:
"
        );
        for port in &self.ports {
            let ServicePort { protocol, port: number, target_port } = port;
            text += &format!(
                "    - {{ name: {}, protocol: {protocol}, port: {number}, targetPort: {target_port} }}\n",
                port.name()
            );
        }
        for family in Family::BOTH {
            text += &self.slice(family);
        }
        text
    }

    fn slice(&self, family: Family) -> String {
        let name = &self.name;
        let mut text = format!(
            "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-{}
  namespace: default
  labels:
    kubernetes.io/service-name: {name}
addressType: {family}
ports:
",
            family.to_string().to_lowercase()
        );
        for port in &self.ports {
            text += &format!(
                "  - {{ name: {}, protocol: {}, port: {} }}\n",
                port.name(),
                port.protocol,
                port.target_port
            );
        }
        text += if self.endpoints.is_empty() { "endpoints: []\n" } else { "endpoints:\n" };
        for endpoint in &self.endpoints {
            let address: IpAddr = match family {
                Family::V4 => endpoint.ip4.into(),
                Family::V6 => endpoint.ip6.into(),
            };
            text += &format!(
                "  - addresses: [\"{address}\"]\n    nodeName: {}\n    conditions: {{ ready: {} }}\n",
                endpoint.node, endpoint.ready
            );
        }
        text
    }
}

/// The nodes as Kubernetes objects.
pub(crate) fn nodes(nodes: &[Node]) -> String {
    let mut text = String::new();
    for node in nodes {
        let [cidr4, cidr6] = node.pod_cidrs();
        let (name, ip4, ip6) = (node.name(), node.ip4(), node.ip6());
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "---
apiVersion: v1
kind: Node
metadata:
  name: {name}
spec:
  podCIDR: {cidr4}
  podCIDRs:
    - {cidr4}
    - \"{cidr6}\"
status:
  addresses:
    - {{ type: InternalIP, address: {ip4} }}
    - {{ type: InternalIP, address: \"{ip6}\" }}
    - {{ type: Hostname, address: {name} }}
"
        );
    }
    text
}

/// The pod as a Kubernetes object.
pub(crate) fn pod(node: &Node, pod: &Pod) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata:
  name: {}-{}
  namespace: default
spec:
  nodeName: {}
  containers: []
status:
  phase: Running
  hostIP: {}
  podIP: {}
  podIPs:
    - {{ ip: {} }}
    - {{ ip: \"{}\" }}
",
        node.name(),
        pod.name(),
        node.name(),
        node.ip4(),
        pod.ip4(),
        pod.ip4(),
        pod.ip6()
    )
}

/// Where a run's manifests are.
pub(crate) fn directory(run: &Run) -> PathBuf {
    run.directory().join("manifests")
}

/// Writes a manifest beside the directory and moves it in: a watcher sees the old file or the new one, never a part.
pub(crate) fn write(run: &Run, name: &str, text: &str) -> Result<PathBuf> {
    let path = directory(run).join(format!("{name}.yaml"));
    let draft = run.directory().join(format!("{name}.draft"));
    fs::write(&draft, text)
        .and_then(|()| fs::rename(&draft, &path))
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}
