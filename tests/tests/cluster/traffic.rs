//! Connections of a pod that must not notice what happens to the agents.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use penstock_tests::cluster::{Cluster, until};
use penstock_tests::lab::{Family, Load};
use penstock_tests::probe::{Answer, Ask, Style, Task};

use super::clients::in_url;
use super::namespace::Namespace;
use super::objects::{PROBE, service};

/// Where this build's servers listen.
const PORT: u16 = 7000;
/// Between a request and the next one.
const PAUSE_MS: u64 = 10;
const STYLES: [Style; 4] = [Style::TcpEach, Style::TcpStanding, Style::UdpConnected, Style::UdpUnconnected];

/// New connections, standing ones and datagrams of a pod, to a backend on its node and to one on another.
pub(crate) struct Traffic {
    loads: Vec<(Ask, Load)>,
    _namespace: Namespace,
}

impl Traffic {
    /// Starts it, in a namespace of this name.
    pub(crate) fn start(cluster: &Cluster, namespace: &str) -> Result<Self> {
        let namespace = Namespace::new(cluster, namespace)?;
        namespace.apply(&[
            namespace.client("client", "n1")?,
            namespace.probe_server("near", "n1", PORT)?,
            namespace.probe_server("far", "n2", PORT)?,
            service("near", "near", PORT, PORT),
            service("far", "far", PORT, PORT),
        ])?;
        namespace.ready("app")?;
        let mut loads = Vec::new();
        for backend in ["near", "far"] {
            for family in Family::BOTH {
                let target = format!("{}:80", in_url(&namespace.address(backend, family)?));
                let target: SocketAddr = target.parse().context("reading the Service's address")?;
                served(&namespace, target)?;
                for style in STYLES {
                    let ask =
                        Ask { count: 0, timeout_ms: 10_000, ..Ask::new(target, style).every_ms(PAUSE_MS) };
                    let task = serde_json::to_string(&Task::Ask(ask.clone()))?;
                    let load = Load::start(namespace.command("client", &[PROBE, &task]))?;
                    loads.push((ask, load));
                }
            }
        }
        let traffic = Self { loads, _namespace: namespace };
        traffic.goes_on()?;
        Ok(traffic)
    }

    /// Every load has further answers, and none has failed.
    pub(crate) fn goes_on(&self) -> Result<()> {
        for (ask, load) in &self.loads {
            let before = load.count();
            until(&format!("{ask:?} goes on"), || Ok(load.count() >= before + 20))?;
            whole(ask, &load.since(0))?;
        }
        Ok(())
    }

    /// Ends it: no request has failed at any time. Gives the number of requests.
    pub(crate) fn stop(self) -> Result<usize> {
        let mut requests = 0;
        for (ask, load) in self.loads {
            let answers = load.stop()?;
            whole(&ask, &answers)?;
            requests += answers.len();
        }
        Ok(requests)
    }
}

/// Waits until a Service's address is served.
fn served(namespace: &Namespace, target: SocketAddr) -> Result<()> {
    let task = serde_json::to_string(&Task::Ask(Ask::new(target, Style::TcpEach)))?;
    until(&format!("{target} is served"), || {
        Ok(namespace.exec("client", &[PROBE, &task])?.contains(r#""error":null"#))
    })
}

fn whole(ask: &Ask, answers: &[Answer]) -> Result<()> {
    for (i, answer) in answers.iter().enumerate() {
        ensure!(
            answer.is_ok() && answer.peer == Some(ask.target),
            "request {i} of {}, {ask:?}, has failed: {answer:?}",
            answers.len()
        );
    }
    Ok(())
}
