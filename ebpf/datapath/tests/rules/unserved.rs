//! Clients of Services that have nobody to serve them, and tables that do not fit together.

use penstock_abi::{EmptySet, EventKind, Reason, Selection, SetKind};
use penstock_datapath::Verdict;
use penstock_datapath::memory::WhenFull;

use crate::support::frame::{ACK, FIN, RST, SYN, Sum, TCP, UDP};
use crate::support::stage::*;
use crate::support::wire::{self, ETHERNET};

fn serve_nobody(stage: &mut Stage, empty: EmptySet) {
    stage.service(WEB, stage.vip(), &[]);
    stage.set(WEB, &[], empty);
}

/// The frame is sent back to where it came from.
fn turned(bytes: &[u8]) -> Vec<u8> {
    [&bytes[6..12], &bytes[..6], &bytes[12..]].concat()
}

#[test]
fn a_tcp_client_is_reset() {
    in_both_families(|mut stage| {
        serve_nobody(&mut stage, EmptySet::Refuse);
        // Flags, what they count for beside the seven bytes of payload, and whether the sender has acknowledged.
        for (flags, counted, acknowledges) in
            [(SYN, 1, false), (SYN | FIN, 2, false), (0, 0, false), (ACK, 0, true)]
        {
            let mut request = stage.request(TCP).flags(flags);
            (request.seq, request.ack) = (u32::MAX - 2, 4_000);
            let mut reset = request.answer().payload(b"");
            reset.window = 0;
            (reset.seq, reset.ack, reset.flags) = if acknowledges {
                (4_000, 0, RST)
            } else {
                (0, 7_u32.wrapping_add(u32::MAX - 2).wrapping_add(counted), RST | ACK)
            };
            let mut expected = turned(&reset.bytes());
            if !stage.is_v6 {
                expected[ETHERNET + 4..ETHERNET + 8].copy_from_slice(&[0, 0, 0x40, 0]);
                wire::complete(&mut expected, Sum::Complete);
            }
            let ways = [
                (Hook::PodIngress, Verdict::Peer { ifindex: CLIENT_DEVICE }),
                (Hook::UplinkEgress, Verdict::Reinject { ifindex: UPLINK }),
            ];
            for (hook, verdict) in ways {
                assert_eq!(stage.run(hook, &request), (Ok(verdict), expected.clone()), "flags {flags:#x}");
            }
        }
        assert_eq!(stage.node.drops(Reason::NoEndpoints).packets, 8);
        assert!(stage.flows().is_empty());
    });
}

#[test]
fn a_udp_client_is_told_that_the_port_is_unreachable() {
    in_both_families(|mut stage| {
        serve_nobody(&mut stage, EmptySet::Refuse);
        let request = stage.request(UDP);
        let (outcome, bytes) = stage.run(Hook::PodIngress, &request);
        assert_eq!(outcome, Ok(Verdict::Peer { ifindex: CLIENT_DEVICE }));
        let told = wire::dissect(&bytes).expect("a whole packet");
        assert_eq!((told.src, told.dst), (stage.vip(), stage.client()));
        let icmp = &bytes[told.transport..];
        let (number, kind) = if stage.is_v6 { (58, [1, 4]) } else { (1, [3, 3]) };
        assert_eq!((told.protocol, &icmp[..2]), (number, &kind[..]));
        let quote = &icmp[8..];
        assert_eq!(quote, &request.bytes()[ETHERNET..ETHERNET + quote.len()]);
        assert_eq!(quote.len(), told.transport - ETHERNET + 8);
        // The sum over what a checksum covers, itself included, is all ones.
        let pseudo = if stage.is_v6 { wire::pseudo_header(told.src, told.dst, 58, icmp.len()) } else { 0 };
        assert_eq!(wire::ones_sum(&[&pseudo.to_be_bytes(), icmp]), 0xffff);
        if !stage.is_v6 {
            assert_eq!(wire::ones_sum(&[&bytes[ETHERNET..told.transport]]), 0xffff);
        }
        assert_eq!(bytes[..12], turned(&request.bytes())[..12]);
    });
}

#[test]
fn a_reset_is_not_answered() {
    in_both_families(|mut stage| {
        serve_nobody(&mut stage, EmptySet::Refuse);
        let sent = stage.send(Hook::PodIngress, &stage.request(TCP).flags(RST | ACK));
        assert_eq!(sent.outcome, Err(Reason::NoEndpoints));
    });
}

