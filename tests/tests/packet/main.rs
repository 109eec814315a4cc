//! The programs as the kernel has loaded them, fed packet by packet (`BPF_PROG_TEST_RUN`): whole output packets are
//! compared. Needs root rights.
//!
//! The rules themselves are tested on every laptop by `penstock-datapath`; what is tested here is that the kernel runs
//! what was compiled: loads and stores of the socket buffer, the checksum helpers, the maps, the verdicts.

mod bench;
mod forms;
mod reference;
mod wire;

use anyhow::Result;
use penstock_abi::{Counter, Protocol, Reason};
use penstock_kernel::Hook;
use penstock_tests::needs;

use bench::{Action, Bench, CLIENT, EMPTY_PORT, Family, HAIRPIN_PORT, LOCAL, PORT, REMOTE, TARGET_PORT, VIP};
use wire::{ACK, FIN, PSH, Packet, RST, SYN};

/// The source ports of translated flows: below those that Linux gives to connections.
const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 1024..=32_767;

/// Runs a test once for each family, each time with fresh tables.
fn in_both_families(test: impl Fn(&Bench, Family) -> Result<()> + Copy + Send + 'static) -> Result<()> {
    needs!(Programs);
    Family::BOTH.into_iter().try_for_each(|family| bench::sandboxed(move || test(&Bench::new()?, family)))
}

/// A packet of the client's to the Service.
fn request(family: Family, protocol: Protocol) -> Packet {
    Packet::new(family, protocol, CLIENT, VIP).ports(40_000, PORT).payload(b"hello")
}

/// What must become of a request on its way to a backend: all of the packet but its source port, which is chosen.
fn translated(request: &Packet, output: &Packet, backend: bench::Host) -> Packet {
    assert!(SOURCE_PORTS.contains(&output.sport), "source port {}", output.sport);
    request.clone().to(backend).ports(output.sport, TARGET_PORT).hop_limit(request.hop_limit - 1)
}

#[test]
fn a_request_is_sent_straight_to_a_pod_of_this_node() -> Result<()> {
    in_both_families(|bench, family| {
        for protocol in [Protocol::TCP, Protocol::UDP] {
            bench.serve(family, &[LOCAL])?;
            let request = request(family, protocol).flags(SYN);
            let (action, output) = bench.run(Hook::PodIngress, &request)?;
            assert_eq!(action, Action::Redirect);
            assert_eq!(output, translated(&request, &output, LOCAL));
        }
        Ok(())
    })
}

#[test]
fn a_request_is_sent_straight_to_the_node_of_a_pod_elsewhere() -> Result<()> {
    in_both_families(|bench, family| {
        bench.serve(family, &[REMOTE])?;
        let request = request(family, Protocol::TCP).flags(SYN);
        let (action, output) = bench.run(Hook::PodIngress, &request)?;
        assert_eq!(action, Action::Redirect);
        assert_eq!(output, translated(&request, &output, REMOTE));
        Ok(())
    })
}

#[test]
fn all_packets_of_a_connection_take_one_way_there_and_back() -> Result<()> {
    in_both_families(|bench, family| {
        bench.serve(family, &[LOCAL, REMOTE])?;
        for protocol in [Protocol::TCP, Protocol::UDP] {
            let opening = request(family, protocol).flags(SYN);
            let (_, first) = bench.run(Hook::PodIngress, &opening)?;
            for flags in [ACK, ACK | PSH, ACK | FIN] {
                let further = opening.clone().flags(flags).payload(b"a further packet, of another length");
                let (_, output) = bench.run(Hook::PodIngress, &further)?;
                assert_eq!((output.sport, output.dst), (first.sport, first.dst));
                let (hook, hops) = if first.dst == LOCAL.ip(family) {
                    (Hook::PodIngress, 1)
                } else {
                    (Hook::UplinkIngress, 1)
                };
                let answer = output.reversed().payload(b"an answer");
                let (action, back) = bench.run(hook, &answer)?;
                assert_eq!(action, Action::Redirect);
                let expected = further.reversed().payload(b"an answer").hop_limit(answer.hop_limit - hops);
                assert_eq!(back, expected);
            }
        }
        Ok(())
    })
}

