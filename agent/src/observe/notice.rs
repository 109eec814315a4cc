//! Events in the cluster, for what an operator must see without looking at a log (`kubectl get events`, `kubectl describe`).
//!
//! Whoever has something to say leaves it here and goes on; a task of its own sends it. What comes too often, or what the API does not
//! take, is counted and dropped: an Event is a courtesy. Equal ones become one with a count (KEP-383).

mod rate;

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ObjectReference, Service};
use kube::api::ListParams;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, ResourceExt as _};
use penstock_model::objects::{Kind, ObjectKey};
use penstock_model::tables::Frontend;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::timeout;

use self::rate::Rate;
use super::Observed;

/// Who says so.
const REPORTER: &str = "penstock";
/// Notices that wait to be sent at most.
const WAITING: usize = 64;
/// How long the API may take for one.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest text of an Event in bytes.
const LONGEST: usize = 1_024;

/// Something that an operator must see.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Notice {
    /// The agent serves this node.
    Ready,
    /// A table has no room. What did not fit keeps its old state.
    TableFull { table: &'static str, size: u32 },
    /// Two Services claim one address and port, and this is the one that does not have it.
    PortConflict { loser: ObjectKey, frontend: Frontend, owner: ObjectKey },
    /// Another proxy's work on this node is done here now.
    TakenOver { what: String },
}

impl Notice {
    /// The object that it is about; `None`: this node.
    fn about(&self) -> Option<&ObjectKey> {
        match self {
            Self::PortConflict { loser, .. } => Some(loser),
            Self::Ready | Self::TableFull { .. } | Self::TakenOver { .. } => None,
        }
    }

    fn event(&self, node: &str) -> Event {
        let (type_, reason, action, mut note) = match self {
            Self::Ready => {
                let version = env!("CARGO_PKG_VERSION");
                let note = format!(
                    "Penstock {version} serves node {node}: tables are in step, programs are attached"
                );
                (EventType::Normal, "ServiceProxyReady", "Serve", note)
            }
            Self::TableFull { table, size } => {
                let note = format!(
                    "Node {node}: table {table} is full: it has {size} elements. What did not fit keeps its old state. \
                     Make it larger (--{})",
                    option_of(table)
                );
                (EventType::Warning, "TableFull", "Program", note)
            }
            Self::PortConflict { frontend, owner, .. } => {
                let note = format!(
                    "{frontend} stays with {owner}, which is older: this Service is not served there. Change the port or the \
                     address of one of them"
                );
                (EventType::Warning, "PortConflict", "Program", note)
            }
            Self::TakenOver { what } => {
                (EventType::Normal, "TakenOver", "TakeOver", format!("Node {node}: {what}"))
            }
        };
        note.truncate(note.floor_char_boundary(LONGEST));
        let (reason, action) = (reason.to_owned(), action.to_owned());
        Event { type_, reason, note: Some(note), action, secondary: None }
    }
}

/// The option that says how large a table is.
fn option_of(table: &str) -> &'static str {
    match table.trim_end_matches(['4', '6']) {
        "frontends" => "max-frontends",
        "slots" => "max-slots",
        "backends" => "max-backends",
        _ => "max-services",
    }
}

/// Sends Events on behalf of a node for as long as the process lives. What is left with the sender while the API is away
/// is lost, but for the first few.
pub(super) fn start(client: Client, node: &str, observed: Arc<Observed>) -> Sender<Notice> {
    let (sender, notices) = mpsc::channel(WAITING);
    tokio::spawn(send_all(client, node.to_owned(), observed, notices));
    sender
}

async fn send_all(client: Client, node: String, observed: Arc<Observed>, mut notices: Receiver<Notice>) {
    let reporter = Reporter { controller: REPORTER.into(), instance: Some(node.clone()) };
    let recorder = Recorder::new(client.clone(), reporter);
    let metrics = &observed.metrics.agent;
    let mut rate = Rate::new(Instant::now());
    let mut told = String::new();
    while let Some(notice) = notices.recv().await {
        if !rate.allows(Instant::now()) {
            metrics.notice_lost();
            continue;
        }
        let send = async {
            let reference = reference(&client, &node, &notice).await;
            recorder.publish(&notice.event(&node), &reference).await
        };
        let problem = match timeout(PATIENCE, send).await {
            Ok(Ok(())) => {
                metrics.noticed();
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the API server does not answer".to_owned(),
        };
        metrics.notice_lost();
        if problem != told {
            tracing::warn!("cannot send Events: {problem}");
            told = problem;
        }
    }
}

/// What an Event is attached to. A Service's uid is asked for, since `kubectl describe` finds Events by it; a node's is its name
/// there, as with kubelet.
async fn reference(client: &Client, node: &str, notice: &Notice) -> ObjectReference {
    let Some(key) = notice.about() else {
        return ObjectReference {
            kind: Some(Kind::Node.as_str().into()),
            name: Some(node.into()),
            uid: Some(node.into()),
            ..ObjectReference::default()
        };
    };
    let named = ListParams::default().fields(&format!("metadata.name={}", key.name)).limit(1);
    let found = Api::<Service>::namespaced(client.clone(), &key.namespace).list_metadata(&named).await;
    ObjectReference {
        api_version: Some(key.kind.api_version().into()),
        kind: Some(key.kind.as_str().into()),
        namespace: Some(key.namespace.to_string()),
        name: Some(key.name.to_string()),
        uid: found.ok().and_then(|list| list.items.first().and_then(|service| service.uid())),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests;
