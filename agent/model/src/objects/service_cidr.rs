//! ServiceCIDRs.

use serde::Deserialize;

use super::Metadata;
use super::text::null_as_empty;

/// Ranges that the cluster addresses of Services are taken from (KEP-1880).
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct ServiceCidr {
    /// The name.
    pub metadata: Metadata,
    /// The ranges.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub spec: ServiceCidrSpec,
}

/// The ranges of a ServiceCIDR.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
pub struct ServiceCidrSpec {
    /// As text: one of a family at most.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub cidrs: Vec<Box<str>>,
}
