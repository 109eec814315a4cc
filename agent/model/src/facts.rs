//! What the agent learns of its own node, other than from the cluster.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::tables::PerFamily;

/// A device of this node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Device {
    /// The index of the interface.
    pub ifindex: u32,
    /// Largest packet in bytes from the IP header on; 0: not known.
    pub mtu: u16,
}

/// What netlink tells of this node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeFacts {
    /// The name of this node's Node object.
    pub node: Box<str>,
    /// The node's own addresses.
    pub addresses: Vec<IpAddr>,
    /// The device towards the other nodes, by family.
    pub uplink: PerFamily<Option<Device>>,
    /// The pods on this node: the address of each, and the host's side of its veth.
    pub endpoints: HashMap<IpAddr, Device>,
}
