//! Tables in memory: what the kernel's tables do, for tests of this and of other crates.

mod faulty;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use penstock_abi::{NextHop, Selection, maps};

use crate::tables::{
    Backend, Dump, Family, Frontend, Names, Op, PerFamily, Readers, Sizes, TableError, Tables,
};

pub use faulty::Faulty;

/// Tables in memory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemoryTables {
    sizes: Sizes,
    frontends: BTreeMap<Frontend, u32>,
    services: Vec<Selection>,
    slots: Vec<u32>,
    backends: PerFamily<Vec<Backend>>,
    next_hops: Vec<NextHop>,
    endpoints: BTreeMap<IpAddr, u32>,
    names: BTreeMap<u32, Box<str>>,
    /// The names that flows hold, for [`Readers::flows_naming`]: set by the test.
    pub held: Names,
}

impl MemoryTables {
    /// Empty tables of these sizes.
    pub fn new(sizes: Sizes) -> Self {
        Self { sizes, ..Self::default() }
    }

    /// The service that a frontend leads to.
    pub fn frontend(&self, frontend: &Frontend) -> Option<u32> {
        self.frontends.get(frontend).copied()
    }

    /// A service's word.
    pub fn word(&self, service: u32) -> Selection {
        self.services.get(service as usize).copied().unwrap_or_default()
    }

    /// The backend that a slot names.
    pub fn slot(&self, slot: u32) -> u32 {
        self.slots.get(slot as usize).copied().unwrap_or_default()
    }

    /// A backend.
    pub fn backend(&self, family: Family, index: u32) -> Backend {
        let backends = self.backends.get(family);
        backends.get(index as usize).copied().unwrap_or(Backend::free(family, 0))
    }

    /// A next hop.
    pub fn next_hop(&self, index: u32) -> NextHop {
        self.next_hops.get(index as usize).copied().unwrap_or_default()
    }

    fn backend_mut(&mut self, family: Family, index: u32) -> Result<&mut Backend, TableError> {
        let table = match family {
            Family::V4 => maps::BACKENDS4,
            Family::V6 => maps::BACKENDS6,
        };
        element(self.backends.get_mut(family), table, self.sizes.backends, index, Backend::free(family, 0))
    }
}

/// An element of an array, which grows as the test needs it: all beyond the end is `zero`.
fn element<'a, V: Clone>(
    array: &'a mut Vec<V>,
    table: &'static str,
    size: u32,
    index: u32,
    zero: V,
) -> Result<&'a mut V, TableError> {
    let source = || io::Error::from(io::ErrorKind::InvalidInput);
    if index >= size {
        return Err(TableError::Io { table, source: source() });
    }
    if index as usize >= array.len() {
        array.resize(index as usize + 1, zero);
    }
    array.get_mut(index as usize).ok_or_else(|| TableError::Io { table, source: source() })
}

/// Inserts into a hash table of a size, which is that of each family's table.
fn insert<K: Ord + Copy, V>(
    hash: &mut BTreeMap<K, V>,
    (key, value): (K, V),
    (table, size): (&'static str, u32),
    is_alike: impl Fn(&K) -> bool,
) -> Result<(), TableError> {
    if !hash.contains_key(&key) && hash.len() >= size as usize {
        let alike = hash.keys().filter(|key| is_alike(key)).count();
        if alike >= size as usize {
            return Err(TableError::Full { table, size });
        }
    }
    hash.insert(key, value);
    Ok(())
}

impl Readers for MemoryTables {
    fn grace_period(&self) -> Result<(), TableError> {
        Ok(())
    }

    fn flows_naming(&self, names: &Names) -> Result<Names, TableError> {
        let both =
            |names: &[u32], held: &[u32]| names.iter().copied().filter(|name| held.contains(name)).collect();
        Ok(Names {
            backends: PerFamily {
                v4: both(&names.backends.v4, &self.held.backends.v4),
                v6: both(&names.backends.v6, &self.held.backends.v6),
            },
            next_hops: both(&names.next_hops, &self.held.next_hops),
        })
    }
}

impl Tables for MemoryTables {
    fn sizes(&self) -> Sizes {
        self.sizes
    }

    fn dump(&self) -> Result<Dump, TableError> {
        fn used<V: Copy + PartialEq>(array: &[V], zero: V) -> Vec<(u32, V)> {
            let elements = array.iter().copied().enumerate().filter(|(_, value)| *value != zero);
            elements.map(|(index, value)| (index as u32, value)).collect()
        }
        Ok(Dump {
            frontends: self.frontends.iter().map(|(frontend, service)| (*frontend, *service)).collect(),
            services: used(&self.services, Selection::default()),
            slots: self.slots.clone(),
            backends: PerFamily {
                v4: used(&self.backends.v4, Backend::free(Family::V4, 0)),
                v6: used(&self.backends.v6, Backend::free(Family::V6, 0)),
            },
            next_hops: used(&self.next_hops, NextHop::stack()),
            endpoints: self.endpoints.iter().map(|(addr, next_hop)| (*addr, *next_hop)).collect(),
            names: self.names.iter().map(|(service, name)| (*service, name.clone())).collect(),
        })
    }

    fn apply(&mut self, op: &Op) -> Result<(), TableError> {
        match op {
            Op::WriteNextHop { index, next_hop } => {
                let size = self.sizes.next_hops;
                *element(&mut self.next_hops, maps::NEXT_HOPS, size, *index, NextHop::stack())? = *next_hop;
            }
            Op::WriteBackend { index, backend } => {
                *self.backend_mut(Family::of(backend.addr), *index)? = *backend;
            }
            Op::SetMember { family, index, member } => {
                self.backend_mut(*family, *index)?.member = *member;
            }
            Op::SetBackendHop { family, index, next_hop } => {
                self.backend_mut(*family, *index)?.next_hop = *next_hop;
            }
            Op::WriteSlots { base, backends } => {
                for (slot, backend) in (*base..).zip(backends) {
                    *element(&mut self.slots, maps::SLOTS, self.sizes.slots, slot, 0)? = *backend;
                }
            }
            Op::Publish { service, word } => {
                let size = self.sizes.services;
                *element(&mut self.services, maps::SERVICES, size, *service, Selection::default())? = *word;
            }
            Op::InsertFrontend { frontend, service } => {
                let family = Family::of(frontend.addr);
                let table = match family {
                    Family::V4 => maps::FRONTENDS4,
                    Family::V6 => maps::FRONTENDS6,
                };
                let alike = |other: &Frontend| Family::of(other.addr) == family;
                insert(&mut self.frontends, (*frontend, *service), (table, self.sizes.frontends), alike)?;
            }
            Op::RemoveFrontend { frontend } => drop(self.frontends.remove(frontend)),
            Op::NameService { service, name } => drop(self.names.insert(*service, name.clone())),
            Op::UnnameService { service } => drop(self.names.remove(service)),
            Op::InsertEndpoint { addr, next_hop } => {
                let family = Family::of(*addr);
                let table = match family {
                    Family::V4 => maps::ENDPOINTS4,
                    Family::V6 => maps::ENDPOINTS6,
                };
                let alike = |other: &IpAddr| Family::of(*other) == family;
                insert(&mut self.endpoints, (*addr, *next_hop), (table, self.sizes.endpoints), alike)?;
            }
            Op::RemoveEndpoint { addr } => drop(self.endpoints.remove(addr)),
        }
        Ok(())
    }
}
