//! Connection tracking: flows that are known, and flows that begin.
//!
//! A connection has two entries, found by the tuple that arrives, each of which can make the other anew. They age and
//! are evicted apart, so each half alone has a defined outcome: at the next packet in a new unit of the clock the half
//! that is left puts the missing one back. Until then a packet of the missing half is taken for a new one: one from the
//! client chooses a backend anew (and is reset by it, if that is another one), one from the backend reaches the client
//! as it is (and is reset by it).
//!
//! Every flow that is translated here leaves with a source port out of [`SOURCE_PORTS`]. So its answers differ from those
//! to a connection that the client made straight to the same backend, which is not tracked, and from those to the same
//! client port through another frontend. The way back is inserted only where there is none: a port that is taken gives
//! way to another one.
//!
//! The one exception are flows that were taken over from kube-proxy: they keep their client's port. So a connection straight
//! to a backend whose answers such a flow would take for its own ([`taken`]) is made a flow too, with a port of its own.

use penstock_abi::{
    Addr, Counter, Flow, FlowKey, FlowKind, NextHop, Port, Protocol, Reason, TcpState, timeout,
};

use crate::balance::{Chosen, choose};
use crate::family::Family;
use crate::headers::TcpFlags;
use crate::parse::Parsed;
use crate::tables::{FlowCell, Inserted, Tables};

/// First of the ports that translated flows leave from: the first that is not privileged.
const FIRST_SOURCE_PORT: u16 = 1024;
/// Their number. They end where Linux's default range for outgoing connections begins (`ip_local_port_range`, 32768).
const SOURCE_PORTS: u16 = 32_768 - FIRST_SOURCE_PORT;
/// How many ports are tried for one packet. Each try is independent, so even with half of all ports between this client
/// and this backend taken, one flow in 256 has to wait for its sender's next try.
const PORT_TRIES: u32 = 8;

/// Where a packet of a known flow goes.
pub(crate) struct Path<F: Family> {
    /// The tuple that it gets.
    pub(crate) to: FlowKey<F::Addr>,
    /// Where it leaves to: an index into the next hops.
    pub(crate) hop: u32,
    /// Whether it is an answer.
    pub(crate) to_client: bool,
}

/// Which halves of a flow a hook follows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halves {
    /// Requests and answers.
    Both,
    /// Answers only: where no client of ours sends from.
    Reverse,
}

/// The path of a packet whose flow is known.
#[inline(always)]
pub(crate) fn follow<F: Family, T: Tables<F>>(
    tables: &T,
    packet: &Parsed<F>,
    halves: Halves,
) -> Option<Path<F>> {
    let key = &packet.key;
    let cell = tables.flow(key)?;
    let flow = cell.read();
    if flow.tag != key.tag() {
        tables.count(Counter::FlowRecycled);
        return None;
    }
    let to_client = flow.kind == FlowKind::Reverse as u8;
    if halves == Halves::Reverse && !to_client {
        return None;
    }
    let now = tables.now();
    let hop = if to_client {
        flow.client_hop
    } else {
        match forward_hop(tables, packet, &flow, now) {
            Some(hop) => hop,
            None => {
                forget(tables, key, cell);
                return None;
            }
        }
    };
    let state = flow.state | seen(packet, to_client);
    if flow.last_seen != now || flow.state != state {
        cell.set_last_seen(now);
        cell.set_state(state);
        match tend_peer(tables, key, cell, now, state) {
            Peer::Present => {}
            Peer::Missing => heal(tables, key, cell),
            Peer::Taken => {
                tables.remove_flow(key);
                return None;
            }
        }
    }
    Some(Path { to: flow.rewritten(key.protocol), hop, to_client })
}

/// The way to the backend of a flow; `None` where the packet has to choose anew.
#[inline(always)]
fn forward_hop<F: Family, T: Tables<F>>(
    tables: &T,
    packet: &Parsed<F>,
    flow: &Flow<F::Addr>,
    now: u32,
) -> Option<u32> {
    let protocol = packet.key.protocol;
    let backend = match tables.backend(flow.backend) {
        Some(backend) if backend.generation == flow.generation => backend,
        _ => {
            tables.count(Counter::StaleBackend);
            return None;
        }
    };
    // A TCP connection stays with its backend until it ends, whatever became of the set. Only a segment that opens
    // one may find what is left of an older one. A datagram has no connection to lose.
    if protocol != Protocol::TCP || packet.flags.opens() {
        let over = protocol == Protocol::TCP && TcpState::is_over(flow.state);
        if backend.member == 0 {
            tables.count(Counter::FlowMoved);
            return None;
        }
        if over || timeout::expired(protocol, flow.state, flow.last_seen, now) {
            return None;
        }
    }
    Some(backend.next_hop)
}

