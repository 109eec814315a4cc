//! The two address families, each in one place.

use penstock_abi::{Addr, Addr4, Addr6, Plain, Protocol};

use crate::checksum::Checksum;
use crate::headers::{ETHERNET_LEN, Ipv4Header, Ipv6Header};
use crate::packet::Packet;

/// What differs between IPv4 and IPv6.
pub trait Family: Sized + 'static {
    /// The address.
    type Addr: Addr;
    /// Whether this is IPv6.
    const IS_V6: bool;

    /// Reads the network header: the addresses, and the rest. `None`: the packet ends too early, or is no packet of this
    /// family.
    fn network(packet: &mut impl Packet) -> Option<(Pair<Self::Addr>, Network)>;

    /// Writes addresses and the hop limit, and whatever of the network header follows from them.
    fn store(
        packet: &mut impl Packet,
        before: &Network,
        from: Pair<Self::Addr>,
        to: Pair<Self::Addr>,
        hop_limit: u8,
    ) -> Option<()>;

    /// The change of a one's complement sum where one address gives way to another.
    fn replace(sum: Checksum, old: Self::Addr, new: Self::Addr) -> Checksum;

    /// Writes a network header without options over what is there.
    fn write_header(
        packet: &mut impl Packet,
        addrs: Pair<Self::Addr>,
        protocol: Protocol,
        payload_len: u16,
    ) -> Option<()>;

    /// Bytes of a network header without options.
    const HEADER_LEN: usize;
    /// The protocol of error messages.
    const ICMP: Protocol;
    /// Type and code of "port unreachable" (RFC 792; RFC 4443, 3.1).
    const PORT_UNREACHABLE: [u8; 2];
    /// Whether an ICMP checksum covers a pseudo header (RFC 4443, 2.3).
    const ICMP_HAS_PSEUDO_HEADER: bool;
    /// What an error message quotes of a packet: the network header and eight bytes.
    type Quote: Plain + AsRef<[u32]>;

    /// The address as events carry it.
    fn to_addr6(addr: Self::Addr) -> Addr6;
}

/// Source and destination.
#[derive(Clone, Copy, Debug)]
pub struct Pair<A> {
    /// Source.
    pub src: A,
    /// Destination.
    pub dst: A,
}

/// What the network header says beside the addresses.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// Protocol of what the packet carries, behind all extension headers.
    pub protocol: Protocol,
    /// Time to live, or hop limit.
    pub hop_limit: u8,
    /// Header checksum; 0 for IPv6, which has none.
    pub checksum: u16,
    /// Where the transport header begins.
    pub l4: usize,
    /// The packet's place in a fragmented one.
    pub fragment: Fragment,
}

/// A packet's place in a fragmented one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fragment {
    /// The packet is whole.
    Whole,
    /// The first fragment: it has the ports.
    First,
    /// A later fragment: what is at the transport header's place is data.
    Later,
}

/// IPv4.
#[derive(Debug)]
pub struct V4;

/// IPv6.
#[derive(Debug)]
pub struct V6;

/// Offset of the word that holds time to live, protocol and checksum.
const V4_TTL: usize = ETHERNET_LEN + 8;
/// Offset of the hop limit.
const V6_HOP_LIMIT: usize = ETHERNET_LEN + 7;
/// The hop limit of packets that are made here: what hosts use (IANA, IP parameters).
const HOP_LIMIT: u8 = 64;
/// Offset of the two addresses.
const V6_ADDRESSES: usize = ETHERNET_LEN + 8;

/// "More fragments" and the fragment offset, in an IPv4 header's field (RFC 791).
const V4_MORE_FRAGMENTS: u16 = 0x2000;
const V4_FRAGMENT_OFFSET: u16 = 0x1fff;

/// The most extension headers that are walked through: each kind once (RFC 8200, 4.1). Each costs the verifier another look at
/// all that follows.
const MAX_EXTENSIONS: usize = 4;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

impl Family for V4 {
    type Addr = Addr4;
    type Quote = [u32; 7];
    const IS_V6: bool = false;
    const HEADER_LEN: usize = Ipv4Header::LEN;
    const ICMP: Protocol = Protocol::ICMP;
    const PORT_UNREACHABLE: [u8; 2] = [3, 3];
    const ICMP_HAS_PSEUDO_HEADER: bool = false;

    #[inline(always)]
    fn network(packet: &mut impl Packet) -> Option<(Pair<Addr4>, Network)> {
        // The ports are asked for together with the header, so that one pull makes both readable.
        packet.pull(ETHERNET_LEN + Ipv4Header::LEN + 8)?;
        let header = Ipv4Header::from_words(packet.load(ETHERNET_LEN)?);
        if header.version_ihl >> 4 != 4 || header.version_ihl & 0xf < 5 {
            return None;
        }
        let flags = u16::from_be(header.fragment);
        let fragment = if flags & V4_FRAGMENT_OFFSET != 0 {
            Fragment::Later
        } else if flags & V4_MORE_FRAGMENTS != 0 {
            Fragment::First
        } else {
            Fragment::Whole
        };
        let network = Network {
            protocol: Protocol(header.protocol),
            hop_limit: header.ttl,
            checksum: header.checksum,
            l4: ETHERNET_LEN + (header.version_ihl as usize & 0xf) * 4,
            fragment,
        };
        Some((Pair { src: header.src, dst: header.dst }, network))
    }

