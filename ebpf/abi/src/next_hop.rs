//! Where a packet leaves to.

use core::fmt;
use core::net::IpAddr;

use crate::address::{Addr, Addr6};
use crate::plain::plain;

/// Value of the next-hops table. Immutable once anything names its index.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct NextHop {
    /// What to do, as a [`NextHopKind`]. Anything else is taken for [`NextHopKind::Stack`].
    pub kind: u8,
    /// Explicit padding, zero.
    pub _pad: u8,
    /// Largest packet that the way carries, in bytes from the IP header on; 0: not known.
    pub mtu: u16,
    /// The device: a pod's veth on this node, or the uplink.
    pub ifindex: u32,
    /// For [`NextHopKind::Direct`]: the neighbour that is asked for by ARP or neighbour discovery. IPv4 is kept mapped
    /// (`::ffff:a.b.c.d`).
    pub gateway: Addr6,
}
plain!(NextHop, 24: kind: u8, _pad: u8, mtu: u16, ifindex: u32, gateway: Addr6);

/// What to do with a packet.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum NextHopKind {
    /// Leave it to the kernel's routing.
    Stack = 0,
    /// A pod on this node, behind the veth `ifindex`.
    Local = 1,
    /// This node itself.
    Host = 2,
    /// Another node on the same link: through `ifindex` to the neighbour `gateway`.
    Direct = 3,
}

impl NextHop {
    /// The index that leads to the kernel's routing. Never given out.
    pub const STACK: u32 = 0;

    /// Leave it to the kernel's routing.
    pub fn stack() -> Self {
        Self::default()
    }

    /// A pod on this node.
    pub fn local(ifindex: u32, mtu: u16) -> Self {
        Self { kind: NextHopKind::Local as u8, ifindex, mtu, ..Self::default() }
    }

    /// This node itself.
    pub fn host() -> Self {
        Self { kind: NextHopKind::Host as u8, ..Self::default() }
    }

    /// Another node on the same link.
    pub fn direct(ifindex: u32, mtu: u16, gateway: IpAddr) -> Self {
        let gateway = match gateway {
            IpAddr::V4(ip) => Addr6::from_mapped(ip.into()),
            IpAddr::V6(ip) => ip.into(),
        };
        Self { kind: NextHopKind::Direct as u8, ifindex, mtu, gateway, ..Self::default() }
    }

    /// What to do.
    #[inline(always)]
    pub fn kind(&self) -> NextHopKind {
        match self.kind {
            1 => NextHopKind::Local,
            2 => NextHopKind::Host,
            3 => NextHopKind::Direct,
            _ => NextHopKind::Stack,
        }
    }

    /// The neighbour, for people.
    pub fn gateway_ip(&self) -> IpAddr {
        match self.gateway.to_mapped() {
            Some(v4) => v4.to_ip(),
            None => self.gateway.to_ip(),
        }
    }
}

impl fmt::Debug for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            NextHopKind::Stack => f.write_str("kernel routing"),
            NextHopKind::Local => write!(f, "local pod, device {}, mtu {}", self.ifindex, self.mtu),
            NextHopKind::Host => f.write_str("this node"),
            NextHopKind::Direct => {
                write!(f, "via {} on device {}, mtu {}", self.gateway_ip(), self.ifindex, self.mtu)
            }
        }
    }
}
