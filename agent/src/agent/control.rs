//! The control loop: what the source tells and what netlink tells, in; tables, programs and routes, out.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use penstock_kernel::node::NodeNet;
use penstock_kernel::routes::Route;
use penstock_kernel::{Hook, sys};
use penstock_model::objects::{Event, Kind, TriggerTime};
use penstock_model::tables::{Family, TableError};
use penstock_model::{Controller, Reclaimed, Report};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

use super::attachments::Wanted;
use super::facts::{OwnNode, facts, uplinks};
use super::housekeeping::Housekeeping;
use super::reporter::{Reporter, Round};
use super::retry::Retry;
use super::routes;
use super::start::Started;
use super::takeover::{self, Stage};
use super::uplink;
use crate::cli::Bypass;
use crate::observe::{Listener, Observed};
use crate::source::Update;
use crate::tables::KernelTables;

/// Events that are taken in at once at most, however many wait.
const COALESCE: usize = 16_384;
/// How often what programs of a debug build have logged is passed on.
const FLUSH: Duration = Duration::from_millis(250);

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
    reporter: Reporter,
    stage: Stage,
    /// The source has told everything, and the tables follow.
    converged: bool,
    listeners: watch::Receiver<Vec<Listener>>,
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
        let reporter = Reporter::new(observed, started.status.clone());
        started.status.servers.clone_from(&listeners.borrow_and_update());
        let stage = if started.restored {
            takeover::replace(started).await?;
            Stage::Serving
        } else {
            Stage::Waiting
        };
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
            reporter,
            stage,
            converged: false,
            listeners,
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
            self.reporter.woken();
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
            self.rest();
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

    /// Everything is done that could be: lets those who watch this agent see where it is.
    fn rest(&self) {
        let Started { status, attachments, .. } = &*self.started;
        let failures = self.retry.all().count();
        self.reporter.set_counts(self.controller.view(), status.pods, attachments.devices(), failures);
        self.reporter.rested([PROGRAMS, ROUTES, NETLINK].into_iter().any(|part| self.retry.failed(part)));
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
                    self.reporter.set_source_problems(health.problems.len());
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
            self.reporter.set_eligible(self.own.eligible() == Some(true));
        }
        self.reporter.told(&events);
        if moved {
            // First, so that what the events bring is written once, with the right ways.
            self.follow_net(None).await;
        }
        let count = events.len();
        let ranges_told = events.iter().any(|event| event.kind() == Kind::ServiceCidr);
        self.commit(count, |controller| controller.apply(events)).await;
        self.tell_node_problem();
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
        self.reporter.wrote(&Round { events, report: &report, ops, duration });
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
        self.tell_node_problem();
        self.ready_if_serving();
    }

    /// Not before everything was told once: the Node object may be among the last.
    fn tell_node_problem(&mut self) {
        let (status, problem) = (&mut self.started.status, self.own.missing());
        if self.converged && status.node_problem.as_deref() != problem {
            status.node_problem = problem.map(str::to_owned);
            self.reporter.node_problem(&status.node, problem);
        }
    }

    fn ready_if_serving(&mut self) {
        if self.converged
            && self.stage.serves()
            && !self.retry.failed(PROGRAMS)
            && !self.started.status.synced
        {
            self.started.status.synced = true;
            self.started.kube_proxy.serving.store(true, Ordering::Release);
            // Before it is told: who hears of it finds it there.
            self.write_status();
            self.reporter.ready(self.started.status.pods, self.started.attachments.devices());
            sys::heap::trim();
        }
    }

    /// Attaches where a program is missing and detaches where one is not wanted; before the tables are whole, neither.
    async fn follow_programs(&mut self) {
        let mut failures = Vec::new();
        let tables = self.controller.tables().kernel();
        if self.stage == Stage::Waiting && self.converged {
            match takeover::begin(tables, self.started).await {
                Ok(()) => self.stage = Stage::Adopting,
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        if self.stage.serves() {
            let Started { net, attachments, programs, uplink, cgroup, .. } = &mut *self.started;
            let found = uplinks(net, &self.own, uplink.as_deref());
            // The node's own calls are translated at the socket. Where they are not, or were not until this agent came, its packets
            // are: a flow that began that way needs it until it ends.
            let egress = |device: &_| cgroup.is_none() || attachments.has(Hook::UplinkEgress, device);
            let wanted = Wanted::new(net, [found.v4, found.v6].into_iter().flatten(), egress);
            attachments.attach_wanted(programs, &wanted, &mut failures).await;
            if self.stage == Stage::Adopting {
                let everywhere = failures.is_empty();
                match takeover::finish(tables, attachments, programs, cgroup.as_deref(), everywhere) {
                    Ok(()) if everywhere => self.stage = Stage::Serving,
                    Ok(()) => {}
                    Err(error) => failures.push(format!("{error:#}")),
                }
            }
            if self.converged {
                attachments.detach_unwanted(net, &wanted, &mut failures).await;
            }
        }
        self.retry.set(PROGRAMS, failures, Instant::now());
    }

    async fn follow_routes(&mut self) {
        let desired = if self.started.direct_routes { self.controller.routes() } else { Vec::new() };
        let followed = routes::follow(&desired, self.converged).await;
        self.retry.set(ROUTES, followed.failures, Instant::now());
        for route in followed.left {
            let Route { destination, prefix, .. } = route;
            self.reporter
                .say_once(&format!("{destination}/{prefix}: someone else's route leads there, and stays"));
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
        if let Err(error) =
            uplink::follow(self.controller.tables().kernel(), through_stack, self.stage.serves())
        {
            tracing::warn!("the way of what other nodes send: {error}");
        }
        self.reporter.removed(sight.removed);
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

    fn write_status(&mut self) {
        self.started.status.failures = self.retry.all().cloned().collect();
        self.reporter.write_status(&self.started.status, &self.started.run_dir);
    }
}

fn trigger_time(time: SystemTime) -> TriggerTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    TriggerTime(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
