//! Nodes.

use serde::Deserialize;

use super::Metadata;
use super::text::{AddressText, null_as_empty};

/// A node.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Node {
    /// The name.
    pub metadata: Metadata,
    /// What it was given.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub spec: NodeSpec,
    /// What it says of itself.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub status: NodeStatus,
}

/// What a node was given.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
pub struct NodeSpec {
    /// The ranges of its pods' addresses, as text: one of a family at most.
    #[serde(default, rename = "podCIDRs", deserialize_with = "null_as_empty")]
    pub pod_cidrs: Vec<Box<str>>,
}

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
pub struct NodeStatus {
    /// Where it is reached.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub addresses: Vec<NodeAddress>,
}

/// Where a node is reached.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP`, `Hostname` and others.
    #[serde(rename = "type")]
    pub address_type: Box<str>,
    /// The address.
    pub address: AddressText,
}

impl NodeAddress {
    /// Whether it is the address that the cluster's other nodes use.
    pub fn is_internal(&self) -> bool {
        &*self.address_type == "InternalIP"
    }
}
