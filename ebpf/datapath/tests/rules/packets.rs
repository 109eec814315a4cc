//! What packets may look like: fragments, options, extension headers, hop limits, sizes, checksums, packets cut off.

use penstock_abi::Reason;
use penstock_datapath::Verdict;
use penstock_datapath::memory::Buffer;

use crate::support::frame::{Frame, Sum, TCP, UDP};
use crate::support::stage::*;
use crate::support::wire::{ETHERNET, dissect};

const TO_POD: Verdict = Verdict::Peer { ifindex: LOCAL_DEVICE };

fn serve(stage: &mut Stage) {
    stage.service(WEB, stage.vip(), &[(stage.local(), TO_LOCAL)]);
}

#[test]
fn the_first_fragment_of_a_request_is_dropped_and_counted() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        let first = stage.request(UDP).fragment(0, true);
        assert_eq!(stage.send(Hook::PodIngress, &first).outcome, Err(Reason::Fragment));
        assert_eq!(stage.node.drops(Reason::Fragment).packets, 1);
    });
}

#[test]
fn a_later_fragment_is_never_taken_for_a_request() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        // Its data look like the ports of a flow that is known.
        let request = stage.request(UDP);
        stage.send(Hook::PodIngress, &request);
        let data = request.bytes()[dissect(&request.bytes()).expect("a whole packet").transport..].to_vec();
        let later = request.payload(&data).fragment(185, false);
        assert_eq!(stage.run(Hook::PodIngress, &later), (Ok(Verdict::Pass), later.bytes()));
    });
}

#[test]
fn fragments_between_pods_go_straight_there() {
    in_both_families(|stage| {
        for (offset, more) in [(0, true), (100, true), (185, false)] {
            let frame = Frame::new(UDP, (stage.client(), 1), (stage.local(), 2))
                .payload(&[7; 32])
                .fragment(offset, more);
            let expected = frame.clone().hop_limit(63).bytes();
            assert_eq!(stage.run(Hook::PodIngress, &frame), (Ok(TO_POD), expected));
        }
    });
}

#[test]
fn a_fragment_header_around_a_whole_packet_is_no_fragment() {
    let mut stage = Stage::new(true);
    serve(&mut stage);
    let atomic = stage.request(UDP).fragment(0, false);
    let sent = stage.send(Hook::PodIngress, &atomic);
    sent.is(TO_POD, &atomic.clone().with_tuple(sent.tuple).hop_limit(63));
}

#[test]
fn headers_behind_options_and_extension_headers_are_found_wherever_they_lie() {
    let hop_by_hop = (0, vec![1, 4, 0, 0, 0, 0]);
    let long = (60, vec![0; 2_046]);
    let routing = (43, vec![0; 6]);
    for is_v6 in [false, true] {
        let mut stage = Stage::new(is_v6);
        serve(&mut stage);
        for protocol in [TCP, UDP] {
            let forms: Vec<Frame> = if is_v6 {
                [
                    vec![hop_by_hop.clone()],
                    vec![routing.clone()],
                    vec![hop_by_hop.clone(), long.clone(), routing.clone()],
                ]
                .map(|extensions| Frame { extensions, ..stage.request(protocol) })
                .into()
            } else {
                [4, 8, 40].map(|length| Frame { options: vec![1; length], ..stage.request(protocol) }).into()
            };
            for frame in forms {
                // Nothing but the Ethernet header in the linear part, or all of it.
                for linear in [ETHERNET, usize::MAX] {
                    let buffer = Buffer::new(frame.bytes()).with_linear(linear).segmented(true);
                    let (outcome, bytes) = stage.run_buffer(Hook::PodIngress, buffer);
                    let to =
                        dissect(&bytes).and_then(|anatomy| anatomy.tuple()).expect("a packet with ports");
                    assert_eq!(outcome, Ok(TO_POD));
                    assert_eq!(bytes, frame.clone().with_tuple(to).hop_limit(63).bytes());
                }
            }
        }
    }
}

#[test]
fn a_chain_of_more_extension_headers_than_anything_sends_is_the_kernels() {
    let mut stage = Stage::new(true);
    serve(&mut stage);
    let frame = Frame { extensions: vec![(60, vec![0; 6]); 5], ..stage.request(UDP) };
    assert_eq!(stage.run(Hook::PodIngress, &frame), (Ok(Verdict::Pass), frame.bytes()));
}

