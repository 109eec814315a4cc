//! A node to play scenes on: two pods, a service or more, and the hooks to run packets through.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use penstock_abi::{
    Addr, Backend, EmptySet, Flow, FlowKey, FrontendKey, MEMBER_CLUSTER, NextHop, Port, Protocol, Reason,
    Selection, SetKind,
};
use penstock_datapath::memory::{Buffer, Field, Node};
use penstock_datapath::{V4, V6, Verdict, pod_egress, pod_ingress, uplink_egress, uplink_ingress};

use super::frame::{Frame, Sum};
use super::wire::{Tuple, dissect};

/// Runs `$body` with `$family` as the type of the stage's family.
macro_rules! in_family {
    ($is_v6:expr, $family:ident => $body:expr) => {
        if $is_v6 {
            type $family = penstock_datapath::V6;
            $body
        } else {
            type $family = penstock_datapath::V4;
            $body
        }
    };
}
pub(crate) use in_family;

/// Where a packet is seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hook {
    PodIngress,
    PodEgress,
    UplinkIngress,
    UplinkEgress,
}

pub(crate) const HOOKS: [Hook; 4] =
    [Hook::PodIngress, Hook::PodEgress, Hook::UplinkIngress, Hook::UplinkEgress];

/// Devices.
pub(crate) const UPLINK: u32 = 2;
pub(crate) const CLIENT_DEVICE: u32 = 11;
pub(crate) const LOCAL_DEVICE: u32 = 12;

/// Next hops.
pub(crate) const TO_CLIENT: u32 = 1;
pub(crate) const TO_LOCAL: u32 = 2;
pub(crate) const TO_REMOTE: u32 = 3;
pub(crate) const TO_HOST: u32 = 4;
/// The largest packet that the ways carry, without the Ethernet header.
pub(crate) const MTU: u16 = 1_500;

/// Services, each with its own backends, whose indices are ten times the service's and up.
pub(crate) const WEB: u32 = 1;
pub(crate) const OTHER: u32 = 2;

/// Where services and endpoints listen.
pub(crate) const PORT: u16 = 80;
pub(crate) const TARGET: u16 = 8080;

/// What the tables are told, in plain words; kept beside the tables for the model to read.
#[derive(Clone, Default, Debug)]
pub(crate) struct Plan {
    pub(crate) frontends: BTreeMap<(IpAddr, u16, u8), u32>,
    pub(crate) sets: BTreeMap<u32, (Vec<u32>, EmptySet)>,
    pub(crate) backends: BTreeMap<(bool, u32), Target>,
    pub(crate) hops: BTreeMap<u32, NextHop>,
    pub(crate) pods: BTreeMap<IpAddr, u32>,
}

/// A backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    pub(crate) at: (IpAddr, u16),
    pub(crate) service: u32,
    pub(crate) hop: u32,
    pub(crate) member: bool,
    pub(crate) generation: u32,
}

/// One half of a flow, in plain words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Half {
    /// What the packet becomes.
    pub(crate) to: Tuple,
    pub(crate) is_reverse: bool,
    pub(crate) backend: u32,
    pub(crate) generation: u32,
    pub(crate) client_hop: u32,
    pub(crate) last_seen: u32,
    pub(crate) state: u8,
}

/// The outcome of a run.
pub(crate) type Outcome = Result<Verdict, Reason>;

/// What came of a packet.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) outcome: Outcome,
    pub(crate) tuple: Tuple,
    pub(crate) bytes: Vec<u8>,
}

impl Sent {
    /// Demands a verdict, and the whole packet as it is told.
    #[track_caller]
    pub(crate) fn is(&self, verdict: Verdict, frame: &Frame) {
        assert_eq!(self.outcome, Ok(verdict));
        assert_eq!(self.bytes, frame.bytes());
    }

    /// Demands that the packet was let by as it came.
    #[track_caller]
    pub(crate) fn passed(&self, frame: &Frame) {
        self.is(Verdict::Pass, frame);
    }
}

