//! The bookkeeping of operations that the tables took.

use penstock_abi::NextHop;

use super::Applied;
use crate::tables::{Backend, Family, Frontend, Op};

impl Applied {
    /// The tables took the operation.
    pub(crate) fn record(&mut self, op: Op) {
        match op {
            Op::WriteNextHop { index, next_hop } => self.hops.record(index, next_hop, &mut self.limbo),
            Op::WriteBackend { index, backend } if backend.is_used() => self.use_backend(index, backend),
            Op::WriteBackend { index, backend } => self.free_backend(index, backend),
            Op::SetMember { family, index, member } => self.set_member(family, index, member),
            Op::SetBackendHop { family, index, next_hop } => self.set_backend_hop(family, index, next_hop),
            Op::WriteSlots { base, backends } => self.staged = Some((base, backends)),
            Op::Publish { service, word } => {
                let members = self.staged.take().map(|(_, backends)| backends).unwrap_or_default();
                self.publish(service, word, members);
            }
            Op::InsertFrontend { frontend, service } => self.insert_frontend(frontend, service),
            Op::RemoveFrontend { frontend } => self.remove_frontend(frontend),
            Op::NameService { service, name } => self.service_mut(service).name = Some(name),
            Op::UnnameService { service } => self.service_mut(service).name = None,
            Op::InsertEndpoint { addr, next_hop } => {
                self.hops.name(next_hop, &mut self.limbo);
                if let Some(before) = self.endpoints.insert(addr, next_hop) {
                    self.recycled.endpoint(Family::of(addr), &self.limbo);
                    self.hops.unname(before, &mut self.limbo);
                }
            }
            Op::RemoveEndpoint { addr } => {
                if let Some(before) = self.endpoints.remove(&addr) {
                    self.recycled.endpoint(Family::of(addr), &self.limbo);
                    self.hops.unname(before, &mut self.limbo);
                }
            }
        }
    }

    pub(super) fn backend_mut(&mut self, family: Family, index: u32) -> &mut Backend {
        let entries = &mut self.backends.get_mut(family).entries;
        let index = index as usize;
        if index >= entries.len() {
            entries.resize(index + 1, Backend::free(family, 0));
        }
        &mut entries[index]
    }

    fn use_backend(&mut self, index: u32, backend: Backend) {
        *self.backend_mut(Family::of(backend.addr), index) = backend;
        self.hops.name(backend.next_hop, &mut self.limbo);
        // In no slot yet: it becomes a member when its service's word is published.
        self.service_mut(backend.service).dead.push(index);
    }

    fn free_backend(&mut self, index: u32, free: Backend) {
        let family = Family::of(free.addr);
        let before = std::mem::replace(self.backend_mut(family, index), free);
        self.hops.unname(before.next_hop, &mut self.limbo);
        self.service_mut(before.service).dead.retain(|dead| *dead != index);
        self.limbo.take_backend(family, index);
        self.backends.get_mut(family).indices.release(index);
    }

    fn set_member(&mut self, family: Family, index: u32, member: u8) {
        self.backend_mut(family, index).member = member;
        if member == 0 {
            self.limbo.backend(family, index);
        } else {
            self.limbo.take_backend(family, index);
        }
    }

    fn set_backend_hop(&mut self, family: Family, index: u32, next_hop: u32) {
        debug_assert!(next_hop == NextHop::STACK || self.hops.get(next_hop) != NextHop::stack());
        let before = std::mem::replace(&mut self.backend_mut(family, index).next_hop, next_hop);
        self.hops.name(next_hop, &mut self.limbo);
        self.hops.unname(before, &mut self.limbo);
    }

    fn publish(&mut self, service: u32, word: penstock_abi::Selection, members: Box<[u32]>) {
        let mut live = members.clone();
        live.sort_unstable();
        let service = self.service_mut(service);
        let out = service.members.iter().chain(&service.dead).copied();
        service.dead = out.filter(|index| live.binary_search(index).is_err()).collect();
        service.members = members;
        let before = std::mem::replace(&mut service.word, word);
        let held = std::mem::replace(&mut service.holds_slots, word.count() > 0);
        if held {
            self.limbo.slots(before.base(), before.count());
        }
    }

    fn insert_frontend(&mut self, frontend: Frontend, service: u32) {
        let before = self.frontends.insert(frontend, service);
        if let Some(before) = before {
            self.recycled.frontend(Family::of(frontend.addr), &self.limbo);
            self.service_mut(before).frontends.retain(|known| *known != frontend);
        }
        self.service_mut(service).frontends.push(frontend);
    }

    fn remove_frontend(&mut self, frontend: Frontend) {
        if let Some(before) = self.frontends.remove(&frontend) {
            self.recycled.frontend(Family::of(frontend.addr), &self.limbo);
            self.service_mut(before).frontends.retain(|known| *known != frontend);
        }
    }
}
