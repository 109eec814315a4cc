//! What the tables hold, as far as the executor has written it: the agent's bookkeeping.
//!
//! It moves by [`Applied::record`] alone, which is called for an operation after the tables took it. Indices and slots
//! are set aside when a plan is made; [`Applied::abandon`] gives back those of operations that were never carried out.

mod hops;
mod record;
mod restore;

use std::net::IpAddr;

use hashbrown::HashMap;
use penstock_abi::{Selection, maps};
use smallvec::SmallVec;

use crate::reuse::{Due, Indices, Limbo, Reclaim, Recycled, Slots};
use crate::tables::{Backend, Family, Frontend, Op, PerFamily, Sizes, TableError};
use hops::Hops;

/// What the tables hold.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) frontends: HashMap<Frontend, u32>,
    pub(crate) endpoints: HashMap<IpAddr, u32>,
    services: Vec<ServiceState>,
    service_indices: Indices,
    backends: PerFamily<Backends>,
    slots: Slots,
    hops: Hops,
    limbo: Limbo,
    recycled: Recycled,
    /// Slots that are written and not yet published.
    staged: Option<(u32, Box<[u32]>)>,
}

/// One service index.
#[derive(Debug, Default)]
pub(crate) struct ServiceState {
    /// A Service port of the cluster has the index.
    pub(crate) owned: bool,
    pub(crate) family: Option<Family>,
    pub(crate) frontends: Vec<Frontend>,
    pub(crate) word: Selection,
    /// The slots of `word` are set aside.
    pub(crate) holds_slots: bool,
    /// The backends in the word's slots, ascending by address and port.
    pub(crate) members: Box<[u32]>,
    /// Backends that name the service and are in no slot.
    pub(crate) dead: SmallVec<[u32; 4]>,
    pub(crate) name: Option<Box<str>>,
}

/// The backends of one family.
#[derive(Debug)]
struct Backends {
    indices: Indices,
    /// By index; beyond the end all are free with generation 0.
    entries: Vec<Backend>,
}

impl Applied {
    /// Empty tables.
    pub(crate) fn new(sizes: Sizes) -> Self {
        let backends = |table| Backends { indices: Indices::new(table, sizes.backends), entries: Vec::new() };
        Self {
            frontends: HashMap::new(),
            endpoints: HashMap::new(),
            services: Vec::new(),
            service_indices: Indices::new(maps::SERVICES, sizes.services),
            backends: PerFamily { v4: backends(maps::BACKENDS4), v6: backends(maps::BACKENDS6) },
            slots: Slots::new(sizes.slots),
            hops: Hops::new(sizes.next_hops),
            limbo: Limbo::default(),
            recycled: Recycled::default(),
            staged: None,
        }
    }

    /// What is known of a service index.
    pub(crate) fn service(&self, index: u32) -> Option<&ServiceState> {
        self.services.get(index as usize)
    }

    fn service_mut(&mut self, index: u32) -> &mut ServiceState {
        let index = index as usize;
        if index >= self.services.len() {
            self.services.resize_with(index + 1, ServiceState::default);
        }
        &mut self.services[index]
    }

    /// Every service index that no Service port of the cluster has, and that is not on its way out either.
    pub(crate) fn unowned_services(&self) -> Vec<u32> {
        let indices = self
            .services
            .iter()
            .enumerate()
            .filter(|(_, service)| !service.owned && (service.name.is_some() || !service.is_empty()));
        indices.map(|(index, _)| index as u32).filter(|index| !self.limbo.waits_for_service(*index)).collect()
    }

    /// A free service index, now owned.
    pub(crate) fn allocate_service(&mut self, family: Family) -> Result<u32, TableError> {
        let index = self.service_indices.allocate()?;
        self.own_service(index, family);
        Ok(index)
    }

    /// Takes up a service index that is there already. `false` where it has an owner.
    pub(crate) fn adopt_service(&mut self, index: u32, family: Family) -> bool {
        if self.service(index).is_some_and(|service| service.owned) {
            return false;
        }
        self.limbo.take_service(index);
        self.own_service(index, family);
        true
    }

    fn own_service(&mut self, index: u32, family: Family) {
        let service = self.service_mut(index);
        service.owned = true;
        service.family = Some(family);
    }

    /// The index's Service port is gone; what the tables still say of it is to be removed.
    pub(crate) fn disown_service(&mut self, index: u32) {
        self.service_mut(index).owned = false;
    }

    /// Nothing leads to the service any more: from here on its index only waits to be given out again.
    pub(crate) fn retire_service(&mut self, index: u32) {
        self.limbo.service(index);
    }

    /// What is at a backend index.
    pub(crate) fn backend(&self, family: Family, index: u32) -> Backend {
        let entry = self.backends.get(family).entries.get(index as usize);
        entry.copied().unwrap_or(Backend::free(family, 0))
    }

