//! Who has which address. Clusters do not see each other, so all have the same.

use std::net::{Ipv4Addr, Ipv6Addr};

/// An address in each family, in one network of /24 and /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Of family IPv4.
    pub v4: Ipv4Addr,
    /// Of family IPv6.
    pub v6: Ipv6Addr,
}

/// A network behind the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// The nodes'.
    Nodes = 0,
    /// The control plane's.
    ControlPlane = 1,
    /// The outside client's.
    Outside = 2,
}

/// The router's number in each network.
const ROUTER: u8 = 254;
/// The number of the control plane and of the client in theirs.
const ONLY: u8 = 1;

impl Segment {
    /// The host of this number.
    const fn host(self, number: u8) -> Addresses {
        let segment = self as u8;
        Addresses {
            v4: Ipv4Addr::new(172, 30, segment, number),
            v6: Ipv6Addr::new(0xfd30, 0, 0, segment as u16, 0, 0, 0, number as u16),
        }
    }

    /// The router's addresses here: everybody's default gateway.
    pub(crate) const fn router(self) -> Addresses {
        self.host(ROUTER)
    }
}

/// The node of this number, from 1.
pub const fn node(number: u8) -> Addresses {
    Segment::Nodes.host(number)
}

/// The control plane: etcd and the API server.
pub const fn control_plane() -> Addresses {
    Segment::ControlPlane.host(ONLY)
}

/// The client outside the cluster.
pub const fn client() -> Addresses {
    Segment::Outside.host(ONLY)
}

/// The API server's port.
pub const API_PORT: u16 = 6443;
/// The port of the second API server, where a test starts one.
pub const SECOND_API_PORT: u16 = 6444;

/// What Services get their addresses from.
pub const SERVICE_RANGES: &str = "10.96.0.0/16,fd96::/108";
/// The first address of each service range: the Service `default/kubernetes`.
pub const KUBERNETES_SERVICE: Addresses =
    Addresses { v4: Ipv4Addr::new(10, 96, 0, 1), v6: Ipv6Addr::new(0xfd96, 0, 0, 0, 0, 0, 0, 1) };
/// The tenth: the cluster's DNS.
pub const DNS_SERVICE: Addresses =
    Addresses { v4: Ipv4Addr::new(10, 96, 0, 10), v6: Ipv6Addr::new(0xfd96, 0, 0, 0, 0, 0, 0, 0xa) };

/// What the nodes' pod ranges are taken from, a /24 and a /64 for each.
pub const POD_RANGES: &str = "10.244.0.0/16,fd44::/48";
