//! Flows that begin, go on, and are answered.

use penstock_abi::{Counter, Reason};
use penstock_datapath::Verdict;

use crate::support::frame::{ACK, FIN, Frame, RST, SYN, TCP, UDP};
use crate::support::stage::*;
use crate::support::wire::Tuple;

const TO_POD: Verdict = Verdict::Peer { ifindex: LOCAL_DEVICE };
const BACK: Verdict = Verdict::Peer { ifindex: CLIENT_DEVICE };

/// A stage with one service of one local endpoint.
fn serve_locally(stage: &mut Stage) {
    stage.service(WEB, stage.vip(), &[(stage.local(), TO_LOCAL)]);
}

#[test]
fn a_new_flow_is_translated_and_both_its_halves_are_remembered() {
    in_both_families(|mut stage| {
        serve_locally(&mut stage);
        for protocol in [TCP, UDP] {
            let request = stage.request(protocol);
            let sent = stage.send(Hook::PodIngress, &request);
            assert_eq!((sent.tuple.src.0, sent.tuple.dst), (stage.client(), (stage.local(), TARGET)));
            sent.is(TO_POD, &request.clone().with_tuple(sent.tuple).hop_limit(63));

            let forward = stage.flow(request.tuple()).expect("the half for requests");
            let back = stage.flow(sent.tuple.reversed()).expect("the half for answers");
            assert_eq!((forward.to, forward.is_reverse), (sent.tuple, false));
            assert_eq!((back.to, back.is_reverse), (request.tuple().reversed(), true));
            assert_eq!((back.client_hop, back.backend), (TO_CLIENT, WEB * 10));
        }
        assert_eq!(stage.flows().len(), 4);
        let count = stage.node.service_count(WEB);
        assert_eq!((count.flows, count.unserved), (2, 0));
    });
}

#[test]
fn further_packets_of_a_flow_are_translated_alike() {
    in_both_families(|mut stage| {
        let targets = [(stage.local(), TO_LOCAL), (stage.remote(), TO_REMOTE), (stage.host(), TO_HOST)];
        stage.service(WEB, stage.vip(), &targets);
        let first = stage.send(Hook::PodIngress, &stage.request(TCP));
        for _ in 0..20 {
            let further = stage.send(Hook::PodIngress, &stage.request(TCP).flags(ACK));
            assert_eq!(further.tuple, first.tuple);
        }
        assert_eq!(stage.flows().len(), 2);
        assert_eq!(stage.node.service_count(WEB).flows, 1);
    });
}

#[test]
fn an_answer_comes_from_the_service() {
    in_both_families(|mut stage| {
        serve_locally(&mut stage);
        for protocol in [TCP, UDP] {
            let request = stage.request(protocol);
            let there = stage.send(Hook::PodIngress, &request).tuple;
            let answer = request.clone().with_tuple(there.reversed()).flags(SYN | ACK).payload(b"answer");
            let expected = answer.clone().with_tuple(request.tuple().reversed());
            for hook in [Hook::PodIngress, Hook::UplinkIngress] {
                stage.send(hook, &answer).is(BACK, &expected.clone().hop_limit(63));
            }
            // Here the kernel's routing has taken one off already.
            stage.send(Hook::PodEgress, &answer).passed(&expected);
        }
    });
}

#[test]
fn a_flow_to_another_node_leaves_through_its_gateway() {
    in_both_families(|mut stage| {
        stage.service(WEB, stage.vip(), &[(stage.remote(), TO_REMOTE)]);
        let request = stage.request(TCP);
        let sent = stage.send(Hook::PodIngress, &request);
        sent.is(Verdict::Gateway { hop: TO_REMOTE }, &request.clone().with_tuple(sent.tuple).hop_limit(63));
    });
}

