//! Pods and nodes by their own addresses, along the routes that the agents make.

use std::net::SocketAddr;

use anyhow::Result;
use penstock_tests::lab::{Family, Runs};
use penstock_tests::probe::Ask;

use crate::both_ways;
use crate::fixture::{Fixture, HOST_PORT, STYLES, TARGET_PORT, served_by};

both_ways!(
    pods_reach_pods_on_their_node_and_on_another,
    nodes_reach_pods_on_themselves_and_on_another,
    pods_reach_nodes,
);

fn reaches(client: &impl Runs, server: SocketAddr, name: &str) -> Result<()> {
    for (style, _) in STYLES {
        assert_eq!(served_by(client, &Ask::new(server, style).times(2))?, [name], "{server}");
    }
    Ok(())
}

fn pods_reach_pods_on_their_node_and_on_another(fixture: &Fixture) -> Result<()> {
    for family in Family::BOTH {
        for server in [&fixture.near, &fixture.far] {
            let address = SocketAddr::new(server.ip(family), TARGET_PORT);
            reaches(&fixture.client, address, server.name())?;
            reaches(&fixture.far_client, address, server.name())?;
        }
    }
    Ok(())
}

fn nodes_reach_pods_on_themselves_and_on_another(fixture: &Fixture) -> Result<()> {
    for node in fixture.lab.nodes() {
        for family in Family::BOTH {
            for server in [&fixture.near, &fixture.far] {
                reaches(node, SocketAddr::new(server.ip(family), TARGET_PORT), server.name())?;
            }
        }
    }
    Ok(())
}

fn pods_reach_nodes(fixture: &Fixture) -> Result<()> {
    for node in fixture.lab.nodes() {
        for ip in [node.ip4().into(), node.ip6().into()] {
            reaches(&fixture.client, SocketAddr::new(ip, HOST_PORT), &node.name())?;
        }
    }
    Ok(())
}
