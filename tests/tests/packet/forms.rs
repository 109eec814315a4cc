//! Packets of every form, each compared as a whole with what the datapath's own reference writer makes of the expected one.

use std::net::IpAddr;

use anyhow::{Context, Result};
use penstock_abi::Protocol;
use penstock_kernel::Hook;

use crate::bench::{Action, Bench, CLIENT, Family, HAIRPIN_PORT, LOCAL, OUTSIDE, PORT, TARGET_PORT, VIP};
use crate::in_both_families;
use crate::reference::frame::{ACK, Frame, SYN, Sum, TCP, UDP};
use crate::reference::wire::{ETHERNET, Tuple, dissect};

fn request(family: Family, protocol: u8) -> Frame {
    let client = (CLIENT.ip(family), 40_000);
    Frame::new(protocol, client, (VIP.ip(family), PORT)).flags(SYN).payload(b"request")
}

/// Runs a packet, and tells where it went.
fn send(bench: &Bench, hook: Hook, frame: &Frame) -> Result<(Action, Vec<u8>, Tuple)> {
    let (action, bytes) = bench.run_bytes(hook, &frame.bytes())?;
    let tuple = dissect(&bytes).and_then(|anatomy| anatomy.tuple()).context("a packet with ports")?;
    Ok((action, bytes, tuple))
}

/// Demands that a request leaves for the local pod, changed in its tuple and hop limit alone.
#[track_caller]
fn is_translated(frame: &Frame, action: Action, bytes: &[u8], tuple: Tuple) {
    assert_eq!(action, Action::Redirect);
    assert_eq!((tuple.src.0, tuple.dst), (frame.src, (local_of(frame), TARGET_PORT)));
    assert_eq!(bytes, frame.clone().with_tuple(tuple).hop_limit(frame.hop_limit - 1).bytes());
}

fn local_of(frame: &Frame) -> IpAddr {
    LOCAL.ip(if frame.src.is_ipv4() { Family::V4 } else { Family::V6 })
}

#[test]
fn headers_behind_options_and_extension_headers_are_found() -> Result<()> {
    in_both_families(|bench, family| {
        bench.serve(family, &[LOCAL])?;
        for protocol in [TCP, UDP] {
            let plain = request(family, protocol);
            let forms: Vec<Frame> = match family {
                Family::V4 => {
                    [4, 8, 40].map(|length| Frame { options: vec![1; length], ..plain.clone() }).into()
                }
                Family::V6 => {
                    let (hop_by_hop, long) = ((0, vec![1, 4, 0, 0, 0, 0]), (60, vec![0; 254]));
                    let routing = (43, vec![0; 6]);
                    [vec![hop_by_hop.clone()], vec![routing.clone()], vec![hop_by_hop, long, routing]]
                        .map(|extensions| Frame { extensions, ..plain.clone() })
                        .into()
                }
            };
            for frame in forms {
                let (action, bytes, tuple) = send(bench, Hook::PodIngress, &frame)?;
                is_translated(&frame, action, &bytes, tuple);
            }
        }
        Ok(())
    })
}

#[test]
fn a_later_fragment_to_a_service_passes_as_it_came() -> Result<()> {
    in_both_families(|bench, family| {
        bench.serve(family, &[LOCAL])?;
        send(bench, Hook::PodIngress, &request(family, UDP))?;
        let later = request(family, UDP).payload(&[0x9c; 64]).fragment(185, false).bytes();
        assert_eq!(bench.run_bytes(Hook::PodIngress, &later)?, (Action::Pass, later));
        Ok(())
    })
}

#[test]
fn every_fragment_between_pods_goes_straight_there() -> Result<()> {
    in_both_families(|bench, family| {
        for (offset, more) in [(0, true), (100, true), (185, false)] {
            let frame = Frame::new(UDP, (CLIENT.ip(family), 1), (LOCAL.ip(family), 2));
            let frame = frame.payload(&[7; 32]).fragment(offset, more);
            let expected = frame.clone().hop_limit(63).bytes();
            assert_eq!(bench.run_bytes(Hook::PodIngress, &frame.bytes())?, (Action::Redirect, expected));
        }
        Ok(())
    })
}

#[test]
fn a_checksum_that_comes_out_as_zero_is_written_as_ones() -> Result<()> {
    in_both_families(|bench, family| {
        bench.serve(family, &[LOCAL])?;
        let request = request(family, UDP).payload(&[0, 0]);
        let (_, bytes, there) = send(bench, Hook::PodIngress, &request)?;
        // The payload that makes the sum all ones.
        let at = dissect(&bytes).context("a whole packet")?.transport + 6;
        let request = request.payload(&bytes[at..at + 2]);
        let (action, bytes, tuple) = send(bench, Hook::PodIngress, &request)?;
        assert_eq!((tuple, &bytes[at..at + 2]), (there, &[0xff, 0xff][..]));
        is_translated(&request, action, &bytes, tuple);
        Ok(())
    })
}

