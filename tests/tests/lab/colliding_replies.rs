//! One client port, several ways to one backend: the answers must not be mixed up.

use std::net::SocketAddr;

use anyhow::Result;
use penstock_tests::lab::{Family, Pod, Protocol};
use penstock_tests::needs;

use crate::conversation::{Conversation, own_port};
use crate::fixture::{Fixture, TARGET_PORT, packets};

/// Talks to all of them in turn, twice, with one socket each, all from one port.
fn talk(fixture: &Fixture, protocol: Protocol, targets: &[SocketAddr], backend: &Pod) -> Result<()> {
    let port = own_port();
    let mut conversations = Vec::new();
    for &target in targets {
        conversations.push(Conversation::open(&fixture.client, port, protocol, target)?);
    }
    for round in 0..2 {
        for (index, conversation) in conversations.iter().enumerate() {
            let (server, _) = conversation.ask(&format!("{round}-{index}"))?;
            assert_eq!(server, backend.name(), "{protocol} with {}", conversation.with);
        }
    }
    Ok(())
}

#[test]
fn one_client_port_may_reach_one_backend_through_two_services() -> Result<()> {
    needs!(Agent);
    let fixture = packets();
    for backend in [&fixture.near, &fixture.far] {
        let one = fixture.service(&format!("collide-one-{}", backend.name()), &[backend])?;
        let other = fixture.service(&format!("collide-other-{}", backend.name()), &[backend])?;
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for family in Family::BOTH {
                let targets = [one.address(family, protocol), other.address(family, protocol)];
                talk(fixture, protocol, &targets, backend)?;
            }
        }
    }
    Ok(())
}

#[test]
fn one_client_port_may_reach_one_backend_through_a_service_and_directly_in_both_orders() -> Result<()> {
    needs!(Agent);
    let fixture = packets();
    for backend in [&fixture.near, &fixture.far] {
        let service = fixture.service(&format!("collide-direct-{}", backend.name()), &[backend])?;
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for family in Family::BOTH {
                let through = service.address(family, protocol);
                let direct = SocketAddr::new(backend.ip(family), TARGET_PORT);
                talk(fixture, protocol, &[through, direct], backend)?;
                talk(fixture, protocol, &[direct, through], backend)?;
            }
        }
    }
    Ok(())
}
