//! A packet taken apart as far as Services need.

use core::marker::PhantomData;

use penstock_abi::{FlowKey, Port, Protocol};

use crate::family::{Family, Fragment, Network};
use crate::headers::{TCP_FLAGS, TCP_LEN, TcpFlags, UDP_LEN, split_ports};
use crate::packet::Packet;

/// What a packet says of itself.
pub struct Parsed<F: Family> {
    /// The tuple; its ports are 0 where [`Parsed::has_ports`] is not set.
    pub key: FlowKey<F::Addr>,
    /// The rest of the network header.
    pub network: Network,
    /// For TCP its flags, otherwise none.
    pub flags: TcpFlags,
    /// The packet is TCP or UDP and not a later fragment: it may be a Service's.
    pub has_ports: bool,
    family: PhantomData<F>,
}

/// Takes a packet apart. `None`: it ends before its headers do, or is malformed; nothing of it can be told.
#[inline(always)]
pub fn parse<F: Family>(packet: &mut impl Packet) -> Option<Parsed<F>> {
    let (addrs, network) = F::network(packet)?;
    let is_tcp = network.protocol == Protocol::TCP;
    let has_ports = (is_tcp || network.protocol == Protocol::UDP) && network.fragment != Fragment::Later;
    let mut ports = (Port::default(), Port::default());
    let mut flags = TcpFlags::default();
    if has_ports {
        // Behind options or extension headers the transport header may lie in a page still.
        packet.pull(network.l4 + if is_tcp { TCP_LEN } else { UDP_LEN })?;
        ports = split_ports(packet.load(network.l4)?);
        if is_tcp {
            flags = TcpFlags(packet.load(network.l4 + TCP_FLAGS)?);
        }
    }
    let key = FlowKey::new(addrs.src, addrs.dst, ports.0, ports.1, network.protocol);
    Some(Parsed { key, network, flags, has_ports, family: PhantomData })
}