    /// Every backend in use, with its index.
    pub(crate) fn backends(&self, family: Family) -> impl Iterator<Item = (u32, &Backend)> {
        let entries = self.backends.get(family).entries.iter().enumerate();
        entries.filter(|(_, backend)| backend.is_used()).map(|(index, backend)| (index as u32, backend))
    }

    /// A free backend index, and the generation of its next use.
    pub(crate) fn allocate_backend(&mut self, family: Family) -> Result<(u32, u32), TableError> {
        let index = self.backends.get_mut(family).indices.allocate()?;
        Ok((index, self.backend(family, index).generation.wrapping_add(1)))
    }

    /// The first of `count` free slots.
    pub(crate) fn allocate_slots(&mut self, count: u32) -> Result<u32, TableError> {
        self.slots.allocate(count)
    }

    pub(crate) fn hops(&mut self) -> &mut Hops {
        &mut self.hops
    }

    /// Gives back what a plan set aside for operations that were not carried out: no reader has seen it.
    pub(crate) fn abandon(&mut self, ops: &[Op]) {
        if let Some((base, backends)) = self.staged.take() {
            self.slots.release(base, backends.len() as u32);
        }
        for op in ops {
            match op {
                Op::WriteNextHop { index, next_hop } => self.hops.abandon(*index, next_hop),
                Op::WriteBackend { index, backend } if backend.is_used() => {
                    self.backends.get_mut(Family::of(backend.addr)).indices.release(*index);
                }
                Op::WriteSlots { base, backends } => self.slots.release(*base, backends.len() as u32),
                _ => {}
            }
        }
    }

    /// How many of these operations, from the first, can be carried out before a grace period must pass: up to an
    /// insertion into a hash table whose elements the kernel could recycle under a reader.
    pub(crate) fn without_waiting(&self, ops: &[Op]) -> usize {
        let mut recycled = self.recycled;
        let must_wait = |op: &Op| {
            let must_wait = match op {
                Op::InsertFrontend { frontend, .. } => recycled.has_frontend(Family::of(frontend.addr)),
                Op::InsertEndpoint { addr, .. } => recycled.has_endpoint(Family::of(*addr)),
                _ => false,
            };
            match op {
                Op::InsertFrontend { frontend, .. } | Op::RemoveFrontend { frontend }
                    if self.frontends.contains_key(frontend) =>
                {
                    recycled.frontend(Family::of(frontend.addr), &self.limbo);
                }
                Op::InsertEndpoint { addr, .. } | Op::RemoveEndpoint { addr }
                    if self.endpoints.contains_key(addr) =>
                {
                    recycled.endpoint(Family::of(*addr), &self.limbo);
                }
                _ => {}
            }
            must_wait
        };
        ops.iter().position(must_wait).unwrap_or(ops.len())
    }

    /// Ends the epoch for a grace period that frees slots and elements only.
    pub(crate) fn end_epoch(&mut self) -> u64 {
        self.limbo.end_epoch()
    }

    /// Whether there is something to reclaim.
    pub(crate) fn due(&self) -> Due {
        self.limbo.due()
    }

    /// Ends the epoch and gives what waits.
    pub(crate) fn reclaim(&mut self) -> Reclaim {
        self.limbo.reclaim()
    }

    /// A grace period has begun after the epoch and is over.
    pub(crate) fn grace_period_is_over(&mut self, epoch: u64) {
        for (base, count) in self.limbo.released_slots(epoch) {
            self.slots.release(base, count);
        }
        self.recycled.released(epoch);
    }

    /// Whether a backend that no flow held is still out of use since then.
    pub(crate) fn may_free_backend(&self, family: Family, index: u32, epoch: u64) -> bool {
        self.limbo.holds_backend(family, index, epoch)
    }

    /// Whether a next hop that no flow held is still out of use since then.
    pub(crate) fn may_free_next_hop(&self, index: u32, epoch: u64) -> bool {
        self.limbo.holds_next_hop(index, epoch)
    }

    /// The services that may be freed: out of use since then, and named by no backend.
    pub(crate) fn freeable_services(&self, epoch: u64) -> Vec<u32> {
        let mut services = self.limbo.held_services(epoch);
        services.retain(|index| self.service(*index).is_none_or(ServiceState::is_empty));
        services
    }

    /// Gives a service index back.
    pub(crate) fn free_service(&mut self, index: u32) {
        if self.limbo.take_service(index) {
            *self.service_mut(index) = ServiceState::default();
            self.service_indices.release(index);
        }
    }
}

impl ServiceState {
    /// Whether the tables say nothing of it, but for a name.
    fn is_empty(&self) -> bool {
        self.frontends.is_empty()
            && self.members.is_empty()
            && self.dead.is_empty()
            && self.word == Selection::default()
    }
}
