//! `penstock cleanup`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail};
use penstock_kernel::{Lock, Pins, cleanup};
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::AgentStatus;
use crate::cli::Places;
use crate::{kube_proxy, runtime};

/// Removes what Penstock made on this node, and nothing else.
///
/// # Errors
/// An agent runs, or the kernel refuses. Calling again goes on.
pub(crate) fn run(wait: bool, places: &Places) -> Result<()> {
    if let Some(pid) = Lock::holder(&places.run_dir) {
        bail!("an agent (pid {pid}) runs on this node: end it first, or it makes everything anew");
    }
    let status = AgentStatus::read(&places.run_dir).ok().flatten();
    let cgroup = status.and_then(|status| status.cgroup).filter(|path| path.exists());
    let runtime = runtime::new()?;
    let removed = runtime
        .block_on(cleanup::cleanup(&Pins::new(&places.bpffs), cgroup.as_deref()))
        .context("remove programs, routes and tables")?;
    let tools = kube_proxy::Tools::new(places.host_root.as_deref());
    kube_proxy::release(&tools, true).context("remove what keeps kube-proxy's connections translated")?;
    AgentStatus::remove(&places.run_dir)?;
    remove_run_dir(&places.run_dir)?;
    println!(
        "detached {} programs, removed {} routes and {} sets of tables",
        removed.detached.len(),
        removed.routes.len(),
        removed.maps.len()
    );
    if wait { runtime.block_on(until_asked_to_end()) } else { Ok(()) }
}

async fn until_asked_to_end() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Removes the lock's file, and the directory where nothing else is in it.
fn remove_run_dir(run_dir: &Path) -> Result<()> {
    let missing = |error: &std::io::Error| error.kind() == ErrorKind::NotFound;
    for name in ["agent.pid", "status.next"] {
        match fs::remove_file(run_dir.join(name)) {
            Err(error) if !missing(&error) => {
                return Err(error).with_context(|| format!("remove {}", run_dir.join(name).display()));
            }
            _ => {}
        }
    }
    match fs::remove_dir(run_dir) {
        Ok(()) => Ok(()),
        Err(error) if missing(&error) || error.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
        // What a container says of a directory of the host's that is mounted in it.
        Err(error) if matches!(error.kind(), ErrorKind::ResourceBusy | ErrorKind::ReadOnlyFilesystem) => {
            Ok(())
        }
        Err(error) => Err(error).with_context(|| format!("remove {}", run_dir.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_directory_goes_with_what_is_ours_and_stays_with_what_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let run_dir = parent.path().join("penstock");
        remove_run_dir(&run_dir).unwrap();
        fs::create_dir(&run_dir).unwrap();
        fs::write(run_dir.join("agent.pid"), "1\n").unwrap();
        fs::write(run_dir.join("other"), "").unwrap();
        remove_run_dir(&run_dir).unwrap();
        assert!(run_dir.join("other").exists() && !run_dir.join("agent.pid").exists());
        fs::remove_file(run_dir.join("other")).unwrap();
        remove_run_dir(&run_dir).unwrap();
        assert!(!run_dir.exists());
    }
}