#[test]
fn a_packet_that_may_not_travel_on_is_the_kernels_to_tell_of() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        for hop_limit in [0, 1] {
            for frame in [stage.request(TCP), stage.request(UDP).to((stage.local(), TARGET))] {
                let frame = frame.hop_limit(hop_limit);
                for hook in HOOKS {
                    assert_eq!(stage.run(hook, &frame), (Ok(Verdict::Pass), frame.bytes()));
                }
            }
        }
        assert!(stage.flows().is_empty());
        let sent = stage.send(Hook::PodIngress, &stage.request(TCP).hop_limit(2));
        sent.is(TO_POD, &stage.request(TCP).with_tuple(sent.tuple).hop_limit(1));
    });
}

#[test]
fn a_packet_too_large_for_its_way_is_translated_and_left_to_the_kernel() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        let overhead = stage.request(UDP).payload(b"").bytes().len() - ETHERNET;
        let largest = vec![1; usize::from(MTU) - overhead];
        let fits = stage.request(UDP).payload(&largest);
        let sent = stage.send(Hook::PodIngress, &fits);
        sent.is(TO_POD, &fits.with_tuple(sent.tuple).hop_limit(63));

        let larger = stage.request(UDP).payload(&[&largest[..], &[1]].concat());
        stage.send(Hook::PodIngress, &larger).passed(&larger.clone().with_tuple(sent.tuple));

        // The length of what is split later says nothing.
        let buffer = Buffer::new(larger.bytes()).segmented(true);
        let expected = larger.clone().with_tuple(sent.tuple).hop_limit(63).bytes();
        assert_eq!(stage.run_buffer(Hook::PodIngress, buffer), (Ok(TO_POD), expected));

        let between_pods = larger.to((stage.local(), TARGET));
        stage.send(Hook::PodIngress, &between_pods).passed(&between_pods);
    });
}

#[test]
fn a_datagram_without_a_checksum_stays_without_one() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        let request = stage.request(UDP).sum(Sum::Absent);
        let sent = stage.send(Hook::PodIngress, &request);
        sent.is(TO_POD, &request.with_tuple(sent.tuple).hop_limit(63));
    });
}

#[test]
fn a_checksum_that_a_device_is_to_complete_follows_the_addresses_alone() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        for protocol in [TCP, UDP] {
            let request = stage.request(protocol).sum(Sum::PseudoHeader);
            let sent = stage.send(Hook::PodIngress, &request);
            sent.is(TO_POD, &request.with_tuple(sent.tuple).hop_limit(63));
        }
    });
}

#[test]
fn a_checksum_that_comes_out_as_zero_is_written_as_ones() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        let request = stage.request(UDP).payload(&[0, 0]);
        let there = stage.send(Hook::PodIngress, &request);
        // The payload that makes the sum all ones, so that the checksum is zero.
        let at = dissect(&there.bytes).expect("a whole packet").transport + 6;
        let payload = there.bytes[at..at + 2].to_vec();
        let request = request.payload(&payload);
        let sent = stage.send(Hook::PodIngress, &request);
        assert_eq!(sent.bytes[at..at + 2], [0xff, 0xff]);
        sent.is(TO_POD, &request.with_tuple(there.tuple).hop_limit(63));
    });
}

#[test]
fn a_packet_cut_off_before_its_headers_end_passes_as_it_came() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        for protocol in [TCP, UDP] {
            let mut forms = vec![stage.request(protocol).payload(b"")];
            if stage.is_v6 {
                forms
                    .push(Frame { extensions: vec![(0, vec![0; 6]), (60, vec![0; 14])], ..forms[0].clone() });
            } else {
                forms.push(Frame { options: vec![1; 12], ..forms[0].clone() });
            }
            for form in forms {
                let whole = form.bytes();
                for length in 0..whole.len() {
                    let cut = whole[..length].to_vec();
                    for hook in HOOKS {
                        let outcome = stage.run_buffer(hook, Buffer::new(cut.clone()));
                        assert_eq!(outcome, (Ok(Verdict::Pass), cut.clone()), "{length} bytes");
                    }
                }
            }
        }
        assert!(stage.flows().is_empty());
    });
}

#[test]
fn a_header_of_the_wrong_version_or_of_no_length_passes_as_it_came() {
    in_both_families(|mut stage| {
        serve(&mut stage);
        for first in [0x00, 0x44, 0x55, 0x70] {
            let mut bytes = stage.request(TCP).bytes();
            bytes[ETHERNET] = first;
            assert_eq!(
                stage.run_buffer(Hook::PodIngress, Buffer::new(bytes.clone())),
                (Ok(Verdict::Pass), bytes)
            );
        }
    });
}