/// A node to play scenes on.
pub(crate) struct Stage {
    pub(crate) node: Node,
    pub(crate) plan: Plan,
    /// The family that the stage's addresses are of; both are always served.
    pub(crate) is_v6: bool,
    next_slot: u32,
}

impl Stage {
    /// Two pods on this node, and the ways to them, to another node and to the host; no services.
    pub(crate) fn new(is_v6: bool) -> Self {
        let mut stage = Self { node: Node::new(7), plan: Plan::default(), is_v6, next_slot: 1 };
        let hops = [
            (TO_CLIENT, NextHop::local(CLIENT_DEVICE, MTU)),
            (TO_LOCAL, NextHop::local(LOCAL_DEVICE, MTU)),
            (TO_REMOTE, NextHop::direct(UPLINK, MTU, Ipv4Addr::new(172, 16, 0, 2).into())),
            (TO_HOST, NextHop::host()),
        ];
        for (index, hop) in hops {
            stage.hop(index, hop);
        }
        for is_v6 in [false, true] {
            stage.is_v6 = is_v6;
            stage.pod(stage.client(), TO_CLIENT);
            stage.pod(stage.local(), TO_LOCAL);
        }
        stage.is_v6 = is_v6;
        stage.node.clock.set(1_000);
        stage
    }

