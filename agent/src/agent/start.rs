//! From nothing to a dataplane that is ready to be written: lock, checks, tables, programs.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use penstock_abi::Config;
use penstock_kernel::attach::{Attacher, DeviceMode};
use penstock_kernel::features::{self, Features};
use penstock_kernel::node::{Monitor, NodeNet};
use penstock_kernel::sysctl::Switches;
use penstock_kernel::{
    Dataplane, Error, Grace, Lock, Migration, Pins, Programs, Settings, TableSizes, Tables,
};

use super::attachments::Attachments;
use super::cgroup;
use super::status::AgentStatus;
use super::uplink;
use crate::cli::{AgentArgs, Attach, Bypass, Places, SizeArgs, Switch};
use crate::kube_proxy::Tools as HostTools;
use crate::kube_proxy::watch::Watch;
use crate::tables::{KernelReaders, KernelTables};

/// All that the control loop works on.
pub(super) struct Started {
    pub(super) programs: Programs,
    /// The tables hold what an earlier agent wrote: the programs may be attached before the source has told anything.
    pub(super) restored: bool,
    pub(super) migration: Migration,
    pub(super) attachments: Attachments,
    /// The group below which sockets are served.
    pub(super) cgroup: Option<PathBuf>,
    pub(super) monitor: Monitor,
    pub(super) net: NodeNet,
    pub(super) uplink: Option<String>,
    /// Whether routes to the pods of other nodes are made.
    pub(super) direct_routes: bool,
    pub(super) kube_proxy: Watch,
    pub(super) bypass: Bypass,
    pub(super) run_dir: PathBuf,
    pub(super) status: AgentStatus,
    tables: Option<KernelTables>,
    _lock: Lock,
}

impl Started {
    /// The tables, seen from the side. `None` once they were taken.
    pub(super) fn readers(&self) -> Option<Arc<KernelReaders>> {
        self.tables.as_ref().map(KernelTables::readers)
    }

    /// The tables, once.
    pub(super) fn take_tables(&mut self) -> Result<KernelTables> {
        self.tables.take().context("the tables have a writer already")
    }
}

/// Opens everything and attaches nothing.
///
/// # Errors
/// What is missing, by name, and what to do about it. Nothing was changed that a serving dataplane needs.
pub(super) async fn start(args: &AgentArgs, places: &Places) -> Result<Started> {
    let features = features::check()
        .map_err(|missing| anyhow!(missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
    let mode = device_mode(args.attach, features)?;
    let lock = Lock::take(&places.run_dir)?;
    let mut status = AgentStatus {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").into(),
        schema: places.schema,
        node: args.node.clone(),
        source: args.source.to_string(),
        attach: match mode {
            DeviceMode::Tcx => "tcx".into(),
            DeviceMode::Clsact => "clsact".into(),
        },
        socket_lb: args.socket_lb == Switch::On,
        ..AgentStatus::default()
    };
    status.cgroup = match (args.socket_lb, &args.cgroup) {
        (Switch::Off, _) => None,
        (Switch::On, Some(path)) => Some(cgroup::at(path)?),
        (Switch::On, None) => Some(cgroup::mounted()?),
    };
    status.write(&places.run_dir)?;

    // Before the first look at the node, so that nothing is missed between the two.
    let monitor = Monitor::open()?;
    let net = NodeNet::read().await?;
    if let Some(name) = &args.uplink {
        net.device_named(name).with_context(|| format!("--uplink {name}: there is no such device"))?;
    }
    let pins = Pins::new(&places.bpffs).with_schema(places.schema);
    let pins = match args.mount_bpffs {
        Switch::On => pins,
        Switch::Off => pins.without_mounting(),
    };
    let Dataplane { tables, programs, restored, migration } =
        Dataplane::open(&Settings { pins: pins.clone(), sizes: sizes(args.sizes) })?;
    // An agent that was to fill these tables ended before it did: what they replace still serves.
    let restored = restored && !(migration.is_pending() && is_empty(&tables)?);
    tables.config.store_u32(0, std::mem::offset_of!(Config, event_sample), args.event_sample)?;
    if !restored || args.bypass == Bypass::Off {
        // Until the first look for a kube-proxy.
        uplink::follow(&tables, true, restored)?;
    }
    let switches = Switches::at(&args.sysctls);
    switches.enable_forwarding()?;
    if status.cgroup.is_none() && switches.reverse_path_filter_of_all() {
        tracing::warn!(
            "net.ipv4.conf.all.rp_filter is on: without the socket hooks, this node's own programs reach no Service backend on this \
             node; set it to 0"
        );
    }
    tracing::info!(
        node = args.node,
        source = status.source,
        schema = places.schema,
        attach = status.attach,
        socket_lb = status.socket_lb,
        restored,
        migrating = migration.is_pending(),
        "starting"
    );
    Ok(Started {
        programs,
        restored,
        migration,
        attachments: Attachments::new(Attacher::new(&pins, mode), switches),
        cgroup: status.cgroup.clone(),
        monitor,
        net,
        uplink: args.uplink.clone(),
        direct_routes: args.direct_routes == Switch::On,
        bypass: args.bypass,
        kube_proxy: Watch::start(
            HostTools::new(places.host_root.as_deref()),
            args.replace_kube_proxy == Switch::On,
        )?,
        run_dir: places.run_dir.clone(),
        status,
        tables: Some(KernelTables::new(tables, Grace::new()?)),
        _lock: lock,
    })
}

fn is_empty(tables: &Tables) -> Result<bool, Error> {
    Ok(tables.frontends4.dump()?.is_empty() && tables.frontends6.dump()?.is_empty())
}

fn device_mode(attach: Attach, features: Features) -> Result<DeviceMode> {
    match (attach, features.tcx) {
        (Attach::Auto | Attach::Tcx, true) => Ok(DeviceMode::Tcx),
        (Attach::Auto, false) | (Attach::Clsact, _) => Ok(DeviceMode::Clsact),
        (Attach::Tcx, false) => {
            let release = features::release();
            Err(Error::MissingFeature { feature: "TCX (use --attach auto)", since: "Linux 6.6", release }
                .into())
        }
    }
}

fn sizes(args: SizeArgs) -> TableSizes {
    TableSizes {
        services: args.max_services,
        backends: args.max_backends,
        slots: args.max_slots,
        frontends: args.max_frontends,
        flows: args.max_flows,
        ..TableSizes::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcx_is_taken_where_there_is_and_its_absence_is_named_where_it_was_asked_for() {
        let (with, without) = (Features { tcx: true }, Features { tcx: false });
        assert_eq!(device_mode(Attach::Auto, with).unwrap(), DeviceMode::Tcx);
        assert_eq!(device_mode(Attach::Auto, without).unwrap(), DeviceMode::Clsact);
        assert_eq!(device_mode(Attach::Clsact, with).unwrap(), DeviceMode::Clsact);
        assert!(device_mode(Attach::Tcx, without).unwrap_err().to_string().contains("TCX"));
    }
}
