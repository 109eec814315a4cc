//! From what should be to the operations that lead there, in the order of writes that [`Op`] states.
//!
//! A plan sets indices and slots aside but changes nothing else: whoever does not carry it out gives it to
//! [`Applied::abandon`].

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use penstock_abi::{EmptySet, MEMBER_CLUSTER, Selection, SetKind, maps};

use crate::applied::Applied;
use crate::port::DesiredPort;
use crate::routing::{self, Routing};
use crate::tables::{Backend, Family, Frontend, Op, TableError};

/// Addresses whose ways may have changed.
#[derive(Debug, Default)]
pub(crate) enum Ways {
    /// None.
    #[default]
    None,
    /// Those in these ranges.
    Within(Vec<IpNetwork>),
    /// Any.
    All,
}

impl Ways {
    pub(crate) fn add(&mut self, ranges: impl IntoIterator<Item = IpNetwork>) {
        let mut ranges = ranges.into_iter().peekable();
        match self {
            Self::None if ranges.peek().is_some() => *self = Self::Within(ranges.collect()),
            Self::Within(known) => known.extend(ranges),
            Self::None | Self::All => {}
        }
    }

    fn touch(&self, addr: IpAddr) -> bool {
        match self {
            Self::None => false,
            Self::Within(ranges) => ranges.iter().any(|range| range.contains(addr)),
            Self::All => true,
        }
    }
}

/// Leads a service to the endpoints of its port: next hops, backends, slots, the word; then the member bits of what has
/// left.
pub(crate) fn endpoints(
    applied: &mut Applied,
    routing: &Routing,
    index: u32,
    port: &DesiredPort,
    endpoints: &[(IpAddr, u16)],
    ops: &mut Vec<Op>,
) -> Result<(), TableError> {
    let Some(service) = applied.service(index) else { return Ok(()) };
    let (family, word) = (port.family, service.word);
    let members = service.members.clone();
    let places = service.dead.iter().map(|backend| (applied.place(family, *backend), *backend));
    let mut dead: BTreeMap<(IpAddr, u16), u32> = places.collect();
    let mut slots = Vec::with_capacity(endpoints.len());
    ops.reserve(endpoints.len().saturating_sub(members.len()) + 4);
    let mut gone = Vec::new();
    let mut known = members.iter().copied().peekable();
    for endpoint in endpoints {
        let mut kept = None;
        while let Some(backend) = known.next_if(|backend| applied.place(family, *backend) <= *endpoint) {
            match applied.place(family, backend).cmp(endpoint) {
                Ordering::Equal => kept = Some(backend),
                _ => gone.push(backend),
            }
        }
        slots.push(match kept.or_else(|| dead.remove(endpoint)) {
            Some(backend) => {
                set_member(applied, family, backend, ops);
                backend
            }
            None => add(applied, routing, index, port, *endpoint, ops)?,
        });
    }
    gone.extend(known);
    if *slots != *members || word.count() as usize != slots.len() {
        publish(applied, index, slots, ops)?;
    }
    // Only now, out of the word: a member bit that is cleared earlier would turn away clients that the word still sends.
    let left = gone.into_iter().chain(dead.into_values());
    clear_member(applied, family, left, ops);
    Ok(())
}

fn publish(
    applied: &mut Applied,
    service: u32,
    slots: Vec<u32>,
    ops: &mut Vec<Op>,
) -> Result<(), TableError> {
    let count = slots.len() as u32;
    if count == 0 {
        ops.push(Op::Publish { service, word: Selection::empty(EmptySet::Refuse) });
        return Ok(());
    }
    let base = applied.allocate_slots(count)?;
    ops.push(Op::WriteSlots { base, backends: slots.into() });
    let word = Selection::new(base, count, SetKind::Plain, EmptySet::Refuse)
        .ok_or(TableError::Full { table: maps::SLOTS, size: Selection::MAX_COUNT })?;
    ops.push(Op::Publish { service, word });
    Ok(())
}

/// Where an endpoint has come back before its index was given to another, it is a member again. Its next hop was kept up
/// meanwhile.
fn set_member(applied: &Applied, family: Family, index: u32, ops: &mut Vec<Op>) {
    if applied.backend(family, index).member != MEMBER_CLUSTER {
        ops.push(Op::SetMember { family, index, member: MEMBER_CLUSTER });
    }
}

