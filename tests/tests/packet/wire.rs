//! Packets as bytes and back, written from the RFCs alone: nothing here is shared with what is under test.

use std::net::IpAddr;

use penstock_abi::Protocol;

use crate::bench::{Family, Host};

/// Bytes of an Ethernet header.
pub(crate) const ETHERNET: usize = 14;
const FRAGMENT_HEADER: u8 = 44;

/// TCP flags (RFC 9293, 3.1).
pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const PSH: u8 = 8;
pub(crate) const ACK: u8 = 16;

/// A packet with its Ethernet header; TCP and UDP have their fields, of everything else the payload is opaque.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    macs: [u8; 12],
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: Protocol,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
    pub(crate) hop_limit: u8,
    flags: u8,
    sequence: u32,
    acknowledged: u32,
    window: u16,
    payload: Vec<u8>,
    has_checksum: bool,
    is_fragment: bool,
}

impl Packet {
    pub(crate) fn new(family: Family, protocol: Protocol, src: Host, dst: Host) -> Self {
        Self {
            macs: [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2],
            src: src.ip(family),
            dst: dst.ip(family),
            protocol,
            sport: 0,
            dport: 0,
            hop_limit: 64,
            flags: 0,
            sequence: 0,
            acknowledged: 0,
            window: if protocol == Protocol::TCP { 0x1234 } else { 0 },
            payload: Vec::new(),
            has_checksum: true,
            is_fragment: false,
        }
    }

    pub(crate) fn ports(self, sport: u16, dport: u16) -> Self {
        Self { sport, dport, ..self }
    }

    pub(crate) fn to(self, host: Host) -> Self {
        let family = if self.dst.is_ipv4() { Family::V4 } else { Family::V6 };
        Self { dst: host.ip(family), ..self }
    }

    pub(crate) fn payload(self, payload: &[u8]) -> Self {
        Self { payload: payload.to_vec(), ..self }
    }

    /// TCP flags; a UDP packet has none.
    pub(crate) fn flags(self, flags: u8) -> Self {
        if self.protocol == Protocol::TCP { Self { flags, ..self } } else { self }
    }

    pub(crate) fn sequence(self, sequence: u32, acknowledged: u32) -> Self {
        Self { sequence, acknowledged, ..self }
    }

    pub(crate) fn window(self, window: u16) -> Self {
        Self { window, ..self }
    }

    pub(crate) fn hop_limit(self, hop_limit: u8) -> Self {
        Self { hop_limit, ..self }
    }

    /// A UDP checksum of zero: none was computed (RFC 768; RFC 6935).
    pub(crate) fn without_checksum(self) -> Self {
        Self { has_checksum: false, ..self }
    }

    /// The first of several fragments.
    pub(crate) fn fragment(self) -> Self {
        Self { is_fragment: true, ..self }
    }

