//! Packets taken apart by simple code, and their checksums computed from scratch. Shares nothing with the rules.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::frame::{ACK, SYN, Sum, TCP, UDP};

pub(crate) const ETHERNET: usize = 14;
/// Number of IPv6's fragment header.
pub(crate) const FRAGMENT: u8 = 44;
/// Numbers of IPv6's other extension headers that may be read over.
const SKIPPED: [u8; 3] = [0, 43, 60];

/// Who speaks to whom.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Tuple {
    pub(crate) src: (IpAddr, u16),
    pub(crate) dst: (IpAddr, u16),
    pub(crate) protocol: u8,
}

impl Tuple {
    pub(crate) fn reversed(self) -> Self {
        Self { src: self.dst, dst: self.src, ..self }
    }
}

/// What a packet says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Anatomy {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) hop_limit: u8,
    /// Where the transport header is.
    pub(crate) transport: usize,
    pub(crate) place: Place,
    /// Source and destination port of a TCP or UDP packet that has them.
    pub(crate) ports: Option<(u16, u16)>,
    pub(crate) flags: u8,
}

/// A packet's place in a fragmented one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Whole,
    First,
    Later,
}

impl Anatomy {
    pub(crate) fn tuple(&self) -> Option<Tuple> {
        let (sport, dport) = self.ports?;
        Some(Tuple { src: (self.src, sport), dst: (self.dst, dport), protocol: self.protocol })
    }

    /// Whether it opens a TCP connection.
    pub(crate) fn opens(&self) -> bool {
        self.protocol == TCP && self.flags & (SYN | ACK) == SYN
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Takes a packet apart; `None` where it is cut off or malformed.
pub(crate) fn dissect(bytes: &[u8]) -> Option<Anatomy> {
    let packet = bytes.get(ETHERNET..)?;
    let mut anatomy = match bytes.get(12..14)? {
        [0x08, 0x00] => {
            // A header and eight bytes, or there is nothing to be told.
            let header = packet.get(..20)?;
            packet.get(20..28)?;
            if header[0] >> 4 != 4 || header[0] & 15 < 5 {
                return None;
            }
            let fragment = u16_at(packet, 6)?;
            let octets = |at: usize| -> [u8; 4] { header[at..at + 4].try_into().expect("four bytes") };
            Anatomy {
                src: Ipv4Addr::from(octets(12)).into(),
                dst: Ipv4Addr::from(octets(16)).into(),
                protocol: header[9],
                hop_limit: header[8],
                transport: ETHERNET + usize::from(header[0] & 15) * 4,
                place: match (fragment & 0x1fff, fragment & 0x2000) {
                    (0, 0) => Place::Whole,
                    (0, _) => Place::First,
                    _ => Place::Later,
                },
                ports: None,
                flags: 0,
            }
        }
        [0x86, 0xdd] => {
            let header = packet.get(..40)?;
            packet.get(40..48)?;
            if header[0] >> 4 != 6 {
                return None;
            }
            let octets = |at: usize| -> [u8; 16] { header[at..at + 16].try_into().expect("sixteen bytes") };
            let mut anatomy = Anatomy {
                src: Ipv6Addr::from(octets(8)).into(),
                dst: Ipv6Addr::from(octets(24)).into(),
                protocol: header[6],
                hop_limit: header[7],
                transport: ETHERNET + 40,
                place: Place::Whole,
                ports: None,
                flags: 0,
            };
            follow_chain(bytes, &mut anatomy)?;
            anatomy
        }
        _ => return None,
    };
    if [TCP, UDP].contains(&anatomy.protocol) && anatomy.place != Place::Later {
        let header = bytes.get(anatomy.transport..)?;
        let header = header.get(..if anatomy.protocol == TCP { 20 } else { 8 })?;
        anatomy.ports = Some((u16_at(header, 0)?, u16_at(header, 2)?));
        anatomy.flags = if anatomy.protocol == TCP { header[13] } else { 0 };
    }
    Some(anatomy)
}

/// Reads over up to four extension headers.
fn follow_chain(bytes: &[u8], anatomy: &mut Anatomy) -> Option<()> {
    for _ in 0..4 {
        let is_fragment = anatomy.protocol == FRAGMENT;
        if !is_fragment && !SKIPPED.contains(&anatomy.protocol) {
            break;
        }
        // The header's first eight bytes, and eight of what follows.
        let header = bytes.get(anatomy.transport..anatomy.transport + 16)?;
        anatomy.protocol = header[0];
        if is_fragment {
            let offset = u16_at(header, 2)?;
            anatomy.place = match (offset >> 3, offset & 1) {
                (0, 0) => Place::Whole,
                (0, _) => Place::First,
                _ => Place::Later,
            };
            anatomy.transport += 8;
        } else {
            anatomy.transport += 8 + 8 * usize::from(header[1]);
        }
        if anatomy.place == Place::Later {
            break;
        }
    }
    Some(())
}

/// RFC 1071 over bytes, an odd last one filled up with zero.
pub(crate) fn ones_sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u64::from(*low));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The sum of a pseudo header (RFC 768, RFC 9293, RFC 8200).
pub(crate) fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: u8, length: usize) -> u16 {
    let octets = |ip| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    ones_sum(&[&octets(src), &octets(dst), &[0, protocol], &(length as u32).to_be_bytes()])
}

/// Writes every checksum of a packet anew, as far as there are any.
pub(crate) fn complete(bytes: &mut [u8], sum: Sum) {
    let Some(anatomy) = dissect(bytes) else { return };
    complete_header(bytes, &anatomy);
    if anatomy.ports.is_none() || anatomy.place != Place::Whole {
        return;
    }
    let at = anatomy.transport + if anatomy.protocol == TCP { 16 } else { 6 };
    bytes[at..at + 2].fill(0);
    let length = bytes.len() - anatomy.transport;
    let pseudo = pseudo_header(anatomy.src, anatomy.dst, anatomy.protocol, length);
    let field = match sum {
        Sum::Absent if anatomy.protocol == UDP => return,
        Sum::PseudoHeader => pseudo,
        _ => !ones_sum(&[&pseudo.to_be_bytes(), &bytes[anatomy.transport..]]),
    };
    // 0 would say that there is none (RFC 768).
    let field = if anatomy.protocol == UDP && field == 0 { 0xffff } else { field };
    bytes[at..at + 2].copy_from_slice(&field.to_be_bytes());
}

/// Writes the checksum of an IPv4 header anew.
pub(crate) fn complete_header(bytes: &mut [u8], anatomy: &Anatomy) {
    if anatomy.src.is_ipv4() && anatomy.transport <= bytes.len() {
        bytes[ETHERNET + 10..ETHERNET + 12].fill(0);
        let field = !ones_sum(&[&bytes[ETHERNET..anatomy.transport]]);
        bytes[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&field.to_be_bytes());
    }
}
