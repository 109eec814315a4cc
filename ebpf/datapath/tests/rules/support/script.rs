//! A sequence of packets and changes, read from bytes (a fuzzer's, or random ones), played to the rules and to the
//! reference alike. After each step the two must agree: on the outcome, on every byte of the packet, on every flow.

use penstock_abi::EmptySet;
use penstock_datapath::memory::Buffer;

use super::frame::{Frame, Sum, TCP, UDP};
use super::model::{Input, Model, Seen};
use super::stage::{
    CLIENT_DEVICE, HOOKS, Hook, OTHER, PORT, Stage, TARGET, TO_CLIENT, TO_HOST, TO_LOCAL, TO_REMOTE, UPLINK,
    WEB, field,
};
use super::wire::{self, ETHERNET, Tuple, dissect};

/// Services without endpoints: one that refuses, one that drops.
const REFUSING: (u32, u16) = (3, 81);
const DROPPING: (u32, u16) = (4, 82);

/// Parses bytes as a packet of each family, and holds the outcome against the simple parser's.
pub(crate) fn parse(data: &[u8]) {
    let Some((head, rest)) = data.split_first() else { return };
    for ethertype in [[0x08, 0x00], [0x86, 0xdd]] {
        let mut bytes = vec![0; 12];
        bytes.extend(ethertype);
        bytes.extend(rest);
        let expected = dissect(&bytes);
        let mut buffer = Buffer::new(bytes.clone()).with_linear(usize::from(*head));
        super::stage::in_family!(ethertype == [0x86, 0xdd], F => {
            let parsed = penstock_datapath::parse::<F>(&mut buffer);
            assert_eq!(buffer.bytes(), bytes, "parsing changes nothing");
            let told = parsed.map(|parsed| {
                let ports = (parsed.key.sport.get(), parsed.key.dport.get());
                let addrs = (penstock_abi::Addr::to_ip(parsed.key.src), penstock_abi::Addr::to_ip(parsed.key.dst));
                (addrs, parsed.key.protocol.0, parsed.network.l4, parsed.has_ports.then_some(ports), parsed.flags.0)
            });
            let expected = expected.map(|a| ((a.src, a.dst), a.protocol, a.transport, a.ports, a.flags));
            assert_eq!(told, expected, "{bytes:02x?}");
        });
    }
}

/// Plays a script to the end of its bytes.
pub(crate) fn play(data: &[u8]) {
    let mut script = Script(data);
    let mut scene = Scene::new();
    while scene.step(&mut script).is_some() {}
}

/// What is left of the bytes.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn below(&mut self, end: usize) -> Option<usize> {
        Some(usize::from(self.byte()?) % end)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        of.get(self.below(of.len())?).copied()
    }
}

struct Scene {
    stage: Stage,
    model: Model,
}

impl Scene {
    fn new() -> Self {
        let mut stage = Stage::new(false);
        for is_v6 in [false, true] {
            stage.is_v6 = is_v6;
            let web = [
                (stage.local(), TO_LOCAL),
                (stage.remote(), TO_REMOTE),
                (stage.host(), TO_HOST),
                (stage.client(), TO_CLIENT),
            ];
            // Both families' backends have the same indices, each in its own table.
            stage.service(WEB, stage.vip(), &web);
            stage.service(OTHER, stage.other_vip(), &[(stage.local(), TO_LOCAL), (stage.remote(), 0)]);
            for ((service, port), empty) in [(REFUSING, EmptySet::Refuse), (DROPPING, EmptySet::Drop)] {
                stage.set(service, &[], empty);
                for protocol in [TCP, UDP] {
                    stage.frontend((stage.vip(), port), protocol, service);
                }
            }
        }
        let model = Model { now: stage.node.clock.get(), ..Model::default() };
        Self { stage, model }
    }

