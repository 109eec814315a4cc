//! The agent: one process for each node, the only writer of its tables.
//!
//! One thread runs the control loop: sources' events and netlink's changes in, tables, programs and routes out. Reading
//! manifests, waiting for readers and answering probes each have a thread of their own.
//!
//! What it has done stays when it ends, however it ends: nothing here is taken back by a destructor.

mod adopt;
mod attachments;
mod cgroup;
mod control;
mod facts;
mod housekeeping;
mod log;
mod reporter;
mod retry;
mod routes;
mod start;
mod status;
mod takeover;
mod uplink;

use std::pin::pin;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::cli::{AgentArgs, Places};
use crate::observe::{self, Moment, Observed};
use crate::runtime;
use crate::source::{SourceKind, Updates, kubernetes, manifests};

use self::control::Control;
pub(crate) use self::status::AgentStatus;

/// Batches of changes that wait for the control loop at most.
const WAITING: usize = 4;

/// Serves the node until the process is asked to end. The warnings, of the configuration, are logged first.
///
/// # Errors
/// What keeps the agent from starting. Once it serves, it reports and tries again.
pub(crate) fn run(args: &AgentArgs, places: &Places, warnings: &[String]) -> Result<()> {
    log::start(&args.log, args.log_format)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    penstock_kernel::sys::heap::use_one_arena();
    let runtime = runtime::new()?;
    let result = runtime.block_on(serve(args, places));
    // A name that is being looked up must not keep the process.
    runtime.shutdown_background();
    result
}

async fn serve(args: &AgentArgs, places: &Places) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut started = start::start(args, places).await?;
    let observed = Arc::new(Observed::new(Moment::now()));
    let readers = started.readers().context("the tables have a writer already")?;
    let (health, metrics) = (&args.healthz_bind_address, &args.metrics_bind_address);
    let listeners = observe::start(health, metrics, &observed, readers)?;
    let (sender, updates) = mpsc::channel(WAITING);
    start_source(args, sender, &observed).await?;
    let mut control = Control::new(&mut started, updates, observed, listeners).await?;
    let end = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    control.run(pin!(end)).await?;
    tracing::info!("ending; programs and tables stay and serve");
    Ok(())
}

async fn start_source(args: &AgentArgs, updates: Updates, observed: &Arc<Observed>) -> Result<()> {
    match &args.source {
        SourceKind::Manifests(directory) => manifests::spawn(directory, updates),
        SourceKind::Kubernetes => {
            let client = kubernetes::connect(args.kubeconfig.as_deref(), &args.apiserver).await?;
            observed.send_events(client.clone(), &args.node);
            tokio::spawn(kubernetes::run(client, updates));
            Ok(())
        }
    }
}