#[test]
fn a_client_whose_policy_leaves_no_endpoint_hears_nothing() {
    in_both_families(|mut stage| {
        serve_nobody(&mut stage, EmptySet::Drop);
        for protocol in [TCP, UDP] {
            let sent = stage.send(Hook::PodIngress, &stage.request(protocol));
            assert_eq!(sent.outcome, Err(Reason::NoUsableEndpoints));
        }
        let length = |protocol| stage.request(protocol).bytes().len() as u64;
        let drops = stage.node.drops(Reason::NoUsableEndpoints);
        assert_eq!((drops.packets, drops.bytes), (2, length(TCP) + length(UDP)));
    });
}

#[test]
fn a_connection_outlives_its_set() {
    in_both_families(|mut stage| {
        stage.service(WEB, stage.vip(), &[(stage.local(), TO_LOCAL)]);
        let there = stage.send(Hook::PodIngress, &stage.request(TCP)).tuple;
        stage.set(WEB, &[], EmptySet::Refuse);
        stage.change_backend(WEB * 10, |target| target.member = false);
        assert_eq!(stage.send(Hook::PodIngress, &stage.request(TCP).flags(ACK)).tuple, there);
    });
}

#[test]
fn tables_that_lead_nowhere_drop_and_leave_no_flow() {
    in_both_families(|mut stage| {
        let request = stage.request(TCP);
        let broken = |stage: &Stage| {
            assert_eq!(stage.send(Hook::PodIngress, &request).outcome, Err(Reason::BrokenTables));
            assert!(stage.flows().is_empty());
        };
        // A frontend without a service.
        stage.frontend((stage.vip(), PORT), TCP, WEB);
        broken(&stage);
        // A word to slots that are not there.
        let word = Selection::new(1_000, 1, SetKind::Plain, EmptySet::Refuse).expect("a small set");
        stage.node.services.borrow_mut().insert(WEB, word);
        broken(&stage);
        // A slot to a backend that is not there.
        stage.node.slots.borrow_mut().insert(1_000, 77);
        broken(&stage);
        // A backend of another service.
        let at = (stage.local(), TARGET);
        stage.backend(77, Target { at, service: OTHER, hop: TO_LOCAL, member: true, generation: 1 });
        broken(&stage);
        assert_eq!(stage.node.drops(Reason::BrokenTables).packets, 4);
    });
}

#[test]
fn a_full_flow_table_drops_and_leaves_no_half() {
    in_both_families(|mut stage| {
        stage.service(WEB, stage.vip(), &[(stage.local(), TO_LOCAL)]);
        for capacity in [0, 1] {
            in_family!(stage.is_v6, F => {
                stage.node.family::<F>().flows.limit(capacity, WhenFull::Refuse);
            });
            let sent = stage.send(Hook::PodIngress, &stage.request(UDP));
            assert_eq!(sent.outcome, Err(Reason::FlowTableFull));
            assert!(stage.flows().is_empty());
        }
        in_family!(stage.is_v6, F => stage.node.family::<F>().flows.limit(2, WhenFull::Evict));
        for port in 40_000..40_010 {
            let sent = stage.send(Hook::PodIngress, &stage.request(UDP).from((stage.client(), port)));
            assert_eq!(sent.tuple.dst, (stage.local(), TARGET));
        }
        assert_eq!(stage.flows().len(), 2);
    });
}

#[test]
fn drops_and_new_flows_are_recorded_where_events_are_asked_for() {
    in_both_families(|mut stage| {
        stage.service(WEB, stage.vip(), &[(stage.local(), TO_LOCAL)]);
        stage.service(OTHER, stage.other_vip(), &[]);
        stage.send(Hook::PodIngress, &stage.request(UDP).from((stage.client(), 39_999)));
        assert!(stage.node.take_events().is_empty());
        stage.node.records_events.set(true);
        stage.send(Hook::PodIngress, &stage.request(UDP));
        stage.send(Hook::PodIngress, &stage.request(UDP));
        let (refused, _) = stage.run(Hook::PodIngress, &stage.request(UDP).to((stage.other_vip(), PORT)));
        assert_eq!(refused, Ok(Verdict::Peer { ifindex: CLIENT_DEVICE }));
        let events = stage.node.take_events();
        let told: Vec<_> =
            events.iter().map(|event| (event.kind, event.service, event.backend, event.reason)).collect();
        let (new, drop) = (EventKind::NewFlow as u8, EventKind::Drop as u8);
        assert_eq!(told, [(new, WEB, WEB * 10, 0), (drop, 0, 0, Reason::NoEndpoints as u8)]);
        assert_eq!(events[1].ifindex, CLIENT_DEVICE);
        for event in events {
            // IPv4 is kept mapped.
            let src = std::net::Ipv6Addr::from(event.src).to_canonical();
            assert_eq!((src, event.sport.get(), event.dport.get()), (stage.client(), 40_000, PORT));
        }
    });
}
