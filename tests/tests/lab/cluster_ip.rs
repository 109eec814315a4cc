//! Services reached by their ClusterIP.

use anyhow::Result;
use penstock_tests::lab::{Endpoint, Family, Protocol, Runs, ServicePort};
use penstock_tests::needs;
use penstock_tests::probe::{Ask, Style};

use crate::both_ways;
use crate::fixture::{Fixture, HOST_PORT, PORT, STYLES, served_by};

both_ways!(
    every_style_of_socket_is_served_and_sees_the_service_as_its_peer,
    new_connections_are_spread_over_all_backends,
    a_backend_sees_the_address_of_the_client,
    ipv4_services_are_served_through_sockets_of_family_ipv6,
    large_requests_pass_whole,
    a_pod_that_is_its_own_backend_is_served,
    programs_of_a_node_are_served,
    backends_on_the_network_of_their_node_are_reached,
    a_service_without_endpoints_refuses_at_once,
);

/// Enough requests that each of two backends is missed by all with a chance of 2^-39.
const ENOUGH: u32 = 40;

fn every_style_of_socket_is_served_and_sees_the_service_as_its_peer(fixture: &Fixture) -> Result<()> {
    for (name, backend) in [("styles-near", &fixture.near), ("styles-far", &fixture.far)] {
        let service = fixture.service(name, &[backend])?;
        for (style, protocol) in STYLES {
            for family in Family::BOTH {
                let ask = Ask::new(service.address(family, protocol), style).times(4);
                assert_eq!(served_by(&fixture.client, &ask)?, [backend.name()]);
            }
        }
    }
    Ok(())
}

fn new_connections_are_spread_over_all_backends(fixture: &Fixture) -> Result<()> {
    let service = fixture.service("spread", &[&fixture.near, &fixture.far])?;
    for (style, protocol) in [(Style::TcpEach, Protocol::Tcp), (Style::UdpEach, Protocol::Udp)] {
        for family in Family::BOTH {
            let ask = Ask::new(service.address(family, protocol), style).times(ENOUGH);
            assert_eq!(served_by(&fixture.client, &ask)?, ["far", "near"]);
        }
    }
    Ok(())
}

fn a_backend_sees_the_address_of_the_client(fixture: &Fixture) -> Result<()> {
    let service = fixture.service("source", &[&fixture.near, &fixture.far])?;
    for (style, protocol) in STYLES {
        for family in Family::BOTH {
            for answer in fixture.client.ask(&Ask::new(service.address(family, protocol), style).times(8))? {
                assert_eq!(answer.seen.map(|seen| seen.ip()), Some(fixture.client.ip(family)), "{answer:?}");
            }
        }
    }
    Ok(())
}

fn ipv4_services_are_served_through_sockets_of_family_ipv6(fixture: &Fixture) -> Result<()> {
    let service = fixture.service("mapped", &[&fixture.near, &fixture.far])?;
    for (style, protocol) in STYLES {
        let ask = Ask::new(service.address(Family::V4, protocol), style).times(8).mapped();
        served_by(&fixture.client, &ask)?;
    }
    Ok(())
}

fn large_requests_pass_whole(fixture: &Fixture) -> Result<()> {
    for (name, backend) in [("large-near", &fixture.near), ("large-far", &fixture.far)] {
        let service = fixture.service(name, &[backend])?;
        for family in Family::BOTH {
            let stream = Ask::new(service.address(family, Protocol::Tcp), Style::TcpStanding);
            served_by(&fixture.client, &stream.times(8).of_size(60_000))?;
            // What the server adds to its answer must fit beside it: answers must not be fragmented either.
            let datagram = Ask::new(service.address(family, Protocol::Udp), Style::UdpConnected);
            served_by(&fixture.client, &datagram.times(8).of_size(1_350))?;
        }
    }
    Ok(())
}

fn a_pod_that_is_its_own_backend_is_served(fixture: &Fixture) -> Result<()> {
    let service = fixture.service("hairpin", &[&fixture.near])?;
    for (style, protocol) in STYLES {
        for family in Family::BOTH {
            let ask = Ask::new(service.address(family, protocol), style).times(4);
            assert_eq!(served_by(&fixture.near, &ask)?, ["near"]);
        }
    }
    Ok(())
}

fn programs_of_a_node_are_served(fixture: &Fixture) -> Result<()> {
    for (name, backend) in [("from-node-near", &fixture.near), ("from-node-far", &fixture.far)] {
        let service = fixture.service(name, &[backend])?;
        for node in fixture.lab.nodes() {
            for (style, protocol) in STYLES {
                for family in Family::BOTH {
                    let ask = Ask::new(service.address(family, protocol), style).times(4);
                    let names = served_by(node, &ask)?;
                    assert_eq!(names, [backend.name()], "from {}", node.name());
                }
            }
        }
    }
    Ok(())
}

fn backends_on_the_network_of_their_node_are_reached(fixture: &Fixture) -> Result<()> {
    for number in [1, 2] {
        let node = fixture.lab.node(number);
        let ports = [ServicePort::tcp(PORT, HOST_PORT), ServicePort::udp(PORT, HOST_PORT)];
        let mut service = fixture.lab.service(&format!("host-{number}"), &ports);
        service.endpoints =
            vec![Endpoint { ip4: node.ip4(), ip6: node.ip6(), node: node.name(), ready: true }];
        fixture.apply(&service)?;
        for (style, protocol) in STYLES {
            for family in Family::BOTH {
                let ask = Ask::new(service.address(family, protocol), style).times(4);
                assert_eq!(served_by(&fixture.client, &ask)?, [node.name()], "from a pod on n1");
                assert_eq!(served_by(&fixture.far_client, &ask)?, [node.name()], "from a pod on n2");
                assert_eq!(served_by(fixture.lab.node(1), &ask)?, [node.name()], "from n1 itself");
            }
        }
    }
    Ok(())
}

fn a_service_without_endpoints_refuses_at_once(fixture: &Fixture) -> Result<()> {
    let service = fixture.service("empty", &[])?;
    for (style, protocol) in STYLES {
        // A socket that is not connected does not hear of an ICMP message.
        if style == Style::UdpUnconnected && std::ptr::eq(fixture, crate::fixture::packets()) {
            continue;
        }
        for family in Family::BOTH {
            let ask = Ask::new(service.address(family, protocol), style);
            for answer in fixture.client.ask(&ask)? {
                assert_eq!(answer.errno, Some(nix::libc::ECONNREFUSED), "{ask:?}: {answer:?}");
            }
            if family == Family::V4 {
                for answer in fixture.client.ask(&ask.mapped())? {
                    assert_eq!(answer.errno, Some(nix::libc::ECONNREFUSED), "mapped, {style:?}: {answer:?}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_service_that_gets_its_first_endpoint_serves_and_one_that_loses_its_last_refuses() -> Result<()> {
    needs!(Agent);
    let fixture = crate::fixture::sockets();
    let service = fixture.service("first-and-last", &[])?;
    let ask = Ask::new(service.address(Family::V4, Protocol::Tcp), Style::TcpEach);
    let filled = service.clone().with([&fixture.far]);
    fixture.apply(&filled)?;
    assert_eq!(served_by(&fixture.client, &ask)?, ["far"]);
    fixture.apply(&service)?;
    for answer in fixture.client.ask(&ask)? {
        assert_eq!(answer.errno, Some(nix::libc::ECONNREFUSED), "{answer:?}");
    }
    Ok(())
}
