//! The control loop: what the source tells and what netlink tells, in; tables, programs and routes, out.

use std::collections::{BTreeSet, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use penstock_kernel::node::NodeNet;
use penstock_kernel::{Hook, sys};
use penstock_model::objects::{Event, Kind, TriggerTime};
use penstock_model::tables::{Family, PerFamily, TableError};
use penstock_model::{Controller, Reclaimed, Report};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

use super::adopt;
use super::attachments::Wanted;
use super::facts::{OwnNode, facts, uplinks};
use super::housekeeping::Housekeeping;
use super::retry::Retry;
use super::routes;
use super::start::Started;
use super::status::AgentStatus;
use super::uplink;
use crate::cli::Bypass;
use crate::observe::{Listener, Moment, Notice, Observed, ToldChanges};
use crate::source::Update;
use crate::tables::KernelTables;

/// Events that are taken in at once at most, however many wait.
const COALESCE: usize = 16_384;
/// How often what programs of a debug build have logged is passed on.
const FLUSH: Duration = Duration::from_millis(250);
/// Lines of the log that are remembered so that none is logged twice; beyond, some are.
const REMEMBERED: usize = 4_096;

/// Parts of the work that fail apart from each other.
const TABLES: &str = "tables";
const PROGRAMS: &str = "programs";
const ROUTES: &str = "routes";
const NETLINK: &str = "netlink";

/// The agent at work.
pub(super) struct Control<'a> {
    started: &'a mut Started,
    updates: mpsc::Receiver<Update>,
    controller: Controller<KernelTables>,
    housekeeping: Housekeeping,
    own: OwnNode,
    retry: Retry,
    /// What is not to be logged again.
    said: HashSet<String>,
    /// The programs serve: attached, at devices and sockets, with the tables behind them.
    serving: bool,
    /// Connections of kube-proxy's were taken over, and the programs that carry them are being attached.
    adopting: bool,
    /// The source has told everything, and the tables follow.
    converged: bool,
    /// A list was told since tables were last written, so that a whole kind of objects is compared.
    relisted: bool,
    /// What of a kube-proxy's was removed when this agent took over.
    removed: Option<Vec<String>>,
    /// The tables that had no room at the last attempt.
    full: BTreeSet<&'static str>,
    /// The families whose tables are not what they should be.
    tables_failed: PerFamily<bool>,
    observed: Arc<Observed>,
    listeners: watch::Receiver<Vec<Listener>>,
    /// The status as it was written last.
    written: AgentStatus,
}

/// What ended a wait.
enum Wake {
    Update(Option<Update>),
    Net(Result<(), penstock_kernel::Error>),
    Reclaimed(Option<Result<Reclaimed, TableError>>),
    Listeners,
    KubeProxy,
    Time,
}

impl<'a> Control<'a> {
    /// Takes up what an earlier agent left: where its tables are whole, its programs are replaced at once.
    ///
    /// # Errors
    /// The tables cannot be read, or the programs not be replaced.
    pub(super) async fn new(
        started: &'a mut Started,
        updates: mpsc::Receiver<Update>,
        observed: Arc<Observed>,
        mut listeners: watch::Receiver<Vec<Listener>>,
    ) -> Result<Self> {
        let own = OwnNode::new(&started.status.node);
        let written = started.status.clone();
        started.status.servers.clone_from(&listeners.borrow_and_update());
        let serving = started.restored;
        if serving {
            attach_everywhere(started).await?;
        }
        let tables = started.take_tables()?;
        let readers = tables.readers();
        let facts = facts(&started.net, &own, uplinks(&started.net, &own, started.uplink.as_deref()));
        let mut controller = Controller::new(facts, tables).context("read the tables of an earlier agent")?;
        controller.keep_triggers(trigger_time(SystemTime::now()));
        Ok(Self {
            started,
            updates,
            controller,
            housekeeping: Housekeeping::start(readers)?,
            own,
            retry: Retry::default(),
            said: HashSet::new(),
            serving,
            adopting: false,
            converged: false,
            relisted: false,
            removed: None,
            full: BTreeSet::new(),
            tables_failed: PerFamily::default(),
            observed,
            listeners,
            written,
        })
    }