#[test]
fn a_flow_whose_way_the_kernel_knows_is_left_to_its_routing() {
    in_both_families(|mut stage| {
        for hop in [0, TO_HOST, 999] {
            stage.service(WEB, stage.vip(), &[(stage.host(), hop)]);
            let request = stage.request(UDP).from((stage.client(), 41_000 + hop as u16));
            let sent = stage.send(Hook::PodIngress, &request);
            sent.passed(&request.with_tuple(sent.tuple));
            assert_eq!(sent.tuple.dst, (stage.host(), TARGET));
        }
    });
}

#[test]
fn flows_leave_from_ports_between_the_privileged_and_the_ephemeral_ones() {
    in_both_families(|mut stage| {
        serve_locally(&mut stage);
        let mut ports = Vec::new();
        for port in 40_000..41_000 {
            let request = stage.request(UDP).from((stage.client(), port));
            ports.push(stage.send(Hook::PodIngress, &request).tuple.src.1);
        }
        assert!(ports.iter().all(|port| (1_024..32_768).contains(port)));
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 1_000, "no two flows share their answers");
        assert_eq!(stage.node.counter(Counter::PortClash), 0, "each port of a client has a place of its own");
    });
}

#[test]
fn a_taken_port_gives_way_to_another_one_and_then_to_an_honest_drop() {
    in_both_families(|mut stage| {
        serve_locally(&mut stage);
        let from = |port| stage.request(UDP).from((stage.client(), port));
        // Three ports of a client that prefer one place: they are apart by the number of source ports.
        let [first, second, third] = [1_500, 1_500 + 31_744, 1_500 + 2 * 31_744];
        let preferred = stage.send(Hook::PodIngress, &from(first)).tuple.src.1;
        assert_ne!(preferred, 32_767);
        // The first word chooses the backend.
        stage.node.next_random(&[0, u32::MAX]);
        assert_eq!(stage.send(Hook::PodIngress, &from(second)).tuple.src.1, 32_767);
        assert_eq!(stage.node.counter(Counter::PortClash), 1);
        stage.node.next_random(&[u32::MAX; 9]);
        let sent = stage.send(Hook::PodIngress, &from(third));
        assert_eq!(sent.outcome, Err(Reason::NoSourcePort));
        assert_eq!(stage.node.drops(Reason::NoSourcePort).packets, 1);
        assert_eq!(stage.flows().len(), 4);
        // The client tries again.
        assert_eq!(stage.send(Hook::PodIngress, &from(third)).outcome, Ok(TO_POD));
    });
}

#[test]
fn one_client_port_reaches_one_backend_through_two_services() {
    in_both_families(|mut stage| {
        serve_locally(&mut stage);
        stage.service(OTHER, stage.other_vip(), &[(stage.local(), TO_LOCAL)]);
        let requests = [stage.request(TCP), stage.request(TCP).to((stage.other_vip(), PORT))];
        // Both would like the same port.
        let there = requests.clone().map(|request| {
            stage.node.next_random(&[0, 0]);
            stage.send(Hook::PodIngress, &request).tuple
        });
        assert_eq!(there[0].dst, there[1].dst);
        for (request, there) in requests.iter().zip(there) {
            let answer = request.clone().with_tuple(there.reversed()).flags(SYN | ACK);
            let back = answer.clone().with_tuple(request.tuple().reversed()).hop_limit(63);
            stage.send(Hook::PodIngress, &answer).is(BACK, &back);
        }
    });
}

#[test]
fn one_client_port_reaches_one_backend_through_a_service_and_straight() {
    in_both_families(|mut stage| {
        serve_locally(&mut stage);
        let direct = stage.request(TCP).to((stage.local(), TARGET));
        let request = stage.request(TCP);
        let straight = |stage: &Stage| {
            stage.send(Hook::PodIngress, &direct).is(TO_POD, &direct.clone().hop_limit(63));
            let answer = direct.answer();
            stage.send(Hook::PodIngress, &answer).is(BACK, &answer.clone().hop_limit(63));
        };
        let through = |stage: &Stage| {
            let there = stage.send(Hook::PodIngress, &request).tuple;
            assert_ne!(there, direct.tuple());
            let answer = request.clone().with_tuple(there.reversed());
            let back = answer.clone().with_tuple(request.tuple().reversed()).hop_limit(63);
            stage.send(Hook::PodIngress, &answer).is(BACK, &back);
        };
        // In either order, and again while both are open.
        straight(&stage);
        through(&stage);
        straight(&stage);
        through(&stage);
    });
}

