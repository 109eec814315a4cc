//! Flows that end, expire, move, lose a half, or name what is no more.

use penstock_abi::{Counter, timeout};
use penstock_datapath::Verdict;

use crate::support::frame::{ACK, FIN, Frame, RST, SYN, TCP, UDP};
use crate::support::stage::*;
use crate::support::wire::Tuple;

/// Three endpoints, of which the dice can name each.
fn serve(stage: &mut Stage) {
    let targets = [(stage.local(), TO_LOCAL), (stage.remote(), TO_REMOTE)];
    stage.service(WEB, stage.vip(), &targets);
}

/// A client's port whose flows prefer the source port that those of the usual one do: they are apart by the number of source
/// ports.
const SAME_PLACE: u16 = 40_000 - 31_744;

/// Opens a flow to the first endpoint; whatever chooses anew from now on chooses the second, by the dice it throws next.
fn opened(stage: &Stage, protocol: u8) -> (Frame, Tuple) {
    stage.node.next_random(&[0]);
    let request = stage.request(protocol);
    let there = stage.send(Hook::PodIngress, &request).tuple;
    assert_eq!(there.dst.0, stage.local());
    (request, there)
}

/// Who is sent a packet, where a flow that begins anew would be the second endpoint's.
fn server(stage: &Stage, frame: &Frame) -> std::net::IpAddr {
    stage.node.next_random(&[u32::MAX]);
    stage.send(Hook::PodIngress, frame).tuple.dst.0
}

fn answer(stage: &Stage, request: &Frame, there: Tuple, flags: u8) -> Tuple {
    let answer = request.clone().with_tuple(there.reversed()).flags(flags);
    stage.send(Hook::PodIngress, &answer).tuple
}

fn wait(stage: &Stage, units: u32) {
    stage.node.clock.set(stage.node.clock.get() + units);
}

#[test]
fn a_connection_tells_what_was_seen_of_it_in_both_halves() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        let (request, there) = opened(&stage, TCP);
        let states = |stage: &Stage| {
            let halves =
                [request.tuple(), there.reversed()].map(|tuple| stage.flow(tuple).expect("a half").state);
            assert_eq!(halves[0], halves[1]);
            halves[0]
        };
        assert_eq!(states(&stage), 0);
        answer(&stage, &request, there, SYN | ACK);
        assert_eq!(states(&stage), 1);
        stage.send(Hook::PodIngress, &request.clone().flags(FIN | ACK));
        assert_eq!(states(&stage), 3);
        answer(&stage, &request, there, FIN | ACK);
        assert_eq!(states(&stage), 7);
        stage.send(Hook::PodIngress, &request.clone().flags(RST));
        assert_eq!(states(&stage), 15);
    });
}

#[test]
fn a_syn_on_a_connection_that_is_over_begins_another_one() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        let endings: [&[(bool, u8)]; 3] =
            [&[(true, FIN | ACK), (false, FIN | ACK)], &[(true, RST)], &[(false, RST | ACK)]];
        for ending in endings {
            let (request, there) = opened(&stage, TCP);
            for (from_client, flags) in ending {
                if *from_client {
                    stage.send(Hook::PodIngress, &request.clone().flags(*flags));
                } else {
                    answer(&stage, &request, there, *flags);
                }
            }
            // What is still on its way belongs to the old one.
            assert_eq!(server(&stage, &request.clone().flags(ACK)), stage.local());
            assert_eq!(server(&stage, &request), stage.remote());
            assert_eq!(stage.flow(there.reversed()), None, "the old way back is gone");
            stage.evict(request.tuple());
        }
    });
}

#[test]
fn a_syn_sent_again_stays_with_its_backend() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        let (request, _) = opened(&stage, TCP);
        for units in [0, 1, 2, 4, 8, 16] {
            wait(&stage, units);
            assert_eq!(server(&stage, &request), stage.local());
        }
    });
}

#[test]
fn a_syn_begins_anew_once_the_old_connection_has_been_idle_for_too_long() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        let half_closed = (Some(SYN | ACK), Some(FIN | ACK));
        for ((from_backend, from_client), idle) in [
            ((None, None), timeout::TCP_SYN),
            ((Some(SYN | ACK), None), timeout::TCP_ESTABLISHED),
            (half_closed, timeout::TCP_HALF_CLOSED),
        ] {
            let (request, there) = opened(&stage, TCP);
            from_backend.map(|flags| answer(&stage, &request, there, flags));
            from_client.map(|flags| stage.send(Hook::PodIngress, &request.clone().flags(flags)));
            wait(&stage, idle);
            assert_eq!(server(&stage, &request), stage.local());
            wait(&stage, idle + 1);
            assert_eq!(server(&stage, &request), stage.remote());
            stage.evict(request.tuple());
        }
    });
}

#[test]
fn segments_within_a_connection_find_their_backend_however_late() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        let (request, _) = opened(&stage, TCP);
        wait(&stage, timeout::TCP_ESTABLISHED * 2);
        assert_eq!(server(&stage, &request.flags(ACK)), stage.local());
    });
}