    fn step(&mut self, script: &mut Script<'_>) -> Option<()> {
        match script.below(20)? {
            0..=4 => {
                let frame = self.fresh(script)?;
                self.send(script, frame.bytes(), frame.sum)
            }
            5..=9 => {
                let tuple = self.known(script)?;
                let flags = script.byte()?;
                let frame = Frame::new(tuple.protocol, tuple.src, tuple.dst).flags(flags);
                let frame = self.formed(script, frame)?;
                self.send(script, frame.bytes(), frame.sum)
            }
            10 => {
                let units = script.below(4)? as u32;
                self.advance(units);
                Some(())
            }
            11 => {
                let units = script.byte()?;
                self.advance(u32::from(units) * 16);
                Some(())
            }
            12 => {
                let tuple = self.known(script)?;
                self.stage.evict(tuple);
                self.model.flows.remove(&tuple);
                Some(())
            }
            13 => self.change_endpoints(script),
            15 | 16 => {
                // A backend, and a port that others are likely to have been given.
                let words = [script.pick(&[0, u32::MAX / 2, u32::MAX])?, script.pick(&[0, u32::MAX])?];
                self.stage.node.next_random(&words);
                Some(())
            }
            14 => {
                // An index that was given to another endpoint: the agent sees to it that no flow names it then.
                self.stage.is_v6 = script.pick(&[false, true])?;
                let index = script.pick(&[10, 11, 20])?;
                self.stage.change_backend(index, |target| target.generation += 1);
                Some(())
            }
            18 => self.adopt(script),
            _ => {
                let frame = self.fresh(script)?;
                let mut bytes = frame.bytes();
                let cut = bytes.len() - script.below(bytes.len() - ETHERNET + 1)?;
                for _ in 0..script.below(4)? {
                    let at = ETHERNET + script.below(bytes.len() - ETHERNET)?;
                    bytes[at] = script.byte()?;
                }
                bytes.truncate(cut.max(ETHERNET));
                if dissect(&bytes).is_some_and(|anatomy| anatomy.transport > bytes.len()) {
                    // Its header's checksum cannot be told.
                    return Some(());
                }
                wire::complete(&mut bytes, Sum::Complete);
                self.send(script, bytes, Sum::Complete)
            }
        }
    }

    fn advance(&mut self, units: u32) {
        self.model.now += units;
        self.stage.node.clock.set(self.model.now);
    }

    /// Members of a service's set come and go, their bits first where they go, as the agent does it.
    fn change_endpoints(&mut self, script: &mut Script<'_>) -> Option<()> {
        self.stage.is_v6 = script.pick(&[false, true])?;
        let (service, count) = script.pick(&[(WEB, 4), (OTHER, 2)])?;
        let mask = script.byte()?;
        let members: Vec<u32> =
            (0..count).filter(|bit| mask >> bit & 1 == 1).map(|bit| service * 10 + bit).collect();
        // One service index serves both families here, so a member of the one is a member of the other.
        for is_v6 in [false, true] {
            self.stage.is_v6 = is_v6;
            for index in service * 10..service * 10 + count {
                self.stage.change_backend(index, |target| target.member = members.contains(&index));
            }
        }
        let empty = script.pick(&[EmptySet::Refuse, EmptySet::Drop])?;
        self.stage.set(service, &members, empty);
        Some(())
    }

    /// A connection that kube-proxy began becomes a flow.
    fn adopt(&mut self, script: &mut Script<'_>) -> Option<()> {
        self.stage.is_v6 = script.pick(&[false, true])?;
        let src = (self.stage.client(), script.pick(&[40_000, 40_001])?);
        let protocol = script.pick(&[TCP, UDP])?;
        let backend = script.pick(&[10, 11, 12])?;
        let request = Tuple { src, dst: (self.stage.vip(), PORT), protocol };
        self.model.flows.extend(self.stage.adopt(request, backend).into_iter().flatten());
        Some(())
    }

