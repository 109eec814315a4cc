//! Clusters that tests share: each test has Services of its own in them.

use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result};
use penstock_tests::lab::{
    AgentOptions, Lab, Pod, Process, Protocol, Runs, Service, ServicePort, wait_until,
};
use penstock_tests::probe::{Answer, Ask, Serve, Style};

/// Where the servers listen.
pub(crate) const TARGET_PORT: u16 = 8080;
/// Where the servers of the nodes themselves listen.
pub(crate) const HOST_PORT: u16 = 9090;
/// Where Services are reached.
pub(crate) const PORT: u16 = 80;

/// Three nodes with agents. The first has a client and a server, the second a server and a client, the third nothing;
/// each node itself is a server too.
pub(crate) struct Fixture {
    pub(crate) lab: Lab,
    /// On node 1.
    pub(crate) client: Pod,
    /// On node 1.
    pub(crate) near: Pod,
    /// On node 2.
    pub(crate) far: Pod,
    /// On node 2.
    pub(crate) far_client: Pod,
    _servers: Vec<Process>,
}

/// The cluster with socket hooks.
pub(crate) fn sockets() -> &'static Fixture {
    static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| must(Fixture::new(&AgentOptions::default())));
    &FIXTURE
}

/// The cluster without socket hooks: every packet is translated.
pub(crate) fn packets() -> &'static Fixture {
    static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| must(of_packets()));
    &FIXTURE
}

/// A cluster of one's own without socket hooks.
pub(crate) fn of_packets() -> Result<Fixture> {
    Fixture::new(&AgentOptions { without_socket_hooks: true, ..AgentOptions::default() })
}

fn must(fixture: Result<Fixture>) -> Fixture {
    fixture.unwrap_or_else(|error| panic!("the cluster that the tests share cannot be made: {error:#}"))
}

impl Fixture {
    /// A cluster of one's own.
    pub(crate) fn new(options: &AgentOptions) -> Result<Self> {
        let lab = Lab::new(3)?;
        let (client, near) = (lab.node(1).pod("client")?, lab.node(1).pod("near")?);
        let (far, far_client) = (lab.node(2).pod("far")?, lab.node(2).pod("client")?);
        let mut servers =
            vec![near.serve(&Serve::on("near", TARGET_PORT))?, far.serve(&Serve::on("far", TARGET_PORT))?];
        for node in lab.nodes() {
            servers.push(node.serve(&Serve::on(&node.name(), HOST_PORT))?);
        }
        lab.start_agents(options)?;
        Ok(Self { lab, client, near, far, far_client, _servers: servers })
    }

    /// A Service over TCP and UDP with these pods, known to every node when this returns.
    pub(crate) fn service(&self, name: &str, backends: &[&Pod]) -> Result<Service> {
        let ports = [ServicePort::tcp(PORT, TARGET_PORT), ServicePort::udp(PORT, TARGET_PORT)];
        let service = self.lab.service(name, &ports).with(backends.iter().copied());
        self.apply(&service)?;
        Ok(service)
    }

    /// Writes the Service and waits until every node serves it, or refuses it where it has no endpoints.
    pub(crate) fn apply(&self, service: &Service) -> Result<()> {
        self.lab.apply(service)?;
        for node in self.lab.nodes() {
            wait_until(&format!("{} serves {}", node.name(), service.name), Duration::from_secs(10), || {
                node.serves(service)
            })
            .with_context(|| format!("the log of the agent is {}", node.agent_log().display()))?;
        }
        Ok(())
    }
}

/// Requests by every style of socket, with the protocol of each.
pub(crate) const STYLES: [(Style, Protocol); 5] = [
    (Style::TcpEach, Protocol::Tcp),
    (Style::TcpStanding, Protocol::Tcp),
    (Style::UdpEach, Protocol::Udp),
    (Style::UdpConnected, Protocol::Udp),
    (Style::UdpUnconnected, Protocol::Udp),
];

/// The names of those who answered, sorted, each once. Fails where a request was not answered by whom it was sent to.
pub(crate) fn served_by(client: &impl Runs, ask: &Ask) -> Result<Vec<String>> {
    let answers = client.ask(ask)?;
    assert_eq!(answers.len(), ask.count as usize, "{ask:?}: {answers:?}");
    let mut names: Vec<String> = answers.iter().map(|answer| name_of(answer, ask)).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

fn name_of(answer: &Answer, ask: &Ask) -> String {
    assert_eq!(answer.error, None, "{ask:?}");
    assert_eq!(answer.peer, Some(ask.target), "whom the client of {ask:?} believes to talk to");
    answer.server.clone().unwrap_or_default()
}
