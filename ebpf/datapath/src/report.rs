//! What is told of packets and calls: counts of all, records of some.
//!
//! Functions of their own, so that a record is not on the stack of each packet.

use penstock_abi::{Event, EventKind, FlowKey, Reason};

use crate::family::Family;
use crate::tables::NodeTables;

/// A packet was dropped, or its sender refused.
#[inline(never)]
pub(crate) fn dropped<F: Family>(
    tables: &impl NodeTables,
    key: &FlowKey<F::Addr>,
    reason: Reason,
    ifindex: u32,
    bytes: u32,
) {
    tables.count_drop(reason, bytes);
    if tables.samples_event() {
        let event = Event { kind: EventKind::Drop as u8, reason: reason as u8, ifindex, ..about::<F>(key) };
        tables.record(event);
    }
}

/// A flow got a backend. The tuple is asked for only where the event is recorded.
#[inline(always)]
pub(crate) fn began<F: Family>(
    tables: &impl NodeTables,
    key: impl FnOnce() -> FlowKey<F::Addr>,
    service: u32,
    backend: u32,
) {
    tables.count_flow(service);
    if tables.samples_event() {
        record_begin::<F>(tables, &key(), service, backend);
    }
}

#[inline(never)]
fn record_begin<F: Family>(tables: &impl NodeTables, key: &FlowKey<F::Addr>, service: u32, backend: u32) {
    tables.record(Event { kind: EventKind::NewFlow as u8, service, backend, ..about::<F>(key) });
}

#[inline(always)]
fn about<F: Family>(key: &FlowKey<F::Addr>) -> Event {
    Event {
        time: 0,
        src: F::to_addr6(key.src),
        dst: F::to_addr6(key.dst),
        sport: key.sport,
        dport: key.dport,
        protocol: key.protocol,
        kind: 0,
        reason: 0,
        _pad: 0,
        ifindex: 0,
        service: 0,
        backend: 0,
        _pad2: 0,
    }
}