    /// Works until it is to end, but never in the middle of a change, or until something ends the source, which nothing
    /// should.
    ///
    /// # Errors
    /// The source has ended.
    pub(super) async fn run(&mut self, mut end: Pin<&mut impl Future<Output = ()>>) -> Result<()> {
        self.follow_net(None).await;
        loop {
            let deadline = self.deadline();
            let wake = tokio::select! {
                () = &mut end => return Ok(()),
                update = self.updates.recv() => Wake::Update(update),
                result = self.started.monitor.changed() => Wake::Net(result),
                result = self.housekeeping.done() => Wake::Reclaimed(result),
                Ok(()) = self.listeners.changed() => Wake::Listeners,
                Ok(()) = self.started.kube_proxy.sight.changed() => Wake::KubeProxy,
                () = sleep_until(deadline.into()) => Wake::Time,
            };
            self.observed.woken(Moment::now());
            match wake {
                Wake::Update(None) => bail!("the source of objects has ended"),
                Wake::Update(Some(update)) => self.take_updates(update).await,
                Wake::Net(Ok(())) => self.read_net().await,
                Wake::Net(Err(error)) => self.retry.set(NETLINK, vec![error.to_string()], Instant::now()),
                Wake::Reclaimed(None) => bail!("the thread of housekeeping has ended"),
                Wake::Reclaimed(Some(result)) => self.release(result).await,
                Wake::KubeProxy => self.see_kube_proxy(),
                Wake::Listeners => self.started.status.servers.clone_from(&self.listeners.borrow()),
                Wake::Time => {}
            }
            self.on_time().await;
            self.tell();
        }
    }

    fn deadline(&self) -> Instant {
        let idle = if cfg!(debug_assertions) { FLUSH } else { Duration::from_secs(60) };
        let times = [self.retry.at(), self.housekeeping.due_at()];
        times.into_iter().flatten().fold(Instant::now() + idle, Instant::min)
    }

    async fn on_time(&mut self) {
        let now = Instant::now();
        if self.retry.take(now) {
            self.try_again().await;
        }
        self.housekeeping.plan(self.controller.due(), now);
        if self.housekeeping.is_due(now) {
            let reclaim = self.controller.reclaim();
            self.housekeeping.run(reclaim);
        }
        self.write_status();
        self.started.programs.flush_log();
    }

    /// Lets those who watch this agent see where it is.
    fn tell(&mut self) {
        let both = [PROGRAMS, ROUTES, NETLINK].into_iter().any(|part| self.retry.failed(part));
        let PerFamily { v4, v6 } = self.tables_failed;
        self.observed.rested(PerFamily { v4: both | v4, v6: both | v6 }, Moment::now());
        let metrics = &self.observed.metrics.agent;
        for kind in [Kind::Service, Kind::EndpointSlice, Kind::Node] {
            metrics.set_objects(kind, self.controller.view().count(kind));
        }
        metrics.set_node(self.started.status.pods, self.started.attachments.devices());
        metrics.set_failures(self.retry.all().count());
    }

    /// Takes in an update and all that wait behind it: a burst is one change.
    async fn take_updates(&mut self, first: Update) {
        let mut events = Vec::new();
        let mut next = Some(first);
        let mut completed = false;
        while let Some(update) = next {
            match update {
                Update::Events(more) => events.extend(more),
                Update::Health(health) => {
                    self.controller.set_complete(!health.incomplete);
                    completed = !health.incomplete && !self.started.status.source_problems.is_empty();
                    self.observed.metrics.agent.set_source_problems(health.problems.len());
                    self.started.status.source_problems = health.problems;
                    self.started.status.ignored_objects = health.ignored;
                }
            }
            next = if events.len() < COALESCE { self.updates.try_recv().ok() } else { None };
        }
        if completed || !events.is_empty() {
            self.take_events(events).await;
        }
    }

