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
    /// What keeps pods away from it.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub taints: Vec<Taint>,
}

/// What keeps pods away from a node.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Taint {
    /// The name; value and effect are of no use here.
    pub key: Box<str>,
}

impl Node {
    /// The taint that the cluster autoscaler puts on a node that it is about to remove.
    pub const TO_BE_DELETED: &'static str = "ToBeDeletedByClusterAutoscaler";

    /// Whether load balancers outside the cluster should go on sending new connections here (KEP-3836): it is not being
    /// deleted, and the autoscaler is not about to.
    pub fn is_eligible(&self) -> bool {
        self.metadata.deletion_timestamp.is_none()
            && self.spec.taints.iter().all(|taint| &*taint.key != Self::TO_BE_DELETED)
    }
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
