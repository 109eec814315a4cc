//! `penstock cleanup kube-proxy`.

use anyhow::{Result, bail};

use super::removal;
use super::tools::Tools;
use super::traces::Traces;
use crate::cli::{KubeProxyArgs, Places};

/// Removes what a kube-proxy has left on this node, and nothing of anyone else's.
///
/// # Errors
/// A kube-proxy runs, which would make everything anew; or a tool is missing or fails. Calling again goes on.
pub(crate) fn run(args: KubeProxyArgs, places: &Places) -> Result<()> {
    let tools = Tools::new(places.host_root.as_deref());
    let traces = Traces::look(&tools)?;
    let say = |lines: &[String]| lines.iter().for_each(|line| println!("{line}"));
    if args.dry_run {
        println!("kube-proxy: {traces}");
        say(&traces.remains());
        say(&traces.notes());
        return Ok(());
    }
    if let Some(running) = traces.running.as_ref().filter(|_| !args.force) {
        bail!(
            "a kube-proxy {running} on this node and would make everything anew: end it first, in most clusters by \
             `kubectl -n kube-system delete daemonset kube-proxy`, or give --force"
        );
    }
    if traces.is_clean() {
        println!("there is nothing of kube-proxy's on this node");
    } else {
        for line in removal::remove(&tools, &traces)? {
            println!("removed {line}");
        }
    }
    say(&traces.notes());
    Ok(())
}
