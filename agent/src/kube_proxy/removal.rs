//! Removing what kube-proxy has left.
//!
//! Connections that it translated go on: the kernel's entry of each holds the whole translation, and rules are asked for a
//! connection's first packet only. So nothing here touches those entries, and a table of ours keeps the kernel translating
//! where kube-proxy's rules were the last that asked for it ([`tables::KEEPER`]).

use anyhow::{Context, Result};
use penstock_kernel::conntrack;

use super::names;
use super::tables::{self, NftTables};
use super::tools::Tools;
use super::traces::Traces;

/// Removes what was found. Gives what was done, one line each.
///
/// # Errors
/// A tool fails. What was removed until then stays so; calling again goes on.
pub(super) fn remove(tools: &Tools, traces: &Traces) -> Result<Vec<String>> {
    let mut done = traces.remains();
    let script = tables::script(&traces.nft.kube_proxy, &traces.translated());
    if !script.is_empty() && tools.run("nft", &["-f", "-"], &script).context("remove tables")?.is_none() {
        done.push("nft is not found, to keep open connections translated: some may end".into());
    }
    for (backend, plan) in traces.rules.iter().filter(|(_, plan)| !plan.is_empty()) {
        tools
            .run(backend.restore, &["--noflush", "--wait", "10"], &plan.script())
            .with_context(|| format!("remove rules of {}", backend.title))?
            .with_context(|| format!("{} is not found", backend.restore))?;
    }
    if traces.device {
        tools
            .run("ip", &["link", "delete", "dev", names::IPVS_DEVICE], "")
            .context("remove the device of ipvs mode")?
            .context("ip is not found, to remove the device of ipvs mode")?;
    }
    for set in &traces.sets {
        tools.run("ipset", &["destroy", set], "").context("remove sets")?;
    }
    Ok(done)
}

/// Removes the table that keeps the kernel translating; unless asked to anyway, only where no open connection is translated
/// any more. Gives whether there was one to remove.
///
/// # Errors
/// A tool fails, or the kernel does not list its connections.
pub(crate) fn release(tools: &Tools, anyway: bool) -> Result<bool> {
    let Some(listed) = tools.run("nft", &["-j", "list", "tables"], "")? else { return Ok(false) };
    let NftTables { keeper, .. } = NftTables::new(&listed).context("read what nft lists")?;
    if keeper.is_empty()
        || (!anyway && conntrack::translated()?.iter().any(|connection| connection.is_open()))
    {
        return Ok(false);
    }
    tools.run("nft", &["-f", "-"], &tables::release(&keeper))?;
    Ok(true)
}
