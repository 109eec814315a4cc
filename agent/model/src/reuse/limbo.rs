//! What is out of use, and may still be held by a reader.

use std::collections::{BTreeMap, VecDeque};

use crate::tables::{Family, Names, PerFamily, Readers, TableError};

/// What is out of use and not yet free, each with the epoch in which it left. An epoch ends where a grace period begins.
#[derive(Debug, Default)]
pub(crate) struct Limbo {
    epoch: u64,
    /// Something has left since the last grace period began.
    fresh: bool,
    slots: VecDeque<(u64, u32, u32)>,
    backends: PerFamily<BTreeMap<u32, u64>>,
    next_hops: BTreeMap<u32, u64>,
    services: BTreeMap<u32, u64>,
}

/// Whether there is something to reclaim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// Nothing waits.
    Nothing,
    /// Only things wait that flows held when they were looked at last: try from time to time.
    Later,
    /// Something waits for a grace period.
    Now,
}

/// A batch of things to reclaim: plain data, so that the waiting can be done where it holds up nothing.
#[derive(Debug)]
pub struct Reclaim {
    epoch: u64,
    names: Names,
}

/// A batch whose grace period is over.
#[derive(Debug)]
pub struct Reclaimed {
    pub(crate) epoch: u64,
    /// Names that no flow holds.
    pub(crate) released: Names,
}

impl Reclaim {
    /// Waits for the readers, then looks for names that flows hold, then waits again, for readers that may have copied a
    /// flow just before it ended. It blocks for some 20 ms and for a walk over all flows.
    ///
    /// # Errors
    /// [`TableError::Readers`]. What was to be reclaimed waits on, and a later batch has it again.
    pub fn run(self, readers: &(impl Readers + ?Sized)) -> Result<Reclaimed, TableError> {
        readers.grace_period()?;
        let mut released = self.names;
        if !released.is_empty() {
            let held = readers.flows_naming(&released)?;
            let subtract = |names: &mut Vec<u32>, held: &[u32]| {
                names.retain(|name| held.binary_search(name).is_err());
            };
            subtract(&mut released.backends.v4, &held.backends.v4);
            subtract(&mut released.backends.v6, &held.backends.v6);
            subtract(&mut released.next_hops, &held.next_hops);
        }
        if !released.is_empty() {
            readers.grace_period()?;
        }
        Ok(Reclaimed { epoch: self.epoch, released })
    }
}

impl Limbo {
    /// A range of slots has left the last word.
    pub(crate) fn slots(&mut self, base: u32, count: u32) {
        self.slots.push_back((self.epoch, base, count));
        self.fresh = true;
    }

    /// A backend has left its last set.
    pub(crate) fn backend(&mut self, family: Family, index: u32) {
        self.backends.get_mut(family).insert(index, self.epoch);
        self.fresh = true;
    }

    /// No backend and no endpoint names the next hop any more, or none does yet.
    pub(crate) fn next_hop(&mut self, index: u32) {
        self.next_hops.insert(index, self.epoch);
        self.fresh = true;
    }

    /// No frontend leads to the service any more.
    pub(crate) fn service(&mut self, index: u32) {
        self.services.insert(index, self.epoch);
        self.fresh = true;
    }

    pub(crate) fn take_backend(&mut self, family: Family, index: u32) {
        self.backends.get_mut(family).remove(&index);
    }

    pub(crate) fn take_next_hop(&mut self, index: u32) {
        self.next_hops.remove(&index);
    }

    pub(crate) fn take_service(&mut self, index: u32) -> bool {
        self.services.remove(&index).is_some()
    }

    pub(crate) fn waits_for_service(&self, index: u32) -> bool {
        self.services.contains_key(&index)
    }

    pub(crate) fn due(&self) -> Due {
        let empty = self.backends.v4.is_empty()
            && self.backends.v6.is_empty()
            && self.next_hops.is_empty()
            && self.services.is_empty()
            && self.slots.is_empty();
        match (self.fresh, empty) {
            (true, _) => Due::Now,
            (false, true) => Due::Nothing,
            (false, false) => Due::Later,
        }
    }

    /// Ends the epoch. The grace period must begin after this.
    pub(crate) fn end_epoch(&mut self) -> u64 {
        self.epoch += 1;
        self.epoch - 1
    }

    /// Ends the epoch and gives all that has left in it and before.
    pub(crate) fn reclaim(&mut self) -> Reclaim {
        let indices = |map: &BTreeMap<u32, u64>| map.keys().copied().collect();
        let names = Names {
            backends: PerFamily { v4: indices(&self.backends.v4), v6: indices(&self.backends.v6) },
            next_hops: indices(&self.next_hops),
        };
        self.fresh = false;
        Reclaim { epoch: self.end_epoch(), names }
    }

    /// A grace period has begun after the epoch and is over: the slots that left in it or before.
    pub(crate) fn released_slots(&mut self, epoch: u64) -> impl Iterator<Item = (u32, u32)> {
        let count = self.slots.partition_point(|(left, _, _)| *left <= epoch);
        self.slots.drain(..count).map(|(_, base, count)| (base, count))
    }

    /// Whether the backend has been out of use since before the end of the epoch.
    pub(crate) fn holds_backend(&self, family: Family, index: u32, epoch: u64) -> bool {
        self.backends.get(family).get(&index).is_some_and(|left| *left <= epoch)
    }

    /// Whether the next hop has been out of use since before the end of the epoch.
    pub(crate) fn holds_next_hop(&self, index: u32, epoch: u64) -> bool {
        self.next_hops.get(&index).is_some_and(|left| *left <= epoch)
    }

    /// The services that have been out of use since before the end of the epoch.
    pub(crate) fn held_services(&self, epoch: u64) -> Vec<u32> {
        let held = self.services.iter().filter(|(_, left)| **left <= epoch);
        held.map(|(index, _)| *index).collect()
    }
}

/// Whether the kernel may recycle elements of a hash table that readers hold: something was removed or replaced, and no
/// grace period has followed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Recycled {
    frontends: PerFamily<Option<u64>>,
    endpoints: PerFamily<Option<u64>>,
}

impl Recycled {
    pub(crate) fn frontend(&mut self, family: Family, limbo: &Limbo) {
        *self.frontends.get_mut(family) = Some(limbo.epoch);
    }

    pub(crate) fn endpoint(&mut self, family: Family, limbo: &Limbo) {
        *self.endpoints.get_mut(family) = Some(limbo.epoch);
    }

    /// Whether an insertion must wait.
    pub(crate) fn has_frontend(&self, family: Family) -> bool {
        self.frontends.get(family).is_some()
    }

    /// Whether an insertion must wait.
    pub(crate) fn has_endpoint(&self, family: Family) -> bool {
        self.endpoints.get(family).is_some()
    }

    /// A grace period has begun after the epoch and is over.
    pub(crate) fn released(&mut self, epoch: u64) {
        for family in Family::ALL {
            for left in [self.frontends.get_mut(family), self.endpoints.get_mut(family)] {
                left.take_if(|left| *left <= epoch);
            }
        }
    }
}
