//! All that the tables hold at one moment.

use std::fmt;
use std::net::IpAddr;

use penstock_abi::{NextHop, Selection, maps};

use super::{Backend, Family, Frontend, PerFamily};

/// How many elements each table has. Of the arrays indexed from 0, element 0 counts though it is never given out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Each of the two frontends tables.
    pub frontends: u32,
    /// The services table.
    pub services: u32,
    /// The slots table.
    pub slots: u32,
    /// Each of the two backends tables.
    pub backends: u32,
    /// The next-hops table.
    pub next_hops: u32,
    /// Each of the two endpoints tables.
    pub endpoints: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            frontends: maps::MAX_FRONTENDS,
            services: maps::MAX_SERVICES,
            slots: maps::MAX_SLOTS,
            backends: maps::MAX_BACKENDS,
            next_hops: maps::MAX_NEXT_HOPS,
            endpoints: maps::MAX_ENDPOINTS,
        }
    }
}

/// All that the tables hold: what a starting agent takes up, and what tests and people read.
///
/// Each list is ascending by its key; elements of arrays that are all zero are left out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dump {
    /// Frontends and the service that each leads to.
    pub frontends: Vec<(Frontend, u32)>,
    /// Service indices and their words.
    pub services: Vec<(u32, Selection)>,
    /// The slots from 0 on; those beyond the end are zero.
    pub slots: Vec<u32>,
    /// Backend indices and what is there, free ones with a generation included.
    pub backends: PerFamily<Vec<(u32, Backend)>>,
    /// Next-hop indices and what is there.
    pub next_hops: Vec<(u32, NextHop)>,
    /// Addresses of pods on this node and the next hop of each.
    pub endpoints: Vec<(IpAddr, u32)>,
    /// Service indices and their names.
    pub names: Vec<(u32, Box<str>)>,
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "frontends")?;
        for (frontend, service) in &self.frontends {
            writeln!(f, "  {frontend} -> service {service}")?;
        }
        writeln!(f, "services")?;
        for (service, name) in &self.names {
            writeln!(f, "  {service} is {name}")?;
        }
        for (service, word) in &self.services {
            let slots = self.slots.iter().skip(word.base() as usize).take(word.count() as usize);
            writeln!(f, "  {service}: {word:?}: backends {:?}", slots.collect::<Vec<_>>())?;
        }
        for family in Family::ALL {
            writeln!(f, "backends {family}")?;
            for (index, backend) in self.backends.get(family) {
                writeln!(f, "  {index}: {backend}")?;
            }
        }
        writeln!(f, "next hops")?;
        for (index, next_hop) in &self.next_hops {
            writeln!(f, "  {index}: {next_hop:?}")?;
        }
        writeln!(f, "endpoints")?;
        for (addr, next_hop) in &self.endpoints {
            writeln!(f, "  {addr} -> next hop {next_hop}")?;
        }
        Ok(())
    }
}
