//! Keeps the tables equal to what the cluster says: the whole of the model behind one type.

mod ports;
mod report;

use std::collections::{BTreeMap, BTreeSet};

use crate::claims::Claims;
use crate::desired;
use crate::executor::Executor;
use crate::facts::NodeFacts;
use crate::objects::{Event, TriggerTime};
use crate::plan::{self, Ways};
use crate::reuse::{Due, Reclaim, Reclaimed};
use crate::routing::{self, DesiredRoute, Routing};
use crate::tables::{Dump, Op, TableError, Tables};
use crate::view::{Changes, ClusterView, Extent, QualifiedName};
pub use report::{Failure, Report};

/// The model of one node: takes events in and writes what they change.
///
/// Until Services, EndpointSlices and Nodes have all been told once ([`Event::Synced`]), only the addresses of this
/// node's pods are written, which do not depend on the cluster; what a former agent left in the tables stays and serves.
/// Then the tables converge, and what no Service wants is removed.
///
/// What could not be written keeps its old state and is tried again with the next call of [`Controller::apply`], which
/// may be one without events.
#[derive(Debug)]
pub struct Controller<T> {
    view: ClusterView,
    claims: Claims,
    routing: Routing,
    executor: Executor<T>,
    /// Services whose tables are not what they should be, and how much of them.
    stale: BTreeMap<QualifiedName, Extent>,
    /// Service indices that are to be removed.
    condemned: BTreeSet<u32>,
    ways: Ways,
    pods_are_stale: bool,
    /// The cluster was told whole, and the tables follow it.
    synced: bool,
    /// What a former agent left and nobody wants is still to be removed.
    prune: bool,
    /// The sources could read all that they hold.
    complete: bool,
}

impl<T: Tables> Controller<T> {
    /// Takes up what the tables hold. It waits for one grace period and changes nothing yet.
    ///
    /// # Errors
    /// The tables could not be read, or their readers not be waited for.
    pub fn new(facts: NodeFacts, tables: T) -> Result<Self, TableError> {
        Ok(Self {
            view: ClusterView::default(),
            claims: Claims::default(),
            routing: Routing::new(facts, &BTreeMap::new()),
            executor: Executor::new(tables)?,
            stale: BTreeMap::new(),
            condemned: BTreeSet::new(),
            ways: Ways::None,
            pods_are_stale: true,
            synced: false,
            prune: true,
            complete: true,
        })
    }

    /// Takes events in and commits what they change, and what could not be committed before.
    pub fn apply(&mut self, events: impl IntoIterator<Item = Event>) -> Report {
        let mut changes = Changes::default();
        for event in events {
            self.view.apply(event, &mut changes);
        }
        let mut report = Report { warnings: std::mem::take(&mut changes.warnings), ..Report::default() };
        self.take_changes(changes, &mut report);
        self.commit(&mut report);
        report
    }

    /// Whether the sources could read all that they hold. While they could not, what a former agent left stays: whatever is
    /// missing may be in what cannot be read. Takes effect with the next call of [`Controller::apply`].
    pub fn set_complete(&mut self, complete: bool) {
        self.complete = complete;
    }

    /// Tells from now on, in [`Report::triggers`], what set off the changes that were committed, where that was after this
    /// time: the time at which the sources began to watch.
    pub fn keep_triggers(&mut self, after: TriggerTime) {
        self.view.triggers().keep(after);
    }

    /// Replaces what is known of this node, and commits what that changes.
    pub fn set_facts(&mut self, facts: NodeFacts) -> Report {
        match routing::changed(self.routing.facts(), &facts) {
            Some(addresses) => self.ways.add(addresses.into_iter().map(Into::into)),
            None => self.ways = Ways::All,
        }
        self.pods_are_stale |= self.routing.facts().endpoints != facts.endpoints;
        self.routing = Routing::new(facts, self.view.nodes());
        let mut report = Report { routes_changed: true, ..Report::default() };
        self.commit(&mut report);
        report
    }

