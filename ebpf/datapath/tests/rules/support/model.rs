//! The reference: what should become of a packet, told by code that is simple rather than fast. It parses the whole
//! packet, keeps flows in a map, and computes every checksum from scratch. Where the rules throw dice (backend, source port)
//! it looks at the outcome, and demands that it was one of those allowed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use penstock_abi::{EmptySet, NextHopKind, Reason};
use penstock_datapath::Verdict;

use super::frame::{ACK, FIN, Frame, RST, SYN, Sum, TCP, UDP};
use super::stage::{Half, Hook, Outcome, Plan};
use super::wire::{self, Anatomy, ETHERNET, Place, Tuple, dissect};

/// What has been seen of a connection.
const REPLIED: u8 = 1;
const FIN_CLIENT: u8 = 2;
const FIN_BACKEND: u8 = 4;
const RESET: u8 = 8;

/// A packet, and what its carrier says of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a> {
    pub(crate) hook: Hook,
    pub(crate) device: u32,
    pub(crate) bytes: &'a [u8],
    pub(crate) sum: Sum,
    pub(crate) segmented: bool,
}

/// What the rules made of it, for the model to look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) flows: &'a BTreeMap<Tuple, Half>,
}

/// The flows as they should be.
#[derive(Default, Debug)]
pub(crate) struct Model {
    pub(crate) flows: BTreeMap<Tuple, Half>,
    pub(crate) now: u32,
}

/// Where a packet of a flow goes.
struct Way {
    to: Tuple,
    hop: u32,
    is_answer: bool,
}

impl Model {
    /// What should become of a packet: the outcome, and the packet afterwards.
    pub(crate) fn expect(&mut self, plan: &Plan, input: Input<'_>, seen: Seen<'_>) -> (Outcome, Vec<u8>) {
        let as_it_came = input.bytes.to_vec();
        let Some(anatomy) = dissect(input.bytes) else { return (Ok(Verdict::Pass), as_it_came) };
        let egress = matches!(input.hook, Hook::PodEgress | Hook::UplinkEgress);
        let may_travel = anatomy.hop_limit > 1;
        let way = match input.hook {
            Hook::PodIngress | Hook::UplinkEgress if may_travel => {
                self.serve(plan, &anatomy, seen, input.hook)
            }
            Hook::UplinkIngress if may_travel => Ok(self.follow(plan, &anatomy, true)),
            Hook::PodEgress => Ok(self.follow(plan, &anatomy, true)),
            _ => Ok(None),
        };
        let way = match way {
            Ok(way) => way,
            Err(reason) => {
                let refusal = if reason == Reason::NoEndpoints { refusal(&input, &anatomy) } else { None };
                return match refusal {
                    Some(bytes) if egress => (Ok(Verdict::Reinject { ifindex: input.device }), bytes),
                    Some(bytes) => (Ok(Verdict::Peer { ifindex: input.device }), bytes),
                    None => (Err(reason), as_it_came),
                };
            }
        };
        match (way, input.hook) {
            // At the client's own door nothing is left to be decided but the addresses.
            (Some(way), Hook::PodEgress) => {
                (Ok(Verdict::Pass), rewritten(&input, &anatomy, Some(way.to), 0, seen.bytes))
            }
            (Some(_), _) if anatomy.place != Place::Whole => (Err(Reason::Fragment), as_it_came),
            (Some(way), _) => {
                let verdict = steer(plan, way.hop, egress, way.is_answer, &input);
                let aged = u8::from(ages(verdict));
                let mut bytes = rewritten(&input, &anatomy, Some(way.to), aged, seen.bytes);
                if matches!(verdict, Verdict::Reinject { .. }) {
                    turn(&mut bytes);
                }
                (Ok(verdict), bytes)
            }
            // The kernel is to know of a connection before it sees an answer.
            (None, Hook::UplinkIngress) if anatomy.opens() => (Ok(Verdict::Pass), as_it_came),
            (None, Hook::PodIngress | Hook::UplinkIngress) if may_travel => match plan.pods.get(&anatomy.dst)
            {
                Some(hop) => {
                    let verdict = steer(plan, *hop, false, false, &input);
                    (Ok(verdict), rewritten(&input, &anatomy, None, u8::from(ages(verdict)), seen.bytes))
                }
                None => (Ok(Verdict::Pass), as_it_came),
            },
            (None, _) => (Ok(Verdict::Pass), as_it_came),
        }
    }

