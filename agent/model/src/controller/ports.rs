//! The ports of one Service and the service indices that they have.

use super::Controller;
use crate::applied::Applied;
use crate::desired;
use crate::plan;
use crate::port::{DesiredPort, OwnedPort};
use crate::tables::{Op, TableError, Tables};
use crate::view::{Extent, QualifiedName};

impl<T: Tables> Controller<T> {
    /// Brings the ports of a Service up to date with what it says and which of its claims are granted. A port that stays
    /// keeps its service index; the index of one that is gone is condemned.
    pub(super) fn set_ports(&mut self, name: &QualifiedName) {
        let Some(view) = self.view.service_mut(name) else { return };
        let owns = |frontend: &_| self.claims.owns(name, frontend);
        let desired = view.service.as_ref().map(|service| desired::ports(service, owns));
        let mut before = std::mem::take(&mut view.ports);
        let owned = desired.into_iter().flatten().map(|port| {
            let known = before.iter().position(|known| known.port.is(&port));
            OwnedPort { port, index: known.and_then(|known| before.swap_remove(known).index) }
        });
        view.ports = owned.collect();
        for index in before.into_iter().filter_map(|gone| gone.index) {
            self.executor.applied.disown_service(index);
            self.condemned.insert(index);
        }
        self.view.forget_if_empty(name);
    }

    /// Leads the ports of a Service to their endpoints; where all of it is concerned, adds what makes them reachable to
    /// `frontends` and `names`. A port that fails does not keep back the others; the first error is given.
    pub(super) fn commit_service(
        &mut self,
        name: &QualifiedName,
        extent: Extent,
        frontends: &mut Vec<(Op, QualifiedName)>,
        names: &mut Vec<(Op, QualifiedName)>,
    ) -> Result<(), TableError> {
        let Some(view) = self.view.service_mut(name) else { return Ok(()) };
        let (executor, routing) = (&mut self.executor, &self.routing);
        let mut result = Ok(());
        for OwnedPort { port, index } in &mut view.ports {
            let index = match *index {
                Some(index) => Ok(index),
                None => find_index(&mut executor.applied, name, port).inspect(|found| {
                    self.condemned.remove(found);
                    *index = Some(*found);
                }),
            };
            let committed = index.and_then(|index| {
                let endpoints = desired::endpoints(view.slices.iter().chain(&view.kept), port);
                executor.run_planned(|applied, ops| {
                    plan::endpoints(applied, routing, index, port, &endpoints, ops)
                })?;
                if extent == Extent::Whole {
                    plan_reachable(&executor.applied, name, index, port, frontends, names);
                }
                Ok(())
            });
            result = result.and(committed);
        }
        result
    }

    /// What a Service is reached at and does not have any more.
    pub(super) fn plan_stale_frontends(&self, name: &QualifiedName, ops: &mut Vec<Op>) {
        let Some(view) = self.view.service(name) else { return };
        let owns = |frontend: &_| view.ports.iter().any(|owned| owned.port.frontends.contains(frontend));
        for index in view.ports.iter().filter_map(|owned| owned.index) {
            plan::stale_frontends(&self.executor.applied, index, owns, ops);
        }
    }
}

/// The service index that one of the port's frontends leads to already, where it is this port's and nobody has it (a
/// former agent left it), else a free one. Another port's index will not do, though the frontend is now this one's: a
/// reader may hold it who asked for the other.
fn find_index(applied: &mut Applied, service: &QualifiedName, port: &DesiredPort) -> Result<u32, TableError> {
    for frontend in &port.frontends {
        let Some(index) = applied.frontends.get(frontend).copied() else { continue };
        let is_this = applied.service(index).is_some_and(|known| match &known.name {
            Some(name) => desired::is_full_name(name, service, &port.name),
            None => known.frontends.iter().all(|frontend| port.frontends.contains(frontend)),
        });
        if is_this && applied.adopt_service(index, port.family) {
            return Ok(index);
        }
    }
    applied.allocate_service(port.family)
}

/// What makes a port reachable, and its index known to people. An index that has a name has its port's.
fn plan_reachable(
    applied: &Applied,
    service: &QualifiedName,
    index: u32,
    port: &DesiredPort,
    frontends: &mut Vec<(Op, QualifiedName)>,
    names: &mut Vec<(Op, QualifiedName)>,
) {
    let mut ops = Vec::new();
    plan::frontends(applied, index, port, &mut ops);
    frontends.extend(ops.into_iter().map(|op| (op, service.clone())));
    if applied.service(index).is_some_and(|known| known.name.is_none()) {
        let name = desired::full_name(service, &port.name);
        names.push((Op::NameService { service: index, name }, service.clone()));
    }
}
