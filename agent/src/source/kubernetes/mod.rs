//! The `kubernetes` source: watches of Services, EndpointSlices and Nodes.
//!
//! Lists and watches are kube's: a watch that is lost goes on from where it was, or lists anew, and a new list replaces what was
//! known of its kind. While the API is away, nothing is told but that it is away.

mod watched;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::stream::{self, BoxStream, StreamExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Config};
use penstock_model::objects::{Event, Kind, Object};
use tokio::time::timeout;

use self::watched::{EndpointSlices, Nodes, Services, Watched};
use super::{Health, Update, Updates};

/// Changes that are told at once at most.
const BATCH: usize = 512;
/// A watch that fails says so again before this: it waits 30 s at most between two attempts, as much again by chance, and 30 s for
/// a connection. One that goes on may have nothing to say, so silence for longer means that it does.
const FAILS_AGAIN: Duration = Duration::from_secs(100);

/// A client of the cluster: as the kubeconfig says, or without one as usual, or as the pod's own account.
///
/// # Errors
/// There is no configuration, or it cannot be read. That the cluster does not answer is no error.
pub(crate) async fn connect(kubeconfig: Option<&Path>) -> Result<Client> {
    let config = match kubeconfig {
        Some(path) => {
            let kubeconfig =
                Kubeconfig::read_from(path).with_context(|| format!("read kubeconfig {}", path.display()))?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("use kubeconfig {}", path.display()))?
        }
        None => Config::infer().await.context("find the cluster: give --kubeconfig, or run in a pod")?,
    };
    let url = config.cluster_url.clone();
    Client::try_from(config).with_context(|| format!("make a client of {url}"))
}

/// Watches the cluster until the receiver is gone.
pub(crate) async fn run(client: Client, updates: Updates) {
    let kinds =
        [watch::<Services>(client.clone()), watch::<EndpointSlices>(client.clone()), watch::<Nodes>(client)];
    // No pod is watched: each agent would hold those of the whole cluster to call a few addresses by name.
    let mut told = updates.send(Update::Events(vec![Event::Synced(Kind::Pod)])).await;
    let mut batches = stream::select_all(kinds).ready_chunks(BATCH);
    let mut gathering = Gathering::default();
    while told.is_ok() {
        let before = gathering.health();
        let events: Vec<_> = match timeout(FAILS_AGAIN, batches.next()).await {
            Ok(Some(batch)) => {
                batch.into_iter().filter_map(|(kind, item)| gathering.add(kind, item)).collect()
            }
            Ok(None) => return,
            Err(_) => Vec::new(),
        };
        gathering.problems.retain(|_, problem| problem.since.elapsed() < FAILS_AGAIN);
        let health = gathering.health();
        if health != before {
            for problem in health.problems.iter().filter(|problem| !before.problems.contains(problem)) {
                tracing::warn!("kubernetes: {problem}; serving what was told before");
            }
            if health.problems.is_empty() {
                tracing::info!("kubernetes: watching again");
            }
            told = updates.send(Update::Health(health)).await;
        }
        if !events.is_empty() && told.is_ok() {
            told = updates.send(Update::Events(events)).await;
        }
    }
}

type Item = Result<watcher::Event<Object>, watcher::Error>;

fn watch<K: watched::Kind>(client: Client) -> BoxStream<'static, (Kind, Item)>
where
    Watched<K>: kube::Resource<DynamicType = ()>,
{
    let config =
        watcher::Config { label_selector: K::LABELS.map(str::to_owned), ..watcher::Config::default() };
    watcher(Api::<Watched<K>>::all(client), config)
        .default_backoff()
        .map(|item| {
            let item = item.map(|event| match event {
                watcher::Event::Apply(watched) => watcher::Event::Apply(watched.object),
                watcher::Event::Delete(watched) => watcher::Event::Delete(watched.object),
                watcher::Event::InitApply(watched) => watcher::Event::InitApply(watched.object),
                watcher::Event::Init => watcher::Event::Init,
                watcher::Event::InitDone => watcher::Event::InitDone,
            });
            (K::KIND, item)
        })
        .boxed()
}

/// Lists that are on their way, and what is wrong with each kind's watch.
#[derive(Default)]
struct Gathering {
    lists: BTreeMap<Kind, Vec<Object>>,
    problems: BTreeMap<Kind, Trouble>,
}

struct Trouble {
    message: String,
    since: Instant,
}

impl Gathering {
    fn add(&mut self, kind: Kind, item: Item) -> Option<Event> {
        let event = match item {
            Ok(event) => event,
            Err(error) => {
                self.problems.insert(kind, Trouble { message: chain(&error), since: Instant::now() });
                return None;
            }
        };
        // The beginning of a list says nothing yet of whether the API answers.
        if !matches!(event, watcher::Event::Init) {
            self.problems.remove(&kind);
        }
        match event {
            watcher::Event::Apply(object) => Some(Event::Upsert(object)),
            watcher::Event::Delete(object) => Some(Event::Delete(object.key())),
            watcher::Event::Init => {
                self.lists.insert(kind, Vec::new());
                None
            }
            watcher::Event::InitApply(object) => {
                self.lists.entry(kind).or_default().push(object);
                None
            }
            watcher::Event::InitDone => {
                Some(Event::Replace(kind, self.lists.remove(&kind).unwrap_or_default()))
            }
        }
    }

    fn health(&self) -> Health {
        let problems =
            self.problems.iter().map(|(kind, trouble)| format!("{kind}: {}", trouble.message)).collect();
        Health { problems, ..Health::default() }
    }
}

/// An error and what led to it, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