    /// The cluster as it was told last.
    pub fn view(&self) -> &ClusterView {
        &self.view
    }

    /// The tables.
    pub fn tables(&self) -> &T {
        &self.executor.tables
    }

    /// The tables. Whoever writes to them makes the books wrong.
    pub fn tables_mut(&mut self) -> &mut T {
        &mut self.executor.tables
    }

    /// All that the tables hold, read from them.
    ///
    /// # Errors
    /// [`TableError::Io`].
    pub fn dump(&self) -> Result<Dump, TableError> {
        self.executor.tables.dump()
    }

    /// The routes that the node should have to the pods of other nodes, ascending. They are all known once the cluster
    /// was told whole ([`Report::synced`]): do not remove a route before.
    pub fn routes(&self) -> Vec<DesiredRoute> {
        self.routing.routes()
    }

    /// Whether something waits to be reclaimed, by [`Controller::housekeeping`] or off the commit path by
    /// [`Controller::reclaim`], [`Reclaim::run`] and [`Controller::release`].
    pub fn due(&self) -> Due {
        self.executor.applied.due()
    }

    /// What waits to be reclaimed: run it against the tables' readers, where it holds up nothing, and hand the result
    /// to [`Controller::release`]. Changes may be committed meanwhile.
    pub fn reclaim(&mut self) -> Reclaim {
        self.executor.applied.reclaim()
    }

    /// Frees what nobody holds any more.
    ///
    /// # Errors
    /// A table could not be written. What is not freed waits on.
    pub fn release(&mut self, reclaimed: &Reclaimed) -> Result<(), TableError> {
        self.executor.release(reclaimed)
    }

    /// Reclaims what waits, all in one call that blocks for the time of [`Reclaim::run`].
    ///
    /// # Errors
    /// The readers could not be waited for, or a table not be written. What is not freed waits on.
    pub fn housekeeping(&mut self) -> Result<(), TableError> {
        if self.due() == Due::Nothing {
            return Ok(());
        }
        let reclaimed = self.reclaim().run(&self.executor.tables)?;
        self.release(&reclaimed)
    }

    /// From what has changed to what is stale.
    fn take_changes(&mut self, changes: Changes, report: &mut Report) {
        if !changes.ways.is_empty() {
            self.routing = Routing::new(self.routing.facts().clone(), self.view.nodes());
            self.ways.add(changes.ways);
            report.routes_changed = true;
        }
        for (name, extent) in changes.services {
            if extent == Extent::Whole {
                self.claim(&name, report);
            }
            if self.synced {
                let known = self.stale.entry(name).or_insert(extent);
                *known = extent.max(*known);
            }
        }
        if !self.synced && self.view.is_synced() {
            self.synced = true;
            self.stale = self.view.services().map(|name| (name.clone(), Extent::Whole)).collect();
            self.ways = Ways::All;
            report.routes_changed = true;
        }
    }

    fn claim(&mut self, name: &QualifiedName, report: &mut Report) {
        let service = self.view.service(name).and_then(|view| view.service.as_ref());
        let frontends = service.map(|service| desired::claims(service).collect()).unwrap_or_default();
        let created = service.and_then(|service| service.created);
        let affected = self.claims.set(name, created, frontends, &mut report.warnings);
        self.set_ports(name);
        for name in &affected {
            self.set_ports(name);
        }
        self.stale.extend(affected.into_iter().map(|name| (name, Extent::Whole)));
    }

    fn commit(&mut self, report: &mut Report) {
        if std::mem::take(&mut self.pods_are_stale) {
            let routing = &self.routing;
            let result = self.executor.run_planned(|applied, ops| plan::pods(applied, routing, ops));
            if let Err(error) = result {
                self.pods_are_stale = true;
                report.failures.push(Failure { what: "the addresses of this node's pods".into(), error });
            }
        }
        report.synced = self.synced;
        if self.synced {
            // Ways first: what the Services add finds its own way.
            self.commit_ways(report);
            self.commit_services(report);
            let stale = &self.stale;
            report.triggers = self.view.triggers().take(|service| !stale.contains_key(service));
        }
    }