    /// The tuple of a packet that has a flow.
    fn known(&self, script: &mut Script<'_>) -> Option<Tuple> {
        let nth = usize::from(script.byte()?);
        let flows = &self.model.flows;
        flows.keys().nth(nth % flows.len().max(1)).copied().or(Some(Tuple {
            src: (self.stage.client(), 1),
            dst: (self.stage.outside(), 1),
            protocol: UDP,
        }))
    }

    /// A packet of anybody's to anybody.
    fn fresh(&mut self, script: &mut Script<'_>) -> Option<Frame> {
        self.stage.is_v6 = script.pick(&[false, true])?;
        let stage = &self.stage;
        let protocol = script.pick(&[TCP, TCP, TCP, UDP, UDP, UDP, 132])?;
        let src =
            script.pick(&[stage.client(), stage.client(), stage.local(), stage.outside(), stage.remote()])?;
        let sport = script.pick(&[40_000, 40_001, TARGET])?;
        let dst = script.pick(&[
            (stage.vip(), PORT),
            (stage.vip(), PORT),
            (stage.other_vip(), PORT),
            (stage.vip(), REFUSING.1),
            (stage.vip(), DROPPING.1),
            (stage.vip(), 9),
            (stage.local(), TARGET),
            (stage.remote(), TARGET),
            (stage.client(), 40_000),
        ])?;
        let flags = script.byte()?;
        self.formed(script, Frame::new(protocol, (src, sport), dst).flags(flags))
    }

    /// Gives a packet a form that is not the plainest.
    fn formed(&self, script: &mut Script<'_>, mut frame: Frame) -> Option<Frame> {
        frame.hop_limit = script.pick(&[64, 64, 64, 255, 2, 1, 0])?;
        frame.payload = vec![0xa5; script.pick(&[0, 1, 7, 64, 1_460, 1_500])?];
        frame.sum = script.pick(&[Sum::Complete, Sum::Complete, Sum::PseudoHeader, Sum::Absent])?;
        match script.below(12)? {
            0 => frame.options = vec![1; 4],
            1 => frame.options = vec![1; 40],
            2 => frame.extensions = vec![(0, vec![1, 4, 0, 0, 0, 0])],
            3 => frame.extensions = vec![(0, vec![1, 4, 0, 0, 0, 0]), (60, vec![0; 14]), (43, vec![0; 6])],
            4 => frame.extensions = vec![(60, vec![0; 6]); 5],
            5 => frame.fragment = Some((0, true)),
            6 => {
                frame.fragment = Some((185, false));
                frame.payload.resize(frame.payload.len().max(20), 0x5a);
            }
            _ => {}
        }
        if frame.src.is_ipv4() {
            frame.extensions.clear();
        } else {
            frame.options.clear();
        }
        Some(frame)
    }

    /// Sends a packet through a hook, and compares.
    fn send(&mut self, script: &mut Script<'_>, bytes: Vec<u8>, sum: Sum) -> Option<()> {
        let hook = script.pick(&HOOKS)?;
        let segmented = script.below(4)? == 0;
        let linear = script.pick(&[usize::MAX, ETHERNET, 60])?;
        let buffer =
            Buffer::new(bytes.clone()).with_linear(linear).segmented(segmented).with_field(field(sum));
        let (outcome, after) = self.stage.run_buffer(hook, buffer);
        let device = if matches!(hook, Hook::PodIngress | Hook::PodEgress) { CLIENT_DEVICE } else { UPLINK };
        let input = Input { hook, device, bytes: &bytes, sum, segmented };
        let flows = self.stage.flows();
        let seen = Seen { bytes: &after, flows: &flows };
        let (expected, packet) = self.model.expect(&self.stage.plan, input, seen);
        assert_eq!(outcome, expected, "at {hook:?}: {:?}", dissect(&bytes));
        if outcome.is_ok() {
            assert_eq!(after, packet, "at {hook:?}: {:?}, {outcome:?}", dissect(&bytes));
        }
        assert_eq!(flows, self.model.flows, "at {hook:?}: {:?}", dissect(&bytes));
        Some(())
    }
}