#[test]
fn packets_that_are_no_services_pass_as_they_came() -> Result<()> {
    in_both_families(|bench, family| {
        bench.serve(family, &[LOCAL])?;
        let untouched = [
            request(family, Protocol::TCP).ports(40_000, PORT - 1),
            request(family, Protocol::UDP).to(bench::OUTSIDE),
            request(family, Protocol::SCTP),
            request(family, Protocol::TCP).hop_limit(1),
        ];
        for packet in untouched {
            for hook in [Hook::PodIngress, Hook::PodEgress, Hook::UplinkIngress, Hook::UplinkEgress] {
                assert_eq!(bench.run(hook, &packet)?, (Action::Pass, packet.clone()), "{hook}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_packet_for_a_pod_of_this_node_goes_straight_there_and_ages_by_one() -> Result<()> {
    in_both_families(|bench, family| {
        for hook in [Hook::PodIngress, Hook::UplinkIngress] {
            let packet =
                Packet::new(family, Protocol::UDP, bench::OUTSIDE, LOCAL).ports(53, 5353).payload(b"x");
            let (action, output) = bench.run(hook, &packet)?;
            assert_eq!(action, Action::Redirect);
            assert_eq!(output, packet.clone().hop_limit(packet.hop_limit - 1));
        }
        Ok(())
    })
}

#[test]
fn a_datagram_without_a_checksum_stays_without_one() -> Result<()> {
    in_both_families(|bench, family| {
        bench.serve(family, &[LOCAL])?;
        let request = request(family, Protocol::UDP).without_checksum();
        let (_, output) = bench.run(Hook::PodIngress, &request)?;
        assert_eq!(output, translated(&request, &output, LOCAL));
        Ok(())
    })
}

#[test]
fn a_pod_that_is_its_own_backend_hears_from_the_service() -> Result<()> {
    in_both_families(|bench, family| {
        bench.serve_hairpin(family)?;
        let request = request(family, Protocol::TCP).ports(40_000, HAIRPIN_PORT).flags(SYN);
        let (action, output) = bench.run(Hook::PodIngress, &request)?;
        assert_eq!(action, Action::Redirect);
        let mut expected = translated(&request, &output, CLIENT);
        expected.src = VIP.ip(family);
        assert_eq!(output, expected);

        let answer = output.reversed().flags(SYN | ACK);
        let (action, back) = bench.run(Hook::PodIngress, &answer)?;
        assert_eq!(action, Action::Redirect);
        assert_eq!(back, request.reversed().flags(SYN | ACK).hop_limit(answer.hop_limit - 1));
        Ok(())
    })
}

#[test]
fn a_tcp_client_of_a_service_without_endpoints_is_reset() -> Result<()> {
    in_both_families(|bench, family| {
        let request = request(family, Protocol::TCP).ports(40_000, EMPTY_PORT).flags(SYN).sequence(7, 0);
        let before = bench.drops(Reason::NoEndpoints)?;
        let (action, output) = bench.run(Hook::PodIngress, &request.clone().payload(b""))?;
        assert_eq!(action, Action::Redirect);
        let refusal = request.reversed().payload(b"").flags(RST | ACK).sequence(0, 8);
        assert_eq!(output, refusal.turned().hop_limit(output.hop_limit).window(0));
        assert_eq!(bench.drops(Reason::NoEndpoints)?, before + 1);
        Ok(())
    })
}

#[test]
fn a_udp_client_of_a_service_without_endpoints_is_told_by_icmp() -> Result<()> {
    in_both_families(|bench, family| {
        let request = request(family, Protocol::UDP).ports(40_000, EMPTY_PORT);
        let (action, output) = bench.run_bytes(Hook::PodIngress, &request.bytes())?;
        assert_eq!(action, Action::Redirect);
        let quoted = wire::quoted_by_port_unreachable(family, &output, VIP, CLIENT);
        let original = &request.bytes()[wire::ETHERNET..];
        assert!(original.starts_with(&quoted) && quoted.len() >= wire::least_quote(family), "{quoted:02x?}");
        Ok(())
    })
}

#[test]
fn a_fragment_of_a_request_is_dropped_and_counted() -> Result<()> {
    in_both_families(|bench, family| {
        bench.serve(family, &[LOCAL])?;
        let before = bench.drops(Reason::Fragment)?;
        let first = request(family, Protocol::UDP).fragment();
        let (action, _) = bench.run_bytes(Hook::PodIngress, &first.bytes())?;
        assert_eq!(action, Action::Drop);
        assert_eq!(bench.drops(Reason::Fragment)?, before + 1);
        Ok(())
    })
}

#[test]
fn a_packet_that_ends_before_its_headers_passes_as_it_came() -> Result<()> {
    in_both_families(|bench, family| {
        bench.serve(family, &[LOCAL])?;
        let whole = request(family, Protocol::TCP).payload(b"").bytes();
        // From the end of the network header on; the kernel itself takes nothing shorter.
        for length in wire::ETHERNET + wire::header_length(family)..whole.len() {
            let cut = &whole[..length];
            assert_eq!(
                bench.run_bytes(Hook::PodIngress, cut)?,
                (Action::Pass, cut.to_vec()),
                "{length} bytes"
            );
        }
        Ok(())
    })
}

#[test]
fn a_half_of_a_flow_puts_a_missing_other_half_back() -> Result<()> {
    in_both_families(|bench, family| {
        bench.serve(family, &[LOCAL])?;
        let opening = request(family, Protocol::TCP).flags(SYN);
        let (_, there) = bench.run(Hook::PodIngress, &opening)?;
        let answer = there.reversed().flags(SYN | ACK);
        for evicted in [&there.reversed(), &opening] {
            bench.evict(evicted)?;
            // The flow is tended once in each unit of the clock.
            std::thread::sleep(std::time::Duration::from_millis(1_100));
            let healed = bench.counter(Counter::FlowHealed)?;
            let further = opening.clone().flags(ACK);
            // The half that is left is the one whose packet comes first.
            if std::ptr::eq(evicted, &opening) {
                bench.run(Hook::PodIngress, &answer)?;
            }
            let (_, output) = bench.run(Hook::PodIngress, &further)?;
            assert_eq!((output.sport, output.dst), (there.sport, there.dst));
            let (_, back) = bench.run(Hook::PodIngress, &answer)?;
            assert_eq!((back.dport, back.src), (opening.sport, opening.dst));
            assert_eq!(bench.counter(Counter::FlowHealed)?, healed + 1);
        }
        Ok(())
    })
}

#[test]
fn datagrams_leave_a_backend_that_has_left_and_connections_do_not() -> Result<()> {
    in_both_families(|bench, family| {
        bench.serve(family, &[LOCAL])?;
        let (tcp, udp) = (request(family, Protocol::TCP).flags(SYN), request(family, Protocol::UDP));
        bench.run(Hook::PodIngress, &tcp)?;
        bench.run(Hook::PodIngress, &udp)?;
        bench.serve(family, &[REMOTE])?;
        let (_, tcp) = bench.run(Hook::PodIngress, &tcp.flags(ACK))?;
        let (_, udp) = bench.run(Hook::PodIngress, &udp)?;
        assert_eq!((tcp.dst, udp.dst), (LOCAL.ip(family), REMOTE.ip(family)));
        Ok(())
    })
}
