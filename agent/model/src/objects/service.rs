//! Services.

use serde::{Deserialize, Deserializer};

use super::Metadata;
use super::text::{AddressText, ProtocolText, deserialize_from_text, null_as_empty, with_text};

/// A Service.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Service {
    /// Names, labels and age.
    pub metadata: Metadata,
    /// What it is to be.
    #[serde(default)]
    pub spec: ServiceSpec,
}

/// What a Service is to be.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// What kind of Service.
    #[serde(default, rename = "type")]
    pub service_type: ServiceType,
    /// The first cluster address, or `None` in letters for a headless Service.
    #[serde(default, rename = "clusterIP")]
    pub cluster_ip: Option<AddressText>,
    /// The cluster addresses, one of a family at most. Where the list is empty, `clusterIP` stands for it.
    #[serde(default, rename = "clusterIPs", deserialize_with = "null_as_empty")]
    pub cluster_ips: Vec<AddressText>,
    /// The ports.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub ports: Vec<ServicePort>,
}

/// One port of a Service.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct ServicePort {
    /// The name, which is how endpoints are matched to it; empty where a Service has one port.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub name: Box<str>,
    /// The transport protocol.
    #[serde(default)]
    pub protocol: ProtocolText,
    /// The port at the Service's addresses.
    pub port: i32,
}

/// The `type` of a Service.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ServiceType {
    /// Reached at its cluster addresses.
    #[default]
    ClusterIp,
    /// Also reached at a port of each node.
    NodePort,
    /// Also reached at addresses from outside.
    LoadBalancer,
    /// A name in DNS and nothing else.
    ExternalName,
    /// Anything else.
    Other(Box<str>),
}

impl From<&str> for ServiceType {
    fn from(text: &str) -> Self {
        match text {
            "ClusterIP" => Self::ClusterIp,
            "NodePort" => Self::NodePort,
            "LoadBalancer" => Self::LoadBalancer,
            "ExternalName" => Self::ExternalName,
            other => Self::Other(other.into()),
        }
    }
}
deserialize_from_text!(ServiceType);