#[test]
fn a_connection_straight_to_a_backend_leaves_from_another_port_where_a_flow_has_its_answers() {
    in_both_families(|mut stage| {
        serve_locally(&mut stage);
        // Taken over from kube-proxy, with the client's own port.
        let old = stage.request(TCP);
        stage.adopt(old.tuple(), WEB * 10).expect("there is no other flow");
        let direct = old.clone().to((stage.local(), TARGET));
        let there = stage.send(Hook::PodIngress, &direct).tuple;
        assert_eq!((there.src.0, there.dst), (stage.client(), (stage.local(), TARGET)));
        assert!((1_024..32_768).contains(&there.src.1), "from port {}", there.src.1);
        // Again, as a SYN that was lost is sent, and further packets.
        for flags in [SYN, ACK] {
            let sent = stage.send(Hook::PodIngress, &direct.clone().flags(flags));
            sent.is(TO_POD, &direct.clone().flags(flags).with_tuple(there).hop_limit(63));
        }
        // The answers reach the client, each at the connection that it belongs to.
        let kept = Tuple { dst: (stage.local(), TARGET), ..old.tuple() };
        for (answered, asked) in [(there, direct.tuple()), (kept, old.tuple())] {
            let answer = old.clone().with_tuple(answered.reversed()).flags(SYN | ACK);
            let back = answer.clone().with_tuple(asked.reversed()).hop_limit(63);
            stage.send(Hook::PodIngress, &answer).is(BACK, &back);
        }
        // None of this is the Service's.
        assert_eq!(stage.node.service_count(WEB).flows, 0);
    });
}

#[test]
fn a_connection_that_was_translated_where_it_came_in_goes_out_as_it_is() {
    in_both_families(|mut stage| {
        stage.service(WEB, stage.vip(), &[(stage.remote(), TO_REMOTE)]);
        let request = stage.request(TCP);
        let there = stage.send(Hook::PodIngress, &request).tuple;
        let sent = request.with_tuple(there).hop_limit(63);
        stage.send(Hook::UplinkEgress, &sent).passed(&sent);
        assert_eq!(stage.flows().len(), 2);
    });
}

#[test]
fn a_connection_straight_to_a_backend_is_left_alone_where_no_flow_has_its_answers() {
    in_both_families(|mut stage| {
        serve_locally(&mut stage);
        let old = stage.request(TCP);
        let direct = old.clone().to((stage.local(), TARGET));
        let plain = |stage: &Stage, frame: &Frame| {
            stage.send(Hook::PodIngress, frame).is(TO_POD, &frame.clone().hop_limit(63));
        };
        plain(&stage, &direct);
        stage.adopt(old.tuple(), WEB * 10).expect("there is no other flow");
        // From another port, of a connection that is open already, or as a datagram.
        plain(&stage, &direct.clone().from((stage.client(), 40_001)));
        plain(&stage, &direct.clone().flags(ACK));
        plain(&stage, &stage.request(UDP).to((stage.local(), TARGET)));
        // To what takes no new connections.
        stage.change_backend(WEB * 10, |target| target.member = false);
        plain(&stage, &direct);
        assert_eq!(stage.flows().len(), 2);
    });
}

