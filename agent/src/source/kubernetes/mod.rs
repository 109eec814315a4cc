//! The `kubernetes` source: watches of Services, EndpointSlices, Nodes and ServiceCIDRs.
//!
//! Owns: the way to the API servers ([`connect`]), lists and watches, what to do after a gap, and what can be wrong with any of
//! them, in words.
//!
//! Invariants:
//! - While the API is away, nothing is told but that it is away. After a gap everything is listed anew, and the new list replaces
//!   what was known of its kind.
//! - An API server that is gone without a word is noticed: within half a minute where its host is, within little more than a minute
//!   where it is the server alone.
//! - Of an object nothing is kept that the model does not read. One that cannot be read costs itself alone, and stays as it was read
//!   last until it is gone.
//! - The agent's way does not lead through the Service that it implements, where it is told another (`--apiserver`).

mod backoff;
mod causes;
mod client;
mod gathering;
mod lines;
mod read;
mod reflector;
mod resource;
mod servers;
mod trouble;

use kube::Client;
use penstock_model::objects::{Event, Kind};
use tokio::sync::mpsc;

pub(crate) use self::client::connect;
use self::gathering::Gathering;
use self::reflector::{Limits, Reflector};
use self::resource::RESOURCES;
pub(crate) use self::servers::ServerUrl;
use super::{Update, Updates};

/// Changes that are told at once at most.
const BATCH: usize = 512;

/// Watches the cluster until the receiver is gone.
pub(crate) async fn run(client: Client, updates: Updates) {
    run_within(client, updates, Limits::default()).await;
}

async fn run_within(client: Client, updates: Updates, limits: Limits) {
    let (sender, mut told) = mpsc::channel(BATCH);
    for resource in &RESOURCES {
        let reflector = Reflector { resource, client: client.clone(), told: sender.clone(), limits };
        tokio::spawn(reflector.run());
    }
    drop((client, sender));
    let mut gathering = Gathering::default();
    // No pod is watched, so all of them have been told.
    let mut result = updates.send(Update::Events(vec![Event::Synced(Kind::Pod)])).await;
    let mut news = Vec::new();
    while result.is_ok() {
        if told.recv_many(&mut news, BATCH).await == 0 {
            return;
        }
        let before = gathering.health();
        let events: Vec<_> = news.drain(..).filter_map(|(kind, told)| gathering.add(kind, told)).collect();
        let health = gathering.health();
        if health != before {
            for problem in gathering.news(&before) {
                tracing::warn!("kubernetes: {problem}; serving what was told before");
            }
            if health.problems.is_empty() && !before.problems.is_empty() {
                tracing::info!("kubernetes: watching again");
            }
            result = updates.send(Update::Health(health)).await;
        }
        if !events.is_empty() && result.is_ok() {
            result = updates.send(Update::Events(events)).await;
        }
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
