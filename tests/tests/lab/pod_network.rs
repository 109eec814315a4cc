//! Pods and nodes by their own addresses, along the routes that the agents make.

use std::net::SocketAddr;

use anyhow::Result;
use penstock_tests::lab::{AgentOptions, Family, Lab, Runs};
use penstock_tests::needs;
use penstock_tests::probe::{Ask, Serve, Style};

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

/// The answers go by the kernel. Had it not seen their connections begin, it would take each for a new one, from its middle on, and
/// lose a packet whenever two processors do so at the same moment.
#[test]
fn what_a_pod_answers_begins_no_connection_in_the_kernels_tracking() -> Result<()> {
    needs!(Agent);
    let lab = Lab::new(2)?;
    let (client, server) = (lab.node(1).pod("client")?, lab.node(2).pod("server")?);
    let _server = server.serve(&Serve::on("server", TARGET_PORT))?;
    lab.start_agents(&AgentOptions::default())?;
    let node = lab.node(2);
    node.output(&[
        "nft",
        &format!(
            "table inet seen {{ chain forward {{ type filter hook forward priority filter;
               tcp sport {TARGET_PORT} ct state new counter; }}; }}"
        ),
    ])?;
    for family in Family::BOTH {
        let address = SocketAddr::new(server.ip(family), TARGET_PORT);
        let ask = Ask::new(address, Style::TcpEach).times(5);
        assert_eq!(served_by(&client, &ask)?, ["server"]);
    }
    let seen = node.output(&["nft", "list", "table", "inet", "seen"])?;
    assert!(seen.contains("counter packets 0 bytes 0"), "{seen}");
    Ok(())
}
