//! What is wrong with a part of an object: the part is skipped, the rest of the object counts.

use std::fmt;
use std::net::IpAddr;

use penstock_abi::Protocol;

use crate::objects::ObjectKey;
use crate::tables::{Family, Frontend};

/// A part of an object that was skipped, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// Whose part.
    pub object: ObjectKey,
    /// Which field, as a path from the object's root.
    pub field: Box<str>,
    /// Why.
    pub problem: Problem,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.object, self.field, self.problem)
    }
}

/// Why a part of an object was skipped.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Problem {
    /// A number that is no port.
    #[error("{value} is not a port (1 to 65535)")]
    NotAPort {
        /// The number.
        value: i32,
    },
    /// Text that is no address.
    #[error("{text:?} is not an IP address")]
    NotAnAddress {
        /// The text.
        text: Box<str>,
    },
    /// Text that is no range of addresses.
    #[error("{text:?} is not a range of IP addresses")]
    NotARange {
        /// The text.
        text: Box<str>,
    },
    /// The unspecified, a loopback or a multicast address.
    #[error("{addr} is not the address of one host that others reach")]
    NotAHost {
        /// The address.
        addr: IpAddr,
    },
    /// An address of another family than its slice says.
    #[error("{addr} is not an {family} address")]
    WrongFamily {
        /// The address.
        addr: IpAddr,
        /// The family that the slice says.
        family: Family,
    },
    /// Text that Kubernetes does not know in this place.
    #[error("{text:?} is not known")]
    Unknown {
        /// The text.
        text: Box<str>,
    },
    /// A protocol that is not served.
    #[error("{protocol} is not served; TCP and UDP are")]
    NotServed {
        /// The protocol.
        protocol: Protocol,
    },
    /// Something that may be there once.
    #[error("{what} is here twice; the first counts")]
    Duplicate {
        /// What.
        what: Box<str>,
    },
    /// An endpoint that its slice holds twice.
    #[error("{addr} is here twice; the one that is not terminating counts")]
    DuplicateEndpoint {
        /// The endpoint.
        addr: IpAddr,
    },
    /// The API's own Service has lost its last endpoint.
    #[error(
        "the slices hold no {family} endpoint any more; those that they held last stay until they hold others"
    )]
    Kept {
        /// The family of the endpoints.
        family: Family,
    },
    /// A field that must be there.
    #[error("missing")]
    Missing,
    /// An older Service has the same address, port and protocol.
    #[error("{frontend} stays with {owner}, which is older")]
    Claimed {
        /// What both claim.
        frontend: Frontend,
        /// The Service that keeps it.
        owner: ObjectKey,
    },
}