    /// The way of a packet that is a service's.
    fn serve(
        &mut self,
        plan: &Plan,
        anatomy: &Anatomy,
        seen: Seen<'_>,
        hook: Hook,
    ) -> Result<Option<Way>, Reason> {
        let Some(tuple) = anatomy.tuple() else { return Ok(None) };
        if let Some(way) = self.follow(plan, anatomy, false) {
            return Ok(Some(way));
        }
        let Some(service) = plan.frontends.get(&(tuple.dst.0, tuple.dst.1, tuple.protocol)) else {
            let backend = self.answered_by_a_flow(plan, anatomy, tuple);
            let Some(backend) = backend.filter(|_| hook == Hook::PodIngress) else { return Ok(None) };
            self.begin(plan, tuple, &[backend], seen);
            return Ok(self.follow(plan, anatomy, false));
        };
        let (set, empty) = plan.sets.get(service).ok_or(Reason::BrokenTables)?;
        if set.is_empty() {
            return Err(match empty {
                EmptySet::Refuse => Reason::NoEndpoints,
                EmptySet::Drop => Reason::NoUsableEndpoints,
            });
        }
        self.begin(plan, tuple, set, seen);
        Ok(self.follow(plan, anatomy, false))
    }

    /// The backend to which a connection begins by its own address, where the answers would be taken for those of a flow.
    fn answered_by_a_flow(&self, plan: &Plan, anatomy: &Anatomy, tuple: Tuple) -> Option<u32> {
        let flow = self.flows.get(&tuple.reversed()).filter(|flow| anatomy.opens() && flow.is_reverse)?;
        let target = plan.backends.get(&(tuple.src.0.is_ipv6(), flow.backend))?;
        (target.member && target.generation == flow.generation).then_some(flow.backend)
    }

    /// Takes over a flow that has just begun, and holds its choices against what is allowed.
    fn begin(&mut self, plan: &Plan, tuple: Tuple, set: &[u32], seen: Seen<'_>) {
        let half = *seen.flows.get(&tuple).expect("a flow that begins is in the table");
        let target = plan.backends[&(tuple.src.0.is_ipv6(), half.backend)];
        assert!(set.contains(&half.backend), "backend {} is none of {set:?}", half.backend);
        assert_eq!(half.to.dst, target.at);
        let hairpin = target.at.0 == tuple.src.0;
        assert_eq!(half.to.src.0, if hairpin { tuple.dst.0 } else { tuple.src.0 });
        assert!((1_024..=32_767).contains(&half.to.src.1), "source port {}", half.to.src.1);
        let client_hop = plan.pods.get(&tuple.src.0).copied().unwrap_or(0);
        let forward = Half {
            to: half.to,
            is_reverse: false,
            backend: half.backend,
            generation: target.generation,
            client_hop,
            last_seen: self.now,
            state: 0,
        };
        let back = Half { to: tuple.reversed(), is_reverse: true, ..forward };
        let taken = self.flows.insert(half.to.reversed(), back);
        assert_eq!(taken, None, "the answers would be another flow's too");
        self.flows.insert(tuple, forward);
    }