    fn ip(&self, last: u16) -> IpAddr {
        if self.is_v6 {
            Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, last >> 8, last).into()
        } else {
            let [high, low] = last.to_be_bytes();
            Ipv4Addr::new(10, 0, high, low).into()
        }
    }

    /// A pod of this node.
    pub(crate) fn client(&self) -> IpAddr {
        self.ip(0x0101)
    }

    /// Another pod of this node.
    pub(crate) fn local(&self) -> IpAddr {
        self.ip(0x0102)
    }

    /// A pod of another node.
    pub(crate) fn remote(&self) -> IpAddr {
        self.ip(0x0203)
    }

    /// The node itself.
    pub(crate) fn host(&self) -> IpAddr {
        self.ip(0x0001)
    }

    /// A service's address.
    pub(crate) fn vip(&self) -> IpAddr {
        self.ip(0x600a)
    }

    /// Another service's address.
    pub(crate) fn other_vip(&self) -> IpAddr {
        self.ip(0x600b)
    }

    /// Somebody that no table names.
    pub(crate) fn outside(&self) -> IpAddr {
        self.ip(0xc008)
    }

    pub(crate) fn hop(&mut self, index: u32, hop: NextHop) {
        self.plan.hops.insert(index, hop);
        self.node.next_hops.borrow_mut().insert(index, hop);
    }

    pub(crate) fn pod(&mut self, at: IpAddr, hop: u32) {
        self.plan.pods.insert(at, hop);
        in_family!(at.is_ipv6(), F => {
            self.node.family::<F>().endpoints.borrow_mut().insert(addr(at), hop);
        });
    }

    pub(crate) fn frontend(&mut self, at: (IpAddr, u16), protocol: u8, service: u32) {
        self.plan.frontends.insert((at.0, at.1, protocol), service);
        in_family!(at.0.is_ipv6(), F => {
            let key = FrontendKey::cluster(addr(at.0), Port::new(at.1), Protocol(protocol));
            self.node.family::<F>().frontends.borrow_mut().insert(key, service);
        });
    }

    pub(crate) fn backend(&mut self, index: u32, target: Target) {
        self.plan.backends.insert((target.at.0.is_ipv6(), index), target);
        in_family!(target.at.0.is_ipv6(), F => {
            let backend = Backend {
                addr: addr(target.at.0),
                port: Port::new(target.at.1),
                // The rules do not read it: a flow's key has the protocol.
                protocol: Protocol::default(),
                member: if target.member { MEMBER_CLUSTER } else { 0 },
                service: target.service,
                next_hop: target.hop,
                generation: target.generation,
            };
            self.node.family::<F>().backends.borrow_mut().insert(index, backend);
        });
    }

    /// Publishes a set as the agent does: slots first, then the word.
    pub(crate) fn set(&mut self, service: u32, backends: &[u32], empty: EmptySet) {
        let base = self.next_slot;
        for (slot, backend) in (base..).zip(backends) {
            self.node.slots.borrow_mut().insert(slot, *backend);
        }
        self.next_slot += backends.len() as u32;
        let word = Selection::new(base, backends.len() as u32, SetKind::Plain, empty).expect("a small set");
        self.node.services.borrow_mut().insert(service, word);
        self.plan.sets.insert(service, (backends.to_vec(), empty));
    }

    /// A service at port [`PORT`] of an address, for TCP and UDP, with these endpoints.
    pub(crate) fn service(&mut self, service: u32, vip: IpAddr, targets: &[(IpAddr, u32)]) {
        let mut set = Vec::new();
        for (index, (ip, hop)) in (service * 10..).zip(targets) {
            let (at, hop) = ((*ip, TARGET), *hop);
            self.backend(index, Target { at, service, hop, member: true, generation: 1 });
            set.push(index);
        }
        self.set(service, &set, EmptySet::Refuse);
        for protocol in [super::frame::TCP, super::frame::UDP] {
            self.frontend((vip, PORT), protocol, service);
        }
    }

    /// Makes a flow with the client's own port to a backend, as the agent does with a connection that kube-proxy began; gives both
    /// halves, or nothing where one of them would have the place of another flow's.
    pub(crate) fn adopt(&self, request: Tuple, backend: u32) -> Option<[(Tuple, Half); 2]> {
        let target = self.plan.backends[&(request.src.0.is_ipv6(), backend)];
        let there = Half {
            to: Tuple { dst: target.at, ..request },
            is_reverse: false,
            backend,
            generation: target.generation,
            client_hop: self.plan.pods.get(&request.src.0).copied().unwrap_or(0),
            last_seen: self.node.clock.get(),
            state: 0,
        };
        let back = Half { to: request.reversed(), is_reverse: true, ..there };
        let halves = [(request, there), (there.to.reversed(), back)];
        if halves.iter().any(|(tuple, _)| self.flow(*tuple).is_some()) {
            return None;
        }
        for (tuple, half) in halves {
            in_family!(tuple.src.0.is_ipv6(), F => {
                let (key, to) = (key(tuple), key::<<F as penstock_datapath::Family>::Addr>(half.to));
                let flow = Flow {
                    tag: key.tag(),
                    src: to.src,
                    dst: to.dst,
                    sport: to.sport,
                    dport: to.dport,
                    backend,
                    generation: half.generation,
                    client_hop: half.client_hop,
                    last_seen: half.last_seen,
                    kind: half.is_reverse.into(),
                    state: half.state,
                    _pad: 0,
                };
                self.node.family::<F>().flows.insert(&key, &flow);
            });
        }
        Some(halves)
    }

    /// Changes a backend in place.
    pub(crate) fn change_backend(&mut self, index: u32, change: impl FnOnce(&mut Target)) {
        let mut target = self.plan.backends[&(self.is_v6, index)];
        change(&mut target);
        self.backend(index, target);
    }

    /// A packet of the client's to the service [`WEB`].
    pub(crate) fn request(&self, protocol: u8) -> Frame {
        Frame::new(protocol, (self.client(), 40_000), (self.vip(), PORT))
            .flags(super::frame::SYN)
            .payload(b"request")
    }

    /// Runs a packet through a hook at a device.
    pub(crate) fn run_buffer(&self, hook: Hook, buffer: Buffer) -> (Outcome, Vec<u8>) {
        let mut buffer = buffer.at_device(match hook {
            Hook::PodIngress | Hook::PodEgress => CLIENT_DEVICE,
            Hook::UplinkIngress | Hook::UplinkEgress => UPLINK,
        });
        let tables = &&self.node;
        let is_v6 = match buffer.bytes().get(12..14) {
            Some([0x08, 0x00]) => false,
            Some([0x86, 0xdd]) => true,
            _ => return (Ok(Verdict::Pass), buffer.bytes().to_vec()),
        };
        let outcome = in_family!(is_v6, F => match hook {
            Hook::PodIngress => pod_ingress::<F>(&mut buffer, tables),
            Hook::PodEgress => pod_egress::<F>(&mut buffer, tables),
            Hook::UplinkIngress => uplink_ingress::<F>(&mut buffer, tables),
            Hook::UplinkEgress => uplink_egress::<F>(&mut buffer, tables),
        });
        (outcome, buffer.bytes().to_vec())
    }

    /// Runs a packet through a hook.
    pub(crate) fn run(&self, hook: Hook, frame: &Frame) -> (Outcome, Vec<u8>) {
        self.run_buffer(hook, Buffer::new(frame.bytes()).with_field(field(frame.sum)))
    }

    /// Runs a packet through a hook, and takes apart what came of it.
    pub(crate) fn send(&self, hook: Hook, frame: &Frame) -> Sent {
        let (outcome, bytes) = self.run(hook, frame);
        let tuple = dissect(&bytes).and_then(|anatomy| anatomy.tuple());
        Sent { outcome, tuple: tuple.expect("a packet with ports"), bytes }
    }

    pub(crate) fn flow(&self, tuple: Tuple) -> Option<Half> {
        in_family!(tuple.src.0.is_ipv6(), F => {
            let flow = self.node.family::<F>().flows.get(&key(tuple))?;
            assert_eq!(flow.tag, key::<<F as penstock_datapath::Family>::Addr>(tuple).tag(), "the tag is the key's");
            Some(half(tuple.protocol, &flow))
        })
    }

    /// Every half of every flow, of both families.
    pub(crate) fn flows(&self) -> BTreeMap<Tuple, Half> {
        fn plain<A: Addr>(flows: Vec<(FlowKey<A>, Flow<A>)>) -> impl Iterator<Item = (Tuple, Half)> {
            flows.into_iter().map(|(key, flow)| (tuple(&key), half(key.protocol.0, &flow)))
        }
        let (v4, v6) = (self.node.family::<V4>().flows.dump(), self.node.family::<V6>().flows.dump());
        plain(v4).chain(plain(v6)).collect()
    }

    pub(crate) fn evict(&self, tuple: Tuple) -> bool {
        in_family!(tuple.src.0.is_ipv6(), F => self.node.family::<F>().flows.evict(&key(tuple)))
    }

    /// Gives the element of one flow to another key's, as the kernel does under a reader.
    pub(crate) fn spoil_tag(&self, tuple: Tuple) -> bool {
        in_family!(tuple.src.0.is_ipv6(), F => {
            self.node.family::<F>().flows.edit(&key(tuple), |flow| flow.tag ^= 1)
        })
    }
}

