//! Addresses, ports and protocol numbers as they are on the wire.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::plain::{Plain, plain};

/// An IPv4 address: the four octets of the wire, loaded as one word of the machine's own byte order.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Addr4(pub u32);
plain!(Addr4, 4: 0: u32);

/// An IPv6 address: the sixteen octets of the wire, loaded as four words of the machine's own byte order.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Addr6(pub [u32; 4]);
plain!(Addr6, 16: 0: [u32; 4]);

/// What the contract needs of an address, whichever its family.
pub trait Addr:
    Plain + Eq + core::hash::Hash + Ord + Default + fmt::Debug + fmt::Display + Send + Sync
{
    /// The address for people and for the standard library.
    fn to_ip(self) -> IpAddr;
    /// The address of this family, or `None` where it is of the other one.
    fn from_ip(ip: IpAddr) -> Option<Self>;
    /// A word that depends on every bit of the address; not a hash to defend with.
    fn fold(self) -> u32;
}

impl Addr for Addr4 {
    fn to_ip(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(self.0.to_ne_bytes()))
    }

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(ip) => Some(ip.into()),
            IpAddr::V6(_) => None,
        }
    }

    #[inline(always)]
    fn fold(self) -> u32 {
        self.0
    }
}

impl Addr for Addr6 {
    fn to_ip(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self))
    }

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => Some(ip.into()),
        }
    }

    #[inline(always)]
    fn fold(self) -> u32 {
        let [a, b, c, d] = self.0;
        // Rotations keep words apart that are often alike (a prefix shared by source and destination).
        a ^ b.rotate_left(7) ^ c.rotate_left(13) ^ d.rotate_left(19)
    }
}

impl From<Ipv4Addr> for Addr4 {
    fn from(ip: Ipv4Addr) -> Self {
        Self(u32::from_ne_bytes(ip.octets()))
    }
}

impl From<Ipv6Addr> for Addr6 {
    fn from(ip: Ipv6Addr) -> Self {
        let o = ip.octets();
        Self([
            u32::from_ne_bytes([o[0], o[1], o[2], o[3]]),
            u32::from_ne_bytes([o[4], o[5], o[6], o[7]]),
            u32::from_ne_bytes([o[8], o[9], o[10], o[11]]),
            u32::from_ne_bytes([o[12], o[13], o[14], o[15]]),
        ])
    }
}

impl From<Addr6> for Ipv6Addr {
    fn from(addr: Addr6) -> Self {
        let mut octets = [0; 16];
        for (octet, byte) in octets.iter_mut().zip(addr.bytes()) {
            *octet = *byte;
        }
        Self::from(octets)
    }
}

/// The prefix `::ffff:0:0/96`, under which a socket of family IPv6 reaches an IPv4 address (RFC 4291, 2.5.5.2).
const MAPPED_PREFIX: [u32; 3] = [0, 0, 0xffff_u32.to_be()];

impl Addr6 {
    /// The IPv4 address inside an IPv4-mapped one, `None` for every other address.
    #[inline(always)]
    pub fn to_mapped(self) -> Option<Addr4> {
        let [a, b, c, d] = self.0;
        if [a, b, c] == MAPPED_PREFIX { Some(Addr4(d)) } else { None }
    }

    /// `::ffff:a.b.c.d` for `a.b.c.d`.
    #[inline(always)]
    pub fn from_mapped(addr: Addr4) -> Self {
        let [a, b, c] = MAPPED_PREFIX;
        Self([a, b, c, addr.0])
    }
}

macro_rules! display_as_ip {
    ($($type:ty),+) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.to_ip().fmt(f)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )+};
}
display_as_ip!(Addr4, Addr6);

/// A port in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Port(pub u16);
plain!(Port, 2: 0: u16);

impl Port {
    /// From the machine's own byte order.
    #[inline(always)]
    pub const fn new(port: u16) -> Self {
        Self(port.to_be())
    }

    /// In the machine's own byte order.
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A number from the IANA list of protocol numbers.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Protocol(pub u8);
plain!(Protocol, 1: 0: u8);

impl Protocol {
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// SCTP.
    pub const SCTP: Self = Self(132);
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ICMP => f.pad("ICMP"),
            Self::TCP => f.pad("TCP"),
            Self::UDP => f.pad("UDP"),
            Self::ICMPV6 => f.pad("ICMPv6"),
            Self::SCTP => f.pad("SCTP"),
            Self(other) => write!(f, "protocol {other}"),
        }
    }
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_as_its_octets_are_on_the_wire() {
        assert_eq!(Addr4::from(Ipv4Addr::new(10, 96, 0, 1)).bytes(), &[10, 96, 0, 1]);
        let ip: Ipv6Addr = "2001:db8::1".parse().unwrap();
        assert_eq!(Addr6::from(ip).bytes(), ip.octets());
        assert_eq!(Addr6::from(ip).to_ip(), IpAddr::V6(ip));
    }

    #[test]
    fn a_port_is_kept_in_network_byte_order() {
        assert_eq!(Port::new(0x1234).bytes(), &[0x12, 0x34]);
        assert_eq!(Port::new(443).get(), 443);
    }

    #[test]
    fn only_the_mapped_prefix_holds_an_ipv4_address() {
        let v4 = Addr4::from(Ipv4Addr::new(192, 0, 2, 7));
        assert_eq!(Addr6::from_mapped(v4).to_ip(), "::ffff:192.0.2.7".parse::<IpAddr>().unwrap());
        assert_eq!(Addr6::from_mapped(v4).to_mapped(), Some(v4));
        let compatible: Ipv6Addr = "::192.0.2.7".parse().unwrap();
        assert_eq!(Addr6::from(compatible).to_mapped(), None);
    }

    #[test]
    fn bytes_of_another_length_are_no_value() {
        assert_eq!(Addr4::from_bytes(&[10, 0, 0]), None);
        assert_eq!(Addr4::from_bytes(&[10, 0, 0, 1]), Some(Ipv4Addr::new(10, 0, 0, 1).into()));
    }
}