    /// The way of a packet of a flow that is known.
    fn follow(&mut self, plan: &Plan, anatomy: &Anatomy, answers_only: bool) -> Option<Way> {
        let tuple = anatomy.tuple()?;
        let mut half = *self.flows.get(&tuple)?;
        if answers_only && !half.is_reverse {
            return None;
        }
        let hop = if half.is_reverse {
            half.client_hop
        } else {
            match self.still_serves(plan, anatomy, &half) {
                Some(hop) => hop,
                None => {
                    self.forget(tuple);
                    return None;
                }
            }
        };
        let before = half;
        half.last_seen = self.now;
        half.state |= match (half.is_reverse, anatomy.flags & FIN != 0) {
            (true, true) => REPLIED | FIN_BACKEND,
            (true, false) => REPLIED,
            (false, true) => FIN_CLIENT,
            (false, false) => 0,
        };
        half.state |= if anatomy.flags & RST != 0 { RESET } else { 0 };
        if half != before {
            if !self.owns_other_half(tuple, &half) && self.flows.contains_key(&half.to.reversed()) {
                self.flows.remove(&tuple);
                return None;
            }
            self.flows.insert(tuple, half);
            let other = Half { to: tuple.reversed(), is_reverse: !half.is_reverse, ..half };
            self.flows.insert(half.to.reversed(), other);
        }
        Some(Way { to: half.to, hop, is_answer: half.is_reverse })
    }

    /// The way to the backend of a flow, where it still serves this packet.
    fn still_serves(&self, plan: &Plan, anatomy: &Anatomy, half: &Half) -> Option<u32> {
        let target = plan.backends.get(&(anatomy.src.is_ipv6(), half.backend))?;
        if target.generation != half.generation {
            return None;
        }
        if anatomy.protocol == TCP && !anatomy.opens() {
            return Some(target.hop);
        }
        let both = FIN_CLIENT | FIN_BACKEND;
        let is_over = anatomy.protocol == TCP && (half.state & RESET != 0 || half.state & both == both);
        let idle = self.now.saturating_sub(half.last_seen);
        if !target.member || is_over || idle > longest_idle(anatomy.protocol, half.state) {
            return None;
        }
        Some(target.hop)
    }

    fn owns_other_half(&self, tuple: Tuple, half: &Half) -> bool {
        self.flows.get(&half.to.reversed()).is_some_and(|other| other.to.reversed() == tuple)
    }

    /// Forgets a flow: both halves, but not what another connection has in the place of the second.
    fn forget(&mut self, tuple: Tuple) {
        if let Some(half) = self.flows.get(&tuple).copied() {
            if self.owns_other_half(tuple, &half) {
                self.flows.remove(&half.to.reversed());
            }
            self.flows.remove(&tuple);
        }
    }
}

/// In units of 2^30 ns, for the seconds that the kernel's own conntrack and kube-proxy use.
fn longest_idle(protocol: u8, state: u8) -> u32 {
    let both = FIN_CLIENT | FIN_BACKEND;
    let seconds: u64 = match protocol {
        UDP if state & REPLIED != 0 => 120,
        UDP => 30,
        _ if state & RESET != 0 || state & both == both => 120,
        _ if state & both != 0 => 3_600,
        _ if state & REPLIED != 0 => 86_400,
        _ => 60,
    };
    (seconds * 1_000_000_000 / (1 << 30)) as u32
}

fn steer(plan: &Plan, hop: u32, egress: bool, is_answer: bool, input: &Input<'_>) -> Verdict {
    let next = plan.hops.get(&hop).copied().unwrap_or_default();
    let too_large = input.bytes.len() > ETHERNET + usize::from(next.mtu);
    if next.mtu > 0 && !input.segmented && too_large {
        return Verdict::Pass;
    }
    let here = input.device;
    match next.kind() {
        NextHopKind::Local if egress => Verdict::Neighbour { ifindex: next.ifindex },
        NextHopKind::Local => Verdict::Peer { ifindex: next.ifindex },
        NextHopKind::Direct => Verdict::Gateway { hop },
        NextHopKind::Host if egress => Verdict::Reinject { ifindex: here },
        NextHopKind::Stack if egress && is_answer => Verdict::Reinject { ifindex: here },
        NextHopKind::Stack if egress => Verdict::Neighbour { ifindex: here },
        NextHopKind::Host | NextHopKind::Stack => Verdict::Pass,
    }
}

/// Whether no router will take one off the hop limit.
fn ages(verdict: Verdict) -> bool {
    !matches!(verdict, Verdict::Pass | Verdict::Reinject { .. })
}

fn turn(bytes: &mut [u8]) {
    bytes[..12].rotate_left(6);
}

