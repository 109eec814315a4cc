//! Fields that are text in Kubernetes and something narrower here, read without refusing the object.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use penstock_abi::Protocol;
use serde::{Deserialize, Deserializer};

/// An IP address as an object gives it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AddressText {
    /// An address.
    Ip(IpAddr),
    /// Anything else: `None`, a host name, or a mistake.
    Other(Box<str>),
}

impl AddressText {
    /// The address, where it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Other(_) => None,
        }
    }
}

impl From<&str> for AddressText {
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Other(text.into()), Self::Ip)
    }
}

impl fmt::Display for AddressText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Other(text) => f.pad(text),
        }
    }
}

/// A transport protocol as an object names it. TCP where it names none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProtocolText {
    /// A protocol that Kubernetes knows.
    Known(Protocol),
    /// Anything else.
    Other(Box<str>),
}

impl Default for ProtocolText {
    fn default() -> Self {
        Self::Known(Protocol::TCP)
    }
}

impl From<&str> for ProtocolText {
    fn from(text: &str) -> Self {
        match text {
            "TCP" => Self::Known(Protocol::TCP),
            "UDP" => Self::Known(Protocol::UDP),
            "SCTP" => Self::Known(Protocol::SCTP),
            other => Self::Other(other.into()),
        }
    }
}

/// Text that is borrowed from the input where the input allows it.
pub(super) fn with_text<'de, D: Deserializer<'de>, T>(
    from: D,
    convert: impl FnOnce(&str) -> T,
) -> Result<T, D::Error> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    Ok(convert(&Text::deserialize(from)?.0))
}

macro_rules! deserialize_from_text {
    ($($type:ty),+) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                with_text(from, |text| Self::from(text))
            }
        }
    )+};
}
deserialize_from_text!(AddressText, ProtocolText);
pub(super) use deserialize_from_text;

/// Reads `null` as the empty value: the API sends lists without elements that way.
pub(super) fn null_as_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
