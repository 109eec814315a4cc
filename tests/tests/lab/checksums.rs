//! Checksums after a translation, with every combination of offloads, computed anew by a raw receiver.

mod raw;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use penstock_tests::lab::{Family, Pod, Protocol, Runs, Service};
use penstock_tests::needs;
use penstock_tests::probe::{Ask, Style};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::fixture::{Fixture, PORT, served_by};
use raw::{Tap, Transport};

/// What a device does in place of the stack.
#[derive(Clone, Copy, Debug)]
struct Offloads {
    /// Checksums of what is sent; without it segmentation is not possible either.
    tx: bool,
    /// Segmentation of what is sent by TCP.
    tso: bool,
    /// Merging of what is received.
    gro: bool,
}

const MATRIX: [Offloads; 6] = [
    Offloads { tx: true, tso: true, gro: true },
    Offloads { tx: true, tso: true, gro: false },
    Offloads { tx: true, tso: false, gro: true },
    Offloads { tx: true, tso: false, gro: false },
    Offloads { tx: false, tso: false, gro: true },
    Offloads { tx: false, tso: false, gro: false },
];

impl Offloads {
    fn set(self, place: &impl Runs, device: &str) -> Result<()> {
        let word = |on| if on { "on" } else { "off" };
        let settings = ["tx", word(self.tx), "tso", word(self.tso), "gro", word(self.gro)];
        place.output(&[&["ethtool", "-K", device], &settings[..]].concat()).map(drop)
    }

    fn set_everywhere(self, fixture: &Fixture) -> Result<()> {
        for (node, pods) in [(1, [&fixture.client, &fixture.near]), (2, [&fixture.far, &fixture.far_client])]
        {
            let node = fixture.lab.node(node);
            self.set(node, "eth0")?;
            for pod in pods {
                self.set(pod, "eth0")?;
                self.set(node, &pod.host_device())?;
            }
        }
        Ok(())
    }

    /// Whether a packet may arrive with no more than the sum of its pseudo header, for a device to complete: it was never
    /// on a wire that needs more, or the receiver has merged it out of several.
    fn may_be_partial(self) -> bool {
        self.tx || self.gro
    }
}

#[test]
fn every_checksum_is_right_with_every_combination_of_offloads() -> Result<()> {
    needs!(Agent);
    let fixture = crate::fixture::of_packets()?;
    let services = [
        (fixture.service("sums-near", &[&fixture.near])?, &fixture.near),
        (fixture.service("sums-far", &[&fixture.far])?, &fixture.far),
    ];
    for offloads in MATRIX {
        offloads.set_everywhere(&fixture)?;
        for (service, backend) in &services {
            for family in Family::BOTH {
                exchange(&fixture, service, backend, family, offloads)
                    .with_context(|| format!("{offloads:?}, {}, {family}", backend.name()))?;
            }
        }
    }
    Ok(())
}

/// Bulk in both directions by TCP, and datagrams of an odd and an even length.
fn exchange(
    fixture: &Fixture,
    service: &Service,
    backend: &Pod,
    family: Family,
    offloads: Offloads,
) -> Result<()> {
    let taps = [Tap::on(backend)?, Tap::on(&fixture.client)?];
    let bulk = Ask::new(service.address(family, Protocol::Tcp), Style::TcpStanding);
    served_by(&fixture.client, &bulk.times(3).of_size(40_000))?;
    for size in [101, 1_200] {
        let datagram = Ask::new(service.address(family, Protocol::Udp), Style::UdpConnected);
        served_by(&fixture.client, &datagram.times(2).of_size(size))?;
    }
    for tap in taps {
        let packets = tap.packets(family)?;
        for transport in [Transport::Tcp, Transport::Udp] {
            ensure!(packets.iter().any(|packet| packet.transport == transport), "no {transport:?} was seen");
        }
        for packet in packets {
            let partial = offloads.may_be_partial() && packet.has_pseudo_header_sum_only();
            ensure!(packet.has_whole_sum() || partial, "a wrong checksum in {packet:?}");
        }
    }
    Ok(())
}

#[test]
fn a_datagram_without_a_checksum_stays_without_one() -> Result<()> {
    needs!(Agent);
    let fixture = crate::fixture::packets();
    for (name, backend) in [("zero-near", &fixture.near), ("zero-far", &fixture.far)] {
        let service = fixture.service(name, &[backend])?;
        for family in Family::BOTH {
            let tap = Tap::on(backend)?;
            let marker = format!("without a checksum, {name}, {family}");
            send_without_checksum(&fixture.client, &service, family, marker.as_bytes())?;
            let packet = tap
                .wait_for(family, Duration::from_secs(3), |packet| packet.payload() == marker.as_bytes())
                .with_context(|| format!("the datagram over {family} did not reach {}", backend.name()))?;
            assert_eq!(packet.checksum(), 0, "{packet:?}");
        }
    }
    Ok(())
}

/// Sends a datagram whose header this test makes, since the kernel makes checksums unless told otherwise.
fn send_without_checksum(client: &Pod, service: &Service, family: Family, payload: &[u8]) -> Result<()> {
    let target = service.ip(family);
    let length = u16::try_from(8 + payload.len())?;
    let source_port = crate::conversation::own_port();
    let mut datagram = Vec::new();
    for field in [source_port, PORT, length, 0] {
        datagram.extend(field.to_be_bytes());
    }
    datagram.extend(payload);
    let domain = match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    };
    client.run(|| {
        let socket = Socket::new(domain, Type::RAW, Some(socket2::Protocol::UDP))?;
        socket.send_to(&datagram, &SockAddr::from(std::net::SocketAddr::new(target, 0)))?;
        Ok(())
    })
}
