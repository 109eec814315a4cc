//! Taking over the connections that kube-proxy began.
//!
//! The kernel translates those: packets to the Service's address on their way through its rules, answers on their way back.
//! Our programs at a pod's device come before that, and send packets for pods straight there. So each connection of a pod
//! on this node is made a flow of ours before those programs are attached, with the ports that it has: its client and its
//! backend notice nothing. Connections of the node's own programs, and from outside, are left to the kernel: no program of
//! ours comes between.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use penstock_abi::{
    Addr, Backend, Flow, FlowKey, FlowKind, NextHopKind, Plain, Port, Protocol, TcpState, timeout,
};
use penstock_kernel::Tables;
use penstock_kernel::conntrack::{self, Connection};
use penstock_kernel::flows;
use penstock_kernel::table::{Hash, MappedArray};

/// Makes flows of the connections that the kernel translates for pods of this node, and gives their number.
///
/// # Errors
/// The kernel does not list its connections, or a table cannot be read.
pub(super) fn adopt(tables: &Tables) -> Result<usize> {
    let open: Vec<_> = conntrack::translated()?.into_iter().filter(Connection::is_open).collect();
    if open.is_empty() {
        return Ok(0);
    }
    let four = adopt_family(tables, &tables.endpoints4, &tables.backends4, &tables.flows4, &open)?;
    let six = adopt_family(tables, &tables.endpoints6, &tables.backends6, &tables.flows6, &open)?;
    Ok(four + six)
}

/// Lets the kernel forget the closed connections of pods of this node, before new ones go straight to their backends. While it
/// remembers one, it gives another port to a connection that a client makes from the same port to the same backend, and
/// the answers, once they no longer pass it, come back to the wrong one.
///
/// # Errors
/// The kernel does not list its connections, or forget them.
pub(super) fn prepare(tables: &Tables) -> Result<()> {
    let closed: Vec<_> = of_pods(tables)?.into_iter().filter(|connection| !connection.is_open()).collect();
    Ok(conntrack::forget(&closed)?)
}

/// Lets the kernel forget the rest: by now each is a flow of ours, or over.
///
/// # Errors
/// As above.
pub(super) fn release(tables: &Tables) -> Result<()> {
    Ok(conntrack::forget(&of_pods(tables)?)?)
}

fn of_pods(tables: &Tables) -> Result<Vec<Connection>> {
    let pods = pods(tables)?;
    let mut connections = conntrack::translated()?;
    connections.retain(|connection| pods.contains(&connection.client.ip()));
    Ok(connections)
}

/// The addresses of this node's pods.
pub(super) fn pods(tables: &Tables) -> Result<HashSet<IpAddr>, penstock_kernel::Error> {
    let mut pods = HashSet::new();
    tables.endpoints4.for_each(|client, _| {
        pods.insert(client.to_ip());
    })?;
    tables.endpoints6.for_each(|client, _| {
        pods.insert(client.to_ip());
    })?;
    Ok(pods)
}

fn adopt_family<A: Addr>(
    tables: &Tables,
    endpoints: &Hash<A, u32>,
    backends: &MappedArray<Backend<A>>,
    flows: &Hash<FlowKey<A>, Flow<A>>,
    connections: &[Connection],
) -> Result<usize>
where
    Backend<A>: Plain,
    FlowKey<A>: Plain,
    Flow<A>: Plain,
{
    let mut known = HashMap::new();
    for index in 0..backends.len() {
        let backend = backends.read(index)?;
        if backend.member != 0 {
            known.insert((backend.addr, backend.port, backend.protocol), (index, backend));
        }
    }
    let mut adopted = 0;
    for connection in connections {
        let Some(client) = A::from_ip(connection.client.ip()) else { continue };
        let Some(hop) = endpoints.get(&client)? else { continue };
        let Some(server) = end::<A>(connection.server) else { continue };
        // One that no Service names any more is still reached by the kernel's routing.
        let (index, backend) =
            known.get(&(server.0, server.1, connection.protocol)).copied().unwrap_or_default();
        let Some([(key, flow), back]) = halves(connection, hop, index, backend.generation) else { continue };
        if !flows.insert_new(&key, &flow)? {
            // It was taken over before, or has chosen anew meanwhile.
            continue;
        }
        flows.insert_new(&back.0, &back.1)?;
        let way = tables.next_hops.read(backend.next_hop)?.kind();
        if !matches!(way, NextHopKind::Local | NextHopKind::Direct) {
            // Translated by us, its packets go through the kernel's tracking, which would give them another port than the
            // one that it believes to be taken.
            conntrack::forget([connection])?;
        }
        adopted += 1;
    }
    Ok(adopted)
}

/// The two flows of a connection.
fn halves<A: Addr>(
    connection: &Connection,
    client_hop: u32,
    backend: u32,
    generation: u32,
) -> Option<[(FlowKey<A>, Flow<A>); 2]> {
    let protocol = connection.protocol;
    let key = |from: SocketAddr, to: SocketAddr| {
        let ((src, sport), (dst, dport)) = (end(from)?, end(to)?);
        Some(FlowKey::<A>::new(src, dst, sport, dport, protocol))
    };
    let there = key(connection.client, connection.asked)?;
    let back = key(connection.server, connection.seen)?;
    // It is kept for as long as the kernel would keep it, so that what nobody uses any more is in nobody's way for long: the kernel
    // forgets a question and its one answer sooner than we do.
    let (state, now) = (state(connection), flows::now());
    let spent = timeout::idle(protocol, state).saturating_sub(timeout::seconds(connection.left.into()));
    let last_seen = now.saturating_sub(spent);
    let flow = |key: &FlowKey<A>, other: &FlowKey<A>, kind: FlowKind| Flow {
        tag: key.tag(),
        src: other.dst,
        dst: other.src,
        sport: other.dport,
        dport: other.sport,
        backend,
        generation,
        client_hop,
        last_seen,
        kind: kind as u8,
        state,
        _pad: 0,
    };
    Some([(there, flow(&there, &back, FlowKind::Forward)), (back, flow(&back, &there, FlowKind::Reverse))])
}

fn end<A: Addr>(end: SocketAddr) -> Option<(A, Port)> {
    Some((A::from_ip(end.ip())?, Port::new(end.port())))
}

/// The kernel does not tell which side has closed a connection first; nothing depends on it but how long it is kept.
fn state(connection: &Connection) -> u8 {
    let answered = if connection.answered { TcpState::REPLIED } else { 0 };
    let closed = connection.protocol == Protocol::TCP && connection.is_half_closed();
    answered | if closed { TcpState::FIN_CLIENT } else { 0 }
}
