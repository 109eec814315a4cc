//! The demo's cluster: three nodes, a client on each, the Service `web`.

use std::time::Duration;

use anyhow::{Context, Result};
use penstock_tests::lab::{
    AgentOptions, Family, Lab, Pod, Process, Protocol, Run, Runs, Service, ServicePort, wait_until,
};
use penstock_tests::probe::{Ask, Serve, Style};

use crate::terminal::{Terminal, name, value};

/// Where clients connect, and where the backends listen.
const PORT: u16 = 80;
const TARGET_PORT: u16 = 8080;
const NODES: u8 = 3;

/// The lab, its clients, and the Service as it is now.
pub(crate) struct Cluster {
    // Before the lab: its processes are ended by their handles, then everything else goes.
    servers: Vec<Process>,
    /// All backends that were ever made, by name.
    pub(crate) backends: Vec<Pod>,
    /// A client on each node.
    pub(crate) clients: Vec<Pod>,
    /// The Service.
    pub(crate) service: Service,
    /// The nodes.
    pub(crate) lab: Lab,
}

impl Cluster {
    /// Builds it, starts the agents, and waits until every client is served.
    pub(crate) fn new(terminal: &mut Terminal) -> Result<Self> {
        terminal.heading("A cluster of three nodes, out of namespaces on this machine");
        let lab = Lab::new(NODES)?;
        let service =
            lab.service("web", &[ServicePort::tcp(PORT, TARGET_PORT), ServicePort::udp(PORT, TARGET_PORT)]);
        let mut cluster =
            Self { servers: Vec::new(), backends: Vec::new(), clients: Vec::new(), service, lab };
        for number in 1..=NODES {
            cluster.clients.push(cluster.lab.node(number).pod("client")?);
            cluster.add_backend(number)?;
        }
        let rows = cluster.lab.nodes().iter().map(|node| {
            let pods =
                cluster.clients.iter().chain(&cluster.backends).filter(|pod| pod.node() == node.name());
            vec![
                name(node.name()),
                value(format!("{}\n{}", node.ip4(), node.ip6())),
                value(node.pod_cidrs().join("\n")),
                value(pods.map(Pod::name).collect::<Vec<_>>().join(", ")),
            ]
        });
        terminal.table(&["node", "addresses", "pod ranges", "pods"], rows.collect());

        cluster.service = cluster.service.clone().with(&cluster.backends);
        cluster.lab.apply(&cluster.service)?;
        let [v4, v6] = Family::BOTH.map(|family| cluster.service.address(family, Protocol::Tcp));
        terminal.say(&format!("Service web: {v4} and {v6}, TCP and UDP, three backends"));
        cluster.lab.start_agents(&AgentOptions::default())?;
        terminal.say("a penstock agent on each node has loaded its programs and read the manifests");
        for client in &cluster.clients {
            for family in Family::BOTH {
                cluster.wait_served(client, family)?;
            }
        }
        Ok(cluster)
    }

    fn wait_served(&self, client: &Pod, family: Family) -> Result<()> {
        let ask = Ask::new(self.service.address(family, Protocol::Tcp), Style::TcpEach);
        let mut last = String::new();
        wait_until(
            &format!("the client on {} is served over {family}", client.node()),
            Duration::from_secs(10),
            || {
                let answers = client.ask(&ask)?;
                last = answers.iter().filter_map(|answer| answer.error.clone()).collect();
                Ok(last.is_empty())
            },
        )
        .with_context(|| format!("the last request: {last}"))
    }

    /// One more backend, on this node; the Service does not name it yet.
    pub(crate) fn add_backend(&mut self, node: u8) -> Result<()> {
        let name = format!("web-{}", self.backends.len() + 1);
        let pod = self.lab.node(node).pod(&name)?;
        self.servers.push(pod.serve(&Serve::on(&name, TARGET_PORT))?);
        self.backends.push(pod);
        Ok(())
    }

    /// Leaves everything up.
    pub(crate) fn keep(self) -> Result<Run> {
        self.servers.into_iter().for_each(Process::leave);
        self.lab.keep()
    }
}
