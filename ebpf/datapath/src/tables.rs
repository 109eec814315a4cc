//! What the rules ask of the tables.

use penstock_abi::{
    Backend, Counter, Event, Flow, FlowKey, FrontendKey, NextHop, Reason, Selection, UdpPeer, UdpPeerKey,
};

use crate::family::Family;

/// The tables that know no family, the clock and the dice.
///
/// Reads of a word that the agent may replace meanwhile are single loads: they give the old value or the new one.
pub trait NodeTables {
    /// The set of endpoints of a service.
    fn selection(&self, service: u32) -> Option<Selection>;
    /// The backend index in a slot.
    fn slot(&self, slot: u32) -> Option<u32>;
    /// A next hop.
    fn next_hop(&self, index: u32) -> Option<NextHop>;
    /// Whether what arrives for a pod goes through the kernel's stack.
    fn through_stack(&self) -> bool;
    /// The time as [`penstock_abi::timeout::stamp`].
    fn now(&self) -> u32;
    /// A random word.
    fn random(&self) -> u32;
    /// A backend of the service was chosen.
    fn count_flow(&self, service: u32);
    /// The service had no backend to choose.
    fn count_unserved(&self, service: u32);
    /// A packet was dropped, or its sender refused; of so many bytes.
    fn count_drop(&self, reason: Reason, bytes: u32);
    /// Something else happened.
    fn count(&self, counter: Counter);
    /// Whether this event is one of those to be recorded.
    fn samples_event(&self) -> bool;
    /// Records an event; its time is filled in.
    fn record(&self, event: Event);
}

/// The tables of one family.
pub trait Tables<F: Family>: NodeTables {
    /// An element of the flows table, to be read and changed in place.
    type FlowCell: FlowCell<F::Addr>;

    /// The service that is reached there.
    fn frontend(&self, key: &FrontendKey<F::Addr>) -> Option<u32>;
    /// A backend.
    fn backend(&self, index: u32) -> Option<Backend<F::Addr>>;
    /// The way to a pod on this node.
    fn endpoint(&self, addr: &F::Addr) -> Option<u32>;
    /// What is known of a flow.
    fn flow(&self, key: &FlowKey<F::Addr>) -> Option<Self::FlowCell>;
    /// Adds a flow where there is none of that key.
    fn insert_flow(&self, key: &FlowKey<F::Addr>, flow: &Flow<F::Addr>) -> Inserted;
    /// Forgets a flow; that there is none is no error.
    fn remove_flow(&self, key: &FlowKey<F::Addr>);
    /// The frontend that a backend answers for at a socket that asked several.
    fn udp_peer(&self, key: &UdpPeerKey<F::Addr>) -> Option<UdpPeer<F::Addr>>;
    /// Remembers a frontend that a socket asked.
    fn set_udp_peer(&self, key: &UdpPeerKey<F::Addr>, peer: &UdpPeer<F::Addr>);
}

/// An element of the flows table. The kernel may recycle it under the reader: see [`Flow::tag`].
pub trait FlowCell<A>: Copy {
    /// A copy, whose tag was read after all else.
    fn read(self) -> Flow<A>;
    /// A packet was seen.
    fn set_last_seen(self, stamp: u32);
    /// Replaces the state.
    fn set_state(self, state: u8);
}

/// What became of an insertion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inserted {
    /// The element is in the table.
    Yes,
    /// There was one already; it was left alone.
    Exists,
    /// The table took no element.
    Full,
}