/// Runs a scene in each family, each on a stage of its own.
pub(crate) fn in_both_families(scene: impl Fn(Stage)) {
    for is_v6 in [false, true] {
        println!("in {}", if is_v6 { "IPv6" } else { "IPv4" });
        scene(Stage::new(is_v6));
    }
}

pub(crate) fn field(sum: Sum) -> Field {
    match sum {
        Sum::PseudoHeader => Field::PseudoHeader,
        Sum::Complete | Sum::Absent => Field::Complete,
    }
}

pub(crate) fn addr<A: Addr>(ip: IpAddr) -> A {
    A::from_ip(ip).expect("an address of the family at hand")
}

fn key<A: Addr>(tuple: Tuple) -> FlowKey<A> {
    let (src, dst) = (tuple.src, tuple.dst);
    let ports = (Port::new(src.1), Port::new(dst.1));
    FlowKey::new(addr(src.0), addr(dst.0), ports.0, ports.1, Protocol(tuple.protocol))
}

fn tuple<A: Addr>(key: &FlowKey<A>) -> Tuple {
    Tuple {
        src: (key.src.to_ip(), key.sport.get()),
        dst: (key.dst.to_ip(), key.dport.get()),
        protocol: key.protocol.0,
    }
}

fn half<A: Addr>(protocol: u8, flow: &Flow<A>) -> Half {
    Half {
        to: tuple(&flow.rewritten(Protocol(protocol))),
        is_reverse: flow.kind == 1,
        backend: flow.backend,
        generation: flow.generation,
        client_hop: flow.client_hop,
        last_seen: flow.last_seen,
        state: flow.state,
    }
}
