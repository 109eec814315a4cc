//! Where requests go.

use anyhow::Result;
use penstock_tests::lab::{Family, Protocol, Runs};
use penstock_tests::probe::{Ask, Style};

use crate::cluster::Cluster;
use crate::terminal::{Terminal, failures, name, value};

const REQUESTS: u32 = 60;

/// Sends requests from every client by TCP and UDP in both families, and says who answered.
pub(crate) fn show(terminal: &mut Terminal, cluster: &Cluster) -> Result<()> {
    terminal.heading("Where requests go");
    let backends: Vec<&str> = cluster.backends.iter().map(|pod| pod.name()).collect();
    let (mut rows, mut failed, mut unserved) = (Vec::new(), 0, 0);
    let protocols = [(Protocol::Tcp, Style::TcpEach), (Protocol::Udp, Style::UdpEach)];
    for client in &cluster.clients {
        for (protocol, style) in protocols {
            for family in Family::BOTH {
                let target = cluster.service.address(family, protocol);
                let answers = client.ask(&Ask::new(target, style).times(REQUESTS))?;
                let bad = answers.iter().filter(|answer| !answer.is_ok()).count();
                failed += bad;
                let mut row = vec![
                    name(format!("{} on {}", client.name(), client.node())),
                    value(format!("{protocol} {family}")),
                ];
                for backend in &backends {
                    let served = answers.iter().filter(|answer| answer.server.as_deref() == Some(backend));
                    let served = served.count();
                    unserved += usize::from(served == 0);
                    row.push(value(served));
                }
                row.push(failures(bad));
                rows.push(row);
            }
        }
    }
    let places: Vec<String> =
        cluster.backends.iter().map(|pod| format!("{} on {}", pod.name(), pod.node())).collect();
    let mut headings = vec!["client", "by"];
    headings.extend(places.iter().map(String::as_str));
    headings.push("failed");
    terminal.table(&headings, rows);
    terminal.check(failed == 0, "every request was answered");
    terminal.check(unserved == 0, "every backend answered every client");
    Ok(())
}
