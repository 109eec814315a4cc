//! What the node's own programs send, at the uplink's egress.

use penstock_datapath::Verdict;

use crate::support::frame::{SYN, TCP};
use crate::support::stage::*;

/// The frame is addressed to this node, which sent it.
fn turned(bytes: Vec<u8>) -> Vec<u8> {
    [&bytes[6..12], &bytes[..6], &bytes[12..]].concat()
}

#[test]
fn a_request_of_the_nodes_own_leaves_to_wherever_its_backend_is() {
    in_both_families(|mut stage| {
        let hops = [
            (TO_LOCAL, Verdict::Neighbour { ifindex: LOCAL_DEVICE }),
            (TO_REMOTE, Verdict::Gateway { hop: TO_REMOTE }),
            // A way that only the kernel's routing knows leads on through the same device.
            (0, Verdict::Neighbour { ifindex: UPLINK }),
        ];
        for (port, (hop, verdict)) in (40_000..).zip(hops) {
            stage.service(WEB, stage.vip(), &[(stage.local(), hop)]);
            let request = stage.request(TCP).from((stage.host(), port));
            let sent = stage.send(Hook::UplinkEgress, &request);
            sent.is(verdict, &request.with_tuple(sent.tuple).hop_limit(63));
        }
    });
}

#[test]
fn a_request_of_the_nodes_own_to_the_node_itself_comes_back_in() {
    in_both_families(|mut stage| {
        stage.service(WEB, stage.vip(), &[(stage.host(), TO_HOST)]);
        let request = stage.request(TCP).from((stage.client(), 40_000));
        let sent = stage.send(Hook::UplinkEgress, &request);
        assert_eq!(sent.outcome, Ok(Verdict::Reinject { ifindex: UPLINK }));
        assert_eq!(sent.bytes, turned(request.with_tuple(sent.tuple).bytes()));
    });
}

#[test]
fn an_answer_to_the_node_finds_it_from_either_side() {
    in_both_families(|mut stage| {
        stage.service(WEB, stage.vip(), &[(stage.remote(), TO_REMOTE)]);
        let request = stage.request(TCP).from((stage.host(), 40_000));
        let there = stage.send(Hook::UplinkEgress, &request).tuple;
        let answer = request.clone().with_tuple(there.reversed()).flags(SYN);
        let expected = answer.clone().with_tuple(request.tuple().reversed());
        // The kernel's routing delivers what arrives, and what a pod sends.
        stage.send(Hook::UplinkIngress, &answer).passed(&expected);
        stage.send(Hook::PodIngress, &answer).passed(&expected);
        // What would leave although its client is here comes back in.
        let sent = stage.send(Hook::UplinkEgress, &answer);
        assert_eq!(sent.outcome, Ok(Verdict::Reinject { ifindex: UPLINK }));
        assert_eq!(sent.bytes, turned(expected.bytes()));
    });
}

#[test]
fn what_the_node_sends_elsewhere_passes_as_it_came() {
    in_both_families(|mut stage| {
        stage.service(WEB, stage.vip(), &[(stage.local(), TO_LOCAL)]);
        for to in [(stage.outside(), PORT), (stage.local(), TARGET), (stage.vip(), 9)] {
            let frame = stage.request(TCP).from((stage.host(), 40_000)).to(to);
            stage.send(Hook::UplinkEgress, &frame).passed(&frame);
        }
    });
}
