//! From a next hop to a verdict.

use penstock_abi::NextHopKind;

use crate::headers::ETHERNET_LEN;
use crate::packet::Packet;
use crate::tables::NodeTables;

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Go on as if no program had been there.
    Pass,
    /// Into the pod behind a veth, past the host's stack (`bpf_redirect_peer`).
    Peer {
        /// The veth's host side.
        ifindex: u32,
    },
    /// Out through a next hop's device to its gateway (`bpf_redirect_neigh`).
    Gateway {
        /// The next hop's index.
        hop: u32,
    },
    /// Out through a device to the neighbour that the kernel's routing names (`bpf_redirect_neigh`).
    Neighbour {
        /// The device.
        ifindex: u32,
    },
    /// Back into the node, as if it had arrived at the device.
    Reinject {
        /// The device.
        ifindex: u32,
    },
}

impl Verdict {
    /// Whether the packet goes on without the kernel's routing, which would take one off its hop limit.
    #[inline(always)]
    pub const fn bypasses_routing(self) -> bool {
        matches!(self, Self::Peer { .. } | Self::Gateway { .. } | Self::Neighbour { .. })
    }
}

/// Where a program stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hook {
    /// The packet came in through the device: the kernel's routing is still ahead.
    Ingress,
    /// The packet is going out through the device: the kernel's routing is behind.
    Egress,
}

/// The verdict that takes a packet to a next hop.
///
/// `to_client`: the packet is an answer, so that at egress a way that is not known leads back into this node.
#[inline(always)]
pub(crate) fn steer(
    tables: &impl NodeTables,
    index: u32,
    hook: Hook,
    packet: &impl Packet,
    to_client: bool,
) -> Verdict {
    // An index that leads nowhere leads to the kernel's routing, like the one that says so.
    let hop = tables.next_hop(index).unwrap_or_default();
    let fits = hop.mtu == 0
        || packet.is_segmented()
        || packet.len() <= u32::from(hop.mtu).saturating_add(ETHERNET_LEN as u32);
    match (hop.kind(), hook) {
        // A packet that is too large for its way is the kernel's: it fragments, or tells the sender.
        _ if !fits => Verdict::Pass,
        (NextHopKind::Local, Hook::Ingress) => Verdict::Peer { ifindex: hop.ifindex },
        (NextHopKind::Local, Hook::Egress) => Verdict::Neighbour { ifindex: hop.ifindex },
        (NextHopKind::Direct, _) => Verdict::Gateway { hop: index },
        (NextHopKind::Stack | NextHopKind::Host, Hook::Ingress) => Verdict::Pass,
        (NextHopKind::Host, Hook::Egress) => Verdict::Reinject { ifindex: packet.ifindex() },
        (NextHopKind::Stack, Hook::Egress) if to_client => Verdict::Reinject { ifindex: packet.ifindex() },
        (NextHopKind::Stack, Hook::Egress) => Verdict::Neighbour { ifindex: packet.ifindex() },
    }
}
