//! A real cluster, with Penstock and with kube-proxy: how soon traffic follows a change, what Services cost traffic, what
//! the agent takes.
//!
//! Each of them serves a new cluster of two nodes. What Services cost is compared with the kernel's plain path to a pod, in
//! another cluster that stands beside it and has neither Services nor rules: a round measures both, and ratios are within
//! rounds.

mod api;
mod objects;
mod rates;
mod switches;
mod weight;
mod witness;
mod world;

use anyhow::{Context, Result};
use penstock_tests::cluster::Choice;
use penstock_tests::lab::Runs as _;

use crate::report::{Figure, Report};
use world::World;

/// How much is measured.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to measure, a cluster for each
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["penstock", "nftables", "iptables"])]
    proxy: Vec<Choice>,
    /// Number of Services that make a large cluster, of ten endpoints each
    #[arg(long, default_value_t = 10_000)]
    services: u32,
    /// Number of changes that traffic is to follow, of each cluster; fewer where they take long
    #[arg(long)]
    switches: Option<u32>,
    /// Leave the rates of traffic out
    #[arg(long)]
    no_rates: bool,
}

/// How long is measured.
#[derive(Clone, Copy)]
struct Effort {
    /// Rounds of traffic, of which each measures every path once.
    rounds: u32,
    /// Of traffic over one path in a round.
    milliseconds: u64,
    /// Changes of an EndpointSlice that traffic follows; fewer where they take long.
    switches: u32,
}

const FULL: Effort = Effort { rounds: 7, milliseconds: 1_000, switches: 60 };
const QUICK: Effort = Effort { rounds: 2, milliseconds: 200, switches: 5 };

/// Measures and prints, one after the other.
pub(crate) fn run(arguments: &Arguments, quick: bool, report: &mut Report) -> Result<()> {
    let mut effort = if quick { QUICK } else { FULL };
    effort.switches = arguments.switches.unwrap_or(effort.switches);
    let plain = match arguments.no_rates {
        true => None,
        false => Some(World::up(Choice::None).context("the cluster without Services")?),
    };
    let (mut rates, mut switches, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    for &choice in &arguments.proxy {
        let world = World::up(choice).with_context(|| format!("the cluster of {}", choice.name()))?;
        let mut measure = || -> Result<()> {
            if let Some(plain) = &plain {
                rates.extend(told(rates::compare(&world, plain, &effort)?));
            }
            // Everything that asks the API server does so from its own network.
            world.cluster.beside_api_server().run(|| {
                let api = api::Api::connect(&world.cluster.kubeconfig())?;
                switches.extend(told(switches::measure(&world, &api, 0, &effort)?));
                weights.extend(told(weight::load(&world, &api, arguments.services)?));
                switches.extend(told(switches::measure(&world, &api, arguments.services, &effort)?));
                Ok(())
            })
        };
        measure().with_context(|| format!("measuring {}", choice.name()))?;
        world.cluster.check()?;
    }
    if !rates.is_empty() {
        let heading =
            "Traffic through a ClusterIP, from pod to pod, both on one CPU, over the plain kernel path";
        report.group(heading, rates);
    }
    let heading = "From the API's answer to a changed EndpointSlice until a pod's connections follow";
    report.group(heading, switches);
    report.group("What it takes on a node", weights);
    Ok(())
}

/// Prints the figures: the run goes on for a while.
fn told(figures: Vec<Figure>) -> Vec<Figure> {
    figures.iter().for_each(|figure| println!("{}", figure.line()));
    figures
}
