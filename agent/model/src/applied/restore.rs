//! Taking up what a former agent left in the tables.
//!
//! The former agent may have been ended between any two operations, so any prefix of a plan may be found: slots that
//! were never published, backends in no slot with or without member bits, services without a frontend. All of it is
//! taken up; what no Service of the cluster wants is removed once the cluster has been told whole.

use std::net::IpAddr;

use crate::tables::{Dump, Family, Sizes};

use super::Applied;

impl Applied {
    /// The bookkeeping of tables that hold this. A grace period must pass before anything is given out.
    pub(crate) fn restore(dump: Dump, sizes: Sizes) -> Self {
        let mut applied = Self::new(sizes);
        let Dump { frontends, services, slots, backends, next_hops, endpoints, names } = dump;
        for (index, next_hop) in next_hops {
            applied.hops.restore(index, next_hop, &mut applied.limbo);
        }
        for (addr, next_hop) in endpoints {
            applied.hops.name(next_hop, &mut applied.limbo);
            applied.endpoints.insert(addr, next_hop);
        }
        for (service, name) in names {
            applied.restore_service(service, None).name = Some(name);
        }
        for (frontend, service) in frontends {
            applied.frontends.insert(frontend, service);
            applied.restore_service(service, Some(Family::of(frontend.addr))).frontends.push(frontend);
        }
        for (family, backends) in [(Family::V4, backends.v4), (Family::V6, backends.v6)] {
            for (index, backend) in backends {
                *applied.backend_mut(family, index) = backend;
                if backend.is_used() && applied.backends.get_mut(family).indices.reserve(index) {
                    applied.hops.name(backend.next_hop, &mut applied.limbo);
                    applied.restore_service(backend.service, Some(family)).dead.push(index);
                    if backend.member == 0 {
                        applied.limbo.backend(family, index);
                    }
                }
            }
        }
        for (service, word) in services {
            applied.restore_word(service, word, &slots);
        }
        applied
    }

    fn restore_service(&mut self, index: u32, family: Option<Family>) -> &mut super::ServiceState {
        self.service_indices.reserve(index);
        let service = self.service_mut(index);
        service.family = service.family.or(family);
        service
    }

    fn restore_word(&mut self, index: u32, word: penstock_abi::Selection, slots: &[u32]) {
        let holds_slots = word.count() > 0 && self.slots.reserve(word.base(), word.count());
        if word.count() > 0 && !holds_slots {
            // No prefix of a plan leads here, so the tables are damaged. The Service gets a fresh range.
            tracing::warn!(service = index, ?word, "the slots of a service are not its own");
        }
        let service = self.restore_service(index, None);
        service.word = word;
        service.holds_slots = holds_slots;
        let Some(family) = service.family.filter(|_| holds_slots) else { return };
        let named = slots.iter().skip(word.base() as usize).take(word.count() as usize).copied();
        let mut members: Vec<u32> = named.collect();
        members.sort_unstable();
        members.dedup();
        let is_member = |backend: &u32| members.binary_search(backend).is_ok();
        let (mut members, dead): (Vec<_>, Vec<_>) =
            std::mem::take(&mut service.dead).into_iter().partition(is_member);
        service.dead = dead.into();
        members.sort_unstable_by_key(|backend| self.place(family, *backend));
        self.service_mut(index).members = members.into();
    }

    /// What the members of a service are ordered by.
    pub(crate) fn place(&self, family: Family, backend: u32) -> (IpAddr, u16) {
        let backend = self.backend(family, backend);
        (backend.addr, backend.port)
    }
}
