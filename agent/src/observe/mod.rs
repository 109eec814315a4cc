//! What an operator sees of a running agent: health, readiness and metrics by HTTP, Events in the cluster.
//!
//! Data flows one way. The control loop tells [`Observed`] what it has done, by plain stores; a thread of its own answers requests
//! from that, and reads the kernel's counters when it is asked for them. So nobody who asks holds up the loop, and a loop that hangs is
//! seen from outside. Nothing here decides anything.

mod address;
mod health;
mod metrics;
mod notice;
mod routes;
mod server;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use kube::Client;
use penstock_model::tables::PerFamily;
use penstock_model::{Problem, Warning};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

pub(crate) use self::address::BindAddresses;
use self::health::Health;
pub(crate) use self::health::Moment;
pub(crate) use self::metrics::ToldChanges;
use self::metrics::{Exposition, KernelMetrics, Metrics};
pub(crate) use self::notice::Notice;
use self::routes::Routes;
pub(crate) use self::server::Listener;
use crate::runtime;
use crate::tables::KernelReaders;

/// What the control loop tells and the servers read.
#[derive(Debug)]
pub(crate) struct Observed {
    health: Mutex<Health>,
    pub(crate) metrics: Metrics,
    /// Where Events are left to be sent; nowhere while there is no API to send them to.
    notices: OnceLock<mpsc::Sender<Notice>>,
}

impl Observed {
    /// An agent that starts.
    pub(crate) fn new(now: Moment) -> Self {
        Self { health: Mutex::new(Health::new(now)), metrics: Metrics::default(), notices: OnceLock::new() }
    }

    /// The control loop has something to do.
    pub(crate) fn woken(&self, now: Moment) {
        self.health().queued(now);
    }

    /// The control loop has done what there was to do, but for what has failed.
    pub(crate) fn rested(&self, failed: PerFamily<bool>, now: Moment) {
        self.health().done(failed, now);
    }

    /// What this node's own object says of whether load balancers should send here.
    pub(crate) fn set_eligible(&self, eligible: bool) {
        self.health().set_eligible(eligible);
        self.metrics.agent.set_eligible(eligible);
    }

    /// The first full sync is through and the programs are attached.
    pub(crate) fn set_ready(&self) {
        self.health().set_ready();
        self.metrics.agent.set_ready();
    }

    /// Sends Events about this node and what it serves to the cluster from now on.
    pub(crate) fn send_events(self: &Arc<Self>, client: Client, node: &str) {
        self.notices.get_or_init(|| notice::start(client, node, Arc::clone(self)));
    }

    /// Tells the cluster something, where it can be told. Does not wait; where too much waits already, it is dropped.
    pub(crate) fn notify(&self, notice: Notice) {
        if let Some(notices) = self.notices.get()
            && notices.try_send(notice).is_err()
        {
            self.metrics.agent.notice_lost();
        }
    }

    /// Tells the cluster of a part of an object that was skipped, where its owner would not see it otherwise.
    pub(crate) fn notify_of(&self, warning: &Warning) {
        if let Problem::Claimed { frontend, owner } = &warning.problem {
            let (loser, owner) = (warning.object.clone(), owner.clone());
            self.notify(Notice::PortConflict { loser, frontend: *frontend, owner });
        }
    }

    /// What probes are answered from.
    pub(crate) fn health(&self) -> MutexGuard<'_, Health> {
        // Each change of it is one store: it is whole at any time.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The servers of an agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Server {
    /// For probes: of kubelet and of load balancers.
    Health,
    /// For those who look at this agent.
    Metrics,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Health => "health",
            Self::Metrics => "metrics",
        })
    }
}

/// Starts the servers, on a thread of their own that ends with the process. Gives how each of their addresses is.
///
/// # Errors
/// There is no thread to be had. That an address is taken is no error.
pub(crate) fn start(
    health: &BindAddresses,
    metrics: &BindAddresses,
    observed: &Arc<Observed>,
    readers: Arc<KernelReaders>,
) -> Result<watch::Receiver<Vec<Listener>>> {
    let addresses = |server, addresses: &BindAddresses| -> Vec<(Server, SocketAddr)> {
        addresses.0.iter().map(|address| (server, *address)).collect()
    };
    let addresses = [addresses(Server::Health, health), addresses(Server::Metrics, metrics)].concat();
    let starting = Some("starting".to_owned());
    let listener = |(server, address): &(Server, SocketAddr)| Listener {
        server: *server,
        address: *address,
        problem: starting.clone(),
    };
    let (sender, listeners) = watch::channel(addresses.iter().map(listener).collect::<Vec<_>>());
    let exposition = Exposition::new(&observed.metrics, KernelMetrics::new(readers));
    let routes = Arc::new(Routes::new(Arc::clone(observed), exposition));
    let runtime = runtime::new()?;
    thread::Builder::new()
        .name("observe".into())
        .spawn(move || {
            let servers = addresses
                .into_iter()
                .map(|(server, address)| server::serve(server, address, Arc::clone(&routes), sender.clone()));
            runtime.block_on(futures::future::join_all(servers));
        })
        .context("start a thread for health and metrics")?;
    Ok(listeners)
}