    async fn take_events(&mut self, events: Vec<Event>) {
        let moved = events.iter().fold(false, |moved, event| self.own.observe(event) | moved);
        if self.own.eligible() != self.started.status.node_eligible {
            self.started.status.node_eligible = self.own.eligible();
            self.observed.set_eligible(self.own.eligible() == Some(true));
        }
        self.observed.metrics.proxy.queued(told_changes(&events), SystemTime::now());
        if moved {
            // First, so that what the events bring is written once, with the right ways.
            self.follow_net(None).await;
        }
        let count = events.len();
        self.relisted |= events.iter().any(|event| matches!(event, Event::Replace(..)));
        let ranges_told = events.iter().any(|event| event.kind() == Kind::ServiceCidr);
        self.commit(count, |controller| controller.apply(events)).await;
        if ranges_told {
            let ranges = self.controller.view().service_cidrs();
            self.started.status.service_cidrs = ranges.iter().map(ToString::to_string).collect();
        }
    }

    /// Lets the model write, and everything else follow what it has written.
    async fn commit(&mut self, events: usize, work: impl FnOnce(&mut Controller<KernelTables>) -> Report) {
        let (before, started) = (self.controller.tables().writes(), Instant::now());
        let report = work(&mut self.controller);
        let (duration, ops) = (started.elapsed(), self.controller.tables().writes() - before);
        if report.committed > 0 || ops > 0 {
            let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
            tracing::info!(events, services = report.committed, ops, micros, "reconciled");
        }
        self.count(&report, duration, ops);
        for warning in &report.warnings {
            let text = warning.to_string();
            if self.is_news(&text) {
                tracing::warn!("{text}");
                self.observed.notify_of(warning);
            }
        }
        let failures = report.failures.iter().map(ToString::to_string).collect();
        self.retry.set(TABLES, failures, Instant::now());
        let first = report.synced && !self.converged;
        self.converged |= report.synced;
        if report.routes_changed || first {
            self.follow_routes().await;
        }
        if first {
            self.become_ready().await;
        }
    }

    /// Whether something is to be logged: it was not yet, as far as is remembered.
    fn is_news(&mut self, text: &str) -> bool {
        if self.said.len() >= REMEMBERED {
            self.said.clear();
        }
        !self.said.contains(text) && self.said.insert(text.to_owned())
    }

    /// Counts what a round of writing came to.
    fn count(&mut self, report: &Report, duration: Duration, ops: u64) {
        let now = SystemTime::now();
        let metrics = &self.observed.metrics;
        let mut failed = PerFamily { v4: false, v6: false };
        let mut full = BTreeSet::new();
        for failure in &report.failures {
            if let TableError::Full { table, size } = failure.error
                && full.insert(table)
                && !self.full.contains(table)
            {
                self.observed.notify(Notice::TableFull { table, size });
            }
            let table = failure.error.table();
            metrics.agent.update_failed(table);
            for family in Family::ALL {
                *failed.get_mut(family) |= table.and_then(family_of).is_none_or(|of| of == family);
            }
        }
        (self.full, self.tables_failed) = (full, failed);
        for warning in &report.warnings {
            metrics.agent.warned(warning.object.kind);
        }
        if report.committed > 0 || ops > 0 || !report.failures.is_empty() {
            metrics.agent.reconciled(duration, ops, now);
            if report.synced {
                let full = std::mem::take(&mut self.relisted) || !self.converged;
                metrics.proxy.synced(duration, full, failed, now);
            }
        }
        if report.synced && report.failures.is_empty() {
            metrics.proxy.caught_up();
        }
        for (family, trigger) in &report.triggers {
            metrics.proxy.programmed(*family, *trigger, now);
        }
    }

