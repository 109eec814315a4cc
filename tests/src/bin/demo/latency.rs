//! What a connection through the Service costs beside one to the pod's own address.

use std::net::SocketAddr;

use anyhow::Result;
use penstock_tests::lab::{Family, Protocol, Runs};
use penstock_tests::probe::{Ask, Style};

use crate::cluster::Cluster;
use crate::terminal::{Terminal, name, value};

/// Rounds that go through the Service and past it in turn, so that both see the same machine.
const ROUNDS: u32 = 4;
/// Requests of one round to one backend, and as many through the Service.
const REQUESTS: u32 = 50;

/// Measures `connect` from every client.
pub(crate) fn show(terminal: &mut Terminal, cluster: &Cluster) -> Result<()> {
    terminal.heading("How long connect() takes, median");
    let mut rows = Vec::new();
    for client in &cluster.clients {
        for family in Family::BOTH {
            let service = cluster.service.address(family, Protocol::Tcp);
            let target_port = cluster.service.ports[0].target_port;
            let (mut through, mut direct) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                for backend in &cluster.backends {
                    let address = SocketAddr::new(backend.ip(family), target_port);
                    through.extend(connects(client, service)?);
                    direct.extend(connects(client, address)?);
                }
            }
            let (through, direct) = (median_us(through), median_us(direct));
            rows.push(vec![
                name(format!("{} on {}", client.name(), client.node())),
                value(family),
                value(format!("{through:.1} µs")),
                value(format!("{direct:.1} µs")),
                value(format!("{:.2}", through / direct)),
            ]);
        }
    }
    terminal.table(&["client", "family", "through the Service", "the pods' own addresses", "ratio"], rows);
    Ok(())
}

fn connects(client: &impl Runs, target: SocketAddr) -> Result<Vec<u64>> {
    let answers = client.ask(&Ask::new(target, Style::TcpEach).times(REQUESTS))?;
    Ok(answers.iter().filter(|answer| answer.is_ok()).map(|answer| answer.connect_ns).collect())
}

fn median_us(mut times: Vec<u64>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, |&ns| ns as f64 / 1_000.0)
}