#[test]
fn a_packet_too_large_for_its_way_is_translated_and_left_to_the_kernel() -> Result<()> {
    in_both_families(|bench, family| {
        bench.serve(family, &[LOCAL])?;
        let overhead = request(family, UDP).payload(b"").bytes().len() - ETHERNET;
        let largest = vec![1; 1_500 - overhead];
        let fits = request(family, UDP).payload(&largest);
        let (action, bytes, tuple) = send(bench, Hook::PodIngress, &fits)?;
        is_translated(&fits, action, &bytes, tuple);
        let larger = request(family, UDP).payload(&[&largest[..], &[1]].concat());
        let (action, bytes, again) = send(bench, Hook::PodIngress, &larger)?;
        assert_eq!((action, again), (Action::Pass, tuple));
        assert_eq!(bytes, larger.with_tuple(tuple).bytes());
        Ok(())
    })
}

#[test]
fn an_answer_is_translated_at_its_clients_own_device() -> Result<()> {
    in_both_families(|bench, family| {
        bench.serve(family, &[LOCAL])?;
        for protocol in [TCP, UDP] {
            let request = request(family, protocol);
            let (_, _, there) = send(bench, Hook::PodIngress, &request)?;
            let answer = request.clone().with_tuple(there.reversed()).flags(SYN | ACK).payload(b"answer");
            let expected = answer.clone().with_tuple(request.tuple().reversed()).bytes();
            assert_eq!(bench.run_bytes(Hook::PodEgress, &answer.bytes())?, (Action::Pass, expected));
        }
        Ok(())
    })
}

#[test]
fn a_request_of_the_nodes_own_leaves_at_the_uplink() -> Result<()> {
    in_both_families(|bench, family| {
        bench.serve(family, &[LOCAL])?;
        for sum in [Sum::Complete, Sum::Absent] {
            let request = request(family, UDP).from((OUTSIDE.ip(family), 50_000)).sum(sum);
            let (action, bytes, tuple) = send(bench, Hook::UplinkEgress, &request)?;
            is_translated(&request, action, &bytes, tuple);
            // The answer comes in there, and is for the kernel's routing to deliver.
            let answer = request.clone().with_tuple(tuple.reversed());
            let expected = answer.clone().with_tuple(request.tuple().reversed()).bytes();
            assert_eq!(bench.run_bytes(Hook::UplinkIngress, &answer.bytes())?, (Action::Pass, expected));
        }
        Ok(())
    })
}

#[test]
fn one_client_port_reaches_one_backend_through_a_service_and_straight() -> Result<()> {
    in_both_families(|bench, family| {
        bench.serve(family, &[LOCAL])?;
        let direct = request(family, TCP).to((LOCAL.ip(family), TARGET_PORT));
        let through = request(family, TCP);
        for _ in 0..2 {
            let straight = direct.clone().hop_limit(63).bytes();
            assert_eq!(bench.run_bytes(Hook::PodIngress, &direct.bytes())?, (Action::Redirect, straight));
            let back = direct.answer();
            let expected = back.clone().hop_limit(63).bytes();
            assert_eq!(bench.run_bytes(Hook::PodIngress, &back.bytes())?, (Action::Redirect, expected));

            let (action, bytes, there) = send(bench, Hook::PodIngress, &through)?;
            is_translated(&through, action, &bytes, there);
            assert_ne!(there, direct.tuple());
            let back = through.clone().with_tuple(there.reversed());
            let expected = back.clone().with_tuple(through.tuple().reversed()).hop_limit(63).bytes();
            assert_eq!(bench.run_bytes(Hook::PodIngress, &back.bytes())?, (Action::Redirect, expected));
        }
        Ok(())
    })
}

#[test]
fn what_no_service_speaks_of_is_left_alone_in_any_form() -> Result<()> {
    in_both_families(|bench, family| {
        bench.serve(family, &[LOCAL])?;
        let frames = [
            Frame::new(Protocol::SCTP.0, (CLIENT.ip(family), 1), (VIP.ip(family), PORT)).payload(&[1; 32]),
            request(family, TCP).to((VIP.ip(family), HAIRPIN_PORT + 1)),
            request(family, UDP).hop_limit(1),
        ];
        for frame in frames {
            for hook in [Hook::PodIngress, Hook::PodEgress, Hook::UplinkIngress, Hook::UplinkEgress] {
                let bytes = frame.bytes();
                assert_eq!(bench.run_bytes(hook, &bytes)?, (Action::Pass, bytes), "{hook}");
            }
        }
        Ok(())
    })
}