    #[inline(always)]
    fn store(
        packet: &mut impl Packet,
        before: &Network,
        from: Pair<Addr4>,
        to: Pair<Addr4>,
        hop_limit: u8,
    ) -> Option<()> {
        let pair = |ttl| u16::from_ne_bytes([ttl, before.protocol.0]);
        let sum = Checksum::new()
            .replace(from.src.0, to.src.0)
            .replace(from.dst.0, to.dst.0)
            .replace16(pair(before.hop_limit), pair(hop_limit));
        let [low, high] = sum.apply(before.checksum).to_ne_bytes();
        let ttl = u32::from_ne_bytes([hop_limit, before.protocol.0, low, high]);
        packet.store(V4_TTL, [ttl, to.src.0, to.dst.0])
    }

    #[inline(always)]
    fn write_header(
        packet: &mut impl Packet,
        addrs: Pair<Addr4>,
        protocol: Protocol,
        payload_len: u16,
    ) -> Option<()> {
        let [high, low] = (payload_len + Self::HEADER_LEN as u16).to_be_bytes();
        // Version 4, five words; "don't fragment".
        let first = u32::from_ne_bytes([0x45, 0, high, low]);
        let second = u32::from_ne_bytes([0, 0, 0x40, 0]);
        let third = |sum: [u8; 2]| u32::from_ne_bytes([HOP_LIMIT, protocol.0, sum[0], sum[1]]);
        let sum = Checksum::new().add(first).add(second).add(third([0; 2])).add(addrs.src.0).add(addrs.dst.0);
        let third = third(sum.complete().to_ne_bytes());
        packet.store(ETHERNET_LEN, [first, second, third, addrs.src.0, addrs.dst.0])
    }

    #[inline(always)]
    fn replace(sum: Checksum, old: Addr4, new: Addr4) -> Checksum {
        sum.replace(old.0, new.0)
    }

    #[inline(always)]
    fn to_addr6(addr: Addr4) -> Addr6 {
        Addr6::from_mapped(addr)
    }
}

impl Family for V6 {
    type Addr = Addr6;
    type Quote = [u32; 12];
    const IS_V6: bool = true;
    const HEADER_LEN: usize = Ipv6Header::LEN;
    const ICMP: Protocol = Protocol::ICMPV6;
    const PORT_UNREACHABLE: [u8; 2] = [1, 4];
    const ICMP_HAS_PSEUDO_HEADER: bool = true;

    #[inline(always)]
    fn network(packet: &mut impl Packet) -> Option<(Pair<Addr6>, Network)> {
        packet.pull(ETHERNET_LEN + Ipv6Header::LEN + 8)?;
        let header = Ipv6Header::from_words(packet.load(ETHERNET_LEN)?);
        if header.version_class_label.to_ne_bytes()[0] >> 4 != 6 {
            return None;
        }
        let mut network = Network {
            protocol: Protocol(header.next),
            hop_limit: header.hop_limit,
            checksum: 0,
            l4: ETHERNET_LEN + Ipv6Header::LEN,
            fragment: Fragment::Whole,
        };
        if is_extension(header.next) {
            walk_extensions(packet, &mut network)?;
        }
        Some((Pair { src: header.src, dst: header.dst }, network))
    }

    #[inline(always)]
    fn store(
        packet: &mut impl Packet,
        _before: &Network,
        _from: Pair<Addr6>,
        to: Pair<Addr6>,
        hop_limit: u8,
    ) -> Option<()> {
        packet.store(V6_ADDRESSES, [to.src, to.dst])?;
        packet.store(V6_HOP_LIMIT, hop_limit)
    }

    #[inline(always)]
    fn write_header(
        packet: &mut impl Packet,
        addrs: Pair<Addr6>,
        protocol: Protocol,
        payload_len: u16,
    ) -> Option<()> {
        let [high, low] = payload_len.to_be_bytes();
        let first = u32::from_ne_bytes([0x60, 0, 0, 0]);
        let second = u32::from_ne_bytes([high, low, protocol.0, HOP_LIMIT]);
        packet.store(ETHERNET_LEN, [first, second])?;
        packet.store(V6_ADDRESSES, [addrs.src, addrs.dst])
    }

    #[inline(always)]
    fn replace(mut sum: Checksum, old: Addr6, new: Addr6) -> Checksum {
        for (old, new) in old.0.into_iter().zip(new.0) {
            sum = sum.replace(old, new);
        }
        sum
    }

    #[inline(always)]
    fn to_addr6(addr: Addr6) -> Addr6 {
        addr
    }
}

#[inline(always)]
fn is_extension(next: u8) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION)
}

/// Follows the chain of extension headers (RFC 8200, section 4) to the transport header.
///
/// A function of its own: packets with extension headers are rare, and the loop would weigh on those without.
#[inline(never)]
fn walk_extensions(packet: &mut impl Packet, network: &mut Network) -> Option<()> {
    for _ in 0..MAX_EXTENSIONS {
        if !is_extension(network.protocol.0) {
            return Some(());
        }
        // Eight bytes hold the next header's number, a length in units of eight bytes beyond the first eight, and, for
        // a fragment, its offset; and a transport header's first eight bytes are wanted after the last of them.
        packet.pull(network.l4 + 16)?;
        let [next, length, offset_high, offset_low]: [u8; 4] = packet.load(network.l4)?;
        if network.protocol.0 == FRAGMENT {
            let offset = u16::from_be_bytes([offset_high, offset_low]);
            network.fragment = match (offset >> 3, offset & 1) {
                (0, 0) => Fragment::Whole,
                (0, _) => Fragment::First,
                _ => Fragment::Later,
            };
            network.l4 += 8;
        } else {
            network.l4 += (length as usize + 1) * 8;
        }
        network.protocol = Protocol(next);
        if network.fragment == Fragment::Later {
            // What follows is the middle of something: no header is there to be read.
            return Some(());
        }
    }
    // A longer chain than anything sends: its last header's number is an extension's, so no Service is looked for.
    Some(())
}