/// What a packet adds to its connection's state.
#[inline(always)]
fn seen<F: Family>(packet: &Parsed<F>, to_client: bool) -> u8 {
    let mut state = if to_client { TcpState::REPLIED } else { 0 };
    if packet.flags.any(TcpFlags::FIN) {
        state |= if to_client { TcpState::FIN_BACKEND } else { TcpState::FIN_CLIENT };
    }
    if packet.flags.any(TcpFlags::RST) {
        state |= TcpState::RST;
    }
    state
}

/// What has become of a flow's other half.
enum Peer {
    /// It is there.
    Present,
    /// It is gone.
    Missing,
    /// Its place belongs to another connection by now, so this half has had its day.
    Taken,
}

/// Brings the other half of a flow up to date.
///
/// A function of its own, as [`open`] is.
#[inline(never)]
fn tend_peer<F: Family, T: Tables<F>>(
    tables: &T,
    key: &FlowKey<F::Addr>,
    cell: T::FlowCell,
    now: u32,
    state: u8,
) -> Peer {
    let peer_key = cell.read().peer_key(key.protocol);
    let Some(peer_cell) = tables.flow(&peer_key) else { return Peer::Missing };
    let peer = peer_cell.read();
    if peer.tag != peer_key.tag() {
        return Peer::Missing;
    }
    if !leads_to(&peer, key) {
        return Peer::Taken;
    }
    peer_cell.set_last_seen(now);
    peer_cell.set_state(state);
    Peer::Present
}

/// Whether a flow is the other half of the one at `key`: what it makes of a packet is an answer there.
#[inline(always)]
fn leads_to<A: Addr>(flow: &Flow<A>, key: &FlowKey<A>) -> bool {
    flow.src == key.dst && flow.dst == key.src && flow.sport == key.dport && flow.dport == key.sport
}

/// Forgets a flow: both halves, but not what another connection has in the place of the second by now.
///
/// A function of its own, as [`open`] is.
#[inline(never)]
fn forget<F: Family, T: Tables<F>>(tables: &T, key: &FlowKey<F::Addr>, cell: T::FlowCell) {
    let peer_key = cell.read().peer_key(key.protocol);
    if let Some(peer) = tables.flow(&peer_key)
        && leads_to(&peer.read(), key)
    {
        tables.remove_flow(&peer_key);
    }
    tables.remove_flow(key);
}

/// Puts the other half of a flow back.
///
/// A function of its own, as [`open`] is.
#[inline(never)]
fn heal<F: Family, T: Tables<F>>(tables: &T, key: &FlowKey<F::Addr>, cell: T::FlowCell) {
    let mut flow = cell.read();
    let peer_key = flow.peer_key(key.protocol);
    flow.tag = peer_key.tag();
    flow.turn(key);
    if tables.insert_flow(&peer_key, &flow) == Inserted::Yes {
        tables.count(Counter::FlowHealed);
    }
}

/// The backend to which a connection is about to be opened by its own address, if the answers would be taken for those of a
/// flow.
///
/// A function of its own, as [`open`] is.
#[inline(never)]
pub(crate) fn taken<F: Family, T: Tables<F>>(tables: &T, key: &FlowKey<F::Addr>) -> Option<u32> {
    let back = key.reversed();
    let flow = tables.flow(&back)?.read();
    if flow.tag != back.tag() || flow.kind != FlowKind::Reverse as u8 {
        return None;
    }
    // What is no member is sent no new connection here.
    let backend = tables.backend(flow.backend)?;
    (backend.generation == flow.generation && backend.member != 0).then_some(flow.backend)
}

