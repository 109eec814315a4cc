//! The ports of one Service and the service indices that they have.

use penstock_abi::Protocol;

use super::Controller;
use crate::desired::{self, DesiredPort};
use crate::plan;
use crate::tables::{Family, Op, TableError, Tables};
use crate::view::QualifiedName;

/// A port of a Service in one family, and its service index.
#[derive(Debug)]
pub(super) struct OwnedPort {
    name: Box<str>,
    protocol: Protocol,
    family: Family,
    index: u32,
}

impl OwnedPort {
    fn is(&self, port: &DesiredPort) -> bool {
        (&self.name, self.protocol, self.family) == (&port.name, port.protocol, port.family)
    }
}

impl<T: Tables> Controller<T> {
    /// Leads the ports of a Service to their endpoints, and adds what makes them reachable to `frontends` and `names`. A
    /// port that fails does not keep back the others; the first error is given.
    pub(super) fn commit_endpoints(
        &mut self,
        name: &QualifiedName,
        frontends: &mut Vec<(Op, QualifiedName)>,
        names: &mut Vec<(Op, QualifiedName)>,
    ) -> Result<(), TableError> {
        let view = self.view.service(name);
        let claims = &self.claims;
        let desired = view.map(|view| desired::ports(view, |frontend| claims.owns(name, frontend)));
        let mut before = self.owned.get_mut(name).map(std::mem::take).unwrap_or_default();
        let mut owned = Vec::with_capacity(before.len());
        let mut result = Ok(());
        for port in desired.into_iter().flatten() {
            let index = match before.iter().position(|known| known.is(&port)) {
                Some(known) => Ok(before.swap_remove(known).index),
                None => self.find_index(name, &port),
            };
            let committed = index.and_then(|index| {
                let routing = &self.routing;
                let plan =
                    |applied: &mut _, ops: &mut _| plan::endpoints(applied, routing, index, &port, ops);
                let committed = self.executor.run_planned(plan);
                if committed.is_ok() {
                    self.plan_reachable(name, index, &port, frontends, names);
                }
                let DesiredPort { name, protocol, family, .. } = port;
                owned.push(OwnedPort { name, protocol, family, index });
                committed
            });
            result = result.and(committed);
        }
        for gone in before {
            self.executor.applied.disown_service(gone.index);
            self.condemned.insert(gone.index);
        }
        match self.owned.get_mut(name) {
            Some(known) if !owned.is_empty() => *known = owned,
            Some(_) => drop(self.owned.remove(name)),
            None if !owned.is_empty() => drop(self.owned.insert(name.clone(), owned)),
            None => {}
        }
        result
    }

    /// The service index that one of the port's frontends leads to already, where it is this port's and nobody has it (a
    /// former agent left it), else a free one. Another port's index will not do, though the frontend is now this one's:
    /// a reader may hold it who asked for the other.
    fn find_index(&mut self, service: &QualifiedName, port: &DesiredPort) -> Result<u32, TableError> {
        let applied = &mut self.executor.applied;
        for frontend in &port.frontends {
            let Some(index) = applied.frontends.get(frontend).copied() else { continue };
            let is_this = applied.service(index).is_some_and(|known| match &known.name {
                Some(name) => desired::is_full_name(name, service, &port.name),
                None => known.frontends.iter().all(|frontend| port.frontends.contains(frontend)),
            });
            if is_this && applied.adopt_service(index, port.family) {
                self.condemned.remove(&index);
                return Ok(index);
            }
        }
        applied.allocate_service(port.family)
    }

    fn plan_reachable(
        &self,
        service: &QualifiedName,
        index: u32,
        port: &DesiredPort,
        frontends: &mut Vec<(Op, QualifiedName)>,
        names: &mut Vec<(Op, QualifiedName)>,
    ) {
        let applied = &self.executor.applied;
        let mut ops = Vec::new();
        plan::frontends(applied, index, port, &mut ops);
        frontends.extend(ops.into_iter().map(|op| (op, service.clone())));
        let known = applied.service(index).and_then(|known| known.name.as_deref());
        if !known.is_some_and(|known| desired::is_full_name(known, service, &port.name)) {
            let name = desired::full_name(service, &port.name);
            names.push((Op::NameService { service: index, name }, service.clone()));
        }
    }

    /// What a Service is reached at and does not have any more.
    pub(super) fn plan_stale_frontends(&self, name: &QualifiedName, ops: &mut Vec<Op>) {
        for port in self.owned.get(name).into_iter().flatten() {
            let owns = |frontend: &_| self.claims.owns(name, frontend);
            plan::stale_frontends(&self.executor.applied, port.index, owns, ops);
        }
    }
}
