//! Pods: needed only to call addresses by name.

use serde::Deserialize;

use super::Metadata;
use super::text::{AddressText, null_as_empty};

/// A pod.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Pod {
    /// The name.
    pub metadata: Metadata,
    /// What it is to be.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub spec: PodSpec,
    /// What it is.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub status: PodStatus,
}

/// What a pod is to be.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// It has the addresses of its node.
    #[serde(default)]
    pub host_network: bool,
}

/// What a pod is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
pub struct PodStatus {
    /// Its addresses.
    #[serde(default, rename = "podIPs", deserialize_with = "null_as_empty")]
    pub pod_ips: Vec<PodIp>,
}

/// An address of a pod.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct PodIp {
    /// The address.
    pub ip: AddressText,
}
