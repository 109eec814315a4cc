//! From whoever served before to our programs, without a gap: an earlier agent's are replaced where they are, connections
//! that kube-proxy began are taken over while ours are attached.

use std::path::Path;

use anyhow::Result;
use penstock_kernel::{Hook, Programs, Tables};

use super::adopt;
use super::attachments::Attachments;
use super::start::Started;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing of ours serves: the tables are not whole yet.
    Waiting,
    /// New connections at sockets are ours; devices get their programs, and connections of kube-proxy's become ours.
    Adopting,
    /// All is attached, or was attached by an earlier agent.
    Serving,
}

impl Stage {
    /// Whether programs of ours serve.
    pub(super) fn serves(self) -> bool {
        self != Self::Waiting
    }
}

/// Replaces an earlier agent's programs.
///
/// # Errors
/// The kernel refuses a program, or flows cannot be carried over to new tables.
pub(super) async fn replace(started: &mut Started) -> Result<()> {
    attach(started, &Hook::SOCKET).await
}

/// Lets our programs have the new connections of sockets, so that kube-proxy gets none, and takes over what it has: from
/// [`Stage::Waiting`] to [`Stage::Adopting`].
///
/// # Errors
/// As [`replace`].
pub(super) async fn begin(tables: &Tables, started: &mut Started) -> Result<()> {
    if let Err(error) = adopt::prepare(tables) {
        tracing::warn!("closed connections of kube-proxy's: {error:#}");
    }
    let hooks: Vec<_> = Hook::SOCKET.into_iter().filter(|hook| !Hook::OPEN_SOCKET.contains(hook)).collect();
    attach(started, &hooks).await?;
    adopt(tables);
    Ok(())
}

/// Takes over the rest, then lets our programs have the datagrams of open sockets. To be called once the devices have their
/// programs; `everywhere` says whether all of them do. If so, it is done: from [`Stage::Adopting`] to [`Stage::Serving`].
///
/// # Errors
/// The kernel refuses a program.
pub(super) fn finish(
    tables: &Tables,
    attachments: &Attachments,
    programs: &Programs,
    cgroup: Option<&Path>,
    everywhere: bool,
) -> Result<()> {
    if everywhere {
        // What has begun meanwhile.
        adopt(tables);
        if let Err(error) = adopt::release(tables) {
            tracing::warn!("connections of kube-proxy's: {error:#}");
        }
    }
    // A socket that is open already sends straight to a backend from the same port from now on. While the kernel still knew
    // its former way, it would give it another port, and not see the answers. Where a device is without its program, that is
    // the smaller harm: these sockets are not to wait for it.
    attachments.sockets(programs, cgroup, &Hook::OPEN_SOCKET)
}

/// That this fails costs kube-proxy's connections, and nothing else.
fn adopt(tables: &Tables) {
    match adopt::adopt(tables) {
        Ok(0) => {}
        Ok(adopted) => tracing::info!(adopted, "took over connections that the kernel translated"),
        Err(error) => tracing::warn!("open connections of kube-proxy's may end: {error:#}"),
    }
}

/// Attaches to these hooks of sockets and wherever an earlier agent had its programs, then removes what only those needed.
async fn attach(started: &mut Started, sockets: &[Hook]) -> Result<()> {
    let Started { attachments, programs, migration, net, cgroup, .. } = started;
    attachments.take_over(programs, net).await?;
    attachments.sockets(programs, cgroup.as_deref(), sockets)?;
    let carried = migration.finish()?;
    if carried > 0 {
        tracing::info!(carried, "carried live connections over to new tables");
    }
    Ok(())
}
