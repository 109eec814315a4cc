//! The answer to a client of a Service that has no endpoint: it is refused at once, as by a host without a listener.

use penstock_abi::{Plain, Protocol};

use crate::checksum::Checksum;
use crate::ethernet::turn_around;
use crate::family::{Family, Pair};
use crate::headers::{ETHERNET_LEN, TCP_LEN, TcpFlags, join_ports};
use crate::packet::Packet;
use crate::parse::Parsed;
use crate::steer::{Hook, Verdict};

const ICMP_LEN: usize = 8;

/// Turns a packet into its refusal: a TCP segment into a reset, a UDP datagram into an ICMP "port unreachable". `None`: the
/// packet is one that must not be answered, or that would take more than this to answer.
///
/// A function of its own, so that its frame is not on the stack of packets that are served.
#[inline(never)]
pub(crate) fn refuse<F: Family>(packet: &mut impl Packet, parsed: &Parsed<F>, hook: Hook) -> Option<Verdict> {
    // Headers with options are longer than those that are written in their place.
    if parsed.network.l4 != ETHERNET_LEN + F::HEADER_LEN {
        return None;
    }
    match parsed.key.protocol {
        Protocol::TCP => reset::<F>(packet, parsed)?,
        Protocol::UDP => unreachable::<F>(packet, parsed)?,
        _ => return None,
    }
    turn_around(packet)?;
    Some(match hook {
        Hook::Ingress => Verdict::Peer { ifindex: packet.ifindex() },
        Hook::Egress => Verdict::Reinject { ifindex: packet.ifindex() },
    })
}

/// A reset in answer to a segment (RFC 9293, 3.10.7.1, "if the state is CLOSED").
#[inline(always)]
fn reset<F: Family>(packet: &mut impl Packet, parsed: &Parsed<F>) -> Option<()> {
    let Parsed { key, network, flags, .. } = parsed;
    if flags.any(TcpFlags::RST) {
        return None;
    }
    let [_, seq, ack, offset]: [u32; 4] = packet.load(network.l4)?;
    let (seq, ack, answer) = if flags.any(TcpFlags::ACK) {
        (ack, 0, TcpFlags::RST)
    } else {
        let header = usize::from(offset.to_ne_bytes()[0] >> 4) * 4;
        let data = packet.len().saturating_sub((network.l4 + header) as u32);
        let counted = data + u32::from(flags.any(TcpFlags::SYN)) + u32::from(flags.any(TcpFlags::FIN));
        (0, u32::from_be(seq).wrapping_add(counted).to_be(), TcpFlags::RST | TcpFlags::ACK)
    };
    packet.resize(network.l4 + TCP_LEN)?;
    let addrs = Pair { src: key.dst, dst: key.src };
    F::write_header(packet, addrs, Protocol::TCP, TCP_LEN as u16)?;
    let ports = join_ports(key.dport, key.sport);
    let offset = u32::from_ne_bytes([(TCP_LEN as u8 / 4) << 4, answer, 0, 0]);
    let sum = pseudo_header::<F>(addrs, Protocol::TCP, TCP_LEN).add(ports).add(seq).add(ack).add(offset);
    let [low, high] = sum.complete().to_ne_bytes();
    packet.store(network.l4, [ports, seq, ack, offset, u32::from_ne_bytes([low, high, 0, 0])])
}

/// A "port unreachable" in answer to a datagram (RFC 792; RFC 4443).
#[inline(always)]
fn unreachable<F: Family>(packet: &mut impl Packet, parsed: &Parsed<F>) -> Option<()> {
    let Parsed { key, network, .. } = parsed;
    let quote: F::Quote = packet.load(ETHERNET_LEN)?;
    let payload = ICMP_LEN + size_of::<F::Quote>();
    packet.resize(network.l4 + payload)?;
    let addrs = Pair { src: key.dst, dst: key.src };
    F::write_header(packet, addrs, F::ICMP, payload as u16)?;
    let [kind, code] = F::PORT_UNREACHABLE;
    let head = |sum: [u8; 2]| u32::from_ne_bytes([kind, code, sum[0], sum[1]]);
    let start =
        if F::ICMP_HAS_PSEUDO_HEADER { pseudo_header::<F>(addrs, F::ICMP, payload) } else { Checksum::new() };
    let sum = quote.as_ref().iter().fold(start.add(head([0; 2])), |sum, word| sum.add(*word));
    packet.store(network.l4, [head(sum.complete().to_ne_bytes()), 0])?;
    packet.store(network.l4 + ICMP_LEN, quote)
}

/// The sum of a pseudo header (RFC 9293, 3.1; RFC 8200, 8.1).
#[inline(always)]
fn pseudo_header<F: Family>(addrs: Pair<F::Addr>, protocol: Protocol, len: usize) -> Checksum {
    let zero = F::Addr::zeroed();
    let sum = F::replace(F::replace(Checksum::new(), zero, addrs.src), zero, addrs.dst);
    sum.add(u32::from_be_bytes([0, 0, 0, protocol.0]).to_be()).add((len as u32).to_be())
}
