//! A small cluster with a Service, and connections through it that must not notice what happens to the agents.

use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use crate::lab::{
    AgentOptions, Family, Lab, Load, Pod, Process, Protocol, Runs, Service, ServicePort, wait_until,
};
use crate::probe::{Ask, Serve, Style};

const TARGET_PORT: u16 = 8080;
/// Longer than anything takes that works, on an emulated machine too.
const PATIENCE: Duration = Duration::from_secs(60);

const STANDING: [(Style, Protocol); 3] = [
    (Style::TcpStanding, Protocol::Tcp),
    (Style::UdpConnected, Protocol::Udp),
    (Style::UdpUnconnected, Protocol::Udp),
];

/// Which connections must not notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// Those that are open.
    Open,
    /// Those that are open, and those that begin at any time.
    OpenAndNew,
}

/// Loads of every kind, in both families, to a backend on the client's node and to one on another.
#[derive(Debug)]
pub struct Traffic {
    loads: Vec<(Ask, Load)>,
    _servers: Vec<Process>,
    client: Pod,
    far: Pod,
    /// Two nodes.
    pub lab: Lab,
}

impl Traffic {
    /// Starts agents with these options, then the loads, each of which pauses for so many milliseconds after a request.
    pub fn start(options: &AgentOptions, connections: Connections, pause_ms: u64) -> Result<Self> {
        let lab = Lab::new(2)?;
        let (client, near, far) =
            (lab.node(1).pod("client")?, lab.node(1).pod("near")?, lab.node(2).pod("far")?);
        let servers =
            vec![near.serve(&Serve::on("near", TARGET_PORT))?, far.serve(&Serve::on("far", TARGET_PORT))?];
        let services = [service(&lab, "near").with([&near]), service(&lab, "far").with([&far])];
        services.iter().try_for_each(|service| lab.apply(service).map(drop))?;
        lab.start_agents(options)?;
        let mut traffic = Self { loads: Vec::new(), _servers: servers, client, far, lab };
        let mut styles = STANDING.to_vec();
        if connections == Connections::OpenAndNew {
            styles.push((Style::TcpEach, Protocol::Tcp));
        }
        for service in &services {
            for &(style, protocol) in &styles {
                for family in Family::BOTH {
                    let ask = Ask {
                        timeout_ms: 10_000,
                        ..Ask::new(service.address(family, protocol), style).every_ms(pause_ms)
                    };
                    traffic.loads.push((ask.clone(), traffic.client.load(&ask)?));
                }
            }
        }
        traffic.goes_on()?;
        Ok(traffic)
    }

    /// Every load has had further answers, and none has failed.
    pub fn goes_on(&self) -> Result<()> {
        let before: Vec<usize> = self.loads.iter().map(|(_, load)| load.count()).collect();
        for ((ask, load), before) in self.loads.iter().zip(before) {
            wait_until(&format!("{ask:?} goes on"), PATIENCE, || {
                for answer in load.since(before) {
                    ensure!(answer.is_ok(), "{ask:?} has failed: {answer:?}");
                }
                Ok(load.count() >= before + 20)
            })?;
        }
        Ok(())
    }

    /// A Service that is new is served: the agents are at work.
    pub fn changes_are_followed(&self) -> Result<()> {
        let service = service(&self.lab, "new").with([&self.far]);
        self.lab.apply(&service)?;
        for family in Family::BOTH {
            let ask =
                Ask { timeout_ms: 200, ..Ask::new(service.address(family, Protocol::Tcp), Style::TcpEach) };
            wait_until("a new Service is served", PATIENCE, || {
                Ok(self.client.ask(&ask)?.iter().all(|answer| answer.is_ok()))
            })?;
        }
        Ok(())
    }

    /// Ends every agent by the signal.
    pub fn end_agents(&self, signal: Signal) -> Result<()> {
        self.lab.nodes().iter().try_for_each(|node| node.end_agent(signal).map(drop))
    }

    /// Ends the loads: none of their requests has failed at any time. Gives back the cluster.
    pub fn stop(self) -> Result<Lab> {
        for (ask, load) in self.loads {
            for answer in load.stop()? {
                ensure!(answer.is_ok() && answer.peer == Some(ask.target), "{ask:?} has failed: {answer:?}");
            }
        }
        Ok(self.lab)
    }
}

fn service(lab: &Lab, name: &str) -> Service {
    lab.service(name, &[ServicePort::tcp(80, TARGET_PORT), ServicePort::udp(80, TARGET_PORT)])
}