    /// From the destination to the source, with a full hop limit.
    pub(crate) fn reversed(&self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
            hop_limit: 64,
            ..self.clone()
        }
    }

    /// With its Ethernet addresses exchanged.
    pub(crate) fn turned(self) -> Self {
        let mut macs = self.macs;
        macs.rotate_left(6);
        Self { macs, ..self }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let transport = self.transport();
        let mut bytes = self.macs.to_vec();
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                bytes.extend([0x08, 0x00]);
                let fragment: u16 = if self.is_fragment { 0x2000 } else { 0x4000 };
                let mut header = vec![0x45, 0];
                header.extend(length(20 + transport.len()).to_be_bytes());
                header.extend([0, 0]);
                header.extend(fragment.to_be_bytes());
                header.extend([self.hop_limit, self.protocol.0, 0, 0]);
                header.extend(src.octets());
                header.extend(dst.octets());
                let sum = !folded_sum(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                bytes.extend(header);
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                let extension = if self.is_fragment { 8 } else { 0 };
                bytes.extend(length(extension + transport.len()).to_be_bytes());
                bytes.extend([
                    if self.is_fragment { FRAGMENT_HEADER } else { self.protocol.0 },
                    self.hop_limit,
                ]);
                bytes.extend(src.octets());
                bytes.extend(dst.octets());
                if self.is_fragment {
                    // Offset 0, more to come.
                    bytes.extend([self.protocol.0, 0, 0, 1, 0, 0, 0, 1]);
                }
            }
            _ => panic!("one packet, two families"),
        }
        bytes.extend(transport);
        bytes
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.sport.to_be_bytes());
        bytes.extend(self.dport.to_be_bytes());
        let checksum_at = match self.protocol {
            Protocol::TCP => {
                bytes.extend(self.sequence.to_be_bytes());
                bytes.extend(self.acknowledged.to_be_bytes());
                bytes.extend([5 << 4, self.flags]);
                bytes.extend(self.window.to_be_bytes());
                bytes.extend([0; 4]);
                16
            }
            Protocol::UDP => {
                bytes.extend(length(8 + self.payload.len()).to_be_bytes());
                bytes.extend([0; 2]);
                6
            }
            _ => {
                bytes.extend(&self.payload);
                return bytes;
            }
        };
        bytes.extend(&self.payload);
        if self.has_checksum {
            let sum = !folded_sum(
                &[pseudo_header(self.src, self.dst, self.protocol, &bytes), bytes.clone()].concat(),
            );
            // A UDP checksum that comes out as zero is sent as all ones: zero says that there is none.
            let sum = if sum == 0 && self.protocol == Protocol::UDP { 0xffff } else { sum };
            bytes[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        bytes
    }

    /// The packet that these bytes are. Writing it again gives the same bytes, or this fails: so no byte goes unseen, and
    /// a wrong checksum or length is found.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let (src, dst, protocol, hop_limit, start): (IpAddr, IpAddr, u8, u8, usize) = match bytes[12..14] {
            [0x08, 0x00] => (
                octets::<4>(bytes, 26).into(),
                octets::<4>(bytes, 30).into(),
                bytes[23],
                bytes[22],
                ETHERNET + 20,
            ),
            [0x86, 0xdd] => (
                octets::<16>(bytes, 22).into(),
                octets::<16>(bytes, 38).into(),
                bytes[20],
                bytes[21],
                ETHERNET + 40,
            ),
            ref other => panic!("EtherType {other:02x?}"),
        };
        let segment = &bytes[start..];
        let word = |at: usize| u32::from_be_bytes(octets(segment, at));
        let half = |at: usize| u16::from_be_bytes(octets(segment, at));
        let mut packet = Self {
            macs: octets(bytes, 0),
            src,
            dst,
            protocol: Protocol(protocol),
            sport: half(0),
            dport: half(2),
            hop_limit,
            flags: 0,
            sequence: 0,
            acknowledged: 0,
            window: 0,
            payload: Vec::new(),
            has_checksum: true,
            is_fragment: false,
        };
        let header = match packet.protocol {
            Protocol::TCP => {
                (packet.sequence, packet.acknowledged) = (word(4), word(8));
                (packet.flags, packet.window) = (segment[13], half(14));
                20
            }
            Protocol::UDP => {
                packet.has_checksum = half(6) != 0;
                8
            }
            _ => 4,
        };
        packet.payload = segment[header..].to_vec();
        assert_eq!(packet.bytes(), bytes, "a length or a checksum of {packet:?} is wrong");
        packet
    }
}

/// What an ICMP "port unreachable" from `src` to `dst` quotes. Fails where it is anything else, or its sums are wrong.
pub(crate) fn quoted_by_port_unreachable(family: Family, bytes: &[u8], src: Host, dst: Host) -> Vec<u8> {
    let (src, dst) = (src.ip(family), dst.ip(family));
    let start = ETHERNET + header_length(family);
    let message = &bytes[start..];
    let (protocol, kind_and_code, addresses) = match family {
        Family::V4 => {
            assert_eq!(folded_sum(&bytes[ETHERNET..start]), 0xffff, "the IPv4 header's checksum");
            (Protocol::ICMP, [3, 3], &bytes[26..34])
        }
        Family::V6 => (Protocol::ICMPV6, [1, 4], &bytes[22..54]),
    };
    assert_eq!(addresses, [ip_octets(src), ip_octets(dst)].concat());
    assert_eq!(message[..2], kind_and_code);
    let mut summed = message.to_vec();
    if family == Family::V6 {
        summed = [pseudo_header(src, dst, protocol, message), summed].concat();
    }
    assert_eq!(folded_sum(&summed), 0xffff, "the ICMP checksum");
    message[8..].to_vec()
}

/// The least that such a message quotes: the network header and 8 bytes (RFC 792), here with nothing to spare.
pub(crate) fn least_quote(family: Family) -> usize {
    header_length(family) + 8
}

/// Bytes of a network header without options.
pub(crate) fn header_length(family: Family) -> usize {
    match family {
        Family::V4 => 20,
        Family::V6 => 40,
    }
}

fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: Protocol, transport: &[u8]) -> Vec<u8> {
    let mut bytes = [ip_octets(src), ip_octets(dst)].concat();
    bytes.extend([0, protocol.0]);
    bytes.extend(length(transport.len()).to_be_bytes());
    bytes
}

fn ip_octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn octets<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes")
}

fn length(length: usize) -> u16 {
    length.try_into().expect("a packet of less than 64 KiB")
}

/// The ones' complement sum of 16-bit words (RFC 1071), not complemented.
fn folded_sum(bytes: &[u8]) -> u16 {
    let pairs = bytes.chunks(2);
    let mut sum: u32 =
        pairs.map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
