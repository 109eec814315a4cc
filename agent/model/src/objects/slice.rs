//! EndpointSlices.

use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Metadata;
use super::text::{AddressText, ProtocolText, deserialize_from_text, null_as_empty, with_text};

/// A slice of a Service's endpoints.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice {
    /// Names and labels.
    pub metadata: Metadata,
    /// What the addresses are.
    pub address_type: AddressType,
    /// The endpoints.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub endpoints: Vec<Endpoint>,
    /// The ports that each of the endpoints has.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub ports: Vec<EndpointPort>,
}

/// What the addresses of a slice are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AddressType {
    /// IPv4 addresses.
    Ipv4,
    /// IPv6 addresses.
    Ipv6,
    /// Names of DNS.
    Fqdn,
    /// Anything else.
    Other(Box<str>),
}

impl From<&str> for AddressType {
    fn from(text: &str) -> Self {
        match text {
            "IPv4" => Self::Ipv4,
            "IPv6" => Self::Ipv6,
            "FQDN" => Self::Fqdn,
            other => Self::Other(other.into()),
        }
    }
}
deserialize_from_text!(AddressType);

/// One endpoint.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Endpoint {
    /// `addresses[0]`: consumers may take the addresses of one endpoint for equal, and all take the first.
    #[serde(default, rename = "addresses", deserialize_with = "first")]
    pub address: Option<AddressText>,
    /// The state.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub conditions: Conditions,
}

/// The state of an endpoint, as the API tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
pub struct Conditions {
    /// It takes new connections; not told: yes.
    #[serde(default)]
    pub ready: Option<bool>,
    /// It answers, whether or not it is to end; not told: yes.
    #[serde(default)]
    pub serving: Option<bool>,
    /// It is to end; not told: no.
    #[serde(default)]
    pub terminating: Option<bool>,
}

/// One port of the endpoints of a slice.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct EndpointPort {
    /// The name of the Service's port that it belongs to. Not told: the port is not for proxies.
    #[serde(default)]
    pub name: Option<Box<str>>,
    /// The port that the endpoints listen on. Not told: the port is not for proxies.
    #[serde(default)]
    pub port: Option<i32>,
    /// The transport protocol.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub protocol: ProtocolText,
}

/// The first element of a list, without keeping the others.
fn first<'de, D: Deserializer<'de>>(from: D) -> Result<Option<AddressText>, D::Error> {
    struct First;
    impl<'de> Visitor<'de> for First {
        type Value = Option<AddressText>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of addresses")
        }

        fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Self::Value, S::Error> {
            let first = list.next_element()?;
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(first)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
    from.deserialize_any(First)
}
