//! What Services cost traffic: connections and requests per second through a ClusterIP, over those to the pod's own address
//! in a cluster that has neither Services nor rules.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use penstock_tests::cluster::Choice;

use super::Effort;
use super::objects::{PORT, PROGRAMS, RATE_PORT};
use super::world::World;
use crate::exchange::Exchange;
use crate::report::{Figure, Goal};
use crate::statistics::ratios;

/// What is at least to be reached, of the plain path: connections and requests, on one node and across nodes.
const GOALS: [[f64; 2]; 2] = [[1.04, 1.08], [1.00, 1.00]];

/// Measures this cluster's Services beside the plain path of the other cluster.
pub(crate) fn compare(world: &World, plain: &World, effort: &Effort) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (place, (at, goals)) in ["on one node", "to the other node"].into_iter().zip(GOALS).enumerate() {
        let through = SocketAddr::new(world.services[place], PORT);
        let direct = SocketAddr::new(plain.servers[place], RATE_PORT);
        for ((exchange, word), goal) in Exchange::ALL.into_iter().zip(goals) {
            let (mut rates, mut plain_rates) = (Vec::new(), Vec::new());
            // One round more than asked for: the first primes, and is not counted.
            for round in 0..=effort.rounds {
                let mut measure = |is_plain: bool| -> Result<()> {
                    let (world, target) = if is_plain { (plain, direct) } else { (world, through) };
                    let rate = rate(world, target, word, effort.milliseconds)?;
                    if round > 0 {
                        if is_plain { &mut plain_rates } else { &mut rates }.push(rate);
                    }
                    Ok(())
                };
                // Now one, now the other is first.
                let plain_first = round % 2 == 0;
                measure(plain_first)?;
                measure(!plain_first)?;
            }
            let what = match exchange {
                Exchange::Connections => "connections/s",
                Exchange::Requests => "requests/s",
            };
            let case = format!("{}, {at}", world.choice.name());
            figures.push(Figure::median(format!("{what}, plain"), &case, &plain_rates, "/s"));
            let figure =
                Figure::median(format!("{what}, of plain"), &case, &ratios(&rates, &plain_rates), "");
            let is_penstock = world.choice == Choice::Penstock;
            figures.push(if is_penstock { figure.goal(Goal::AtLeast(goal)) } else { figure });
        }
    }
    Ok(figures)
}

/// Exchanges in a second.
fn rate(world: &World, target: SocketAddr, exchange: &str, milliseconds: u64) -> Result<f64> {
    let bench = format!("{PROGRAMS}/bench");
    let said =
        world.ask_client(&[&bench, "client", &target.to_string(), exchange, &milliseconds.to_string()])?;
    said.trim().parse().with_context(|| format!("the client said {said:?}"))
}
