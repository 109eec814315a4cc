//! Readers that are delayed at every load, while tables change, indices are reclaimed and elements are recycled.
//!
//! A reader does what the programs do: it looks up a frontend, loads the service index out of the element that it found,
//! the service's word, a slot, a backend and its next hop; or it copies a flow and loads its backend. Before each of
//! these loads anything may happen, other than the end of a grace period that began after the reader did.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;

use penstock_abi::{Protocol, Selection};
use penstock_model::memory::MemoryTables;
use penstock_model::objects::{Event, Kind};
use penstock_model::tables::{
    Backend, Dump, Family, Frontend, Names, Op, PerFamily, Readers, Sizes, TableError, Tables,
};
use penstock_model::{Controller, Due};
use proptest::prelude::*;

use crate::cluster::{Action, Cluster, actions};
use crate::facts;
use crate::meaning::Meaning;

/// Where a reader is: what it has loaded so far.
#[derive(Clone, Debug)]
enum Step {
    Start,
    Element { element: usize },
    Service { service: u32 },
    Word { service: u32, word: Selection },
    Slot { service: u32, index: u32, time: u64 },
    Where { service: u32, index: u32, time: u64, endpoint: SocketAddr },
    Backend { index: u32, endpoint: SocketAddr, generation: u32, protocol: Protocol, next_hop: u32 },
    Flow { flow: Flow },
    Done,
}

#[derive(Clone, Debug)]
struct Reader {
    frontend: Frontend,
    step: Step,
    began: u64,
}

#[derive(Clone, Debug)]
struct Flow {
    family: Family,
    index: u32,
    generation: u32,
    endpoint: SocketAddr,
    protocol: Protocol,
}

/// The kernel: tables, a hash whose elements are recycled at once, readers and their flows.
#[derive(Default)]
struct Kernel {
    tables: MemoryTables,
    elements: Vec<(Frontend, u32)>,
    by_key: HashMap<Frontend, usize>,
    /// Elements that are free, in the table of each family.
    free: PerFamily<Vec<usize>>,
    readers: Vec<Reader>,
    flows: Vec<Flow>,
    time: u64,
    random: u64,
    /// When each backend index was last given to an endpoint or taken from it.
    given: HashMap<(Family, u32), u64>,
    /// The ways that each address has ever had.
    ways: HashMap<SocketAddr, BTreeSet<String>>,
    /// The Service ports that each frontend has ever led to.
    ports: BTreeMap<String, BTreeSet<String>>,
    /// The endpoints that each Service port has ever had.
    ever: BTreeMap<String, BTreeSet<SocketAddr>>,
    ended: usize,
}