#[test]
fn a_client_that_is_its_own_backend_hears_from_the_service() {
    in_both_families(|mut stage| {
        stage.service(WEB, stage.vip(), &[(stage.client(), TO_CLIENT)]);
        let request = stage.request(TCP);
        let sent = stage.send(Hook::PodIngress, &request);
        assert_eq!((sent.tuple.src.0, sent.tuple.dst), (stage.vip(), (stage.client(), TARGET)));
        sent.is(BACK, &request.clone().with_tuple(sent.tuple).hop_limit(63));

        // Its answer goes to the service, which nobody serves at that port.
        let answer = request.clone().with_tuple(sent.tuple.reversed()).flags(SYN | ACK);
        let back = answer.clone().with_tuple(request.tuple().reversed()).hop_limit(63);
        stage.send(Hook::PodIngress, &answer).is(BACK, &back);
    });
}

#[test]
fn what_is_no_services_and_no_pods_passes_as_it_came() {
    in_both_families(|mut stage| {
        serve_locally(&mut stage);
        let at = |ip, port| stage.request(TCP).to((ip, port));
        for frame in
            [at(stage.vip(), 9), at(stage.outside(), PORT), stage.request(132), at(stage.remote(), 53)]
        {
            for hook in HOOKS {
                assert_eq!(stage.run(hook, &frame), (Ok(Verdict::Pass), frame.bytes()), "{hook:?}");
            }
        }
        assert!(stage.flows().is_empty());
    });
}

#[test]
fn a_packet_to_a_pod_of_this_node_goes_straight_there() {
    in_both_families(|stage| {
        let frame = Frame::new(UDP, (stage.outside(), 53), (stage.local(), 5_353)).payload(b"x");
        for hook in [Hook::PodIngress, Hook::UplinkIngress] {
            stage.send(hook, &frame).is(TO_POD, &frame.clone().hop_limit(63));
        }
        for hook in [Hook::PodEgress, Hook::UplinkEgress] {
            stage.send(hook, &frame).passed(&frame);
        }
    });
}

#[test]
fn what_arrives_for_a_pod_is_the_kernels_where_netfilter_is_to_see_both_ways_and_an_answer_of_a_services_is_not()
 {
    in_both_families(|mut stage| {
        stage.service(WEB, stage.vip(), &[(stage.remote(), TO_REMOTE)]);
        let request = stage.request(TCP);
        let there = stage.send(Hook::PodIngress, &request).tuple;
        let answer = request.clone().with_tuple(there.reversed()).flags(SYN | ACK);
        let plain = Tuple { src: (there.dst.0, 9), ..there.reversed() };
        let plain = request.clone().with_tuple(plain).flags(ACK);
        for through_stack in [false, true] {
            stage.node.through_stack.set(through_stack);
            assert_eq!(stage.send(Hook::UplinkIngress, &answer).outcome, Ok(BACK));
            let expected = if through_stack { Verdict::Pass } else { BACK };
            assert_eq!(stage.send(Hook::UplinkIngress, &plain).outcome, Ok(expected));
        }
    });
}

#[test]
fn what_opens_a_connection_from_elsewhere_takes_the_kernels_way_to_the_pod_and_the_rest_goes_straight_there()
{
    in_both_families(|stage| {
        let opening = Frame::new(TCP, (stage.outside(), 40_000), (stage.local(), 80)).flags(SYN).payload(b"");
        stage.send(Hook::UplinkIngress, &opening).passed(&opening);
        // From a pod of this node the answers, too, never meet the kernel.
        stage.send(Hook::PodIngress, &opening).is(TO_POD, &opening.clone().hop_limit(63));
        for flags in [ACK, SYN | ACK, FIN | ACK, RST] {
            let further = opening.clone().flags(flags);
            stage.send(Hook::UplinkIngress, &further).is(TO_POD, &further.clone().hop_limit(63));
        }
    });
}

#[test]
fn uplink_ingress_opens_no_flows() {
    in_both_families(|mut stage| {
        serve_locally(&mut stage);
        let frame = stage.request(TCP).from((stage.outside(), 40_000));
        stage.send(Hook::UplinkIngress, &frame).passed(&frame);
        assert!(stage.flows().is_empty());
    });
}