    fn commit_ways(&mut self, report: &mut Report) {
        let ways = std::mem::take(&mut self.ways);
        if matches!(ways, Ways::None) {
            return;
        }
        let routing = &self.routing;
        let result = self.executor.run_planned(|applied, ops| plan::next_hops(applied, routing, &ways, ops));
        if let Err(error) = result {
            self.ways = ways;
            report.failures.push(Failure { what: "the next hops of backends".into(), error });
        }
    }

    /// Endpoints first, then all frontends together, then what is removed: so a frontend that goes from one Service to
    /// another leads somewhere all the time.
    fn commit_services(&mut self, report: &mut Report) {
        let mut stale = std::mem::take(&mut self.stale);
        if self.prune && !self.complete {
            // Without a single slice the endpoints are unknown rather than none.
            let view = &self.view;
            let unknown = |name: &_| {
                view.service(name).is_some_and(|view| view.service.is_some() && view.slices.is_empty())
            };
            self.stale.extend(stale.extract_if(.., |name, _| unknown(name)));
        }
        let mut frontends = Vec::new();
        let mut names = Vec::new();
        for (name, extent) in &stale {
            let mut result = self.commit_service(name, *extent, &mut frontends, &mut names);
            if matches!(result, Err(TableError::Full { .. })) && self.due() == Due::Now {
                // What was freed a moment ago may be all that is missing.
                result = self
                    .housekeeping()
                    .and_then(|()| self.commit_service(name, *extent, &mut frontends, &mut names));
            }
            match result {
                Ok(()) => report.committed += 1,
                Err(error) => self.failed(name, error, report),
            }
        }
        self.insert(&frontends, report);
        self.insert(&names, report);
        let mut ops = Vec::new();
        for (name, _) in stale.iter().filter(|(_, extent)| **extent == Extent::Whole) {
            self.plan_stale_frontends(name, &mut ops);
        }
        // What cannot be removed now is found again when its Service is committed again.
        if let Err(error) = self.executor.run(ops) {
            self.stale.extend(stale);
            report.failures.push(Failure { what: "the removal of frontends".into(), error: error.error });
        }
        if self.complete && std::mem::take(&mut self.prune) {
            self.condemned.extend(self.executor.applied.unowned_services());
        }
        self.remove_condemned(report);
    }

    fn remove_condemned(&mut self, report: &mut Report) {
        for index in std::mem::take(&mut self.condemned) {
            let result = self.executor.run_planned(|applied, ops| {
                plan::remove_service(applied, index, ops);
                Ok(())
            });
            match result {
                Ok(()) => self.executor.applied.retire_service(index),
                Err(error) => {
                    self.condemned.insert(index);
                    report.failures.push(Failure { what: format!("the removal of service {index}"), error });
                }
            }
        }
    }

    /// Carries out insertions that do not depend on each other: one that fails does not keep back the others.
    fn insert(&mut self, mut insertions: &[(Op, QualifiedName)], report: &mut Report) {
        while !insertions.is_empty() {
            let ops = insertions.iter().map(|(op, _)| op.clone()).collect();
            let Err(error) = self.executor.run(ops) else { return };
            let Some((failed, rest)) = insertions.get(error.done..).and_then(<[_]>::split_first) else {
                return;
            };
            self.failed(&failed.1, error.error, report);
            insertions = rest;
        }
    }

    fn failed(&mut self, name: &QualifiedName, error: TableError, report: &mut Report) {
        self.stale.insert(name.clone(), Extent::Whole);
        report.failures.push(Failure { what: format!("Service {name}"), error });
    }
}