impl Kernel {
    fn random(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 33) as usize % below.max(1)
    }

    /// Lets readers begin, go on and end for a while.
    fn interleave(&mut self) {
        for _ in 0..self.random(4) {
            self.time += 1;
            if self.readers.len() < 12 {
                self.begin();
            }
            let reader = self.random(self.readers.len());
            self.go_on(reader);
            self.readers.retain(|reader| !matches!(reader.step, Step::Done));
        }
        if !self.flows.is_empty() && self.random(6) == 0 {
            let flow = self.random(self.flows.len());
            self.flows.swap_remove(flow);
        }
    }

    fn begin(&mut self) {
        let (frontend, step) = if self.random(3) == 0 && !self.flows.is_empty() {
            let flow = self.random(self.flows.len());
            let flow = self.flows[flow].clone();
            let frontend = Frontend { addr: flow.endpoint.ip(), port: 0, protocol: flow.protocol };
            (frontend, Step::Flow { flow })
        } else if self.by_key.is_empty() {
            return;
        } else {
            let mut known: Vec<Frontend> = self.by_key.keys().copied().collect();
            known.sort_unstable();
            (known[self.random(known.len())], Step::Start)
        };
        self.readers.push(Reader { frontend, step, began: self.time });
    }

    fn go_on(&mut self, reader: usize) {
        let Some(Reader { frontend, step, .. }) = self.readers.get(reader).cloned() else { return };
        let family = Family::of(frontend.addr);
        let next = match step {
            Step::Start => match self.by_key.get(&frontend) {
                Some(element) => Step::Element { element: *element },
                None => Step::Done,
            },
            Step::Element { element } => Step::Service { service: self.elements[element].1 },
            Step::Service { service } => Step::Word { service, word: self.tables.word(service) },
            Step::Word { service, word } => {
                let random = self.random(usize::MAX) as u32;
                match word.pick(random.rotate_left(13) ^ random) {
                    Some(slot) => Step::Slot { service, index: self.tables.slot(slot), time: self.time },
                    None => Step::Done,
                }
            }
            Step::Slot { service, index, time } => {
                let backend = self.tables.backend(family, index);
                Step::Where { service, index, time, endpoint: SocketAddr::new(backend.addr, backend.port) }
            }
            Step::Where { service, index, time, endpoint } => {
                let backend = self.tables.backend(family, index);
                assert_eq!(backend.service, service, "{frontend}: backend {index} is another service's");
                let given = self.given.get(&(family, index)).copied().unwrap_or_default();
                assert!(given <= time, "{frontend}: backend {index} was given to another under a reader");
                let Backend { generation, protocol, next_hop, .. } = backend;
                Step::Backend { index, endpoint, generation, protocol, next_hop }
            }
            Step::Backend { index, endpoint, generation, protocol, next_hop } => {
                let way = format!("{:?}", self.tables.next_hop(next_hop));
                assert!(self.ways[&endpoint].contains(&way), "{frontend}: {endpoint} is reached by {way}");
                assert_eq!(protocol, frontend.protocol);
                let mut ports = self.ports.get(&frontend.to_string()).into_iter().flatten();
                assert!(
                    ports.any(|port| self.ever[port].contains(&endpoint)),
                    "{frontend} led to {endpoint}, which it never had"
                );
                if self.random(2) == 0 {
                    self.flows.push(Flow { family, index, generation, endpoint, protocol });
                }
                self.ended += 1;
                Step::Done
            }
            Step::Flow { flow } => {
                let backend = self.tables.backend(flow.family, flow.index);
                assert_eq!(backend.generation, flow.generation, "{flow:?}: its backend is another");
                assert_eq!(SocketAddr::new(backend.addr, backend.port), flow.endpoint);
                self.ended += 1;
                Step::Done
            }
            Step::Done => Step::Done,
        };
        self.readers[reader].step = next;
    }

    /// Lets the readers that began before this go on to their ends, among others.
    fn finish_readers(&mut self, began: u64) {
        while let Some(reader) = self.readers.iter().position(|reader| reader.began <= began) {
            self.go_on(reader);
            self.readers.retain(|reader| !matches!(reader.step, Step::Done));
            self.interleave();
        }
    }

    fn apply(&mut self, op: &Op) -> Result<(), TableError> {
        self.interleave();
        self.time += 1;
        match op {
            Op::WriteBackend { index, backend } => {
                let family = Family::of(backend.addr);
                self.given.insert((family, *index), self.time);
                self.ways_of(backend.addr, backend.port, backend.next_hop);
                // Not one store: a reader may see the half of it.
                let half =
                    Backend { addr: backend.addr, port: backend.port, ..self.tables.backend(family, *index) };
                self.tables.apply(&Op::WriteBackend { index: *index, backend: half })?;
                self.interleave();
            }
            Op::SetBackendHop { family, index, next_hop } => {
                let backend = self.tables.backend(*family, *index);
                self.ways_of(backend.addr, backend.port, *next_hop);
            }
            Op::WriteSlots { base, backends } => {
                for (slot, backend) in (*base..).zip(backends) {
                    self.tables.apply(&Op::WriteSlots { base: slot, backends: [*backend].into() })?;
                    self.interleave();
                }
            }
            Op::InsertFrontend { frontend, service } => {
                // A new element takes the place of the old one: its own is free at once.
                let family = Family::of(frontend.addr);
                let element = self.free.get_mut(family).pop().unwrap_or(self.elements.len());
                if element == self.elements.len() {
                    self.elements.push((*frontend, *service));
                }
                self.elements[element] = (*frontend, *service);
                self.free.get_mut(family).extend(self.by_key.insert(*frontend, element));
            }
            Op::RemoveFrontend { frontend } => {
                let family = Family::of(frontend.addr);
                self.free.get_mut(family).extend(self.by_key.remove(frontend));
            }
            _ => {}
        }
        self.tables.apply(op)
    }

    fn ways_of(&mut self, addr: std::net::IpAddr, port: u16, next_hop: u32) {
        let way = format!("{:?}", self.tables.next_hop(next_hop));
        self.ways.entry(SocketAddr::new(addr, port)).or_default().insert(way);
    }

    fn flows_naming(&mut self, names: &Names) -> Names {
        let is_named = |flow: &Flow| names.backends.get(flow.family).contains(&flow.index);
        self.flows.retain(|flow| flow.protocol != Protocol::UDP || !is_named(flow));
        let mut backends = PerFamily::<BTreeSet<u32>>::default();
        for flow in self.flows.iter().filter(|flow| is_named(flow)) {
            backends.get_mut(flow.family).insert(flow.index);
        }
        let PerFamily { v4, v6 } = backends;
        Names {
            backends: PerFamily { v4: v4.into_iter().collect(), v6: v6.into_iter().collect() },
            next_hops: Vec::new(),
        }
    }
}