    /// The tables follow the cluster for the first time: now the programs may serve, and what is stale may go.
    async fn become_ready(&mut self) {
        self.follow_programs().await;
        for family in [Family::V4, Family::V6] {
            let has_address = self.own.internal().iter().any(|ip| Family::of(*ip) == family);
            let found = uplinks(&self.started.net, &self.own, self.started.uplink.as_deref());
            if has_address && found.get(family).is_none() {
                tracing::warn!("no device has this node's InternalIP of {family}: --uplink names one");
            }
        }
        if let Some(missing) = self.own.missing() {
            tracing::warn!(node = self.started.status.node, "{missing}");
        }
        self.ready_if_serving();
    }

    fn ready_if_serving(&mut self) {
        if self.converged && self.serving && !self.retry.failed(PROGRAMS) && !self.started.status.synced {
            self.started.status.synced = true;
            self.observed.set_ready();
            self.started.kube_proxy.serving.store(true, Ordering::Release);
            self.observed.notify(Notice::Ready);
            self.write_status();
            tracing::info!(
                devices = self.started.attachments.devices(),
                pods = self.started.status.pods,
                "ready"
            );
            sys::heap::trim();
        }
    }

    /// Attaches where a program is missing and detaches where one is not wanted; before the tables are whole, neither.
    async fn follow_programs(&mut self) {
        let mut failures = Vec::new();
        if !self.serving && self.converged {
            if let Err(error) = adopt::prepare(self.controller.tables().kernel()) {
                tracing::warn!("closed connections of kube-proxy's: {error:#}");
            }
            match attach_everywhere(self.started).await {
                Ok(()) => {
                    // Between the sockets, so that kube-proxy gets no new connection, and the devices.
                    self.adopt();
                    self.serving = true;
                }
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        if self.serving {
            let Started { net, attachments, programs, uplink, cgroup, .. } = &mut *self.started;
            let found = uplinks(net, &self.own, uplink.as_deref());
            // The node's own calls are translated at the socket. Where they are not, or were not until this agent came, its packets
            // are: a flow that began that way needs it until it ends.
            let egress = |device: &_| cgroup.is_none() || attachments.has(Hook::UplinkEgress, device);
            let wanted = Wanted::new(net, [found.v4, found.v6].into_iter().flatten(), egress);
            attachments.attach_wanted(programs, &wanted, &mut failures).await;
            if self.adopting && failures.is_empty() {
                self.adopting = false;
                if let Err(error) = adopt::release(self.controller.tables().kernel()) {
                    tracing::warn!("connections of kube-proxy's: {error:#}");
                }
            }
            if self.converged {
                attachments.detach_unwanted(net, &wanted, &mut failures).await;
            }
        }
        self.retry.set(PROGRAMS, failures, Instant::now());
    }

    /// Takes over what kube-proxy has begun. That this fails costs those connections, and nothing else.
    fn adopt(&mut self) {
        self.adopting = true;
        match adopt::adopt(self.controller.tables().kernel()) {
            Ok(0) => {}
            Ok(adopted) => tracing::info!(adopted, "took over connections that the kernel translated"),
            Err(error) => tracing::warn!("open connections of kube-proxy's may end: {error:#}"),
        }
    }

    async fn follow_routes(&mut self) {
        let desired = if self.started.direct_routes { self.controller.routes() } else { Vec::new() };
        let followed = routes::follow(&desired, self.converged).await;
        self.retry.set(ROUTES, followed.failures, Instant::now());
        for route in followed.left {
            let text = format!(
                "{}/{}: someone else's route leads there, and stays",
                route.destination, route.prefix
            );
            if self.is_news(&text) {
                tracing::info!("{text}");
            }
        }
    }

    async fn read_net(&mut self) {
        match NodeNet::read().await {
            Ok(net) => {
                self.retry.set(NETLINK, Vec::new(), Instant::now());
                if net != self.started.net {
                    self.follow_net(Some(net)).await;
                } else if self.converged {
                    // What has changed may be a route of ours.
                    self.follow_routes().await;
                }
            }
            Err(error) => self.retry.set(NETLINK, vec![error.to_string()], Instant::now()),
        }
    }

    /// The node, or what is known of it, has changed.
    async fn follow_net(&mut self, net: Option<NodeNet>) {
        if let Some(net) = net {
            self.started.net = net;
        }
        // A device has its programs before the tables lead to it.
        self.follow_programs().await;
        let found = uplinks(&self.started.net, &self.own, self.started.uplink.as_deref());
        let facts = facts(&self.started.net, &self.own, found);
        let mut names: Vec<_> =
            [found.v4, found.v6].into_iter().flatten().map(|device| device.name.clone()).collect();
        names.dedup();
        self.started.status.uplinks = names;
        self.started.status.pods = facts.endpoints.len();
        self.commit(0, |controller| controller.set_facts(facts)).await;
        self.ready_if_serving();
    }

    async fn try_again(&mut self) {
        if self.retry.failed(NETLINK) {
            self.read_net().await;
        }
        if self.retry.failed(PROGRAMS) {
            self.follow_programs().await;
        }
        if self.retry.failed(TABLES) {
            self.commit(0, |controller| controller.apply([])).await;
        }
        if self.retry.failed(ROUTES) {
            self.follow_routes().await;
        }
        self.ready_if_serving();
    }

    fn see_kube_proxy(&mut self) {
        let sight = self.started.kube_proxy.sight.borrow_and_update().clone();
        self.started.status.kube_proxy = sight.summary;
        let through_stack = sight.rules || self.started.bypass == Bypass::Off;
        if let Err(error) = uplink::follow(self.controller.tables().kernel(), through_stack, self.serving) {
            tracing::warn!("the way of what other nodes send: {error}");
        }
        if sight.removed != self.removed {
            if let Some(removed) = sight.removed.as_deref().filter(|removed| !removed.is_empty()) {
                let what = format!("took over from kube-proxy and removed {}", removed.join(", "));
                self.observed.notify(Notice::TakenOver { what });
            }
            self.removed = sight.removed;
        }
    }

    async fn release(&mut self, result: Result<Reclaimed, TableError>) {
        let result = result.and_then(|reclaimed| self.controller.release(&reclaimed));
        if let Err(error) = result {
            tracing::warn!("housekeeping: {error}; trying again");
        }
        // What was freed may be all that was missing.
        if self.retry.failed(TABLES) {
            self.commit(0, |controller| controller.apply([])).await;
        }
    }

    /// Writes the status where something in it has changed, which an ordinary change of the cluster does not do.
    fn write_status(&mut self) {
        self.started.status.failures = self.retry.all().cloned().collect();
        if self.started.status != self.written {
            if let Err(error) = self.started.status.write(&self.started.run_dir) {
                tracing::warn!("{error:#}");
            }
            self.written.clone_from(&self.started.status);
        }
    }
}

/// The family of a table, where it is of one.
fn family_of(table: &str) -> Option<Family> {
    match table.as_bytes().last() {
        Some(b'4') => Some(Family::V4),
        Some(b'6') => Some(Family::V6),
        _ => None,
    }
}

/// The changes that kube-proxy counts: each Service and each slice that was told, gone or not.
fn told_changes(events: &[Event]) -> ToldChanges {
    events.iter().fold(ToldChanges::default(), |mut told, event| {
        let count = match event {
            Event::Upsert(_) | Event::Delete(_) => 1,
            Event::Replace(_, objects) => objects.len() as u64,
            Event::Synced(_) => 0,
        };
        match event.kind() {
            Kind::Service => told.services += count,
            Kind::EndpointSlice => told.slices += count,
            _ => {}
        }
        told
    })
}

fn trigger_time(time: SystemTime) -> TriggerTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    TriggerTime(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Lets our programs run at the sockets and wherever an earlier agent had its own, then removes what only those needed.
async fn attach_everywhere(started: &mut Started) -> Result<()> {
    let Started { attachments, programs, migration, net, cgroup, .. } = started;
    attachments.take_over(programs, net).await?;
    attachments.sockets(programs, cgroup.as_deref())?;
    let carried = migration.finish()?;
    if carried > 0 {
        tracing::info!(carried, "carried live connections over to new tables");
    }
    Ok(())
}