fn add(
    applied: &mut Applied,
    routing: &Routing,
    service: u32,
    port: &DesiredPort,
    (addr, number): (IpAddr, u16),
    ops: &mut Vec<Op>,
) -> Result<u32, TableError> {
    let next_hop = applied.hops().index(routing.resolve(addr), ops)?;
    let (index, generation) = applied.allocate_backend(port.family)?;
    let backend = Backend {
        addr,
        port: number,
        protocol: port.protocol,
        member: MEMBER_CLUSTER,
        service,
        next_hop,
        generation,
    };
    ops.push(Op::WriteBackend { index, backend });
    Ok(index)
}

fn set_hop(
    applied: &mut Applied,
    routing: &Routing,
    index: u32,
    backend: &Backend,
    ops: &mut Vec<Op>,
) -> Result<(), TableError> {
    let next_hop = applied.hops().index(routing.resolve(backend.addr), ops)?;
    if next_hop != backend.next_hop {
        ops.push(Op::SetBackendHop { family: Family::of(backend.addr), index, next_hop });
    }
    Ok(())
}

fn clear_member(
    applied: &Applied,
    family: Family,
    backends: impl IntoIterator<Item = u32>,
    ops: &mut Vec<Op>,
) {
    let set = backends.into_iter().filter(|index| applied.backend(family, *index).member != 0);
    ops.extend(set.map(|index| Op::SetMember { family, index, member: 0 }));
}

/// What makes a service reachable.
pub(crate) fn frontends(applied: &Applied, index: u32, port: &DesiredPort, ops: &mut Vec<Op>) {
    let known = applied.service(index).map(|service| service.frontends.as_slice()).unwrap_or_default();
    let missing = port.frontends.iter().filter(|frontend| !known.contains(frontend));
    ops.extend(missing.map(|frontend| Op::InsertFrontend { frontend: *frontend, service: index }));
}

/// What a service that stays is no longer to be reached at.
pub(crate) fn stale_frontends(
    applied: &Applied,
    index: u32,
    owns: impl Fn(&Frontend) -> bool,
    ops: &mut Vec<Op>,
) {
    let Some(service) = applied.service(index) else { return };
    let stale = service.frontends.iter().filter(|frontend| !owns(frontend));
    ops.extend(stale.map(|frontend| Op::RemoveFrontend { frontend: *frontend }));
}

/// Takes a service away: frontends, the word, the member bits.
pub(crate) fn remove_service(applied: &Applied, index: u32, ops: &mut Vec<Op>) {
    let Some(service) = applied.service(index) else { return };
    ops.extend(service.frontends.iter().map(|frontend| Op::RemoveFrontend { frontend: *frontend }));
    if service.word != Selection::default() {
        ops.push(Op::Publish { service: index, word: Selection::default() });
    }
    if let Some(family) = service.family {
        clear_member(applied, family, service.members.iter().chain(&service.dead).copied(), ops);
    }
}

/// Leads backends to where the ways go now.
pub(crate) fn next_hops(
    applied: &mut Applied,
    routing: &Routing,
    ways: &Ways,
    ops: &mut Vec<Op>,
) -> Result<(), TableError> {
    for family in Family::ALL {
        let touched = applied.backends(family).filter(|(_, backend)| ways.touch(backend.addr));
        for (index, backend) in touched.map(|(index, backend)| (index, *backend)).collect::<Vec<_>>() {
            set_hop(applied, routing, index, &backend, ops)?;
        }
    }
    Ok(())
}

/// Leads the addresses of this node's pods to their devices, and removes those of pods that are gone.
pub(crate) fn pods(applied: &mut Applied, routing: &Routing, ops: &mut Vec<Op>) -> Result<(), TableError> {
    let pods = &routing.facts().endpoints;
    let mut addresses: Vec<_> = pods.iter().collect();
    addresses.sort_unstable_by_key(|(addr, _)| **addr);
    for (addr, device) in addresses {
        let next_hop = applied.hops().index(routing::local(*device), ops)?;
        if applied.endpoints.get(addr) != Some(&next_hop) {
            ops.push(Op::InsertEndpoint { addr: *addr, next_hop });
        }
    }
    let gone = applied.endpoints.keys().filter(|addr| !pods.contains_key(addr));
    let mut gone: Vec<IpAddr> = gone.copied().collect();
    gone.sort_unstable();
    ops.extend(gone.into_iter().map(|addr| Op::RemoveEndpoint { addr }));
    Ok(())
}