#[test]
fn a_datagram_begins_anew_after_silence_and_later_where_it_was_answered() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        for (answered, idle) in [(false, timeout::UDP_UNREPLIED), (true, timeout::UDP_REPLIED)] {
            let (request, there) = opened(&stage, UDP);
            if answered {
                answer(&stage, &request, there, 0);
            }
            wait(&stage, idle);
            assert_eq!(server(&stage, &request), stage.local());
            wait(&stage, idle + 1);
            assert_eq!(server(&stage, &request), stage.remote());
            stage.evict(request.tuple());
        }
    });
}

#[test]
fn datagrams_leave_a_backend_that_has_left_the_set_and_connections_do_not() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        let (udp, old) = opened(&stage, UDP);
        let (tcp, _) = opened(&stage, TCP);
        stage.set(WEB, &[WEB * 10 + 1], penstock_abi::EmptySet::Refuse);
        stage.change_backend(WEB * 10, |target| target.member = false);
        assert_eq!(server(&stage, &udp), stage.remote());
        assert_eq!(stage.flow(old.reversed()), None);
        assert_eq!(stage.node.counter(Counter::FlowMoved), 1);
        assert_eq!(server(&stage, &tcp.clone().flags(ACK)), stage.local());
        // A connection that opens is a new one, whatever its ports.
        assert_eq!(server(&stage, &tcp), stage.remote());
    });
}

#[test]
fn a_half_that_is_missing_is_put_back_by_the_other_at_its_next_packet() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        let (request, there) = opened(&stage, TCP);
        let before = stage.flows();

        assert!(stage.evict(there.reversed()));
        wait(&stage, 1);
        assert_eq!(stage.send(Hook::PodIngress, &request.clone().flags(ACK)).tuple, there);
        assert_eq!(stage.flows().keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
        assert_eq!(answer(&stage, &request, there, ACK), request.tuple().reversed());

        assert!(stage.evict(request.tuple()));
        wait(&stage, 1);
        assert_eq!(answer(&stage, &request, there, ACK), request.tuple().reversed());
        assert_eq!(stage.send(Hook::PodIngress, &request.clone().flags(ACK)).tuple, there);
        assert_eq!(stage.node.counter(Counter::FlowHealed), 2);
    });
}

#[test]
fn an_answer_whose_half_is_missing_reaches_the_client_as_it_is() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        let (request, there) = opened(&stage, TCP);
        stage.evict(there.reversed());
        let answer = request.with_tuple(there.reversed()).flags(ACK);
        stage.send(Hook::PodEgress, &answer).passed(&answer);
        let verdict = Verdict::Peer { ifindex: CLIENT_DEVICE };
        stage.send(Hook::UplinkIngress, &answer).is(verdict, &answer.clone().hop_limit(63));
    });
}

#[test]
fn a_half_whose_other_half_became_another_connections_gives_way() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        let (first, there) = opened(&stage, UDP);
        // The way back is evicted, and another flow of this client is given its port.
        stage.evict(there.reversed());
        let second = first.clone().from((stage.client(), SAME_PLACE));
        stage.node.next_random(&[0]);
        assert_eq!(stage.send(Hook::PodIngress, &second).tuple, there);
        wait(&stage, 1);
        let anew = stage.send(Hook::PodIngress, &first).tuple;
        assert_ne!(anew, there);
        assert_eq!(answer(&stage, &second, there, 0), second.tuple().reversed());
        assert_eq!(answer(&stage, &first, anew, 0), first.tuple().reversed());
    });
}

#[test]
fn forgetting_a_flow_leaves_the_way_back_of_another_one_alone() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        let (first, there) = opened(&stage, UDP);
        stage.evict(there.reversed());
        let second = first.clone().from((stage.client(), SAME_PLACE));
        stage.node.next_random(&[0]);
        assert_eq!(stage.send(Hook::PodIngress, &second).tuple, there);
        // The first is forgotten before it is tended.
        stage.change_backend(WEB * 10, |target| target.member = false);
        stage.send(Hook::PodIngress, &first);
        assert_eq!(answer(&stage, &second, there, 0), second.tuple().reversed());
    });
}

#[test]
fn an_element_that_was_recycled_under_the_reader_is_a_miss() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        let (request, there) = opened(&stage, TCP);
        assert!(stage.spoil_tag(there.reversed()));
        let answer = request.with_tuple(there.reversed()).flags(ACK);
        stage.send(Hook::PodEgress, &answer).passed(&answer);
        assert_eq!(stage.node.counter(Counter::FlowRecycled), 1);
    });
}

#[test]
fn a_backend_of_another_generation_is_not_the_flows() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        for protocol in [TCP, UDP] {
            let (request, there) = opened(&stage, protocol);
            stage.change_backend(WEB * 10, |target| target.generation += 1);
            assert_eq!(server(&stage, &request.clone().flags(ACK)), stage.remote());
            assert_eq!(stage.flow(there.reversed()), None);
        }
        assert_eq!(stage.node.counter(Counter::StaleBackend), 2);
    });
}

#[test]
fn a_clock_that_goes_back_expires_nothing() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        let (request, _) = opened(&stage, UDP);
        stage.node.clock.set(1);
        assert_eq!(server(&stage, &request), stage.local());
    });
}