/// The packet with another tuple and so much less of hop limit, its checksums computed from scratch.
fn rewritten(input: &Input<'_>, anatomy: &Anatomy, to: Option<Tuple>, aged: u8, seen: &[u8]) -> Vec<u8> {
    let mut bytes = input.bytes.to_vec();
    let is_v4 = anatomy.src.is_ipv4();
    let (hop_limit, src, dst) = if is_v4 { (8, 12, 16) } else { (7, 8, 24) };
    bytes[ETHERNET + hop_limit] -= aged;
    if let Some(to) = to {
        for (at, ip) in [(src, to.src.0), (dst, to.dst.0)] {
            put_ip(&mut bytes[ETHERNET + at..], ip);
        }
        bytes[anatomy.transport..anatomy.transport + 2].copy_from_slice(&to.src.1.to_be_bytes());
        bytes[anatomy.transport + 2..anatomy.transport + 4].copy_from_slice(&to.dst.1.to_be_bytes());
        let at = anatomy.transport + if anatomy.protocol == TCP { 16 } else { 6 };
        let absent = anatomy.protocol == UDP && bytes[at..at + 2] == [0, 0];
        match anatomy.place {
            Place::Whole => wire::complete(&mut bytes, if absent { Sum::Absent } else { input.sum }),
            // Its checksum covers bytes that are elsewhere.
            _ => bytes[at..at + 2].copy_from_slice(&seen[at..at + 2]),
        }
    }
    wire::complete_header(&mut bytes, anatomy);
    bytes
}

fn put_ip(bytes: &mut [u8], ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes[..16].copy_from_slice(&ip.octets()),
    }
}

/// What a host without a listener would answer.
fn refusal(input: &Input<'_>, anatomy: &Anatomy) -> Option<Vec<u8>> {
    let header = if anatomy.src.is_ipv4() { 20 } else { 40 };
    if anatomy.transport != ETHERNET + header {
        return None;
    }
    let tuple = anatomy.tuple()?;
    let mut answer = Frame::new(anatomy.protocol, tuple.dst, tuple.src);
    let l4 = &input.bytes[anatomy.transport..];
    if anatomy.protocol == TCP {
        let word = |at: usize| u32::from_be_bytes(l4[at..at + 4].try_into().expect("four bytes"));
        answer.window = 0;
        match anatomy.flags {
            flags if flags & RST != 0 => return None,
            flags if flags & ACK != 0 => {
                answer.seq = word(8);
                answer.flags = RST;
            }
            flags => {
                let data = l4.len().saturating_sub(usize::from(l4[12] >> 4) * 4) as u32;
                let counted = [SYN, FIN].map(|flag| u32::from(flags & flag != 0)).iter().sum::<u32>();
                answer.seq = 0;
                answer.ack = word(4).wrapping_add(data).wrapping_add(counted);
                answer.flags = RST | ACK;
            }
        }
    } else {
        let is_v4 = anatomy.src.is_ipv4();
        let (number, kind, code) = if is_v4 { (1, 3, 3) } else { (58, 1, 4) };
        let mut icmp = vec![kind, code, 0, 0, 0, 0, 0, 0];
        icmp.extend(&input.bytes[ETHERNET..ETHERNET + header + 8]);
        let pseudo =
            if is_v4 { 0 } else { wire::pseudo_header(tuple.dst.0, tuple.src.0, number, icmp.len()) };
        let field = !wire::ones_sum(&[&pseudo.to_be_bytes(), &icmp]);
        icmp[2..4].copy_from_slice(&field.to_be_bytes());
        answer.protocol = number;
        answer.raw = Some(icmp);
    }
    let mut bytes = answer.bytes();
    bytes[..12].copy_from_slice(&input.bytes[..12]);
    turn(&mut bytes);
    if anatomy.src.is_ipv4() {
        // No identification, since it may not be fragmented (RFC 6864).
        bytes[ETHERNET + 4..ETHERNET + 8].copy_from_slice(&[0, 0, 0x40, 0]);
        wire::complete(&mut bytes, Sum::Complete);
    }
    Some(bytes)
}