/// The kernel as the controller and the readers' handle share it.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Kernel>>);

impl Readers for Shared {
    fn grace_period(&self) -> Result<(), TableError> {
        let mut kernel = self.0.borrow_mut();
        let now = kernel.time;
        kernel.finish_readers(now);
        Ok(())
    }

    fn flows_naming(&self, names: &Names) -> Result<Names, TableError> {
        Ok(self.0.borrow_mut().flows_naming(names))
    }
}

impl Tables for Shared {
    fn sizes(&self) -> Sizes {
        // Small, so that everything is reused often.
        Sizes { slots: 48, backends: 48, services: 24, ..Sizes::default() }
    }

    fn dump(&self) -> Result<Dump, TableError> {
        self.0.borrow().tables.dump()
    }

    fn apply(&mut self, op: &Op) -> Result<(), TableError> {
        self.0.borrow_mut().apply(op)
    }
}

/// The node: a controller, and a cluster that goes on changing while it waits for readers.
struct Node {
    controller: RefCell<Controller<Shared>>,
    kernel: Shared,
    cluster: RefCell<Cluster>,
    actions: RefCell<Vec<Action>>,
}

impl Node {
    /// The next change that is none of the agent's own chores.
    fn change(&self) {
        let Some(action) = self.actions.borrow_mut().pop() else { return };
        let Some(event) = self.cluster.borrow_mut().apply(&action) else { return };
        let meaning = Meaning::of(&fresh(&self.cluster.borrow()));
        let mut kernel = self.kernel.0.borrow_mut();
        for (frontend, (name, set)) in meaning.frontends {
            let name = name.unwrap_or_default().to_string();
            kernel
                .ever
                .entry(name.clone())
                .or_default()
                .extend(set.into_iter().map(|(endpoint, _)| endpoint));
            kernel.ports.entry(frontend).or_default().insert(name);
        }
        drop(kernel);
        self.controller.borrow_mut().apply([event]);
    }

    fn housekeeping(&self) {
        if self.controller.borrow().due() != Due::Nothing {
            let reclaim = self.controller.borrow_mut().reclaim();
            let reclaimed = reclaim.run(self).unwrap();
            self.change();
            self.controller.borrow_mut().release(&reclaimed).unwrap();
        }
    }
}

/// Changes are committed while a grace period of the housekeeping lasts.
impl Readers for Node {
    fn grace_period(&self) -> Result<(), TableError> {
        let now = self.kernel.0.borrow().time;
        self.change();
        self.kernel.0.borrow_mut().finish_readers(now);
        Ok(())
    }

    fn flows_naming(&self, names: &Names) -> Result<Names, TableError> {
        self.kernel.flows_naming(names)
    }
}

const SYNCED: [Event; 3] =
    [Event::Synced(Kind::Service), Event::Synced(Kind::EndpointSlice), Event::Synced(Kind::Node)];

fn fresh(cluster: &Cluster) -> Dump {
    let mut controller = Controller::new(facts(), MemoryTables::default()).unwrap();
    controller.apply(cluster.told_whole());
    controller.dump().unwrap()
}

fn node(seed: u64, actions: Vec<Action>) -> Node {
    let kernel = Shared::default();
    kernel.0.borrow_mut().random = seed | 1;
    let mut controller = Controller::new(facts(), kernel.clone()).unwrap();
    controller.apply(SYNCED);
    Node {
        controller: controller.into(),
        kernel,
        cluster: Cluster::default().into(),
        actions: actions.into(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn a_reader_that_is_delayed_at_every_load_ends_at_an_endpoint_of_the_service_that_it_asked_for(
        actions in actions(80), seed in any::<u64>()
    ) {
        let node = node(seed, actions);
        while !node.actions.borrow().is_empty() {
            node.change();
            let chance = node.kernel.0.borrow_mut().random(3);
            if chance == 0 {
                node.housekeeping();
            }
        }
        node.kernel.grace_period().unwrap();
    }
}
