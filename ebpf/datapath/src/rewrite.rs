//! The rewrite of a packet.

use penstock_abi::{FlowKey, Protocol, Reason};

use crate::checksum::Checksum;
use crate::family::{Family, Network, Pair};
use crate::headers::{TCP_CHECKSUM, UDP_CHECKSUM, join_ports};
use crate::packet::{L4Change, Packet};
use crate::steer::Verdict;

/// Gives a packet another tuple, and takes one off its hop limit where no router will.
#[inline(always)]
pub(crate) fn rewrite<F: Family>(
    packet: &mut impl Packet,
    network: &Network,
    from: &FlowKey<F::Addr>,
    to: &FlowKey<F::Addr>,
    verdict: Verdict,
) -> Result<(), Reason> {
    let is_udp = network.protocol == Protocol::UDP;
    let ports = join_ports(to.sport, to.dport);
    let change = L4Change {
        offset: network.l4 + if is_udp { UDP_CHECKSUM } else { TCP_CHECKSUM },
        pseudo: F::replace(F::replace(Checksum::new(), from.src, to.src), from.dst, to.dst),
        header: Checksum::new().replace(join_ports(from.sport, from.dport), ports),
        is_udp,
        is_v6: F::IS_V6,
    };
    packet
        .change_checksum(&change)
        .and_then(|()| packet.store(network.l4, ports))
        .and_then(|()| F::store(packet, network, addrs(from), addrs(to), hop_limit(network, verdict)))
        .ok_or(Reason::RewriteFailed)
}

/// Takes one off the hop limit of a packet that is otherwise sent on as it is.
#[inline(always)]
pub(crate) fn age<F: Family>(
    packet: &mut impl Packet,
    network: &Network,
    key: &FlowKey<F::Addr>,
    verdict: Verdict,
) -> Result<(), Reason> {
    F::store(packet, network, addrs(key), addrs(key), hop_limit(network, verdict))
        .ok_or(Reason::RewriteFailed)
}

#[inline(always)]
fn addrs<A: Copy>(key: &FlowKey<A>) -> Pair<A> {
    Pair { src: key.src, dst: key.dst }
}

#[inline(always)]
fn hop_limit(network: &Network, verdict: Verdict) -> u8 {
    if verdict.bypasses_routing() { network.hop_limit.wrapping_sub(1) } else { network.hop_limit }
}
