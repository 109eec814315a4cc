//! The tables of a node.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::vec::Vec;

use penstock_abi::{
    Addr, Addr4, Addr6, Backend, Counter, DropCount, Event, Flow, FlowKey, FrontendKey, NextHop, Reason,
    Selection, ServiceCount, UdpPeer, UdpPeerKey,
};

use super::dice::Dice;
use super::flows::{Element, FlowTable};
use crate::family::{Family, V4, V6};
use crate::tables::{Inserted, NodeTables, Tables};

/// The tables of a node. The rules take a reference to one as [`Tables`] of either family.
#[derive(Debug)]
pub struct Node {
    /// Sets of endpoints by service index.
    pub services: RefCell<HashMap<u32, Selection>>,
    /// Backend indices by slot.
    pub slots: RefCell<HashMap<u32, u32>>,
    /// Next hops by index.
    pub next_hops: RefCell<HashMap<u32, NextHop>>,
    /// The time, as [`penstock_abi::timeout::stamp`].
    pub clock: Cell<u32>,
    /// Whether what arrives for a pod goes through the kernel's stack.
    pub through_stack: Cell<bool>,
    /// Whether every event is recorded, or none.
    pub records_events: Cell<bool>,
    v4: FamilyTables<Addr4>,
    v6: FamilyTables<Addr6>,
    dice: Dice,
    service_counts: RefCell<HashMap<u32, ServiceCount>>,
    drops: RefCell<HashMap<Reason, DropCount>>,
    counters: RefCell<HashMap<Counter, u64>>,
    events: RefCell<Vec<Event>>,
}

/// The tables of one family.
#[derive(Debug)]
pub struct FamilyTables<A> {
    /// Service indices by frontend.
    pub frontends: RefCell<HashMap<FrontendKey<A>, u32>>,
    /// Backends by index.
    pub backends: RefCell<HashMap<u32, Backend<A>>>,
    /// Next-hop indices by the address of a pod on this node.
    pub endpoints: RefCell<HashMap<A, u32>>,
    /// What is known of flows.
    pub flows: FlowTable<A>,
    /// Frontends by socket and backend.
    pub udp_peers: RefCell<HashMap<UdpPeerKey<A>, UdpPeer<A>>>,
}

impl<A: Addr> Default for FamilyTables<A> {
    fn default() -> Self {
        Self {
            frontends: RefCell::default(),
            backends: RefCell::default(),
            endpoints: RefCell::default(),
            flows: FlowTable::default(),
            udp_peers: RefCell::default(),
        }
    }
}

/// A family that a [`Node`] has tables of.
pub trait InMemory: Family {
    /// Its tables.
    fn tables(node: &Node) -> &FamilyTables<Self::Addr>;
}

impl InMemory for V4 {
    fn tables(node: &Node) -> &FamilyTables<Addr4> {
        &node.v4
    }
}

impl InMemory for V6 {
    fn tables(node: &Node) -> &FamilyTables<Addr6> {
        &node.v6
    }
}

impl Node {
    /// A node with empty tables, whose dice are thrown from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            services: RefCell::default(),
            slots: RefCell::default(),
            next_hops: RefCell::default(),
            clock: Cell::new(0),
            through_stack: Cell::new(false),
            records_events: Cell::new(false),
            v4: FamilyTables::default(),
            v6: FamilyTables::default(),
            dice: Dice::new(seed),
            service_counts: RefCell::default(),
            drops: RefCell::default(),
            counters: RefCell::default(),
            events: RefCell::default(),
        }
    }

    /// The tables of one family.
    #[must_use]
    pub fn family<F: InMemory>(&self) -> &FamilyTables<F::Addr> {
        F::tables(self)
    }

    /// The next random words are these, in place of any told before.
    pub fn next_random(&self, words: &[u32]) {
        self.dice.tell(words);
    }

    /// What was counted of a service.
    #[must_use]
    pub fn service_count(&self, service: u32) -> ServiceCount {
        self.service_counts.borrow().get(&service).copied().unwrap_or_default()
    }

    /// What was dropped, or refused, for a reason.
    #[must_use]
    pub fn drops(&self, reason: Reason) -> DropCount {
        self.drops.borrow().get(&reason).copied().unwrap_or_default()
    }

    /// A counter.
    #[must_use]
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters.borrow().get(&counter).copied().unwrap_or_default()
    }

    /// What was recorded since the last call.
    #[must_use]
    pub fn take_events(&self) -> Vec<Event> {
        self.events.take()
    }
}

impl NodeTables for &Node {
    fn selection(&self, service: u32) -> Option<Selection> {
        self.services.borrow().get(&service).copied()
    }

    fn slot(&self, slot: u32) -> Option<u32> {
        self.slots.borrow().get(&slot).copied()
    }

    fn next_hop(&self, index: u32) -> Option<NextHop> {
        self.next_hops.borrow().get(&index).copied()
    }

    fn now(&self) -> u32 {
        self.clock.get()
    }

    fn random(&self) -> u32 {
        self.dice.throw()
    }

    fn count_flow(&self, service: u32) {
        self.service_counts.borrow_mut().entry(service).or_default().flows += 1;
    }

    fn count_unserved(&self, service: u32) {
        self.service_counts.borrow_mut().entry(service).or_default().unserved += 1;
    }

    fn count_drop(&self, reason: Reason, bytes: u32) {
        let mut drops = self.drops.borrow_mut();
        let count = drops.entry(reason).or_default();
        count.packets += 1;
        count.bytes += u64::from(bytes);
    }

    fn count(&self, counter: Counter) {
        *self.counters.borrow_mut().entry(counter).or_default() += 1;
    }

    fn through_stack(&self) -> bool {
        self.through_stack.get()
    }

    fn samples_event(&self) -> bool {
        self.records_events.get()
    }

    fn record(&self, event: Event) {
        self.events.borrow_mut().push(event);
    }
}

impl<'a, F: InMemory> Tables<F> for &'a Node {
    type FlowCell = Element<'a, F::Addr>;

    fn frontend(&self, key: &FrontendKey<F::Addr>) -> Option<u32> {
        self.family::<F>().frontends.borrow().get(key).copied()
    }

    fn backend(&self, index: u32) -> Option<Backend<F::Addr>> {
        self.family::<F>().backends.borrow().get(&index).copied()
    }

    fn endpoint(&self, addr: &F::Addr) -> Option<u32> {
        self.family::<F>().endpoints.borrow().get(addr).copied()
    }

    fn flow(&self, key: &FlowKey<F::Addr>) -> Option<Self::FlowCell> {
        let node: &'a Node = self;
        node.family::<F>().flows.element(key)
    }

    fn insert_flow(&self, key: &FlowKey<F::Addr>, flow: &Flow<F::Addr>) -> Inserted {
        self.family::<F>().flows.insert(key, flow)
    }

    fn remove_flow(&self, key: &FlowKey<F::Addr>) {
        self.family::<F>().flows.evict(key);
    }

    fn udp_peer(&self, key: &UdpPeerKey<F::Addr>) -> Option<UdpPeer<F::Addr>> {
        self.family::<F>().udp_peers.borrow().get(key).copied()
    }

    fn set_udp_peer(&self, key: &UdpPeerKey<F::Addr>, peer: &UdpPeer<F::Addr>) {
        self.family::<F>().udp_peers.borrow_mut().insert(*key, *peer);
    }
}