/// Begins a flow to `backend` or, where that is 0, to one of `service`, and gives its index; `None` where another packet of the
/// same flow, on another CPU, was faster. Either way [`follow`] finds the flow afterwards.
///
/// A function of its own, so that its frame is not on the stack of packets of flows that are known.
#[inline(never)]
pub(crate) fn open<F: Family, T: Tables<F>>(
    tables: &T,
    packet: &Parsed<F>,
    service: u32,
    backend: u32,
) -> Result<Option<u32>, Reason> {
    let key = &packet.key;
    let chosen = if backend == 0 {
        choose(tables, service)?
    } else {
        Chosen { index: backend, backend: tables.backend(backend).ok_or(Reason::BrokenTables)? }
    };
    let backend = &chosen.backend;
    let mut back = FlowKey {
        src: backend.addr,
        // A client that is its own backend would answer itself without a packet: let it answer the frontend, which
        // brings the answer here.
        dst: if backend.addr == key.src { key.dst } else { key.src },
        sport: backend.port,
        ..*key
    };
    // The half for the answers first: it is the one that may find its place taken.
    let mut flow = Flow {
        tag: 0,
        src: key.dst,
        dst: key.src,
        sport: key.dport,
        dport: key.sport,
        backend: chosen.index,
        generation: backend.generation,
        client_hop: tables.endpoint(&key.src).unwrap_or(NextHop::STACK),
        last_seen: tables.now(),
        kind: FlowKind::Reverse as u8,
        state: 0,
        _pad: 0,
    };
    insert_way_back(tables, &mut back, &mut flow)?;
    flow.tag = key.tag();
    flow.turn(&back);
    match tables.insert_flow(key, &flow) {
        Inserted::Yes => Ok(Some(chosen.index)),
        other => {
            tables.remove_flow(&back);
            if other == Inserted::Exists { Ok(None) } else { Err(Reason::FlowTableFull) }
        }
    }
}

/// Finds the flow a source port whose answers are nobody else's, and inserts the half for them.
///
/// The first port tried follows from the client's own: one to one for each frontend. So a connection that follows another
/// of the same client port is one to the backend as well, and its SYN has the higher sequence number and timestamp that a
/// socket in TIME-WAIT there asks for (RFC 6191); at a port chosen at random it waits a second for its second SYN. And a
/// client that goes through all of its ports finds each place free again, however many closed connections are still
/// kept. Then ports are tried at random.
#[inline(always)]
fn insert_way_back<F: Family, T: Tables<F>>(
    tables: &T,
    back: &mut FlowKey<F::Addr>,
    flow: &mut Flow<F::Addr>,
) -> Result<(), Reason> {
    // The half for the answers gives the client its own port and the frontend's address back.
    back.dport = preferred_port(flow.dport, flow.src.fold());
    for _ in 0..PORT_TRIES {
        flow.tag = back.tag();
        match tables.insert_flow(back, flow) {
            Inserted::Yes => return Ok(()),
            Inserted::Exists => tables.count(Counter::PortClash),
            Inserted::Full => return Err(Reason::FlowTableFull),
        }
        back.dport = source_port(tables.random());
    }
    Err(Reason::NoSourcePort)
}

/// A port of the range for a random word.
#[inline(always)]
const fn source_port(random: u32) -> Port {
    Port::new(FIRST_SOURCE_PORT + ((random as u64 * SOURCE_PORTS as u64) >> 32) as u16)
}

/// A port of the range for a client's port: another one for each of any [`SOURCE_PORTS`] neighbours (the default range of
/// outgoing connections has fewer), shifted by the frontend, so that flows of one client port to several frontends seldom
/// meet.
#[inline(always)]
const fn preferred_port(client: Port, frontend: u32) -> Port {
    let shift = frontend.wrapping_mul(0x9e37_79b1) >> 16;
    let place = (client.get() as u32 + shift) % SOURCE_PORTS as u32;
    Port::new(FIRST_SOURCE_PORT + place as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_of_a_client_prefers_a_source_port_of_its_own() {
        // Linux's default range of outgoing ports, to a frontend's address as its octets are in memory.
        let mut taken = [false; SOURCE_PORTS as usize];
        for client in 32_768..=60_999 {
            let port = preferred_port(Port::new(client), u32::from_ne_bytes([10, 96, 0, 1])).get();
            let place = &mut taken[usize::from(port - FIRST_SOURCE_PORT)];
            assert!(!core::mem::replace(place, true), "port {port} is preferred twice");
        }
    }

    #[test]
    fn source_ports_stay_between_the_privileged_and_the_ephemeral_ones() {
        assert_eq!(source_port(0).get(), 1024);
        assert_eq!(source_port(u32::MAX).get(), 32_767);
    }
}
