//! Requests that run throughout a test. None may fail.

use std::net::SocketAddr;

use anyhow::{Result, bail, ensure};
use penstock_tests::cluster::{addresses, until};
use penstock_tests::lab::{Load, Runs};
use penstock_tests::probe::{Answer, Ask, Style, monotonic_ns};

use super::world::{HOST_PORT, World};

/// Between a request and the next one.
const PAUSE_MS: u64 = 50;
const STYLES: [Style; 4] = [Style::TcpEach, Style::TcpStanding, Style::UdpConnected, Style::UdpUnconnected];
/// More failures say no more.
const SHOWN: usize = 12;

/// The requests. What happens to the cluster meanwhile is told in steps, so that a failure names its own.
pub(crate) struct Traffic {
    loads: Vec<(&'static str, Ask, Load)>,
    steps: Vec<(u64, &'static str)>,
}

impl Traffic {
    /// New connections, standing ones and datagrams, in both families: from every client to every Service, and from outside to
    /// a port of a node that leads to a pod without any Service.
    pub(crate) fn start(world: &World) -> Result<Self> {
        Self::start_every(world, PAUSE_MS)
    }

    /// The same with this pause, in milliseconds, between a request and the next one.
    pub(crate) fn start_every(world: &World, pause_ms: u64) -> Result<Self> {
        let mut loads = Vec::new();
        for (who, place) in &world.clients {
            for &target in &world.services {
                for style in STYLES {
                    let ask = patient(target, style, pause_ms);
                    loads.push((*who, ask.clone(), place.load(&ask)?));
                }
            }
        }
        for style in [Style::TcpEach, Style::TcpStanding] {
            let ask = patient(SocketAddr::new(addresses::node(1).v4.into(), HOST_PORT), style, pause_ms);
            let load = world.cluster.client().load(&ask)?;
            loads.push(("a client outside", ask, load));
        }
        let traffic = Self { loads, steps: vec![(0, "at the start")] };
        traffic.goes_on()?;
        Ok(traffic)
    }

    /// Begins a step.
    pub(crate) fn step(&mut self, what: &'static str) {
        self.steps.push((monotonic_ns(), what));
    }

    /// Every load has further answers.
    pub(crate) fn goes_on(&self) -> Result<()> {
        let before: Vec<usize> = self.loads.iter().map(|(_, _, load)| load.count()).collect();
        for ((who, ask, load), before) in self.loads.iter().zip(before) {
            until(&format!("{who} asks {} on, {:?}", ask.target, ask.style), || {
                // A standing connection ends with its first failure.
                Ok(load.count() >= before + 10 || load.since(before).iter().any(|answer| !answer.is_ok()))
            })?;
        }
        self.whole()
    }

    /// Nothing has failed until now.
    fn whole(&self) -> Result<()> {
        let answers: Vec<_> = self.loads.iter().map(|(who, ask, load)| (*who, ask, load.since(0))).collect();
        self.check(&answers)
    }

    /// Ends it. Gives the number of requests.
    pub(crate) fn stop(mut self) -> Result<usize> {
        let mut answers = Vec::new();
        for (who, ask, load) in std::mem::take(&mut self.loads) {
            answers.push((who, ask, load.stop()?));
        }
        let seen: Vec<_> = answers.iter().map(|(who, ask, answers)| (*who, ask, answers.clone())).collect();
        self.check(&seen)?;
        Ok(answers.iter().map(|(_, _, answers)| answers.len()).sum())
    }

    fn check(&self, answers: &[(&'static str, &Ask, Vec<Answer>)]) -> Result<()> {
        let mut failures = Vec::new();
        for (who, ask, answers) in answers {
            for (number, answer) in answers.iter().enumerate().filter(|(_, answer)| !answer.is_ok()) {
                failures.push(format!(
                    "{}: {who} asks {}, {:?}, request {number} of {}: {answer:?}",
                    self.step_at(answer.at_ns),
                    ask.target,
                    ask.style,
                    answers.len()
                ));
            }
        }
        ensure!(!answers.is_empty(), "no request was made");
        if !failures.is_empty() {
            let count = failures.len();
            failures.truncate(SHOWN);
            bail!("{count} requests have failed, the first:\n{}", failures.join("\n"));
        }
        Ok(())
    }

    fn step_at(&self, at_ns: u64) -> &'static str {
        self.steps
            .iter()
            .rev()
            .find(|(begin, _)| *begin <= at_ns)
            .map_or("before the start", |(_, step)| step)
    }
}

fn patient(target: SocketAddr, style: Style, pause_ms: u64) -> Ask {
    Ask { timeout_ms: 10_000, ..Ask::new(target, style).every_ms(pause_ms) }
}
