//! Headers as they are on the wire. Multi-byte fields are as loaded, in network byte order.

use penstock_abi::{Addr4, Addr6, Port};

/// Bytes of an Ethernet header (IEEE 802.3), where the IP header begins. The kernel takes VLAN tags off before TC.
pub const ETHERNET_LEN: usize = 14;

/// The fixed part of an IPv4 header (RFC 791).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Ipv4Header {
    /// Version and header length in words.
    pub version_ihl: u8,
    /// Type of service.
    pub tos: u8,
    /// Length of the packet, big endian.
    pub total_len: u16,
    /// Identification.
    pub id: u16,
    /// Flags and fragment offset, big endian.
    pub fragment: u16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol number.
    pub protocol: u8,
    /// Header checksum.
    pub checksum: u16,
    /// Source.
    pub src: Addr4,
    /// Destination.
    pub dst: Addr4,
}

/// The fixed part of an IPv6 header (RFC 8200).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Ipv6Header {
    /// Version, traffic class and flow label.
    pub version_class_label: u32,
    /// Length of what follows this header, big endian.
    pub payload_len: u16,
    /// Protocol number of what follows.
    pub next: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source.
    pub src: Addr6,
    /// Destination.
    pub dst: Addr6,
}

/// Flags of a TCP segment (RFC 9293, 3.1): byte 13 of the header.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement field is significant.
    pub const ACK: u8 = 0x10;

    /// Whether this segment opens a connection.
    #[inline(always)]
    pub const fn opens(self) -> bool {
        self.0 & (Self::SYN | Self::ACK) == Self::SYN
    }

    /// Whether any of `flags` is set.
    #[inline(always)]
    pub const fn any(self, flags: u8) -> bool {
        self.0 & flags != 0
    }
}

/// Bytes of a TCP header without options (RFC 9293, 3.1).
pub(crate) const TCP_LEN: usize = 20;
/// Bytes of a UDP header (RFC 768).
pub(crate) const UDP_LEN: usize = 8;
/// Offset of the flags in a TCP header.
pub(crate) const TCP_FLAGS: usize = 13;
/// Offset of the checksum in a TCP header.
pub(crate) const TCP_CHECKSUM: usize = 16;
/// Offset of the checksum in a UDP header (RFC 768).
pub(crate) const UDP_CHECKSUM: usize = 6;

// The `plain` proofs live in penstock-abi; headers are arrays there, so nothing here needs unsafe code.

impl Ipv4Header {
    /// Bytes of the fixed part.
    pub const LEN: usize = 20;

    /// Takes the loaded words apart.
    #[inline(always)]
    pub(crate) fn from_words(w: [u32; 5]) -> Self {
        let [first, second, third, src, dst] = w.map(u32::to_ne_bytes);
        Self {
            version_ihl: first[0],
            tos: first[1],
            total_len: u16::from_ne_bytes([first[2], first[3]]),
            id: u16::from_ne_bytes([second[0], second[1]]),
            fragment: u16::from_ne_bytes([second[2], second[3]]),
            ttl: third[0],
            protocol: third[1],
            checksum: u16::from_ne_bytes([third[2], third[3]]),
            src: Addr4(u32::from_ne_bytes(src)),
            dst: Addr4(u32::from_ne_bytes(dst)),
        }
    }
}

impl Ipv6Header {
    /// Bytes of the fixed part.
    pub const LEN: usize = 40;

    /// Takes the loaded words apart.
    #[inline(always)]
    pub(crate) fn from_words(w: [u32; 10]) -> Self {
        let [label, second, a, b, c, d, e, f, g, h] = w;
        let second = second.to_ne_bytes();
        Self {
            version_class_label: label,
            payload_len: u16::from_ne_bytes([second[0], second[1]]),
            next: second[2],
            hop_limit: second[3],
            src: Addr6([a, b, c, d]),
            dst: Addr6([e, f, g, h]),
        }
    }
}

const _: () =
    assert!(size_of::<Ipv4Header>() == Ipv4Header::LEN && size_of::<Ipv6Header>() == Ipv6Header::LEN);

/// Two ports as they lie at the start of a TCP or UDP header, in one load.
#[inline(always)]
pub(crate) fn split_ports(word: u32) -> (Port, Port) {
    let [a, b, c, d] = word.to_ne_bytes();
    (Port(u16::from_ne_bytes([a, b])), Port(u16::from_ne_bytes([c, d])))
}

/// The inverse of [`split_ports`].
#[inline(always)]
pub(crate) fn join_ports(sport: Port, dport: Port) -> u32 {
    let ([a, b], [c, d]) = (sport.0.to_ne_bytes(), dport.0.to_ne_bytes());
    u32::from_ne_bytes([a, b, c, d])
}
